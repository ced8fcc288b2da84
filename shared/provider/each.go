package provider

import (
	"net/http"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// maxEach is how many events one request may hold.
const maxEach = 10_000

// unreadableType is the type of an event whose own cannot be read.
const unreadableType = "unreadable"

// givenUnreadable is under what an unreadable event keeps why it is one. It is no
// place.
const givenUnreadable = "unreadable"

// Batches reports whether a request may hold several events or none, so that Events
// has to be asked for them.
func (d *Definition) Batches() bool { return d.envelope.each != nil }

// Events reads one webhook body into the events it holds, in their order. Without
// envelope.each that is one. There may be none. Errors are *EnvelopeError.
//
// An element that cannot be read does not cost the others: it becomes an event of type
// "unreadable", with the note event.Unreadable, whose id is a hash of its text. If
// no element can be read, the definition or the sender is wrong, and the error is that
// of the first.
//
// The payloads are parts of body; it must not be changed afterwards.
func (d *Definition) Events(source string, h http.Header, body []byte, received time.Time) ([]*event.Event, error) {
	if !d.Batches() {
		e, err := d.Event(source, h, body, received)
		if err != nil {
			return nil, err
		}
		return []*event.Event{e}, nil
	}
	s := d.scratch.take()
	defer d.scratch.free(s)
	var o origin
	if wrong := d.open(s, &o, h, body); wrong != nil {
		return nil, wrong
	}
	elements, wrong := d.envelope.elements(o.root)
	if wrong != nil {
		return nil, wrong
	}
	events := make([]*event.Event, len(elements))
	var first *EnvelopeError
	readable := 0
	for i, el := range elements {
		e := &event.Event{Source: source, ReceivedAt: received.UTC(), Payload: el.value.Raw()}
		wrong := el.wrong
		if wrong == nil {
			o.element, o.given, o.texts = el.value, nil, texts{}
			s.reset()
			wrong = d.read(s, &o, e)
		}
		if wrong == nil {
			events[i] = e
			readable++
			continue
		}
		if first == nil {
			first = malformed("event %d of %d: %s", i+1, len(elements), wrong.Reason)
		}
		events[i] = unreadable(source, el.value.Raw(), received, wrong)
	}
	if readable == 0 && first != nil {
		return nil, first
	}
	return events, nil
}

// unreadable is the event of an element that cannot be read as one.
func unreadable(source string, payload []byte, received time.Time, why *EnvelopeError) *event.Event {
	return &event.Event{
		Source: source, ID: hashID(unreadableType, payload), Type: unreadableType, ReceivedAt: received.UTC(), Payload: payload,
		Note: event.Unreadable, Given: map[string]string{givenUnreadable: why.Reason},
	}
}

// element is one of the values that each leads to, with what is wrong about it.
type element struct {
	value rawjson.Value
	wrong *EnvelopeError
}

// eachSpec is the way to the events of a request: names of members, and "*" for every
// element of an array. What it ends at is an event, or an array of events.
type eachSpec struct {
	text  string
	steps rawjson.Path
}

// elements returns the values that each leads to. Null and an empty array hold none.
func (s *envelopeSpec) elements(root rawjson.Value) ([]element, *EnvelopeError) {
	w := eachWalk{spec: s.each}
	if wrong := w.walk(root, s.each.steps); wrong != nil {
		return nil, wrong
	}
	return w.found, nil
}

type eachWalk struct {
	spec  *eachSpec
	found []element
	// within is the element of the array that is being looked at; None outside any.
	within rawjson.Value
}

// walk adds the events that the steps lead to from v. What is wrong inside an element
// of an array concerns that element, so that the others are read; elsewhere it is an
// error.
func (w *eachWalk) walk(v rawjson.Value, steps rawjson.Path) *EnvelopeError {
	inside := w.within.Kind() != rawjson.None
	switch {
	case v.Kind() == rawjson.Null && !w.isElement(v):
		return nil
	case len(steps) == 0 && v.Kind() == rawjson.Array && !w.isElement(v):
		return w.all(v, nil)
	case len(steps) == 0 && inside:
		if v.Kind() != rawjson.Object {
			return w.bad("is %s: want an object", v.Kind())
		}
		return w.add(element{value: v})
	case len(steps) == 0:
		return w.bad("is %s: want an array", v.Kind())
	case steps[0] == "*" && v.Kind() == rawjson.Array:
		return w.all(v, steps[1:])
	case steps[0] == "*":
		return w.bad("is %s where an array is to be", v.Kind())
	}
	next, err := v.AtOnly(steps[:1])
	if err != nil {
		return w.bad("%v", err)
	}
	if next.Kind() == rawjson.None {
		return w.bad("is nothing: %q is missing", steps[0])
	}
	return w.walk(next, steps[1:])
}

// isElement reports whether a value is itself an element of an array, and so no array
// of events.
func (w *eachWalk) isElement(v rawjson.Value) bool { return w.within == v }

// all walks on in every element of an array.
func (w *eachWalk) all(array rawjson.Value, steps rawjson.Path) *EnvelopeError {
	outer := w.within
	defer func() { w.within = outer }()
	for _, v := range array.Elements() {
		w.within = v
		if wrong := w.walk(v, steps); wrong != nil {
			return wrong
		}
	}
	return nil
}

// bad notes what is wrong, with the element it concerns if there is one.
func (w *eachWalk) bad(format string, args ...any) *EnvelopeError {
	wrong := malformed(w.spec.text+" "+format, args...)
	if w.within.Kind() == rawjson.None {
		return wrong
	}
	return w.add(element{value: w.within, wrong: wrong})
}

func (w *eachWalk) add(e element) *EnvelopeError {
	if len(w.found) == maxEach {
		return malformed("%s holds more than %d events: send fewer in a request", w.spec.text, maxEach)
	}
	w.found = append(w.found, e)
	return nil
}
