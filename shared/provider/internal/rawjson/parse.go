package rawjson

import (
	"bytes"
	"fmt"
	"math"
	"unicode/utf8"
)

// Kind is the type of a JSON value. The zero Kind is that of no value at all.
type Kind uint8

// The kinds of values.
const (
	None Kind = iota
	Object
	Array
	String
	Number
	True
	False
	Null
)

var kindNames = [...]string{"nothing", "object", "array", "string", "number", "true", "false", "null"}

// String returns the word for the kind, fit for an error message.
func (k Kind) String() string { return kindNames[k] }

// Options say how strictly a document is read.
type Options struct {
	// MaxDepth is how deep objects and arrays may be nested. Defaults to 128.
	MaxDepth int
	// AnyBytes takes a text that is not UTF-8: strings then hold whatever bytes
	// stand in them.
	AnyBytes bool
}

// node is one value. Nodes refer to each other by index, so that a document
// is one allocation however many values it has; and by 32 bits, which halves
// it.
type node struct {
	start, end       int32 // the value's text
	keyStart, keyEnd int32 // its name between the quotes, if it is a member
	child, next      int32 // first child and next sibling; 0: none (0 is the root)
	kind             Kind
	escaped          bool // the string has escapes
	keyEscaped       bool // the name has escapes
}

// Doc is a parsed document. It keeps the text it was parsed from, which must
// not be changed while the Doc is in use.
type Doc struct {
	text  []byte
	nodes []node
}

// bytesOfValue is how many bytes of text there are for each value of most documents,
// mostRoom for how many values room is made before any was read.
const (
	bytesOfValue = 20
	mostRoom     = 1024
)

// Parse reads text, which must be one JSON value and nothing else but white
// space. Errors name the byte where reading stopped.
func Parse(text []byte, o Options) (*Doc, error) {
	d := &Doc{nodes: make([]node, 0, min(8+len(text)/bytesOfValue, mostRoom))}
	if err := d.Parse(text, o); err != nil {
		return nil, err
	}
	return d, nil
}

// Parse is the function Parse for a Doc whose memory may be used again: no
// Value of what it held before may be in use. On an error it holds nothing.
func (d *Doc) Parse(text []byte, o Options) error {
	d.text, d.nodes = text, d.nodes[:0]
	err := d.parse(o)
	if err != nil {
		d.Forget()
	}
	return err
}

// Forget lets go of the text, so that a Doc kept for later does not keep it.
func (d *Doc) Forget() { d.text, d.nodes = nil, d.nodes[:0] }

// Cap returns for how many values a Doc kept for later holds memory, 28 bytes
// for each.
func (d *Doc) Cap() int { return cap(d.nodes) }

func (d *Doc) parse(o Options) error {
	text := d.text
	if o.MaxDepth <= 0 {
		o.MaxDepth = 128
	}
	if len(text) > math.MaxInt32 {
		return fmt.Errorf("is of %d bytes: want at most 2 GiB", len(text))
	}
	// Checked for the whole text at once: that is one pass at memory speed,
	// and the parser below may then look at bytes only.
	if !o.AnyBytes && !utf8.Valid(text) {
		return fmt.Errorf("not UTF-8")
	}
	p := parser{doc: d, opts: o}
	p.space()
	if _, err := p.value(0); err != nil {
		return err
	}
	p.space()
	if p.at < len(text) {
		return p.unexpected("after the document")
	}
	return nil
}

type parser struct {
	doc  *Doc
	opts Options
	at   int
}

// value parses the value at p.at and returns its index.
func (p *parser) value(depth int) (int32, error) {
	if p.at >= len(p.doc.text) {
		return 0, p.unexpected("instead of a value")
	}
	i := int32(len(p.doc.nodes))
	p.doc.nodes = append(p.doc.nodes, node{start: int32(p.at)})
	kind, err := p.content(i, depth)
	if err != nil {
		return 0, err
	}
	n := &p.doc.nodes[i]
	n.kind, n.end = kind, int32(p.at)
	return i, nil
}

func (p *parser) content(i int32, depth int) (Kind, error) {
	switch c := p.doc.text[p.at]; {
	case c == '{' || c == '[':
		if depth >= p.opts.MaxDepth {
			return None, fmt.Errorf("nested deeper than %d at byte %d", p.opts.MaxDepth, p.at)
		}
		if c == '{' {
			return Object, p.object(i, depth)
		}
		return Array, p.array(i, depth)
	case c == '"':
		escaped, err := p.str()
		p.doc.nodes[i].escaped = escaped
		return String, err
	case c == '-' || isDigit(c):
		return Number, p.number()
	}
	for _, l := range literals {
		if bytes.HasPrefix(p.doc.text[p.at:], l.text) {
			p.at += len(l.text)
			return l.kind, nil
		}
	}
	return None, p.unexpected("instead of a value")
}

var literals = [...]struct {
	text []byte
	kind Kind
}{{[]byte("true"), True}, {[]byte("false"), False}, {[]byte("null"), Null}}

func (p *parser) object(parent int32, depth int) error {
	last := int32(0)
	for p.open('}') {
		p.space()
		if p.peek() != '"' {
			return p.unexpected("instead of a member name")
		}
		keyStart := int32(p.at + 1)
		escaped, err := p.str()
		if err != nil {
			return err
		}
		keyEnd := int32(p.at - 1)
		p.space()
		if p.peek() != ':' {
			return p.unexpected("instead of ':'")
		}
		p.at++
		p.space()
		i, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n := &p.doc.nodes[i]
		n.keyStart, n.keyEnd, n.keyEscaped = keyStart, keyEnd, escaped
		p.link(parent, last, i)
		last = i
		if err := p.separator('}'); err != nil {
			return err
		}
	}
	p.at++
	return nil
}

func (p *parser) array(parent int32, depth int) error {
	last := int32(0)
	for p.open(']') {
		p.space()
		i, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		p.link(parent, last, i)
		last = i
		if err := p.separator(']'); err != nil {
			return err
		}
	}
	p.at++
	return nil
}

// open reports whether another element follows. On the opening bracket it
// steps over it and looks for an empty object or array; after that the
// separator has already seen to it that p.at is on ',' or on the end.
func (p *parser) open(end byte) bool {
	if p.peek() == end {
		return false
	}
	p.at++ // '{', '[' or ','
	if p.doc.text[p.at-1] == ',' {
		return true
	}
	p.space()
	return p.peek() != end
}

func (p *parser) separator(end byte) error {
	p.space()
	if c := p.peek(); c != ',' && c != end {
		return p.unexpected(fmt.Sprintf("instead of ',' or '%c'", end))
	}
	return nil
}

func (p *parser) link(parent, last, i int32) {
	if last == 0 {
		p.doc.nodes[parent].child = i
	} else {
		p.doc.nodes[last].next = i
	}
}

func (p *parser) peek() byte {
	if p.at < len(p.doc.text) {
		return p.doc.text[p.at]
	}
	return 0
}

func (p *parser) space() {
	for p.at < len(p.doc.text) {
		switch p.doc.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

func (p *parser) unexpected(where string) error {
	if p.at >= len(p.doc.text) {
		return fmt.Errorf("ends at byte %d", p.at)
	}
	return fmt.Errorf("byte %d is %q %s", p.at, p.doc.text[p.at], where)
}
