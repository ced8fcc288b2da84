package simulator

// restingOrder creates an order that nothing is next for, of an account that trades.
func restingOrder(c *change) *entity {
	for _, acc := range c.w.all("account") {
		if acc.links["opened"] != "" {
			return c.placeOrder(acc)
		}
	}
	return nil
}

// stirOrder moves an order that was created, or one step on from there.
func stirOrder(c *change, e *entity) { c.stirOrder(e, e.link) }

// raiseFee changes an order in a way that makes no event.
func raiseFee(c *change, e *entity) {
	edit(c, e, func(o *order) {
		fee := "9.90"
		if o.Fee == fee { // it is edited again
			fee = "10.90"
		}
		o.Fee, o.Fees.BaseAmount = fee, fee
	})
}
