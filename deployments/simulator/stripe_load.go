package simulator

import (
	"strconv"
	"strings"
)

// What a load does in the world of Stripe: it makes customers and, of them, what
// else a shop has. Each change makes one version of one entity.

// loadKinds are the kinds that a load makes besides customers, as often as they
// stand here.
var loadKinds = []string{
	"subscription", "subscription", "subscription", "invoice", "invoice", "invoice", "charge", "charge", "refund", "product", "product", "price",
}

func (c *change) loadCustomer() string { return c.customer(c.loadLinks("")).id }

func (c *change) loadOfCustomer(customer string) string {
	links, kind := c.loadLinks(""), pick(c, loadKinds)
	paid := c.some("charge", "", func(*entity) bool { return true })
	if kind == "refund" && paid == nil {
		kind = "charge"
	}
	switch kind {
	case "subscription":
		return c.subscription(customer, "active", links).id
	case "invoice":
		return c.invoice(customer, links).id
	case "charge":
		e := c.charge(customer, c.amount(5, 500), "pending", links)
		c.emitLoad(e, "charge.pending", e.link)
		return e.id
	case "refund":
		return c.refund(paid.id, c.amount(1, 50), links).id
	case "product":
		return c.product(links).id
	default:
		return c.price(c.w.newID("product"), links).id
	}
}

// recallStripeLoad finds the customers of a load and what it made of them.
func recallStripeLoad(w *world, number string) (customers, others []string) {
	of := func(kind string) (ids []string) {
		for _, e := range w.under(kind, "") {
			if e.links["load"] == number {
				ids = append(ids, e.id)
			}
		}
		return ids
	}
	for _, kind := range []string{"subscription", "invoice", "charge", "refund", "product", "price"} {
		others = append(others, of(kind)...)
	}
	return of("customer"), others
}

// byID returns the entity of an id, whose beginning says which kind it is of.
func (c *change) byID(id string) *entity {
	for _, k := range c.w.dialect.kinds {
		if k.prefix != "" && strings.HasPrefix(id, k.prefix) {
			if e := c.w.find(k.name, id); e != nil {
				return e
			}
		}
	}
	return nil
}

// stirOfCustomer changes something of the load, or now and then deletes a product.
// In place of one that is deleted already it changes another.
func (c *change) stirOfCustomer(id string) {
	e := c.byID(id)
	for range 8 {
		if !e.current().Deleted {
			break
		}
		e = c.byID(pick(c, c.load.OrderIDs))
	}
	if e.current().Deleted {
		c.stirCustomer(c.w.find("customer", pick(c, c.load.AccountIDs)))
		return
	}
	switch e.kind.name {
	case "subscription":
		c.stirSubscription(e)
	case "invoice":
		c.stirInvoice(e)
	case "charge":
		c.stirCharge(e)
	case "refund":
		edit(c, e, func(r *stripeRefund) { r.Status, r.Metadata = "succeeded", revised(r.Metadata) })
		c.emitLoad(e, "refund.updated", e.link)
	case "product":
		if c.roll(1, 20) {
			c.remove(e)
			c.emitLoad(e, "product.deleted", e.link)
			return
		}
		c.stirProduct(e)
	case "price":
		c.stirPrice(e)
	}
}

// revised counts a change in metadata. The map is replaced.
func revised(metadata map[string]string) map[string]string {
	n, _ := strconv.Atoi(metadata["revision"]) // 0 of none
	return map[string]string{"revision": strconv.Itoa(n + 1)}
}

func (c *change) stirCustomer(e *entity) {
	edit(c, e, func(k *stripeCustomer) { k.Balance, k.Metadata = k.Balance-c.amount(1, 9), revised(k.Metadata) })
	c.emitLoad(e, "customer.updated", e.link)
}

// stirSubscription changes the quantity of one item or the subscription itself, not
// both: of more than ten items a reader asks in two requests, and between them one
// change may come.
func (c *change) stirSubscription(e *entity) {
	edit(c, e, func(s *stripeSubscription) {
		if i := c.w.rng.IntN(2 * len(s.Items.Data)); i < len(s.Items.Data) {
			s.Items.Data[i].Quantity++
			return
		}
		s.Metadata = revised(s.Metadata)
	})
	c.emitLoad(e, "customer.subscription.updated", e.link)
}

// stirInvoice finalizes a draft, or changes one line or the invoice itself.
func (c *change) stirInvoice(e *entity) {
	if look[stripeInvoice](c, e).Status == "draft" {
		c.finalize(e)
		c.emitLoad(e, "invoice.finalized", e.link)
		return
	}
	edit(c, e, func(in *stripeInvoice) {
		if i := c.w.rng.IntN(2 * len(in.Lines.Data)); i < len(in.Lines.Data) {
			in.Lines.Data[i].Metadata = revised(in.Lines.Data[i].Metadata)
			return
		}
		in.Metadata = revised(in.Metadata)
	})
	c.emitLoad(e, "invoice.updated", e.link)
}

func (c *change) stirCharge(e *entity) {
	if look[stripeCharge](c, e).Status == "pending" {
		c.succeed(e)
		c.emitLoad(e, "charge.succeeded", e.link)
		return
	}
	edit(c, e, func(k *stripeCharge) { k.Metadata = revised(k.Metadata) })
	c.emitLoad(e, "charge.updated", e.link)
}

func (c *change) stirProduct(e *entity) {
	edit(c, e, func(p *stripeProduct) { p.Metadata, p.Updated = revised(p.Metadata), c.seconds(e) })
	c.emitLoad(e, "product.updated", e.link)
}

func (c *change) stirPrice(e *entity) {
	edit(c, e, func(p *stripePrice) { p.Metadata = revised(p.Metadata) })
	c.emitLoad(e, "price.updated", e.link)
}

// driftStripe changes something of an entity that its story never looks at.
func driftStripe(c *change, e *entity, mark string) {
	drifted := map[string]string{"drift": mark}
	switch e.kind.name {
	case "customer":
		edit(c, e, func(k *stripeCustomer) { k.Description = &mark })
	case "product":
		edit(c, e, func(p *stripeProduct) { p.Description = &mark })
	case "price":
		edit(c, e, func(p *stripePrice) { p.Nickname = &mark })
	case "subscription": // the last item: of more than ten it is shown on its own only
		edit(c, e, func(s *stripeSubscription) { s.Items.Data[len(s.Items.Data)-1].Metadata = drifted })
	case "invoice":
		edit(c, e, func(i *stripeInvoice) { i.Lines.Data[len(i.Lines.Data)-1].Metadata = drifted })
	case "charge":
		edit(c, e, func(k *stripeCharge) { k.Description = &mark })
	case "refund":
		edit(c, e, func(r *stripeRefund) { r.Reason = &mark })
	}
}
