package simulator

import "slices"

// elsewhere takes the place in a list of an entity that has moved to another one.
// The places of all others stay, and so do pages that are being read.
var elsewhere = &entity{openAt: -1, versions: []version{{Deleted: true}}}

// move puts an entity under another parent. It keeps its id.
func (c *change) move(e *entity, parent string) { c.link(e, e.kind.parent, parent) }

// list puts an entity at the end of the list of its parent.
func (w *world) list(e *entity) {
	e.listed = e.listUnder()
	l := listKey{e.kind.name, e.listed}
	w.lists[l] = append(w.lists[l], e)
}

// relist puts an entity that has moved into the list of its parent.
func (w *world) relist(e *entity) {
	if e.listed == e.listUnder() || w.find(e.kind.name, e.id) == nil {
		return
	}
	from := w.lists[listKey{e.kind.name, e.listed}]
	from[slices.Index(from, e)] = elsewhere
	w.list(e)
}
