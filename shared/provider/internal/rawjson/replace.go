package rawjson

import (
	"cmp"
	"slices"
)

// Edit is a value of a document and the text to put in its place.
type Edit struct {
	Value Value
	Text  []byte
}

// Replace returns the document with some of its values replaced. Every other byte
// stays as it came. A value inside another one that is replaced goes with it.
func (d *Doc) Replace(edits []Edit) []byte {
	edits = slices.DeleteFunc(slices.Clone(edits), func(e Edit) bool { return e.Value.doc != d })
	slices.SortStableFunc(edits, func(a, b Edit) int {
		x, y := d.nodes[a.Value.i], d.nodes[b.Value.i]
		return cmp.Or(cmp.Compare(x.start, y.start), cmp.Compare(y.end, x.end))
	})
	var out []byte
	at := int32(0)
	for _, e := range edits {
		n := d.nodes[e.Value.i]
		if n.start < at {
			continue
		}
		out = append(append(out, d.text[at:n.start]...), e.Text...)
		at = n.end
	}
	return append(out, d.text[at:]...)
}
