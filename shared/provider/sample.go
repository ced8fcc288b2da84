package provider

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// Sample is an event to be made up.
type Sample struct {
	// ID, Type and At are the event's own fields. All are required.
	ID, Type string
	At       time.Time
	// IDs are the ids it names, by the names of its context.
	IDs map[string]string
}

// Sample makes up the body of a webhook that reads as the event, and the headers it
// needs besides those of its signature. It has nothing but what is read of an event,
// so it is for tests and tools. Bodies that hold several events or are forms are not
// made up.
func (d *Definition) Sample(s Sample) (http.Header, []byte, error) {
	e := &d.envelope
	if e.form || e.each != nil {
		return nil, nil, fmt.Errorf("webhooks of provider %s are forms or hold several events: give the body of one", d.Name)
	}
	m := madeUp{header: http.Header{}, body: map[string]any{}}
	for i := range e.require {
		m.put(&place{parts: []part{e.require[i].place}}, e.require[i].want)
	}
	m.put(&e.eventType, s.Type)
	if e.made == "" {
		m.put(&e.id, s.ID)
	}
	if e.createdAt.is() {
		at := e.time.write(s.At)
		if e.createdAt.parts[0].kind == inBody && json.Valid([]byte(at)) {
			m.putJSON(&e.createdAt, json.RawMessage(at))
		} else {
			m.put(&e.createdAt, at)
		}
	}
	left := m.ids(e, s.IDs)
	if m.err == nil && len(left) > 0 {
		m.err = fmt.Errorf("an event of provider %s cannot name %s", d.Name, strings.Join(left, ", "))
	}
	if m.err != nil {
		return nil, nil, m.err
	}
	text, err := json.Marshal(m.body)
	return m.header, text, err
}

// madeUp is a webhook that is made up, and the first error in doing so.
type madeUp struct {
	header http.Header
	body   map[string]any
	err    error
}

// ids puts the ids where the envelope has them, and returns the names for which it has
// no place: an envelope with one object has room for one.
func (m *madeUp) ids(e *envelopeSpec, ids map[string]string) (left []string) {
	if e.context.is() {
		m.putJSON(&e.context, ids)
		return nil
	}
	object := e.objectID.is()
	for _, name := range slices.Sorted(maps.Keys(ids)) {
		i := slices.IndexFunc(e.ids, func(p idPlace) bool { return string(p.name) == name })
		switch {
		case i >= 0:
			m.put(&e.ids[i].at, ids[name])
		case object:
			object = false
			m.put(&e.objectID, ids[name])
			if e.objectTyp.is() {
				m.put(&e.objectTyp, name)
			}
		default:
			left = append(left, name)
		}
	}
	return left
}

// put puts a text at a place. What a place joins of several parts is cut at its dots,
// and the last part has what is left.
func (m *madeUp) put(p *place, text string) {
	for i := range p.parts {
		one, rest := text, ""
		if i < len(p.parts)-1 {
			one, rest, _ = strings.Cut(text, ".")
		}
		if one != "" {
			m.putPart(&p.parts[i], one)
		}
		text = rest
	}
}

// putJSON puts a value at a place that is one path.
func (m *madeUp) putJSON(p *place, value any) { m.putPart(&p.parts[0], value) }

func (m *madeUp) putPart(p *part, value any) {
	switch p.kind {
	case inHeader:
		m.header.Set(p.header.text, fmt.Sprint(value))
	case isFixed:
	default:
		if err := (placed{p.path, value}).put(m.body); err != nil && m.err == nil {
			m.err = err
		}
	}
}

// placed is a value at its path in a body.
type placed struct {
	path  rawjson.Path
	value any
}

// put puts the value into a body, with the objects on the way to it.
func (p placed) put(body map[string]any) error {
	in := body
	for _, step := range p.path[:len(p.path)-1] {
		inner, ok := in[step].(map[string]any)
		if !ok {
			if in[step] != nil {
				return fmt.Errorf("%s cannot be made up: another field of the event stands on the way to it", p.path)
			}
			inner = map[string]any{}
			in[step] = inner
		}
		in = inner
	}
	in[p.path[len(p.path)-1]] = p.value
	return nil
}
