package simulator

import "slices"

// formerAccount is the link of a moved order to its former account.
const formerAccount = "former_account"

// elsewhere takes the place in a list of an entity that has moved to another one.
// The places of all others stay, and so do pages that are being read.
var elsewhere = &entity{openAt: -1, versions: []version{{Deleted: true}}}

// move puts an entity under another parent. It keeps its id.
func (c *change) move(e *entity, parent string) { c.link(e, e.kind.parent, parent) }

// list puts an entity at the end of the list of its parent.
func (w *world) list(e *entity) {
	e.listed = e.parent()
	l := listKey{e.kind.name, e.listed}
	w.lists[l] = append(w.lists[l], e)
}

// relist puts an entity that has moved into the list of its parent.
func (w *world) relist(e *entity) {
	if e.listed == e.parent() || w.find(e.kind.name, e.id) == nil {
		return
	}
	from := w.lists[listKey{e.kind.name, e.listed}]
	from[slices.Index(from, e)] = elsewhere
	w.list(e)
}

// stirOrMove changes an order of the load, and at times moves it to another
// account by the same change.
func (c *change) stirOrMove(e *entity) {
	if accounts := c.load.AccountIDs; c.load.Moves > 0 && c.w.rng.Float64() < c.load.Moves {
		if to := pick(c, accounts); to != e.parent() {
			c.link(e, formerAccount, e.parent())
			c.move(e, to)
			c.stirOrder(e, e.link)
			return
		}
	}
	c.stirOrder(e, c.linkAsKnown(e))
}

// linkAsKnown is the link of an entity as that part of the provider knows it
// which makes the event: of an order that has moved, one of four says where it was.
func (c *change) linkAsKnown(e *entity) func(string) string {
	former := e.links[formerAccount]
	if former == "" || !c.roll(1, 4) {
		return e.link
	}
	return func(key string) string {
		if key == "account" {
			return former
		}
		return e.link(key)
	}
}
