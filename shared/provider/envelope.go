package provider

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// maxType is the longest event type taken, in bytes.
const maxType = 255

// envelopeDepth bounds the nesting of a webhook body. Envelopes of known
// providers are 3 to 10 deep.
const envelopeDepth = 64

// envelopeSpec says where an event's own fields stand.
type envelopeSpec struct {
	id        rawjson.Path
	idHeader  string // instead of id
	signedIDs []signedID
	eventType rawjson.Path
	createdAt rawjson.Path // nil: the provider gives none
	time      timeFormat
	unix      bool         // times are seconds since 1970
	context   rawjson.Path // an object of ids by name, or:
	objectID  rawjson.Path // one object …
	objectTyp rawjson.Path // … whose own type names it
}

// signedID is a header that holds the event's id, with the signature that covers
// it. A sender may be known by several such families; the id is of the family
// whose signature is checked, since the header of another is anybody's word, by
// which one event could be sent again under many ids.
type signedID struct{ signature, id headerName }

// timeFormat reads created_at.
type timeFormat func(rawjson.Value) (time.Time, error)

var timeFormats = map[string]timeFormat{
	"rfc3339": readRFC3339,
	"unix":    readUnix,
}

// EnvelopeError says what is wrong with a webhook body.
type EnvelopeError struct{ Reason string }

// Error returns the reason.
func (e *EnvelopeError) Error() string { return e.Reason }

func malformed(format string, args ...any) *EnvelopeError {
	return &EnvelopeError{Reason: fmt.Sprintf(format, args...)}
}

// Event reads one webhook body (or one element of the provider's event list)
// into an event with the entities it names. Errors are *EnvelopeError: the
// body is malformed and the sender is told so.
//
// The event keeps body as its payload; it must not be changed afterwards.
func (d *Definition) Event(source string, h http.Header, body []byte, received time.Time) (*event.Event, error) {
	e, malformed := d.read(source, h, body, received)
	if malformed != nil {
		return nil, malformed
	}
	return e, nil
}

// Stored reads an event again whose id is known, from the payload in the log.
// Errors are Event's.
func (d *Definition) Stored(source, id string, body []byte, received time.Time) (*event.Event, error) {
	h := http.Header{}
	if d.envelope.idHeader != "" {
		h.Set(d.envelope.idHeader, id)
	}
	return d.Event(source, h, body, received)
}

func (d *Definition) read(source string, h http.Header, body []byte, received time.Time) (*event.Event, *EnvelopeError) {
	s := d.scratch.take()
	defer d.scratch.free(s)
	// Strict, because a body that two readers can read differently is one
	// whose signature proves nothing.
	if err := s.doc.Parse(body, rawjson.Options{MaxDepth: envelopeDepth, Strict: true}); err != nil {
		return nil, malformed("body is not JSON: %v", err)
	}
	root := s.doc.Root()
	if root.Kind() != rawjson.Object {
		return nil, malformed("body is a JSON %s: want an object", root.Kind())
	}
	e := &event.Event{Source: source, ReceivedAt: received.UTC(), Payload: body}
	var texts texts
	var wrong *EnvelopeError
	if e.ID, wrong = d.envelope.readID(h, root, &texts); wrong != nil {
		return nil, wrong
	}
	if e.Type, wrong = d.envelope.readType(root, &texts); wrong != nil {
		return nil, wrong
	}
	if e.CreatedAt, wrong = d.envelope.readCreatedAt(root); wrong != nil {
		return nil, wrong
	}
	if s.ids, wrong = d.envelope.readIDs(root, &texts, s.ids); wrong != nil {
		return nil, wrong
	}
	e.Entities, e.Derived = d.entities(source, e.Type, s)
	return e, nil
}

func (s *envelopeSpec) readID(h http.Header, root rawjson.Value, texts *texts) (string, *EnvelopeError) {
	id := ""
	if s.idHeader != "" {
		id = h.Get(s.idHeaderOf(h))
	} else {
		var ok bool
		if id, ok = texts.of(root.At(s.id)); !ok {
			return "", malformed("%s is %s: want a string", s.id, root.At(s.id).Kind())
		}
	}
	if err := event.CheckID(id); err != nil {
		return "", malformed("%s: %v", s.idPlace(h), err)
	}
	return id, nil
}

// idHeaderOf is the header with the id among those of a request: by the same
// rule as Verifier.header. An event from the log has no signature any more, and
// its id in the header of the definition; see Stored.
func (s *envelopeSpec) idHeaderOf(h http.Header) string {
	for _, signed := range s.signedIDs {
		if len(h[signed.signature.key]) > 0 {
			return signed.id.text
		}
	}
	return s.idHeader
}

// idPlace says where the event's id stands.
func (s *envelopeSpec) idPlace(h http.Header) string {
	if s.idHeader != "" {
		return "header " + s.idHeaderOf(h)
	}
	return s.id.String()
}

func (s *envelopeSpec) readType(root rawjson.Value, texts *texts) (string, *EnvelopeError) {
	v := root.At(s.eventType)
	t, ok := texts.of(v)
	if !ok {
		return "", malformed("%s is %s: want a string", s.eventType, v.Kind())
	}
	// The type becomes a field of logs and queries: what an id may not hold,
	// it may not hold either.
	if err := event.CheckID(t); err != nil || len(t) > maxType {
		return "", malformed("%s is not usable: want 1 to %d bytes of text", s.eventType, maxType)
	}
	return t, nil
}

func (s *envelopeSpec) readCreatedAt(root rawjson.Value) (time.Time, *EnvelopeError) {
	if s.createdAt == nil {
		return time.Time{}, nil
	}
	t, err := s.time(root.At(s.createdAt))
	if err != nil {
		return time.Time{}, malformed("%s: %v", s.createdAt, err)
	}
	return t.UTC(), nil
}

// writeTime writes a time as the provider writes those of its events.
func (s *envelopeSpec) writeTime(t time.Time) string {
	if s.unix {
		return strconv.FormatInt(t.Unix(), 10)
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func readRFC3339(v rawjson.Value) (time.Time, error) {
	text, ok := v.TextBytes()
	if !ok {
		return time.Time{}, fmt.Errorf("is %s: want an RFC 3339 time", v.Kind())
	}
	t, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return time.Time{}, fmt.Errorf("%.40q is not an RFC 3339 time", text)
	}
	return t, nil
}

// lastSecond is the end of year 9999, the last that RFC 3339 can write.
const lastSecond = 253402300799

func readUnix(v rawjson.Value) (time.Time, error) {
	n, err := strconv.ParseInt(string(v.Raw()), 10, 64)
	if v.Kind() != rawjson.Number || err != nil || n < 0 || n > lastSecond {
		return time.Time{}, fmt.Errorf("is %s: want seconds since 1970", v.Kind())
	}
	return time.Unix(n, 0), nil
}

// readIDs appends what the event names to ids. An absent or null context names
// nothing. Members that are no usable id are left out, for a provider may put
// other things beside them one day.
func (s *envelopeSpec) readIDs(root rawjson.Value, texts *texts, ids idSet) (idSet, *EnvelopeError) {
	if s.context == nil {
		return s.readObject(root, texts, ids), nil
	}
	v := root.At(s.context)
	switch v.Kind() {
	case rawjson.None, rawjson.Null:
		return ids, nil
	case rawjson.Object:
	default:
		return ids, malformed("%s is %s: want an object", s.context, v.Kind())
	}
	for name, m := range v.Members() {
		if id, ok := texts.of(m); ok && event.CheckID(id) == nil {
			ids = append(ids, namedID{name: name, id: id})
		}
	}
	return ids, nil
}

// readObject names the one object an event carries by its own type.
func (s *envelopeSpec) readObject(root rawjson.Value, texts *texts, ids idSet) idSet {
	id, ok := texts.of(root.At(s.objectID))
	name, named := root.At(s.objectTyp).TextBytes()
	if !ok || !named || event.CheckID(id) != nil {
		return ids
	}
	return append(ids, namedID{name: name, id: id})
}
