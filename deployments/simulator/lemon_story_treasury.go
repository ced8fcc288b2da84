package simulator

// How standing orders of a customer run: tax exemptions, savings plans, and
// the treasury mandates and transfers.

func beginTaxExemption(c *change, acc *entity) bool {
	e := c.create("tax_exemption_order", c.w.newID("tax_exemption_order"), map[string]string{"account": acc.id}, nil)
	t := taxExemptionOrder{ID: e.id, AmountTotal: money(c.amount(1, 1000)), Type: "individual", Currency: currency, ValidFrom: c.at(e).Format("2006")}
	t.History.add("created", c.at(e))
	c.set(e, t)
	c.next(e, stageRun)
	c.emit(e, "tax_exemption_order.created")
	return true
}

func goOnTaxExemption(c *change, e *entity) {
	to := "rejected"
	switch status := look[taxExemptionOrder](c, e).History.now(); {
	case status == "created" && c.roll(9, 10):
		to = "accepted"
	case status == "accepted":
		to = "canceling"
	case status == "canceling":
		to = "canceled"
	}
	edit(c, e, func(t *taxExemptionOrder) { t.History.add(to, c.at(e)) })
	// Most exemptions stay in force.
	if to == "rejected" || to == "canceled" || (to == "accepted" && c.roll(3, 4)) {
		c.next(e, "")
	}
	c.emit(e, "tax_exemption_order."+to)
}

func beginWorkflow(c *change, acc *entity) bool {
	e := c.create("workflow", c.w.newID("workflow"), map[string]string{"account": acc.id}, nil)
	inst, _ := c.quote()
	w := workflow{
		ID: e.id, Trigger: trigger{"schedule", pick(c, []string{"daily", "monthly"})},
		Action: workflowAction{"order.create_and_confirm", workflowOrder{"batch", "buy", inst.ISIN, money(c.amount(5, 100)), "0.00", currency}},
		SCA:    challenge{false, ""},
	}
	w.History.add("created", c.at(e))
	c.set(e, w)
	c.next(e, stageRun)
	c.emit(e, "workflow.created")
	return true
}

func goOnWorkflow(c *change, e *entity) {
	to := "confirmed"
	if look[workflow](c, e).History.now() == "confirmed" || c.roll(1, 10) {
		to = "canceled"
	}
	edit(c, e, func(w *workflow) { w.History.add(to, c.at(e)) })
	if to == "canceled" || c.roll(2, 3) {
		c.next(e, "")
	}
	c.emit(e, "workflow."+to)
}

func beginMandate(c *change, acc *entity) bool {
	e := c.create("treasury_mandate", c.w.newID("treasury_mandate"), map[string]string{"account": acc.id}, nil)
	m := treasuryMandate{
		ID: e.id, Instrument: "IE0008643037",
		RedirectSuccess: "https://app.example.com/ok", RedirectFailure: "https://app.example.com/failed",
	}
	m.History.add("created", c.at(e))
	c.set(e, m)
	c.next(e, stageRun)
	c.emit(e, "treasury_mandate.created")
	return true
}

func goOnMandate(c *change, e *entity) {
	to := "confirmed"
	if look[treasuryMandate](c, e).History.now() == "confirmed" {
		to = "accepted"
	}
	if c.roll(1, 12) {
		to = pick(c, []string{"canceled", "rejected"})
	}
	edit(c, e, func(m *treasuryMandate) { m.History.add(to, c.at(e)) })
	if to != "confirmed" {
		c.next(e, "")
	}
	if to == "accepted" {
		c.link(e, "accepted", "yes")
	}
	c.emit(e, "treasury_mandate."+to)
}

func beginTreasuryTransfer(c *change, acc *entity) bool {
	mandate := c.some("treasury_mandate", acc.id, func(e *entity) bool { return e.links["accepted"] != "" })
	of := c.some("order", acc.id, func(e *entity) bool { return e.stage == "" })
	if mandate == nil || of == nil {
		return false
	}
	e := c.create("treasury_transfer", c.w.newID("treasury_transfer"), map[string]string{"account": acc.id, "order": of.id}, nil)
	t := treasuryTransfer{ID: e.id, Mandate: mandate.id, Order: of.id, Type: "deposit", Amount: money(c.amount(10, 500)), Currency: currency}
	t.History.add("created", c.at(e))
	c.set(e, t)
	c.next(e, stageRun)
	c.emit(e, "treasury_transfer.created")
	return true
}

func goOnTreasuryTransfer(c *change, e *entity) {
	following := map[string]string{"created": "pending", "pending": "processed", "processed": "settled"}
	to := following[look[treasuryTransfer](c, e).History.now()]
	if to == "pending" && c.roll(1, 4) {
		to = pick(c, []string{"canceled", "rejected"})
	}
	edit(c, e, func(t *treasuryTransfer) { t.History.add(to, c.at(e)) })
	if to != "pending" && to != "processed" {
		c.next(e, "")
	}
	c.emit(e, "treasury_transfer."+to)
}
