package provider

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
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
	id        place
	made      string // idBodyHash or idNone, instead of id
	signedIDs []signedID
	eventType place
	// typePrefix is no part of a type that begins with it.
	typePrefix string
	// familyAt separates the family of a type from what happened.
	familyAt  string
	createdAt place // none: the provider gives none
	time      timeFormat
	context   place // an object of ids by name, or:
	objectID  place // one object …
	objectTyp place // … whose own type names it; none: the first kind of its family
	ids       []idPlace
	require   []requirement
	each      *eachSpec
	form      bool
	challenge challengeSpec
	ack       string
	// keys are the names of ids that paths are made of.
	keys map[string]bool
}

// What envelope.id may be instead of a place.
const (
	idBodyHash = "body-hash" // equal bodies of one type are one event
	idNone     = "none"      // each request is one event
)

// idPlace is where a further id stands, by its name.
type idPlace struct {
	name []byte
	at   place
}

// signedID is a header that holds the event's id, with the signature that covers
// it. A sender may be known by several such families; the id is of the family
// whose signature is checked, since the header of another proves nothing, by
// which one event could be sent again under many ids.
type signedID struct {
	signature, id headerName
	family        sisters
}

// EnvelopeError says what is wrong with a webhook body.
type EnvelopeError struct{ Reason string }

// Error returns the reason.
func (e *EnvelopeError) Error() string { return e.Reason }

func malformed(format string, args ...any) *EnvelopeError {
	return &EnvelopeError{Reason: fmt.Sprintf(format, args...)}
}

// Event reads one webhook body into an event with the entities it names. Errors
// are *EnvelopeError: the body is malformed, and the sender gets that error. With
// envelope.each a body that does not hold exactly one event is an error too; see
// Events.
//
// The event keeps body as its payload; it must not be changed afterwards.
func (d *Definition) Event(source string, h http.Header, body []byte, received time.Time) (*event.Event, error) {
	if d.Batches() {
		events, err := d.Events(source, h, body, received)
		if err == nil && len(events) != 1 {
			err = malformed("body holds %d events: want one", len(events))
		}
		if err != nil {
			return nil, err
		}
		return events[0], nil
	}
	s := d.scratch.take()
	defer d.scratch.free(s)
	var o origin
	if wrong := d.open(s, &o, h, body); wrong != nil {
		return nil, wrong
	}
	e := &event.Event{Source: source, ReceivedAt: received.UTC(), Payload: body}
	if wrong := d.read(s, &o, e); wrong != nil {
		return nil, wrong
	}
	return e, nil
}

// Stored reads an event again from what the log keeps of it: its Source, ID,
// ReceivedAt, Payload and Given. What it names is what it named at first, unless the
// definition or its settings have changed. Errors are Event's.
func (d *Definition) Stored(kept *event.Event) (*event.Event, error) {
	e, wrong := d.reread(&event.Event{
		Source: kept.Source, ID: kept.ID, ReceivedAt: kept.ReceivedAt.UTC(), Payload: kept.Payload, Given: kept.Given,
	})
	if wrong != nil {
		return nil, wrong
	}
	return e, nil
}

// listed reads an element of the provider's list of events, or of that of a scope. It
// has no headers.
func (d *Definition) listed(key EventsKey, text []byte, received time.Time) (*event.Event, *EnvelopeError) {
	return d.reread(&event.Event{Source: key.Source, ReceivedAt: received.UTC(), Payload: text, Given: scopeListed(key.Scope)})
}

// reread reads an event from its payload, and from what is given of the rest.
func (d *Definition) reread(e *event.Event) (*event.Event, *EnvelopeError) {
	s := d.scratch.take()
	defer d.scratch.free(s)
	o := origin{given: e.Given, apart: true}
	if wrong := d.parse(s, &o, e.Payload, false); wrong != nil {
		return nil, wrong
	}
	if wrong := d.read(s, &o, e); wrong != nil {
		return nil, wrong
	}
	return e, nil
}

// open parses the body of a request.
func (d *Definition) open(s *scratch, o *origin, h http.Header, body []byte) *EnvelopeError {
	o.header = h
	return d.parse(s, o, body, d.Batches())
}

// parse parses a body. many: it holds events somewhere, else it is one.
func (d *Definition) parse(s *scratch, o *origin, body []byte, many bool) *EnvelopeError {
	if d.envelope.form {
		o.form = body
		return nil
	}
	// What is never looked at may be as odd as it likes: an event refused for it
	// would be lost. What is looked at is read strictly, because a body that two
	// readers can read differently is one whose signature proves nothing.
	if err := s.doc.Parse(withoutMark(body), rawjson.Options{MaxDepth: envelopeDepth, AnyBytes: true}); err != nil {
		if isUTF16(body) {
			return malformed("body is UTF-16 or UTF-32: send it in UTF-8")
		}
		if isForm(body) {
			return malformed("body is a form, not JSON: have the provider send application/json, or set envelope.body to form")
		}
		return malformed("body is not JSON: %v", err)
	}
	o.root = s.doc.Root()
	o.element = o.root
	if o.root.Kind() != rawjson.Object && !many {
		return malformed("body is a JSON %s: want an object", o.root.Kind())
	}
	return nil
}

// read fills in what the definition says of an event. The id is read unless it is
// known.
func (d *Definition) read(s *scratch, o *origin, e *event.Event) (wrong *EnvelopeError) {
	if e.Type, wrong = d.envelope.readType(o); wrong != nil {
		return wrong
	}
	if e.ID == "" {
		if e.ID, wrong = d.envelope.readID(o, e); wrong != nil {
			return wrong
		}
	}
	e.CreatedAt, e.Undated = d.envelope.readCreatedAt(o)
	unmet, wrong := d.envelope.unmet(o)
	if wrong != nil {
		return wrong
	}
	// Also of one that is not followed, so that what it names can be read again once
	// the requirement is another.
	if s.ids, wrong = d.readIDs(e.Type, o, s.ids); wrong != nil {
		return wrong
	}
	scope, badScope, wrong := d.readScope(o, s)
	if wrong != nil {
		return wrong
	}
	e.Given = d.keepGiven(o)
	if badScope {
		e.Note = event.ScopeUnusable
		return nil
	}
	if unmet {
		e.Note = event.RequireUnmet
		return nil
	}
	e.Entities, e.Derived, e.Unnamed = d.entities(e.Source, e.Type, scope, s)
	e.Note = d.note(e)
	return nil
}

// note says what is odd about what an event names.
func (d *Definition) note(e *event.Event) event.Note {
	switch {
	case d.unknownType(e):
		return event.UnknownType
	case len(e.Entities) == 0:
		return event.NamesNothing
	}
	return 0
}

// unknownType reports whether the definition knows neither the family of an event nor
// a kind of that name nor, if the event has one object of a type of its own, the kind
// of that.
func (d *Definition) unknownType(e *event.Event) bool {
	name, _ := d.splitType(e.Type)
	if d.families[name] != nil || d.ownKind(name) != nil {
		return false
	}
	return !d.envelope.objectTyp.is() || len(e.Entities) == 0
}

// hashID is the id of an event whose provider gives it none: the same for equal
// payloads of one type.
func hashID(eventType string, payload []byte) string {
	h := sha256.New()
	_, _ = h.Write(append([]byte(eventType), '\n')) // a type holds no line break
	_, _ = h.Write(payload)
	return "hash_" + hex.EncodeToString(h.Sum(nil)[:16])
}

// drawnID is the id of an event that is one by itself.
func drawnID() string { return "drawn_" + strings.ToLower(rand.Text()) }

func (s *envelopeSpec) readID(o *origin, e *event.Event) (string, *EnvelopeError) {
	switch s.made {
	case idBodyHash:
		return hashID(e.Type, e.Payload), nil
	case idNone:
		return drawnID(), nil
	}
	if signed := s.signed(o.header); signed != nil {
		return signed.read(o.header)
	}
	id, bad, ok, wrong := o.idAt(&s.id)
	if wrong != nil {
		return "", wrong
	}
	if !ok && !bad.isHeader(&s.id) {
		return "", notText(&s.id, bad, "a string or a whole number")
	}
	if err := event.CheckID(id); err != nil {
		return "", malformed("%s: %v", &s.id, err)
	}
	return id, nil
}

// isHeader reports whether what was found is a header, or none, rather than JSON.
func (f *found) isHeader(p *place) bool {
	return len(p.parts) == 1 && p.parts[0].kind == inHeader
}

// notText says that a value that must be a text is none.
func notText(at *place, v found, want string) *EnvelopeError {
	switch {
	case v.value.HalfPair():
		return malformed("%s holds half a surrogate pair, which is no text", at)
	case v.value.Kind() == rawjson.Number:
		return malformed("%s is number %.40s: want %s", at, v.value.Raw(), want)
	}
	return malformed("%s is %s: want %s", at, v.value.Kind(), want)
}

// signed returns the family of headers whose signature is there, by the same rule as
// Verifier.header; nil if the id is in no such header.
func (s *envelopeSpec) signed(h http.Header) *signedID {
	for i := range s.signedIDs {
		if len(h[s.signedIDs[i].signature.key]) > 0 {
			return &s.signedIDs[i]
		}
	}
	return nil
}

// read returns the event's id.
func (s *signedID) read(h http.Header) (string, *EnvelopeError) {
	id, err := s.family.id(h)
	if err != nil {
		id = h.Get(s.id.text)
	}
	if err := event.CheckID(id); err != nil {
		return "", malformed("header %s: %v", s.id.text, err)
	}
	return id, nil
}

func (s *envelopeSpec) readType(o *origin) (string, *EnvelopeError) {
	t, bad, ok, wrong := s.typeAt(o)
	if wrong != nil {
		return "", wrong
	}
	if !ok {
		return "", notText(&s.eventType, bad, "a string")
	}
	t = strings.TrimPrefix(t, s.typePrefix)
	// The type becomes a field of logs and queries: what an id may not hold,
	// it may not hold either.
	if err := event.CheckID(t); err != nil || len(t) > maxType {
		return "", malformed("%s is not usable: want 1 to %d bytes of text", &s.eventType, maxType)
	}
	return t, nil
}

// typeAt returns the type of an event. Parts behind the first may be missing: some of
// a provider's types have an action and others have none.
func (s *envelopeSpec) typeAt(o *origin) (t string, bad found, ok bool, wrong *EnvelopeError) {
	if len(s.eventType.parts) > 1 {
		return o.joined(&s.eventType, true)
	}
	f, wrong := o.at(&s.eventType.parts[0])
	if wrong != nil || f.isText {
		return f.text, f, f.isText, wrong
	}
	t, ok = o.texts.of(f.value)
	return t, f, ok, nil
}

// readCreatedAt returns the time of the event. undated: there should be one, and
// what is there cannot be read as one, or is one that could not be written
// again. That costs the time; the ids are as good as ever.
func (s *envelopeSpec) readCreatedAt(o *origin) (at time.Time, undated bool) {
	if !s.createdAt.is() {
		return time.Time{}, false
	}
	f, wrong := o.at(&s.createdAt.parts[0])
	if wrong != nil {
		return time.Time{}, true
	}
	var ok bool
	if f.isText {
		at, ok = s.time.text(f.text)
	} else {
		at, ok = s.time.value(f.value)
	}
	if at = at.UTC(); !ok || at.Year() < 1 || at.Year() > 9999 || at.IsZero() {
		return time.Time{}, true
	}
	return at, false
}

// writeTime writes a time as the provider writes those of its events.
func (s *envelopeSpec) writeTime(t time.Time) string { return s.time.write(t) }

// readIDs appends what the event names to ids: what its context or its object is, and
// then the further ids. A context that is no object names nothing. Members that are no
// usable id name nothing, for a provider may put other things beside them one day; of
// those that paths are made of, none may occur twice.
func (d *Definition) readIDs(eventType string, o *origin, ids idSet) (_ idSet, wrong *EnvelopeError) {
	s := &d.envelope
	switch {
	case s.context.is():
		ids, wrong = s.readContext(o, ids)
	case s.objectID.is():
		ids, wrong = d.readObject(eventType, o, ids)
	}
	for i := range s.ids {
		if wrong != nil {
			return ids, wrong
		}
		ids, wrong = s.ids[i].read(o, ids)
	}
	return ids, wrong
}

// read appends a further id, unless it is missing or cannot be used. One of the same
// name that was read before goes first.
func (p *idPlace) read(o *origin, ids idSet) (idSet, *EnvelopeError) {
	id, _, ok, wrong := o.idAt(&p.at)
	if wrong != nil || !ok || event.CheckID(id) != nil {
		return ids, wrong
	}
	return append(ids, namedID{name: p.name, id: id}), nil
}

func (s *envelopeSpec) readContext(o *origin, ids idSet) (idSet, *EnvelopeError) {
	f, wrong := o.at(&s.context.parts[0])
	if wrong != nil {
		return ids, wrong
	}
	for name, m := range f.value.Members() {
		if !s.keys[string(name)] {
			continue
		}
		if ids.has(name) {
			return ids, malformed("%s: member %.40q occurs twice", &s.context, name)
		}
		named := namedID{name: name}
		if id, ok := o.texts.id(m); ok && event.CheckID(id) == nil {
			named.id = id
		}
		ids = append(ids, named)
	}
	return ids, nil
}

// readObject names the one object an event carries: by its own type or, where it has
// none, as the kind that its family is about.
func (d *Definition) readObject(eventType string, o *origin, ids idSet) (idSet, *EnvelopeError) {
	s := &d.envelope
	id, _, ok, wrong := o.idAt(&s.objectID)
	if wrong != nil {
		return ids, wrong
	}
	name, wrong := d.objectName(eventType, o)
	if wrong != nil || !ok || len(name) == 0 || event.CheckID(id) != nil {
		return ids, wrong
	}
	return append(ids, namedID{name: name, id: id}), nil
}

// objectName returns the name of the id of an event's object. None: it cannot be told.
func (d *Definition) objectName(eventType string, o *origin) ([]byte, *EnvelopeError) {
	s := &d.envelope
	if !s.objectTyp.is() {
		if k := d.about(eventType); k != nil {
			return []byte(k.IDKey), nil
		}
		return nil, nil
	}
	if len(s.objectTyp.parts) > 1 {
		name, _, _, wrong := o.joined(&s.objectTyp, false)
		return []byte(name), wrong
	}
	f, wrong := o.at(&s.objectTyp.parts[0])
	if wrong != nil || f.isText {
		return []byte(f.text), wrong
	}
	name, _ := f.value.TextBytes()
	return name, nil
}
