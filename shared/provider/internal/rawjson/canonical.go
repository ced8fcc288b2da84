package rawjson

import (
	"bytes"
	"fmt"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// Canonical returns the document in one form for all ways to write the same
// state: no white space, members in the order of RFC 8785 section 3.2.3,
// strings with the fewest escapes. Numbers keep their text, unlike in RFC
// 8785: 1.10 and 1.1 differ, since a provider that starts to answer with
// another scale has changed what it says. Values the paths lead to are left
// out. With unordered the elements of a top-level array are sorted.
func (d *Doc) Canonical(without []Path, unordered bool) []byte {
	return d.AppendCanonical(make([]byte, 0, len(d.text)), without, unordered)
}

// AppendCanonical appends what Canonical returns.
func (d *Doc) AppendCanonical(out []byte, without []Path, unordered bool) []byte {
	c := canon{doc: d, gone: d.find(without), order: make([]member, 0, 24)}
	if unordered && d.Root().Kind() == Array {
		return c.sorted(out)
	}
	return c.value(out, 0)
}

type canon struct {
	doc  *Doc
	gone map[int32]bool
	// order has the members of the objects being written, those of each in their
	// order, the innermost object's last.
	order []member
}

// member is a member of an object with its decoded name.
type member struct {
	key  []byte
	node int32
}

func (c *canon) sorted(out []byte) []byte {
	var elements [][]byte
	for _, v := range c.doc.Root().Elements() {
		if !c.gone[v.i] {
			elements = append(elements, c.value(nil, v.i))
		}
	}
	slices.SortFunc(elements, bytes.Compare)
	out = append(append(out, '['), bytes.Join(elements, []byte{','})...)
	return append(out, ']')
}

func (c *canon) value(out []byte, i int32) []byte {
	n := c.doc.nodes[i]
	switch n.kind {
	case Object:
		return c.object(out, i)
	case Array:
		return c.array(out, i)
	case String:
		return quote(out, decode(c.doc.text[n.start+1:n.end-1], n.escaped), n.escaped)
	default:
		return append(out, c.doc.text[n.start:n.end]...)
	}
}

func (c *canon) object(out []byte, i int32) []byte {
	from := len(c.order)
	for m := c.doc.nodes[i].child; m != 0; m = c.doc.nodes[m].next {
		if !c.gone[m] {
			c.order = append(c.order, member{c.doc.key(m), m})
		}
	}
	members := c.order[from:]
	slices.SortStableFunc(members, func(a, b member) int { return compareNames(a.key, b.key) })
	out = append(out, '{')
	for k, m := range members {
		if k > 0 {
			out = append(out, ',')
		}
		out = quote(out, m.key, c.doc.nodes[m.node].keyEscaped)
		out = append(out, ':')
		out = c.value(out, m.node)
	}
	c.order = c.order[:from]
	return append(out, '}')
}

func (c *canon) array(out []byte, i int32) []byte {
	out = append(out, '[')
	first := true
	for e := c.doc.nodes[i].child; e != 0; e = c.doc.nodes[e].next {
		if c.gone[e] {
			continue
		}
		if !first {
			out = append(out, ',')
		}
		first = false
		out = c.value(out, e)
	}
	return append(out, ']')
}

// quote appends s as a JSON string. One that came without escapes needs none
// now; else only what RFC 8259 demands is escaped, always in the same way.
func quote(out, s []byte, escaped bool) []byte {
	out = append(out, '"')
	if !escaped {
		out = append(out, s...)
		return append(out, '"')
	}
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c < 0x20:
			out = fmt.Appendf(out, `\u%04x`, c)
		default:
			out = append(out, c)
		}
	}
	return append(out, '"')
}

// compareNames orders by UTF-16 code units, as RFC 8785 asks. For ASCII that
// is the order of the bytes.
func compareNames(a, b []byte) int {
	if ascii(a) && ascii(b) {
		return bytes.Compare(a, b)
	}
	return slices.Compare(utf16.Encode([]rune(string(a))), utf16.Encode([]rune(string(b))))
}

func ascii(s []byte) bool {
	return !slices.ContainsFunc(s, func(c byte) bool { return c >= utf8.RuneSelf })
}
