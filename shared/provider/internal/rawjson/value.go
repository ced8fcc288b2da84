package rawjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Value is one value of a Doc. The zero Value is no value: its Kind is None,
// and nothing is found in it.
type Value struct {
	doc *Doc
	i   int32
}

// Root returns the document's value.
func (d *Doc) Root() Value { return Value{doc: d} }

// Kind returns the value's type.
func (v Value) Kind() Kind {
	if v.doc == nil {
		return None
	}
	return v.doc.nodes[v.i].kind
}

// Raw returns the value's text, as it came. It is part of the document.
func (v Value) Raw() []byte {
	if v.doc == nil {
		return nil
	}
	n := v.doc.nodes[v.i]
	return v.doc.text[n.start:n.end]
}

// Text returns the text of a string, its escapes resolved, and whether the
// value is one.
func (v Value) Text() (string, bool) {
	text, ok := v.TextBytes()
	return string(text), ok
}

// TextBytes is Text without a copy: what it returns may be part of the document.
func (v Value) TextBytes() ([]byte, bool) {
	if v.Kind() != String {
		return nil, false
	}
	n := &v.doc.nodes[v.i]
	return decode(v.doc.text[n.start+1:n.end-1], n.escaped), true
}

// Get returns the member of that name, the last if there are several.
func (v Value) Get(name string) Value {
	found := Value{}
	if v.Kind() != Object {
		return found
	}
	for i := v.doc.nodes[v.i].child; i != 0; i = v.doc.nodes[i].next {
		if string(v.doc.key(i)) == name {
			found = Value{v.doc, i}
		}
	}
	return found
}

// At returns the value at a path without "*".
func (v Value) At(p Path) Value {
	for _, step := range p {
		v = v.Get(step)
	}
	return v
}

// AtOnly is At for what must have one reading: an error if a name on the path
// occurs twice.
func (v Value) AtOnly(p Path) (Value, error) {
	for _, step := range p {
		next, n := Value{}, 0
		for name, m := range v.Members() {
			if string(name) == step {
				next, n = m, n+1
			}
		}
		if n > 1 {
			return Value{}, fmt.Errorf("member %.40q occurs twice", step)
		}
		v = next
	}
	return v, nil
}

// Whole returns the text of a whole number, as it is written, and whether the
// value is one.
func (v Value) Whole() ([]byte, bool) {
	if v.Kind() != Number {
		return nil, false
	}
	text := v.Raw()
	return text, !bytes.ContainsAny(text, ".eE") && string(text) != "-0"
}

// HalfPair reports whether the value is a string with half a surrogate pair.
// Such a text has no reading of its own: every half becomes the same U+FFFD.
func (v Value) HalfPair() bool {
	if v.Kind() != String || !v.doc.nodes[v.i].escaped {
		return false
	}
	text := v.Raw()
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++ // on what is escaped
		high := escapedUnit(text[i:])
		if !utf16.IsSurrogate(high) {
			continue
		}
		i += 4 // on its last digit
		if text[i+1] != '\\' || utf16.DecodeRune(high, escapedUnit(text[i+2:])) == utf8.RuneError {
			return true
		}
		i += 6
	}
	return false
}

// escapedUnit returns the UTF-16 unit of "u0041…", 0 for another text.
func escapedUnit(text []byte) rune {
	if len(text) < 5 || text[0] != 'u' {
		return 0
	}
	n, err := strconv.ParseUint(string(text[1:5]), 16, 16)
	if err != nil {
		return 0
	}
	return rune(n)
}

// Members yields name and value of each member of an object, in the order of
// the text; nothing for other values. The name may be part of the document.
func (v Value) Members() iter.Seq2[[]byte, Value] {
	return func(yield func([]byte, Value) bool) {
		if v.Kind() != Object {
			return
		}
		for i := v.doc.nodes[v.i].child; i != 0; i = v.doc.nodes[i].next {
			if !yield(v.doc.key(i), Value{v.doc, i}) {
				return
			}
		}
	}
}

// Elements yields position and value of each element of an array; nothing for
// other values.
func (v Value) Elements() iter.Seq2[int, Value] {
	if v.Kind() != Array {
		return func(func(int, Value) bool) {}
	}
	return v.children()
}

func (v Value) children() iter.Seq2[int, Value] {
	return func(yield func(int, Value) bool) {
		n := 0
		for i := v.doc.nodes[v.i].child; i != 0; i = v.doc.nodes[i].next {
			if !yield(n, Value{v.doc, i}) {
				return
			}
			n++
		}
	}
}

// Path leads to values: names of members, and "*" for every member or element.
type Path []string

// ParsePath reads a path as it is written, its steps joined by dots:
// "data.object.id", "*.latest_price".
func ParsePath(s string) (Path, error) {
	steps := strings.Split(s, ".")
	for _, step := range steps {
		if step == "" {
			return nil, fmt.Errorf("path %q has an empty step", s)
		}
	}
	return steps, nil
}

// String returns the path as it is written.
func (p Path) String() string { return strings.Join(p, ".") }

// each calls found for every value the path leads to from v. A name that
// occurs twice leads to both values: a cut of a secret must not miss one.
func (p Path) each(v Value, found func(Value)) {
	if len(p) == 0 {
		found(v)
		return
	}
	if k := v.Kind(); k != Object && (k != Array || p[0] != "*") {
		return
	}
	for _, c := range v.children() {
		if p[0] == "*" || string(v.doc.key(c.i)) == p[0] {
			p[1:].each(c, found)
		}
	}
}

// Each calls found for every value that a path leads to.
func (v Value) Each(p Path, found func(Value)) { p.each(v, found) }

// key returns the decoded name of a member.
func (d *Doc) key(i int32) []byte {
	n := &d.nodes[i]
	return decode(d.text[n.keyStart:n.keyEnd], n.keyEscaped)
}

// decode resolves the escapes of a string's text, which the parser has found
// valid. Nearly no string has any, so the rare path is left to encoding/json.
func decode(text []byte, escaped bool) []byte {
	if !escaped {
		return text
	}
	quoted := make([]byte, 0, len(text)+2)
	quoted = append(append(append(quoted, '"'), text...), '"')
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		panic("rawjson: a string that was parsed is invalid: " + err.Error())
	}
	return []byte(s)
}
