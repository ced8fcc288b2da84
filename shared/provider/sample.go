package provider

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// Sample is an event to be made up.
type Sample struct {
	// ID, Type and At are the event's own fields. All are required; the ID is not used
	// where the provider gives none.
	ID, Type string
	At       time.Time
	// IDs are the ids it names, by the names that paths have in braces.
	IDs map[string]string
}

// Sample makes up the body of a webhook that reads as the event, and the headers it
// needs besides those of its signature. It has nothing but what is read of an event,
// so it is for tests and tools. It is an error if the definition has no place for an
// id, or requires a value that With has not filled in.
func (d *Definition) Sample(s Sample) (http.Header, []byte, error) {
	m := &made{header: http.Header{}, body: map[string]any{}, element: map[string]any{}}
	e := &d.envelope
	m.put(&e.id, s.ID)
	m.put(&e.eventType, s.Type)
	m.put(&e.createdAt, e.writeTime(s.At))
	for i := range e.require {
		r := &e.require[i]
		if r.setting != "" {
			return nil, nil, fmt.Errorf("provider %s requires the setting %q of an event: give its value", d.Name, r.setting)
		}
		m.put(&place{parts: []part{r.place}}, r.want)
	}
	if err := d.sampleIDs(m, s.IDs); err != nil {
		return nil, nil, err
	}
	if m.err != nil {
		return nil, nil, m.err
	}
	body, err := m.text(e)
	return m.header, body, err
}

// sampleIDs puts the ids of an event where each is read.
func (d *Definition) sampleIDs(m *made, ids map[string]string) error {
	e, rest := &d.envelope, maps.Clone(ids)
	for i := range e.ids {
		name := string(e.ids[i].name)
		if id, ok := rest[name]; ok {
			m.put(&e.ids[i].at, id)
			delete(rest, name)
		}
	}
	names := slices.Sorted(maps.Keys(rest))
	switch {
	case e.context.is():
		for _, name := range names {
			m.putPart(&e.context.parts[0], append(slices.Clone(e.context.parts[0].path), name), rest[name])
		}
	case len(names) == 0:
	case !e.objectID.is() || len(names) > 1:
		return fmt.Errorf("an event of provider %s has no place for the ids %s", d.Name, strings.Join(names, ", "))
	default:
		m.put(&e.objectTyp, names[0])
		m.put(&e.objectID, rest[names[0]])
	}
	return nil
}

// made is a request that is being made up.
type made struct {
	header        http.Header
	form          url.Values
	body, element map[string]any
	err           error
}

// put puts a text at a place. Of a place of several parts each but the last gets one
// step of the text.
func (m *made) put(p *place, text string) {
	for i := range p.parts {
		step := text
		if i < len(p.parts)-1 {
			step, text, _ = strings.Cut(text, ".")
		}
		if step != "" || len(p.parts) == 1 {
			m.putPart(&p.parts[i], p.parts[i].path, step)
		}
	}
}

// putPart puts a text at a part, whose path may have been made longer.
func (m *made) putPart(p *part, path rawjson.Path, text string) {
	switch p.kind {
	case inHeader:
		m.header.Set(p.header.text, text)
	case inForm:
		if m.form == nil {
			m.form = url.Values{}
		}
		m.form.Set(p.text, text)
	case inElement:
		m.putJSON(m.element, path, text)
	case inBody:
		m.putJSON(m.body, path, text)
	case isFirst:
		m.putPart(&p.first[0], p.first[0].path, text)
	case isFixed:
		if text != p.fixed && m.err == nil {
			m.err = fmt.Errorf("%q cannot be made up: the definition says %s there", text, p.text)
		}
	}
}

// putJSON puts a value into an object, with the objects on the way to it.
func (m *made) putJSON(in map[string]any, path rawjson.Path, text string) {
	for _, step := range path[:len(path)-1] {
		inner, ok := in[step].(map[string]any)
		if !ok {
			if in[step] != nil && m.err == nil {
				m.err = fmt.Errorf("%s cannot be made up: another field of the event stands on the way to it", path)
			}
			inner = map[string]any{}
			in[step] = inner
		}
		in = inner
	}
	in[path[len(path)-1]] = text
}

// text returns the body.
func (m *made) text(e *envelopeSpec) ([]byte, error) {
	if e.form {
		m.header.Set("Content-Type", "application/x-www-form-urlencoded")
		return []byte(m.form.Encode()), nil
	}
	m.number(e)
	if e.each == nil {
		return json.Marshal(m.body)
	}
	if len(e.each.steps) == 0 {
		return json.Marshal([]any{m.element})
	}
	m.body = around(m.body, e.each.steps, m.element, slices.Contains(e.each.steps, "*")).(map[string]any)
	return json.Marshal(m.body)
}

// number makes a time that stands in JSON a number, where it is one.
func (m *made) number(e *envelopeSpec) {
	path := e.createdAt.only()
	if path == nil && e.createdAt.is() && e.createdAt.parts[0].kind == inBody {
		path = e.createdAt.parts[0].path
	}
	in := m.body
	if e.createdAt.is() && e.createdAt.parts[0].kind == inElement {
		in = m.element
	}
	for i, step := range path {
		if i < len(path)-1 {
			in, _ = in[step].(map[string]any)
			continue
		}
		if text, ok := in[step].(string); ok && json.Valid([]byte(text)) {
			in[step] = json.RawMessage(text)
		}
	}
}

// around puts an event where the way of each leads, in one array of it. starred: the
// way says itself where arrays are.
func around(in any, steps rawjson.Path, event any, starred bool) any {
	if len(steps) == 0 {
		if starred {
			return event
		}
		return []any{event}
	}
	if steps[0] == "*" {
		return []any{around(nil, steps[1:], event, starred)}
	}
	object, ok := in.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	object[steps[0]] = around(object[steps[0]], steps[1:], event, starred)
	return object
}
