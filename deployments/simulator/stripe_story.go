package simulator

import (
	"fmt"
	"strconv"
	"strings"
)

// How a shop goes: products get prices, customers come, subscribe, are invoiced,
// pay and are refunded; some leave. Much of what was made is changed later on, and
// products, coupons, drafts and customers are deleted.

const (
	stageActivate = "activate"
	stageInvoice  = "invoice"
	stageFinalize = "finalize"
	stagePay      = "pay"
	stageSucceed  = "succeed"
	stageChange   = "change" // it is changed some time, or deleted
)

// stripeBeginnings are weighed so that subscriptions and what follows from them are
// most of what happens.
var stripeBeginnings = []beginning{
	{10, beginStripeCustomer},
	{6, beginProduct},
	{2, beginCoupon},
	{24, ofSomeCustomer(beginSubscription)},
	{16, ofSomeCustomer(beginCharge)},
	{8, beginRefund},
	{6, ofSomeCustomer(changeCustomer)},
	{3, ofSomeCustomer(leave)},
	{1, settleBalance},
}

// stripeGoOn has the next step of each kind that has stages.
var stripeGoOn = map[string]func(c *change, e *entity){
	"product":      goOnProduct,
	"price":        goOnPrice,
	"coupon":       goOnCoupon,
	"subscription": goOnSubscription,
	"invoice":      goOnInvoice,
	"charge":       goOnCharge,
	"refund":       goOnRefund,
}

// ofSomeCustomer begins something of a customer, if there is one.
func ofSomeCustomer(begin func(c *change, customer *entity) bool) func(*change) bool {
	return func(c *change) bool {
		e := c.some("customer", "", func(*entity) bool { return true })
		return e != nil && begin(c, e)
	}
}

// seconds is the time of the version of an entity that is being made, as Stripe
// writes times.
func (c *change) seconds(e *entity) int64 { return c.at(e).Unix() }

func beginStripeCustomer(c *change) bool {
	c.customer(nil)
	return true
}

func (c *change) customer(links map[string]string) *entity {
	e := c.create("customer", c.w.newID("customer"), links, nil)
	first, last := pick(c, firstnames), pick(c, lastnames)
	c.set(e, stripeCustomer{
		ID: e.id, Object: "customer", Created: c.seconds(e), Currency: "eur", Livemode: true,
		Address:  &stripeAddress{City: pick(c, cities), Country: "DE", Line1: fmt.Sprintf("Seestraße %d", 1+c.w.rng.IntN(99)), PostalCode: fmt.Sprintf("%05d", 10000+c.w.rng.IntN(80000))},
		Email:    strings.ToLower(first + "." + last + "@example.com"),
		Metadata: map[string]string{"revision": "1"}, Name: first + " " + last, Locales: []string{"de"}, TaxExempt: "none",
	})
	c.emitLoad(e, "customer.created", e.link)
	return e
}

func changeCustomer(c *change, e *entity) bool {
	c.stirCustomer(e)
	return true
}

// touchStripeCustomer changes some customer, which makes nothing bigger.
func touchStripeCustomer(c *change) {
	if !ofSomeCustomer(changeCustomer)(c) {
		beginStripeCustomer(c)
	}
}

// leave deletes a customer and ends the subscriptions of it.
func leave(c *change, e *entity) bool {
	for _, s := range c.w.under("subscription", "") {
		if s.links["customer"] == e.id && look[stripeSubscription](c, s).Status != "canceled" {
			c.cancelSubscription(s)
		}
	}
	c.remove(e)
	c.emit(e, "customer.deleted")
	return true
}

func beginProduct(c *change) bool {
	e := c.product(nil)
	c.next(e, stageChange)
	for range c.w.rng.IntN(3) {
		c.next(c.price(e.id, nil), stageChange)
	}
	return true
}

var wares = []string{"Lake guide", "Fishing permit", "Boat hire", "Cabin", "Swimming course", "Postcards"}

func (c *change) product(links map[string]string) *entity {
	e := c.create("product", c.w.newID("product"), links, nil)
	at := c.seconds(e)
	c.set(e, stripeProduct{
		ID: e.id, Object: "product", Active: true, Created: at, Updated: at, Images: []string{}, Livemode: true,
		Features: []string{}, Metadata: map[string]string{"revision": "1"}, Name: pick(c, wares),
	})
	c.emitLoad(e, "product.created", e.link)
	return e
}

func goOnProduct(c *change, e *entity) {
	if !c.roll(1, 3) {
		c.stirProduct(e)
		c.next(e, "")
		return
	}
	for _, p := range c.w.under("price", "") {
		if p.links["product"] == e.id {
			edit(c, e, func(p *stripeProduct) { p.Active, p.Updated = false, c.seconds(e) }) // one with prices is archived
			c.next(e, "")
			c.emit(e, "product.updated")
			return
		}
	}
	c.remove(e)
	c.emit(e, "product.deleted")
}

func (c *change) price(product string, links map[string]string) *entity {
	if links == nil {
		links = map[string]string{}
	}
	links["product"] = product
	e := c.create("price", c.w.newID("price"), links, nil)
	c.set(e, c.newPrice(e.id, product, c.seconds(e)))
	c.emitLoad(e, "price.created", e.link)
	return e
}

func (c *change) newPrice(id, product string, at int64) stripePrice {
	return stripePrice{
		ID: id, Object: "price", Active: true, BillingScheme: "per_unit", Created: at, Currency: "eur", Livemode: true,
		Metadata: map[string]string{}, Product: product, Recurring: &stripeRecurring{"month", 1, "licensed"}, Type: "recurring",
		UnitAmount: c.amount(1, 200),
	}
}

func goOnPrice(c *change, e *entity) {
	c.stirPrice(e)
	c.next(e, "")
}

func beginCoupon(c *change) bool {
	e := c.create("coupon", c.w.newID("coupon"), nil, nil)
	c.set(e, stripeCoupon{
		ID: e.id, Object: "coupon", Created: c.seconds(e), Duration: "once", Livemode: true, Metadata: map[string]string{},
		Name: "Welcome", PercentOff: float64(5 * (1 + c.w.rng.IntN(10))), Valid: true,
	})
	c.next(e, stageChange)
	c.emit(e, "coupon.created")
	return true
}

func goOnCoupon(c *change, e *entity) {
	if c.roll(1, 2) {
		edit(c, e, func(k *stripeCoupon) { k.TimesRedeemed++ })
		c.emit(e, "coupon.updated")
		return
	}
	c.remove(e)
	c.emit(e, "coupon.deleted")
}

func beginSubscription(c *change, customer *entity) bool {
	e := c.subscription(customer.id, "incomplete", nil)
	c.next(e, stageActivate)
	return true
}

// subscription creates a subscription of one to fourteen items, so that some have
// more than are shown inside it.
func (c *change) subscription(customer, status string, links map[string]string) *entity {
	if links == nil {
		links = map[string]string{}
	}
	links["customer"] = customer
	e := c.create("subscription", c.w.newID("subscription"), links, nil)
	at := c.seconds(e)
	items := make([]stripeItem, 1+c.w.rng.IntN(14))
	for i := range items {
		items[i] = stripeItem{
			ID: c.w.newID("subscription_item"), Object: "subscription_item", Created: at, PeriodStart: at, PeriodEnd: at + 30*24*3600,
			Discounts: []string{}, Metadata: map[string]string{}, Price: c.somePrice(at), Quantity: 1 + c.w.rng.Int64N(5), Subscription: e.id,
		}
	}
	c.set(e, stripeSubscription{
		ID: e.id, Object: "subscription", Anchor: at, BillingMode: stripeType{"classic"}, BillingSchedules: []string{},
		CollectionMethod: "charge_automatically", Created: at, Currency: "eur", Customer: customer, Discounts: []string{},
		InvoiceSettings: stripeIssued{stripeType{"self"}}, Items: listOf("/v1/subscription_items?subscription="+e.id, items...),
		Livemode: true, Metadata: map[string]string{"revision": "1"}, StartDate: at, Status: status,
	})
	c.emitLoad(e, "customer.subscription.created", e.link)
	return e
}

// somePrice is a price as a subscription holds it: one there is, or one of long ago.
func (c *change) somePrice(at int64) stripePrice {
	if e := c.some("price", "", func(*entity) bool { return true }); e != nil {
		return look[stripePrice](c, e)
	}
	return c.newPrice(c.w.newID("price"), c.w.newID("product"), at)
}

func goOnSubscription(c *change, e *entity) {
	switch {
	case e.stage == stageActivate:
		edit(c, e, func(s *stripeSubscription) { s.Status = "active" })
		c.next(e, stageInvoice)
		c.emit(e, "customer.subscription.updated")
	case e.stage == stageInvoice:
		in := c.invoice(e.links["customer"], nil)
		c.next(in, stageFinalize)
		edit(c, e, func(s *stripeSubscription) { s.LatestInvoice = &in.id })
		c.next(e, stageChange)
		c.emit(e, "customer.subscription.updated")
	case c.roll(1, 3):
		c.cancelSubscription(e)
	default:
		c.stirSubscription(e)
		if c.roll(1, 2) {
			c.next(e, "")
		}
	}
}

func (c *change) cancelSubscription(e *entity) {
	edit(c, e, func(s *stripeSubscription) {
		at := c.seconds(e)
		s.Status, s.CanceledAt, s.EndedAt = "canceled", &at, &at
	})
	c.next(e, "")
	c.emit(e, "customer.subscription.deleted")
}

// invoice creates a draft of one to 25 lines, so that some have more than are shown
// inside it.
func (c *change) invoice(customer string, links map[string]string) *entity {
	if links == nil {
		links = map[string]string{}
	}
	links["customer"] = customer
	e := c.create("invoice", c.w.newID("invoice"), links, nil)
	at := c.seconds(e)
	lines := make([]stripeLine, 1+c.w.rng.IntN(25))
	var sum int64
	for i := range lines {
		cents := c.amount(1, 90)
		sum += cents
		lines[i] = stripeLine{
			ID: c.w.newID("line_item"), Object: "line_item", Amount: cents, Currency: "eur", Description: pick(c, wares), Discountable: true,
			Discounts: []string{}, Invoice: e.id, Livemode: true, Metadata: map[string]string{}, Period: stripePeriod{at + 30*24*3600, at},
			Quantity: 1, Subtotal: cents,
		}
	}
	c.set(e, stripeInvoice{
		ID: e.id, Object: "invoice", AmountDue: sum, AmountRemaining: sum, AutoAdvance: true, CollectionMethod: "charge_automatically",
		Created: at, Currency: "eur", Customer: customer, DefaultTaxRates: []string{}, Discounts: []string{}, Issuer: stripeType{"self"},
		Lines: listOf("/v1/invoices/"+e.id+"/lines", lines...), Livemode: true, Metadata: map[string]string{"revision": "1"},
		PeriodEnd: at, PeriodStart: at, Status: "draft", Subtotal: sum, Total: sum,
	})
	c.emitLoad(e, "invoice.created", e.link)
	return e
}

func goOnInvoice(c *change, e *entity) {
	switch {
	case e.stage == stageFinalize && c.roll(1, 8):
		c.remove(e) // only a draft can go
		c.emit(e, "invoice.deleted")
	case e.stage == stageFinalize:
		c.finalize(e)
		c.emit(e, "invoice.finalized")
		c.next(e, stagePay)
	case c.roll(1, 10):
		edit(c, e, func(i *stripeInvoice) {
			at := c.seconds(e)
			i.Status, i.Transitions.VoidedAt, i.AmountRemaining = "void", &at, 0
		})
		c.next(e, "")
		c.emit(e, "invoice.voided")
	default:
		var sum int64
		edit(c, e, func(i *stripeInvoice) {
			at := c.seconds(e)
			sum = i.Total
			i.Status, i.Transitions.PaidAt, i.AmountPaid, i.AmountRemaining = "paid", &at, i.Total, 0
			i.Attempted, i.AttemptCount = true, 1
		})
		c.next(e, "")
		charge := c.charge(e.links["customer"], sum, "succeeded", nil)
		c.receive(sum)
		c.emit(charge, "charge.succeeded")
		c.emit(e, "invoice.paid")
		c.emit(e, "invoice.payment_succeeded")
	}
}

func (c *change) finalize(e *entity) {
	edit(c, e, func(i *stripeInvoice) {
		at, number := c.seconds(e), "S-"+strconv.FormatUint(hashOf(e.id)%1e8, 10)
		i.Status, i.Number, i.Transitions.FinalizedAt = "open", &number, &at
	})
}

func beginCharge(c *change, customer *entity) bool {
	e := c.charge(customer.id, c.amount(5, 500), "pending", nil)
	c.next(e, stageSucceed)
	c.emit(e, "charge.pending")
	return true
}

// charge creates a charge, without an event.
func (c *change) charge(customer string, cents int64, status string, links map[string]string) *entity {
	e := c.create("charge", c.w.newID("charge"), links, nil)
	k := stripeCharge{
		ID: e.id, Object: "charge", Amount: cents, Captured: true, Created: c.seconds(e), Currency: "eur", Customer: customer,
		Livemode: true, Metadata: map[string]string{"revision": "1"}, Status: status,
	}
	if status == "succeeded" {
		k.AmountCaptured, k.Paid = cents, true
	}
	c.set(e, k)
	return e
}

func goOnCharge(c *change, e *entity) {
	c.next(e, "")
	if c.roll(1, 10) {
		edit(c, e, func(k *stripeCharge) { k.Status = "failed" })
		c.emit(e, "charge.failed")
		return
	}
	c.succeed(e)
	c.receive(look[stripeCharge](c, e).Amount)
	c.emit(e, "charge.succeeded")
}

func (c *change) succeed(e *entity) {
	edit(c, e, func(k *stripeCharge) { k.Status, k.AmountCaptured, k.Paid = "succeeded", k.Amount, true })
}

// beginRefund gives back some of a charge.
func beginRefund(c *change) bool {
	charge := c.some("charge", "", func(e *entity) bool {
		k := look[stripeCharge](c, e)
		return k.Paid && k.AmountRefunded == 0
	})
	if charge == nil {
		return false
	}
	cents := 1 + c.w.rng.Int64N(look[stripeCharge](c, charge).Amount)
	edit(c, charge, func(k *stripeCharge) { k.AmountRefunded, k.Refunded = cents, cents == k.Amount })
	e := c.refund(charge.id, cents, nil)
	c.receive(-cents)
	c.next(e, stageSucceed)
	c.emit(charge, "charge.refunded")
	return true
}

func (c *change) refund(charge string, cents int64, links map[string]string) *entity {
	e := c.create("refund", c.w.newID("refund"), links, nil)
	c.set(e, stripeRefund{
		ID: e.id, Object: "refund", Amount: cents, Charge: &charge, Created: c.seconds(e), Currency: "eur",
		Metadata: map[string]string{"revision": "1"}, Status: "pending",
	})
	c.emitLoad(e, "refund.created", e.link)
	return e
}

func goOnRefund(c *change, e *entity) {
	edit(c, e, func(r *stripeRefund) { r.Status = "succeeded" })
	c.next(e, "")
	c.emit(e, "refund.updated")
}

// balance is the balance of the account, begun if it is not there.
func (c *change) balance() *entity {
	if e := c.w.find("balance", rootID); e != nil {
		return e
	}
	for _, d := range c.drafts {
		if d.entity.kind.name == "balance" {
			return d.entity
		}
	}
	none := []stripeMoney{{0, "eur"}}
	return c.create("balance", rootID, nil, stripeBalance{Object: "balance", Available: none, Livemode: true, Pending: none})
}

// receive books cents that are not to be had yet. No event says so of the balance.
func (c *change) receive(cents int64) {
	edit(c, c.balance(), func(b *stripeBalance) { b.Pending = []stripeMoney{{b.Pending[0].Amount + cents, "eur"}} })
}

// settleBalance makes what was received available. The event names no id.
func settleBalance(c *change) bool {
	e := c.w.find("balance", rootID)
	if e == nil || look[stripeBalance](c, e).Pending[0].Amount == 0 {
		return false
	}
	edit(c, e, func(b *stripeBalance) {
		b.Available, b.Pending = []stripeMoney{{b.Available[0].Amount + b.Pending[0].Amount, "eur"}}, []stripeMoney{{0, "eur"}}
	})
	c.emit(e, "balance.available")
	return true
}
