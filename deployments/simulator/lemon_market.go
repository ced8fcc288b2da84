package simulator

import "fmt"

// instruments are what this world trades. The names are made up, the numbers
// have the form of an ISIN.
var instruments = []instrument{
	security("IE00B0M62X26", "Simulated Inflation-Linked Bonds ETF", "etf"),
	security("DE0005933931", "Simulated Germany 40 ETF", "etf"),
	security("IE00B441G979", "Simulated World Hedged ETF", "etf"),
	security("IE00BYXYX521", "Simulated Emerging Markets ETF", "etf"),
	security("IE0008643037", "Simulated Liquidity Fund", "fund"),
	security("DE0005909006", "Simulated Builders", "stock"),
	security("US0378331005", "Simulated Computers", "stock"),
	security("DE0007164600", "Simulated Software", "stock"),
}

// opening are their prices when the world begins, in 1/10,000 EUR.
var opening = []int64{2160199, 1519200, 873500, 283988, 10000, 1284000, 1843500, 1211200}

func security(isin, title, typ string) instrument {
	return instrument{isin, title, typ, regulatory{"https://kid.example.com/" + isin + ".pdf"}}
}

// quote draws an instrument and its price of the moment: the opening price,
// give or take five percent.
func (c *change) quote() (instrument, int64) {
	i := c.w.rng.IntN(len(instruments))
	p := opening[i]
	return instruments[i], p - p/20 + c.w.rng.Int64N(p/10+1)
}

func titleOf(isin string) string {
	for _, i := range instruments {
		if i.ISIN == isin {
			return i.Title
		}
	}
	return isin
}

// pay books cents on an account; negative takes them.
func (c *change) pay(account string, cents int64) {
	e := c.derived("financials", account, financials{Balance: money(0)})
	edit(c, e, func(f *financials) { f.set(units(f.Balance) + cents) })
}

// hold books shares on an account; negative takes them.
func (c *change) hold(account, isin string, quantity, at int64) {
	e := c.derived("positions", account, []position{})
	when := stamp(c.at(e))
	edit(c, e, func(ps *[]position) {
		for i := range *ps {
			if p := &(*ps)[i]; p.Instrument.ISIN == isin {
				p.book(quantity, at, when)
				return
			}
		}
		p := position{BuyIn: price(at), Currency: currency, Instrument: titledISIN{isin, titleOf(isin)}, Quantity: shares(0)}
		p.book(quantity, at, when)
		*ps = append(*ps, p)
	})
}

// book changes the quantity and shows the newest price.
func (p *position) book(quantity, at int64, when string) {
	p.Quantity = shares(max(0, units(p.Quantity)+quantity))
	p.LatestBid = price(at)
	p.LatestPrice = latestPrice{price(at), "quote", when}
}

// held is how many shares of an instrument an account has.
func (c *change) held(account, isin string) int64 {
	e := c.w.find("positions", account)
	if e == nil {
		return 0
	}
	for _, p := range look[[]position](c, e) {
		if p.Instrument.ISIN == isin {
			return units(p.Quantity)
		}
	}
	return 0
}

// derived returns the entity of a kind of which each account has one, and
// begins it if it is not there.
func (c *change) derived(kindName, account string, empty any) *entity {
	if e := c.w.find(kindName, account); e != nil {
		return e
	}
	for _, d := range c.drafts {
		if d.entity.kind.name == kindName && d.entity.id == account {
			return d.entity
		}
	}
	return c.create(kindName, account, map[string]string{"account": account}, empty)
}

// bank draws a bank account that looks like one.
func (c *change) bank(name string) *bankAccount {
	return &bankAccount{IBAN: fmt.Sprintf("DE%020d", c.w.rng.Int64N(1e18)), BIC: "BYLADEM1001", Name: name}
}
