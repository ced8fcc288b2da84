package simulator

// restingProduct creates a product that nothing is next for and that has no price.
func restingProduct(c *change) *entity { return c.product(nil) }

// rename changes a product in a way that makes no event.
func rename(c *change, e *entity) {
	edit(c, e, func(p *stripeProduct) {
		name := "Renamed in silence"
		if p.Name == name { // it is edited again
			name = "Renamed again"
		}
		p.Name, p.Updated = name, c.seconds(e)
	})
}
