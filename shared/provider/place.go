package provider

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// place says where a value of an event stands. Several parts are joined by dots.
// The zero place is that of nothing.
type place struct{ parts []part }

// part is one part of a place: a path in the JSON of the body, or the first of several;
// a field of a form, a header, or a fixed text.
type part struct {
	text   string // as the definition writes it
	kind   partKind
	path   rawjson.Path
	header headerName
	fixed  string
	// first are alternatives in the payload: the first that has a value counts.
	first []part
	// outside: it stands outside the event's payload, so that its value is kept
	// with the event.
	outside bool
}

type partKind uint8

const (
	inBody    partKind = iota // a path from the root of the body
	inElement                 // a path from the element of each
	inForm                    // a field of a form
	inHeader
	isFixed
	isFirst // the first of several
)

// Prefixes of parts that are no path from the root.
const (
	headerPrefix  = "header:"
	fixedPrefix   = "text:"
	elementPrefix = "@."
)

// is reports whether the definition names the place.
func (p *place) is() bool { return len(p.parts) > 0 }

// String names the place in an error.
func (p *place) String() string {
	texts := make([]string, len(p.parts))
	for i := range p.parts {
		texts[i] = p.parts[i].String()
	}
	return strings.Join(texts, ", ")
}

// String names the part in an error.
func (p *part) String() string {
	if p.kind == inHeader {
		return "header " + p.header.text
	}
	return p.text
}

// only returns the path of a place that is one path into the payload, else nil.
func (p *place) only() rawjson.Path {
	if len(p.parts) != 1 || p.parts[0].outside || p.parts[0].kind != inBody && p.parts[0].kind != inElement {
		return nil
	}
	return p.parts[0].path
}

// origin is what one event is read from: a request, or a row of the log.
type origin struct {
	header http.Header
	// root is the JSON of the whole body, element that of the event; they are the
	// same without each. In a form neither is there.
	root, element rawjson.Value
	form          []byte
	// given has the values that stand outside the payload, by the text of their
	// parts. A reading of a request fills it. Where the payload stands apart, as in
	// the log, it is what there is of the rest.
	given map[string]string
	apart bool
	texts texts
}

// found is what stands at a part: a value in JSON, or a text, or nothing.
type found struct {
	value  rawjson.Value
	text   string
	isText bool
}

// at returns what stands at a part, and keeps it if that is outside the payload.
func (o *origin) at(p *part) (found, *EnvelopeError) {
	if p.outside && o.apart {
		text, ok := o.given[p.text]
		return found{text: text, isText: ok}, nil
	}
	f, wrong := o.look(p)
	if p.outside && wrong == nil {
		o.give(p, f)
	}
	return f, wrong
}

func (o *origin) look(p *part) (f found, wrong *EnvelopeError) {
	var err error
	switch p.kind {
	case isFixed:
		return found{text: p.fixed, isText: true}, nil
	case inHeader:
		return o.lookHeader(p)
	case inForm:
		return o.lookForm(p)
	case isFirst:
		return o.lookFirst(p)
	case inElement:
		f.value, err = o.element.AtOnly(p.path)
	default:
		f.value, err = o.root.AtOnly(p.path)
	}
	if err != nil {
		return found{}, malformed("%s: %v", p.text, err)
	}
	return f, nil
}

// lookFirst looks at alternatives in turn.
func (o *origin) lookFirst(p *part) (f found, wrong *EnvelopeError) {
	for i := range p.first {
		if f, wrong = o.look(&p.first[i]); wrong != nil || f.is() {
			return f, wrong
		}
	}
	return f, nil
}

// lookHeader reads a header, which has to have one value. Copies of it change
// nothing.
func (o *origin) lookHeader(p *part) (found, *EnvelopeError) {
	values := o.header[p.header.key]
	if len(values) == 0 || values[0] == "" {
		return found{}, nil
	}
	for _, v := range values[1:] {
		if v != values[0] {
			return found{}, malformed("%s occurs %d times with different values: a sender or proxy adds one", p, len(values))
		}
	}
	return found{text: values[0], isText: true}, nil
}

// lookForm reads a field of a form, which must not occur twice. Other fields may be as
// odd as they like.
func (o *origin) lookForm(p *part) (f found, wrong *EnvelopeError) {
	for pair := range strings.SplitSeq(string(o.form), "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(name); err != nil || name != p.text {
			continue
		}
		if f.isText {
			return found{}, malformed("field %q occurs twice", p.text)
		}
		text, err := url.QueryUnescape(value)
		if err != nil {
			return found{}, malformed("field %q: %v", p.text, err)
		}
		if !utf8.ValidString(text) {
			return found{}, malformed("field %q is not UTF-8: send the form in UTF-8", p.text)
		}
		f = found{text: text, isText: true}
	}
	return f, nil
}

// mostGiven is the longest value that is kept outside the payload, in bytes. Ids and
// types are shorter; a longer value is read as if it were not there.
const mostGiven = 1024

// give keeps a value that stands outside the payload.
func (o *origin) give(p *part, f found) {
	text, ok := f.plain()
	if !ok || len(text) > mostGiven || !utf8.ValidString(text) {
		return
	}
	if o.given == nil {
		o.given = make(map[string]string, 4)
	}
	o.given[p.text] = text
}

// plain returns the text of a string, and a number, true and false as they are
// written.
func (f *found) plain() (string, bool) {
	if f.isText {
		return f.text, true
	}
	switch f.value.Kind() {
	case rawjson.String:
		text, ok := f.value.TextBytes()
		return string(text), ok && !f.value.HalfPair()
	case rawjson.Number, rawjson.True, rawjson.False:
		return string(f.value.Raw()), true
	}
	return "", false
}

// is reports whether anything stands there.
func (f *found) is() bool {
	return f.isText || f.value.Kind() != rawjson.None && f.value.Kind() != rawjson.Null
}

// idAt returns what stands at a place as an id. ok is false if that can be none:
// bad is the part that keeps it from being one.
func (o *origin) idAt(p *place) (id string, bad found, ok bool, wrong *EnvelopeError) {
	if len(p.parts) == 1 {
		f, wrong := o.at(&p.parts[0])
		if wrong != nil || f.isText {
			return f.text, f, f.isText, wrong
		}
		id, ok := o.texts.id(f.value)
		return id, f, ok, nil
	}
	return o.joined(p, false)
}

// joined joins the texts of the parts by dots. All parts have to be there, but with
// lax those behind the first may be missing.
func (o *origin) joined(p *place, lax bool) (text string, bad found, ok bool, wrong *EnvelopeError) {
	var b []byte
	for i := range p.parts {
		f, wrong := o.at(&p.parts[i])
		if wrong != nil {
			return "", f, false, wrong
		}
		if lax && i > 0 && !f.is() {
			continue
		}
		if i > 0 {
			b = append(b, '.')
		}
		if f.isText {
			b = append(b, f.text...)
			continue
		}
		step, ok := idText(f.value)
		if !ok {
			return "", f, false, nil
		}
		b = append(b, step...)
	}
	return o.texts.keep(b), found{}, true, nil
}
