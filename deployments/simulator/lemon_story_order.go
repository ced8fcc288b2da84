package simulator

// How orders run: created, confirmed, accepted, executed, with a trade that
// settles, is taxed and gets its receipt; or rejected, or canceled.

const (
	stageRun     = "run" // what follows depends on the status
	stageSettle  = "settle"
	stageTaxes   = "taxes"
	stageReceipt = "receipt"
)

func beginOrder(c *change, acc *entity) bool {
	c.next(c.placeOrder(acc), stageRun)
	return true
}

// placeOrder creates an order of an account that trades.
func (c *change) placeOrder(acc *entity) *entity {
	e := c.create("order", c.w.newID("order"), map[string]string{
		"account": acc.id, "securities_account": acc.links["securities_account"],
	}, nil)
	inst, at := c.quote()
	o := c.newOrder(e.id, acc.links["securities_account"], inst.ISIN, at, c.held(acc.id, inst.ISIN))
	o.History.add("created", c.at(e))
	c.set(e, o)
	c.emit(e, "order.created")
	return e
}

// newOrder sells some of what is held now and then, and buys otherwise.
func (c *change) newOrder(id, securities, isin string, at, held int64) order {
	o := order{
		ID: id, Side: "buy", Type: "market", Instrument: isin, Fee: "0.10", Fees: fees{"0.00", "0.10"},
		Currency: currency, SecuritiesAccount: securities, SCA: challenge{true, "c2ltdWxhdGVkIGNoYWxsZW5nZQ=="},
	}
	if c.roll(1, 3) {
		o.Type = "batch"
	}
	cents := c.amount(10, 900)
	quantity := afford(cents, at)
	if held > 0 && c.roll(1, 3) {
		quantity = 1 + c.w.rng.Int64N(held)
		cents = cost(quantity, at)
		o.Side, o.Quantity = "sell", shares(quantity)
	} else {
		o.Amount = money(cents)
	}
	o.Disclosures = disclosures{
		EstimatedAmount: money(cents), EstimatedPrice: price(at), EstimatedQuantity: shares(quantity),
		ServiceCosts: "0.10", ServiceCostsPct: "0.01", Grants: "0.00", GrantsPct: "0.00", ExitCosts: "0.10", ExitCostsPct: "0.01",
	}
	return o
}

func goOnOrder(c *change, e *entity) {
	o := look[order](c, e)
	switch status := o.History.now(); {
	case status == "canceling":
		c.endOrder(e, "canceled", "")
	case c.roll(1, 14):
		c.moveOrder(e, "canceling", "")
	case status == "created" && c.roll(1, 20):
		c.endOrder(e, "rejected", "insufficient_buying_power")
	case status == "created":
		c.moveOrder(e, "confirmed", "")
	case status == "confirmed" && c.roll(1, 20):
		c.endOrder(e, "rejected", "rejected_by_exchange")
	case status == "confirmed":
		c.moveOrder(e, "accepted", "")
	default:
		c.endOrder(e, "executed", "")
		c.execute(e, o)
	}
}

func (c *change) moveOrder(e *entity, status, reason string) {
	edit(c, e, func(o *order) { o.History.addBecause(status, reason, c.at(e)) })
	c.emit(e, "order."+status)
}

func (c *change) endOrder(e *entity, status, reason string) {
	c.moveOrder(e, status, reason)
	c.next(e, "")
}

// execute makes the trade of an order and books it.
func (c *change) execute(e *entity, o order) {
	at := units(o.Disclosures.EstimatedPrice)
	at += at/200 - c.w.rng.Int64N(at/100+1)
	quantity := units(o.Quantity)
	if o.Side == "buy" {
		quantity = afford(units(o.Amount), at)
	}
	sum, signed := cost(quantity, at), quantity
	if o.Side == "sell" {
		signed = -quantity
	}
	acc := e.links["account"]
	t := c.create("trade", c.w.newID("trade"), map[string]string{
		"account": acc, "order": e.id, "securities_account": o.SecuritiesAccount,
	}, nil)
	c.set(t, trade{
		ID: t.id, Side: o.Side, Instrument: o.Instrument, Quantity: shares(quantity), Price: price(at), Amount: money(sum),
		Fee: o.Fee, Currency: currency, Order: e.id, ExecutionVenue: "XGAT", SecuritiesAccount: o.SecuritiesAccount,
		ExecutedAt: stamp(c.at(t)), Taxes: []tax{},
	})
	c.hold(acc, o.Instrument, signed, at)
	c.next(t, stageSettle)
	c.emit(t, "trade.created")
}

func goOnTrade(c *change, e *entity) {
	switch e.stage {
	case stageSettle:
		c.settleTrade(e)
		c.next(e, stageTaxes)
	case stageTaxes:
		c.taxTrade(e)
		c.next(e, stageReceipt)
	default:
		c.document(e.links["account"], "trade.receipt", "Trade receipt")
		c.next(e, "")
	}
}

// settleTrade moves the cash of a trade.
func (c *change) settleTrade(e *entity) {
	t := look[trade](c, e)
	cents := units(t.Amount)
	cash := component{Type: "cash", Direction: "debit", Currency: currency, Amount: t.Amount}
	securities := component{Type: "securities", Direction: "credit", Instrument: t.Instrument, Quantity: t.Quantity}
	if t.Side == "buy" {
		cents = -cents
	} else {
		cash.Direction, securities.Direction = "credit", "debit"
	}
	txn := c.settled(e.links["account"], "trade", e.id, cash, securities)
	c.link(e, "transaction", txn.id)
	c.pay(e.links["account"], cents)
	c.emit(e, "trade.cash_settled")
}

// taxTrade computes the taxes of a trade again.
func (c *change) taxTrade(e *entity) {
	edit(c, e, func(t *trade) {
		gains := units(t.Amount) / 100 * (1 + c.w.rng.Int64N(5))
		t.Taxes = []tax{
			{"capital_gains", money(gains / 4), "debit"},
			{"solidarity_surcharge", money(gains / 4 * 55 / 1000), "debit"},
		}
	})
	c.emit(e, "trade.taxes_processed")
}

// recalculate taxes some trade again: a change that does not grow the world.
func (c *change) recalculate() {
	acc := c.opened()
	if acc == nil {
		beginAccount(c)
		return
	}
	if t := c.some("trade", acc.id, func(*entity) bool { return true }); t != nil {
		c.taxTrade(t)
	}
}

func beginBatchOrder(c *change, acc *entity) bool {
	e := c.create("batch_order", c.w.newID("batch_order"), map[string]string{"account": acc.id}, nil)
	inst, _ := c.quote()
	b := batchOrder{
		ID: e.id, CreatedAt: stamp(c.at(e)), Side: "buy", Instrument: inst.ISIN,
		Amount: money(c.amount(10, 200)), Fee: "0.10", Currency: currency, Status: "created",
	}
	b.History.add("created", c.at(e))
	c.set(e, b)
	c.next(e, stageRun)
	c.emit(e, "batch_order.created")
	return true
}

// goOnBatchOrder runs a batch order. Its trades are under an order in the
// newer part of the API and are left out.
func goOnBatchOrder(c *change, e *entity) {
	status := look[batchOrder](c, e).Status
	following := map[string]string{"created": "confirmed", "confirmed": "accepted", "accepted": "executed", "canceling": "canceled"}
	to := following[status]
	if status != "canceling" && c.roll(1, 12) {
		to = "canceling"
	}
	edit(c, e, func(b *batchOrder) {
		b.Status = to
		b.History.add(to, c.at(e))
	})
	if to == "executed" || to == "canceled" {
		c.next(e, "")
	}
	c.emit(e, "batch_order."+to)
}
