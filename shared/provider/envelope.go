package provider

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// maxType is the longest event type taken, in bytes.
const maxType = 255

// envelopeDepth bounds the nesting of a webhook body, most of which is never
// looked at. Envelopes of known providers are 3 to 10 deep.
const envelopeDepth = 512

// envelopeSpec says where to find an event's own fields.
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
	// keys are the names in the context that paths are made of.
	keys map[string]bool
}

// signedID is a header that holds the event's id, with the signature that covers
// it. A sender may be known by several such families; the id is of the family
// whose signature is checked, since the header of another proves nothing, by
// which one event could be sent again under many ids.
type signedID struct {
	signature, id headerName
	family        sisters
}

// timeFormat reads created_at.
type timeFormat func(rawjson.Value) (at time.Time, ok bool)

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
// body is malformed, and the sender gets that error.
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
	// What is never looked at may be as odd as it likes: an event refused for it
	// would be lost. What is looked at is read strictly, because a body that two
	// readers can read differently is one whose signature proves nothing.
	if err := s.doc.Parse(withoutMark(body), rawjson.Options{MaxDepth: envelopeDepth, AnyBytes: true}); err != nil {
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
	e.CreatedAt, e.Undated = d.envelope.readCreatedAt(root)
	if s.ids, wrong = d.envelope.readIDs(root, &texts, s.ids); wrong != nil {
		return nil, wrong
	}
	e.Entities, e.Derived, e.Unnamed = d.entities(source, e.Type, s)
	return e, nil
}

// withoutMark returns a text without the byte order mark that some servers begin
// theirs with.
func withoutMark(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\ufeff")) }

func (s *envelopeSpec) readID(h http.Header, root rawjson.Value, texts *texts) (string, *EnvelopeError) {
	id := ""
	if s.idHeader != "" {
		id = s.headerID(h)
	} else {
		v, err := root.AtOnly(s.id)
		if err != nil {
			return "", malformed("%s: %v", s.id, err)
		}
		var ok bool
		if id, ok = texts.id(v); !ok {
			return "", notText(s.id, v)
		}
	}
	if err := event.CheckID(id); err != nil {
		return "", malformed("%s: %v", s.idPlace(h), err)
	}
	return id, nil
}

// notText says that a value that must be a text is none.
func notText(at rawjson.Path, v rawjson.Value) *EnvelopeError {
	if v.HalfPair() {
		return malformed("%s holds half a surrogate pair, which is no text", at)
	}
	return malformed("%s is %s: want a string", at, v.Kind())
}

// headerID is the event's id as the headers give it.
func (s *envelopeSpec) headerID(h http.Header) string {
	for _, signed := range s.signedIDs {
		if len(h[signed.signature.key]) > 0 {
			if id, err := signed.family.id(h); err == nil {
				return id
			}
			break
		}
	}
	return h.Get(s.idHeaderOf(h))
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

// idPlace says where to find the event's id.
func (s *envelopeSpec) idPlace(h http.Header) string {
	if s.idHeader != "" {
		return "header " + s.idHeaderOf(h)
	}
	return s.id.String()
}

func (s *envelopeSpec) readType(root rawjson.Value, texts *texts) (string, *EnvelopeError) {
	v, err := root.AtOnly(s.eventType)
	if err != nil {
		return "", malformed("%s: %v", s.eventType, err)
	}
	t, ok := texts.of(v)
	if !ok {
		return "", notText(s.eventType, v)
	}
	// The type becomes a field of logs and queries: what an id may not hold,
	// it may not hold either.
	if err := event.CheckID(t); err != nil || len(t) > maxType {
		return "", malformed("%s is not usable: want 1 to %d bytes of text", s.eventType, maxType)
	}
	return t, nil
}

// readCreatedAt returns the time of the event. undated: there should be one, and
// what is there cannot be read as one, or is one that could not be written
// again. That costs the time; the ids are as good as ever.
func (s *envelopeSpec) readCreatedAt(root rawjson.Value) (at time.Time, undated bool) {
	if s.createdAt == nil {
		return time.Time{}, false
	}
	v, err := root.AtOnly(s.createdAt)
	if err != nil {
		return time.Time{}, true
	}
	at, ok := s.time(v)
	if at = at.UTC(); !ok || at.Year() < 1 || at.Year() > 9999 || at.IsZero() {
		return time.Time{}, true
	}
	return at, false
}

// writeTime writes a time as the provider writes those of its events.
func (s *envelopeSpec) writeTime(t time.Time) string {
	if s.unix {
		return strconv.FormatInt(t.Unix(), 10)
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func readRFC3339(v rawjson.Value) (time.Time, bool) {
	text, ok := v.TextBytes()
	if !ok {
		return time.Time{}, false
	}
	return parseRFC3339(string(text))
}

// parseRFC3339 reads all that RFC 3339 allows, which is more than package time
// does: a lower-case t and z or a space between date and time (section 5.6), and
// a leap second (5.7), which is taken for the first second after it.
func parseRFC3339(text string) (time.Time, bool) {
	const seconds = len("2006-01-02T15:04:")
	b := []byte(text)
	if len(b) < seconds+2 {
		return time.Time{}, false
	}
	if b[10] == 't' || b[10] == ' ' {
		b[10] = 'T'
	}
	if last := len(b) - 1; b[last] == 'z' {
		b[last] = 'Z'
	}
	leap := time.Duration(0)
	if string(b[seconds:seconds+2]) == "60" {
		copy(b[seconds:], "59")
		leap = time.Second
	}
	at, err := time.Parse(time.RFC3339Nano, string(b))
	return at.Add(leap), err == nil
}

// lastSecond is the end of year 9999, the last that RFC 3339 can write.
const lastSecond = 253402300799

func readUnix(v rawjson.Value) (time.Time, bool) {
	n, err := strconv.ParseInt(string(v.Raw()), 10, 64)
	if v.Kind() != rawjson.Number || err != nil || n < 0 || n > lastSecond {
		return time.Time{}, false
	}
	return time.Unix(n, 0), true
}

// readIDs appends what the event names to ids. A context that is no object names
// nothing. Members that are no usable id name nothing, for a provider may put
// other things beside them one day; of those that paths are made of, none may
// occur twice.
func (s *envelopeSpec) readIDs(root rawjson.Value, texts *texts, ids idSet) (idSet, *EnvelopeError) {
	if s.context == nil {
		return s.readObject(root, texts, ids)
	}
	v, err := root.AtOnly(s.context)
	if err != nil {
		return ids, malformed("%s: %v", s.context, err)
	}
	for name, m := range v.Members() {
		if !s.keys[string(name)] {
			continue
		}
		if ids.has(name) {
			return ids, malformed("%s: member %.40q occurs twice", s.context, name)
		}
		named := namedID{name: name}
		if id, ok := texts.id(m); ok && event.CheckID(id) == nil {
			named.id = id
		}
		ids = append(ids, named)
	}
	return ids, nil
}

// readObject names the one object an event carries by its own type.
func (s *envelopeSpec) readObject(root rawjson.Value, texts *texts, ids idSet) (idSet, *EnvelopeError) {
	object, err := root.AtOnly(s.objectID)
	if err != nil {
		return ids, malformed("%s: %v", s.objectID, err)
	}
	typ, err := root.AtOnly(s.objectTyp)
	if err != nil {
		return ids, malformed("%s: %v", s.objectTyp, err)
	}
	id, ok := texts.id(object)
	name, named := typ.TextBytes()
	if !ok || !named || event.CheckID(id) != nil {
		return ids, nil
	}
	return append(ids, namedID{name: name, id: id}), nil
}
