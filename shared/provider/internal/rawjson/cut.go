package rawjson

import (
	"cmp"
	"slices"
)

// Cut returns the document without the members the paths lead to. Every byte
// that is neither part of such a member nor the comma beside it stays as it
// came. Only members can be cut: a path that ends in an array's element cuts
// nothing, since the elements behind it would move up.
func (d *Doc) Cut(paths []Path) []byte {
	gone := d.find(paths)
	if len(gone) == 0 {
		return d.text
	}
	out := make([]byte, 0, len(d.text))
	at := int32(0)
	for _, s := range d.spans(gone) {
		if s.from > at {
			out = append(out, d.text[at:s.from]...)
		}
		at = max(at, s.to)
	}
	return append(out, d.text[at:]...)
}

// find returns the nodes the paths lead to.
func (d *Doc) find(paths []Path) map[int32]bool {
	var found map[int32]bool
	for _, p := range paths {
		p.each(d.Root(), func(v Value) {
			if found == nil {
				found = map[int32]bool{}
			}
			found[v.i] = true
		})
	}
	return found
}

type span struct{ from, to int32 }

// spans are the stretches of text to leave out, by their start; they may
// overlap where one cut member is inside another.
func (d *Doc) spans(gone map[int32]bool) []span {
	var spans []span
	for i := range d.nodes {
		if d.nodes[i].kind == Object {
			spans = append(spans, d.spansIn(int32(i), gone)...)
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	return spans
}

// spansIn are the stretches for the members of one object. A member goes
// together with the comma behind it, the last one with the comma before it,
// which is the one behind the last member that stays.
func (d *Doc) spansIn(object int32, gone map[int32]bool) []span {
	var spans []span
	kept := int32(-1)
	for i := d.nodes[object].child; i != 0; i = d.nodes[i].next {
		n := d.nodes[i]
		switch {
		case !gone[i]:
			kept = n.end
		case n.next != 0:
			spans = append(spans, span{n.keyStart - 1, d.nodes[n.next].keyStart - 1})
		case kept >= 0:
			spans = append(spans, span{kept, n.end})
		default:
			spans = append(spans, span{n.keyStart - 1, n.end})
		}
	}
	return spans
}
