package provider

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
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
// so it is for tests and tools. An event that names one object has one id at most.
func (d *Definition) Sample(s Sample) (http.Header, []byte, error) {
	e, h, body := &d.envelope, http.Header{}, map[string]any{}
	var values []placed
	if e.idHeader != "" {
		h.Set(e.idHeader, s.ID)
	} else {
		values = append(values, placed{e.id, s.ID})
	}
	values = append(values, placed{e.eventType, s.Type})
	if e.createdAt != nil {
		values = append(values, placed{e.createdAt, json.RawMessage(e.sampleTime(s.At))})
	}
	switch {
	case e.context != nil:
		values = append(values, placed{e.context, s.IDs})
	case len(s.IDs) > 1:
		return nil, nil, fmt.Errorf("an event of provider %s names one object: give one id, not %d", d.Name, len(s.IDs))
	default:
		for _, name := range slices.Sorted(maps.Keys(s.IDs)) {
			values = append(values, placed{e.objectTyp, name}, placed{e.objectID, s.IDs[name]})
		}
	}
	for _, v := range values {
		if err := v.put(body); err != nil {
			return nil, nil, err
		}
	}
	text, err := json.Marshal(body)
	return h, text, err
}

// sampleTime writes a time as a JSON value.
func (s *envelopeSpec) sampleTime(t time.Time) string {
	text := s.writeTime(t)
	if s.unix {
		return text
	}
	return `"` + text + `"`
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
