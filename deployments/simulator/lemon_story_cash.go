package simulator

import "fmt"

// How money and papers move without an order: deposits, withdrawals, sweeps,
// taxes, distributions, transfers, settlements; and the documents about it.

// settled makes a transaction that is created and settled at once.
func (c *change) settled(accountID, typ, source string, parts ...component) *entity {
	e := c.begun(accountID, typ, source, parts...)
	c.finish(e, "settled")
	return e
}

// begun makes a transaction that is still to be settled.
func (c *change) begun(accountID, typ, source string, parts ...component) *entity {
	e := c.create("transaction", c.w.newID("transaction"), map[string]string{"account": accountID}, nil)
	t := transaction{ID: e.id, Type: typ, Source: source, Components: parts}
	t.move("created", c.at(e))
	c.set(e, t)
	return e
}

// finish settles or cancels a transaction.
func (c *change) finish(e *entity, status string) {
	edit(c, e, func(t *transaction) { t.move(status, c.at(e)) })
}

func cash(direction string, cents int64) component {
	return component{Type: "cash", Direction: direction, Currency: currency, Amount: money(cents)}
}

// deposit begins a deposit. It is hidden: the API shows its transaction only.
func (c *change) deposit(accountID string, cents int64) {
	e := c.create("deposit", c.w.newID("deposit"), map[string]string{"account": accountID}, struct {
		Amount string `json:"amount"`
	}{money(cents)})
	c.next(e, "arrive")
	c.emit(e, "deposit.created")
}

func beginDeposit(c *change, acc *entity) bool {
	c.deposit(acc.id, c.amount(50, 2000))
	return true
}

func goOnDeposit(c *change, e *entity) {
	c.next(e, "")
	if c.roll(1, 20) {
		c.emit(e, "deposit.rejected")
		return
	}
	cents := units(look[struct{ Amount string }](c, e).Amount)
	txn := c.settled(e.links["account"], "deposit", e.id, cash("credit", cents))
	c.link(e, "transaction", txn.id)
	c.pay(e.links["account"], cents)
	c.emit(e, "deposit.received")
}

func beginWithdrawal(c *change, acc *entity) bool {
	e := c.create("withdrawal", c.w.newID("withdrawal"), map[string]string{"account": acc.id}, nil)
	w := withdrawal{ID: e.id, Status: "created", Amount: money(c.amount(10, 300)), Currency: currency, Receiving: *look[account](c, acc).ReferenceAccount}
	w.History.add("created", c.at(e))
	c.set(e, w)
	c.next(e, stageRun)
	c.emit(e, "withdrawal.created")
	return true
}

func goOnWithdrawal(c *change, e *entity) {
	w := look[withdrawal](c, e)
	to := map[string]string{"created": "confirmed", "confirmed": "accepted", "accepted": "processed"}[w.Status]
	switch {
	case c.roll(1, 20):
		to = "canceled"
	case c.roll(1, 20):
		to = "rejected"
	}
	edit(c, e, func(w *withdrawal) {
		w.Status = to
		w.History.add(to, c.at(e))
	})
	if to == "processed" {
		cents := units(w.Amount)
		txn := c.settled(e.links["account"], "withdrawal", e.id, cash("debit", cents))
		c.link(e, "transaction", txn.id)
		c.pay(e.links["account"], -cents)
	}
	if to != "confirmed" && to != "accepted" {
		c.next(e, "")
	}
	c.emit(e, "withdrawal."+to)
}

func beginSweep(c *change, acc *entity) bool {
	e := c.create("sweep", c.w.newID("sweep"), map[string]string{"account": acc.id}, nil)
	s := sweep{ID: e.id, Status: "created", Amount: money(c.amount(1, 100)), Currency: currency}
	s.History.add("created", c.at(e))
	c.set(e, s)
	c.next(e, stageRun)
	c.emit(e, "sweep.created")
	return true
}

func goOnSweep(c *change, e *entity) {
	to := "started"
	if look[sweep](c, e).Status == "started" {
		to = "processed"
		c.next(e, "")
	}
	if c.roll(1, 12) {
		to = pick(c, []string{"canceled", "rejected"})
		c.next(e, "")
	}
	edit(c, e, func(s *sweep) {
		s.Status = to
		s.History.add(to, c.at(e))
	})
	c.emit(e, "sweep."+to)
}

// beginTax books a tax correction. The tax is hidden, its transaction is not.
func beginTax(c *change, acc *entity) bool {
	id := c.w.newID("tax")
	txn := c.begun(acc.id, "tax", id, cash("debit", c.amount(1, 20)))
	e := c.create("tax", id, map[string]string{"account": acc.id, "transaction": txn.id}, none{})
	c.next(e, stageRun)
	c.emit(e, "tax.created")
	return true
}

func goOnTax(c *change, e *entity) {
	txn := c.w.find("transaction", e.links["transaction"])
	c.next(e, "")
	if c.roll(1, 8) {
		c.finish(txn, "canceled")
		c.emit(e, "tax.canceled")
		return
	}
	c.finish(txn, "settled")
	c.pay(e.links["account"], -units(look[transaction](c, txn).Components[0].Amount))
	c.emit(e, "tax.processed")
}

// beginTransfer brings securities from another bank.
func beginTransfer(c *change, acc *entity) bool {
	id := c.w.newID("securities_transfer")
	inst, at := c.quote()
	txn := c.begun(acc.id, "securities_transfer", id, component{
		Type: "securities", Direction: "credit", Instrument: inst.ISIN, Quantity: shares(afford(c.amount(50, 900), at)),
	})
	e := c.create("securities_transfer", id, map[string]string{"account": acc.id, "transaction": txn.id}, none{})
	c.next(e, stageRun)
	c.emit(e, "securities_transfer.created")
	return true
}

func goOnTransfer(c *change, e *entity) {
	txn := c.w.find("transaction", e.links["transaction"])
	c.finish(txn, "settled")
	moved := look[transaction](c, txn).Components[0]
	for i, inst := range instruments {
		if inst.ISIN == moved.Instrument {
			c.hold(e.links["account"], moved.Instrument, units(moved.Quantity), opening[i])
		}
	}
	c.next(e, "")
	c.emit(e, "securities_transfer.completed")
}

func beginIncome(c *change, acc *entity) bool {
	e := c.create("income_distribution", c.w.newID("income_distribution"), map[string]string{
		"account": acc.id, "securities_account": acc.links["securities_account"],
	}, nil)
	inst, _ := c.quote()
	cents := c.amount(1, 60)
	c.set(e, incomeDistribution{
		ID: e.id, Instrument: inst.ISIN, PayableDate: c.at(e).Format("2006-01-02"), Currency: currency,
		Direction: "credit", Amount: money(cents), Taxes: []tax{{"capital_gains", money(cents / 4), "debit"}},
	})
	c.pay(acc.id, cents-cents/4)
	c.emit(e, "income_distribution.created")
	return true
}

// beginDividend pays a dividend. It is hidden, its transaction is not.
func beginDividend(c *change, acc *entity) bool {
	id, cents := c.w.newID("dividend_distribution"), c.amount(1, 60)
	txn := c.settled(acc.id, "income_distribution", id, cash("credit", cents))
	e := c.create("dividend_distribution", id, map[string]string{
		"account": acc.id, "securities_account": acc.links["securities_account"], "transaction": txn.id,
	}, none{})
	c.pay(acc.id, cents)
	c.emit(e, "dividend_distribution.created")
	return true
}

func beginDocument(c *change, acc *entity) bool {
	c.document(acc.id, pick(c, []string{"account_statement", "cash.statement", "order.cost", "general"}), "Document")
	return true
}

func (c *change) document(accountID, typ, name string) {
	e := c.create("document", c.w.newID("document"), map[string]string{"account": accountID}, nil)
	c.set(e, document{
		ID: e.id, CreatedAt: stamp(c.at(e)), Name: fmt.Sprintf("%s %s", name, c.at(e).Format("2006-01-02")),
		URL: "https://documents.example.com/" + c.w.newID("document") + ".pdf", Language: "de", Type: typ, ContentType: "application/pdf",
	})
	c.emit(e, "document.created")
}

func beginCorporateAction(c *change) bool {
	e := c.create("corporate_action", c.w.newID("corporate_action"), nil, nil)
	inst, _ := c.quote()
	a := corporateAction{
		ID: e.id, Type: "cash_dividend", Instrument: inst.ISIN, PayableDate: c.at(e).AddDate(0, 0, 9).Format("2006-01-02"),
		AmountPerShare: money(c.amount(1, 4)), Currency: currency,
	}
	a.History.add("created", c.at(e))
	c.set(e, a)
	c.next(e, stageRun)
	c.emit(e, "corporate_action.created")
	return true
}

func goOnCorporateAction(c *change, e *entity) {
	edit(c, e, func(a *corporateAction) { a.History.add("processed", c.at(e)) })
	c.next(e, "")
	c.emit(e, "corporate_action.processed")
}

// settlementAccountID is the one settlement account of this world.
const settlementAccountID = "sac_0000000000000000000000000000000a"

func beginSettlement(c *change) bool {
	cents := c.amount(100, 50000)
	list := c.settlementAccounts()
	edit(c, list, func(all *[]settlementAccount) {
		(*all)[0].Balance = money(units((*all)[0].Balance) + cents)
	})
	e := c.create("settlement", c.w.newID("settlement"), map[string]string{"settlement_account": settlementAccountID}, nil)
	c.set(e, settlement{ID: e.id, Amount: money(cents), Currency: currency, Cutoff: stamp(c.at(e)), Direction: "credit"})
	c.emit(e, "settlement.created")
	return true
}

// settlementAccounts is the list of settlement accounts. They have no GET
// each, so the list is what is mirrored of them.
func (c *change) settlementAccounts() *entity {
	if list := c.w.find("settlement_accounts", rootID); list != nil {
		return list
	}
	c.create("settlement_account", settlementAccountID, nil, none{})
	return c.create("settlement_accounts", rootID, nil, []settlementAccount{{
		ID: settlementAccountID, Name: "Settlement", Inpayment: *c.bank("Settlement"),
		Currency: currency, Balance: money(0), Leaving: money(0),
	}})
}
