package provider

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// bodyValue is a value of a body that is being made, before it is encoded. Numbers keep
// the text they came with: 1.10 stays 1.10.
type bodyValue struct {
	kind rawjson.Kind
	// text is a string without its quotes and escapes, or a number, true or false as it
	// is written.
	text string
	// names are those of an object's members; items are their values, or the elements of
	// an array.
	names []string
	items []*bodyValue
}

// textValue returns a string.
func textValue(text string) *bodyValue { return &bodyValue{kind: rawjson.String, text: text} }

// newObject returns an object without members.
func newObject() *bodyValue { return &bodyValue{kind: rawjson.Object} }

// bodyDepth is how deep a body may be nested.
const bodyDepth = 32

// readFields reads the body of a command, which must be an object; none is an empty one.
func readFields(text []byte) (*bodyValue, error) {
	if len(text) == 0 {
		return newObject(), nil
	}
	doc, err := rawjson.Parse(text, rawjson.Options{MaxDepth: bodyDepth})
	if err != nil {
		return nil, invalid("body", "is no JSON: %v", err)
	}
	if k := doc.Root().Kind(); k != rawjson.Object {
		return nil, invalid("body", "is %s: want an object", k)
	}
	return bodyOfJSON("body", doc.Root())
}

// bodyOfJSON copies a value. What two readers can read differently is refused.
func bodyOfJSON(at string, v rawjson.Value) (*bodyValue, error) {
	b := &bodyValue{kind: v.Kind()}
	switch b.kind {
	case rawjson.String:
		if v.HalfPair() {
			return nil, invalid(at, "holds half a surrogate pair, which is no text")
		}
		b.text, _ = v.Text()
	case rawjson.Number, rawjson.True, rawjson.False:
		b.text = string(v.Raw())
	case rawjson.Object:
		for name, member := range v.Members() {
			where := at + "." + string(name)
			if slices.Contains(b.names, string(name)) {
				return nil, invalid(where, "occurs twice")
			}
			one, err := bodyOfJSON(where, member)
			if err != nil {
				return nil, err
			}
			b.put(string(name), one)
		}
	case rawjson.Array:
		for i, element := range v.Elements() {
			one, err := bodyOfJSON(at+"."+strconv.Itoa(i), element)
			if err != nil {
				return nil, err
			}
			b.items = append(b.items, one)
		}
	}
	return b, nil
}

// bodyOfYAML copies a value of a definition. False: JSON has no such value.
func bodyOfYAML(n *yaml.Node) (*bodyValue, bool) {
	switch n.Kind {
	case yaml.ScalarNode:
		switch n.Tag {
		case "!!str":
			return textValue(n.Value), true
		case "!!bool", "!!int", "!!float":
			kind := map[string]rawjson.Kind{"true": rawjson.True, "false": rawjson.False}[n.Value]
			if kind == rawjson.None {
				kind = rawjson.Number
			}
			return &bodyValue{kind: kind, text: n.Value}, json.Valid([]byte(n.Value))
		}
	case yaml.SequenceNode:
		b := &bodyValue{kind: rawjson.Array}
		for _, e := range n.Content {
			one, ok := bodyOfYAML(e)
			if !ok {
				return nil, false
			}
			b.items = append(b.items, one)
		}
		return b, true
	case yaml.MappingNode:
		b := newObject()
		for i := 0; i+1 < len(n.Content); i += 2 {
			one, ok := bodyOfYAML(n.Content[i+1])
			if !ok || n.Content[i].Tag != "!!str" || b.get(n.Content[i].Value) != nil {
				return nil, false
			}
			b.put(n.Content[i].Value, one)
		}
		return b, true
	}
	return nil, false
}

// clone returns a copy that can be changed alone.
func (b *bodyValue) clone() *bodyValue {
	if b == nil {
		return nil
	}
	out := *b
	out.names, out.items = slices.Clone(b.names), make([]*bodyValue, len(b.items))
	for i, item := range b.items {
		out.items[i] = item.clone()
	}
	return &out
}

// get returns a member of an object, nil if there is none of that name.
func (b *bodyValue) get(name string) *bodyValue {
	if i := slices.Index(b.names, name); i >= 0 {
		return b.items[i]
	}
	return nil
}

// put adds a member to an object.
func (b *bodyValue) put(name string, v *bodyValue) {
	b.names, b.items = append(b.names, name), append(b.items, v)
}

// at returns the value at a path, nil if there is none.
func (b *bodyValue) at(p rawjson.Path) *bodyValue {
	for _, step := range p {
		if b == nil || b.kind != rawjson.Object {
			return nil
		}
		b = b.get(step)
	}
	return b
}

// place puts a value at a path and makes the objects on the way. False: something else
// stands there or on the way.
func (b *bodyValue) place(p rawjson.Path, v *bodyValue) bool {
	for _, step := range p[:len(p)-1] {
		next := b.get(step)
		if next == nil {
			next = newObject()
			b.put(step, next)
		}
		if next.kind != rawjson.Object {
			return false
		}
		b = next
	}
	last := p[len(p)-1]
	if b.get(last) != nil {
		return false
	}
	b.put(last, v)
	return true
}

// plain returns a text, or a number, true or false as it is written.
func (b *bodyValue) plain() (string, bool) {
	if b == nil {
		return "", false
	}
	switch b.kind {
	case rawjson.String, rawjson.Number, rawjson.True, rawjson.False:
		return b.text, true
	}
	return "", false
}

// appendJSON writes the value as JSON without white space.
func (b *bodyValue) appendJSON(out []byte) []byte {
	switch b.kind {
	case rawjson.Object:
		out = append(out, '{')
		for i, name := range b.names {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(appendJSONText(out, name), ':')
			out = b.items[i].appendJSON(out)
		}
		return append(out, '}')
	case rawjson.Array:
		out = append(out, '[')
		for i, item := range b.items {
			if i > 0 {
				out = append(out, ',')
			}
			out = item.appendJSON(out)
		}
		return append(out, ']')
	case rawjson.String:
		return appendJSONText(out, b.text)
	case rawjson.Null:
		return append(out, jsonNull...)
	}
	return append(out, b.text...)
}

// appendJSONText writes a string as JSON. Only what must be is escaped, since some
// providers sign or compare what they are sent.
func appendJSONText(out []byte, text string) []byte {
	out = append(out, '"')
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c == '\n':
			out = append(out, '\\', 'n')
		case c == '\t':
			out = append(out, '\\', 't')
		case c < ' ':
			out = fmt.Appendf(out, `\u%04x`, c)
		default:
			out = append(out, c)
		}
	}
	return append(out, '"')
}

// appendForm writes the value as fields of a form: nested names in brackets, as in
// recurring[interval]=month, and the elements of a list by their number, images[0]=….
func (b *bodyValue) appendForm(out []byte, at, name string) ([]byte, error) {
	switch b.kind {
	case rawjson.Object:
		if name != "" && len(b.names) == 0 {
			return nil, invalid(at, "is an empty object, which a form cannot say: leave it out, or give null to unset it")
		}
		for i, member := range b.names {
			where, whole := at+"."+member, name+"["+member+"]"
			if member == "" || strings.ContainsAny(member, "[]") {
				return nil, invalid(where, "has a name that a form cannot say: want one without [ and ]")
			}
			if name == "" {
				whole = member
			}
			var err error
			if out, err = b.items[i].appendForm(out, where, whole); err != nil {
				return nil, err
			}
		}
		return out, nil
	case rawjson.Array:
		if len(b.items) == 0 {
			return nil, invalid(at, "is an empty list, which a form cannot say: leave it out, or give null to unset it")
		}
		for i, item := range b.items {
			var err error
			if out, err = item.appendForm(out, at+"."+strconv.Itoa(i), name+"["+strconv.Itoa(i)+"]"); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	if len(out) > 0 {
		out = append(out, '&')
	}
	out = append(appendQuery(out, name), '=')
	return appendQuery(out, b.text), nil
}
