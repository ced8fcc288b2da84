package simulator

import "strconv"

// What a load does in the world of lemon: it makes accounts and orders of them.

// loadAccount creates an account of a business: it is alone, without a
// person, so that the load has exactly as many entities as was asked for.
func (c *change) loadAccount() string {
	e := c.create("account", c.w.newID("account"), c.loadLinks(""), nil)
	business := c.w.newID("business")
	a := account{
		ID: e.id, OwnAccount: true, Metadata: map[string]string{"revision": "1"},
		ReferenceAccount: &bankAccount{IBAN: "DE00000000000000000000", BIC: "BYLADEM1001"}, // so that money can be withdrawn
		Customer:         c.encode(customerRef{Type: "business", ID: business, Business: business}), Agreements: []accountAgreement{},
	}
	a.move("created", c.at(e))
	c.set(e, a)
	c.emitLoad(e, "account.created", e.link)
	return e.id
}

func (c *change) loadOrder(accountID string) string {
	e := c.create("order", c.w.newID("order"), c.loadLinks(accountID), nil)
	inst, at := c.quote()
	o := c.newOrder(e.id, "", inst.ISIN, at, 0)
	o.History.add("created", c.at(e))
	c.set(e, o)
	c.emitLoad(e, "order.created", e.link)
	return e.id
}

// recallLemonLoad finds the accounts of a load and the orders under them.
func recallLemonLoad(w *world, number string) (accounts, orders []string) {
	for _, acc := range w.under("account", "") {
		if acc.links["load"] != number {
			continue
		}
		accounts = append(accounts, acc.id)
		for _, o := range w.under("order", acc.id) {
			if o != elsewhere {
				orders = append(orders, o.id)
			}
		}
	}
	return accounts, orders
}

// stirAccount opens an account once more, which only a load does: it is a
// state change that can go on for ever without leaving the schema.
func (c *change) stirAccount(e *entity) {
	edit(c, e, func(a *account) {
		a.move("opened", c.at(e))
		a.Metadata = map[string]string{"revision": strconv.Itoa(len(a.History))}
	})
	c.emitLoad(e, "account.opened", e.link)
}

// stirOrder moves an order round the statuses it can leave again. Its event names
// what link says.
func (c *change) stirOrder(e *entity, link func(key string) string) {
	following := map[string]string{"created": "confirmed", "confirmed": "accepted", "accepted": "canceling", "canceling": "confirmed"}
	var to string
	edit(c, e, func(o *order) {
		to = following[o.History.now()]
		o.History.add(to, c.at(e))
	})
	c.emitLoad(e, "order."+to, link)
}

// formerAccount is the link of a moved order to its former account.
const formerAccount = "former_account"

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
