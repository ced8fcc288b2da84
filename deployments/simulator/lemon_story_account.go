package simulator

import (
	"encoding/json"
	"fmt"
	"strings"
)

// How accounts open: a person is identified, the parts of the account come,
// the account opens, the first money arrives.

var (
	firstnames = []string{"Ada", "Ben", "Carla", "David", "Elif", "Finn", "Greta", "Hugo", "Ida", "Jonas", "Klara", "Leo"}
	lastnames  = []string{"Albers", "Brandt", "Conrad", "Demir", "Ebert", "Fischer", "Graf", "Hartmann", "Jansen", "Krause"}
	cities     = []string{"Berlin", "Hamburg", "Leipzig", "Bremen", "Jena", "Kiel"}
)

const (
	stageIdentify = "identify"
	stageParts    = "parts"
	stageOpen     = "open"
)

func beginAccount(c *change) bool {
	p := c.person()
	id := c.w.newID("account")
	acc := c.create("account", id, map[string]string{"person": p.ID}, nil)
	own := map[string]string{"account": id, "person": p.ID}

	ident := c.create("identification", c.w.newID("identification"), own, nil)
	i := identification{ID: ident.id, Person: identifiedAs{p.ID, "customer"}, Method: "kyc_reliance", Status: "created"}
	i.History.add("created", c.at(ident))
	c.set(ident, i)
	c.next(ident, stageIdentify)

	a := account{
		ID: id, OwnAccount: true, ReferenceAccount: c.bank(p.Firstname + " " + p.Lastname),
		Customer:   c.encode(customerRef{Type: "person", ID: p.ID, Person: p.ID}),
		Agreements: []accountAgreement{{"agr_9902271f791d413aad781763c61b9bb0", stamp(c.at(acc)), p.ID}},
	}
	a.move("created", c.at(acc))
	c.set(acc, a)

	c.emit(acc, "account.created")
	c.emit(ident, "identification.created")
	c.openCheck(id, check{Type: "identity_verification", Category: "onboarding",
		Actions: []action{{Type: "complete_identification", Identification: ident.id, Person: p.ID}}})
	return true
}

func (c *change) person() person {
	first, last := pick(c, firstnames), pick(c, lastnames)
	p := person{
		ID: c.w.newID("person"), Firstname: first, Lastname: last,
		DateOfBirth:    fmt.Sprintf("%d-%02d-%02d", 1950+c.w.rng.IntN(50), 1+c.w.rng.IntN(12), 1+c.w.rng.IntN(28)),
		Address:        address{Line1: fmt.Sprintf("Seestraße %d", 1+c.w.rng.IntN(99)), PostalCode: fmt.Sprintf("%05d", 10000+c.w.rng.IntN(80000)), City: pick(c, cities), Country: "DE"},
		Nationalities:  []string{"DE"},
		Email:          strings.ToLower(first + "." + last + "@example.com"),
		PhoneNumber:    c.phone(),
		PlaceOfBirth:   placeOfBirth{pick(c, cities), "DE"},
		TaxResidencies: []taxResidency{{"DE", fmt.Sprintf("%011d", c.w.rng.Int64N(1e11))}},
	}
	c.create("person", p.ID, nil, p)
	return p
}

func (c *change) phone() string { return fmt.Sprintf("+4915%09d", c.w.rng.Int64N(1e9)) }

func pick[T any](c *change, from []T) T { return from[c.w.rng.IntN(len(from))] }

// asFullCustomer shows an account's person in full, as the API does unless it
// is asked for the short form.
func asFullCustomer(state json.RawMessage, personOf func(id string) json.RawMessage) (json.RawMessage, error) {
	var a account
	if err := json.Unmarshal(state, &a); err != nil {
		return nil, err
	}
	var ref customerRef
	if err := json.Unmarshal(a.Customer, &ref); err != nil {
		return nil, err
	}
	raw := personOf(ref.Person)
	if raw == nil {
		return state, nil
	}
	full := fullCustomer{Gender: "unknown", MaritalStatus: "unknown", Employment: employment{"employed", "lt_50k_eur", "it"}}
	if err := json.Unmarshal(raw, &full.person); err != nil {
		return nil, err
	}
	var err error
	if a.Customer, err = json.Marshal(full); err != nil {
		return nil, err
	}
	return json.Marshal(a)
}

func goOnIdentification(c *change, e *entity) {
	acc := c.w.find("account", e.links["account"])
	move := func(status string) {
		edit(c, e, func(i *identification) {
			i.Status = status
			i.History.add(status, c.at(e))
		})
		c.emit(e, "identification."+status)
	}
	switch {
	case look[identification](c, e).Status == "created":
		move("started")
	case c.roll(19, 20):
		move("succeeded")
		c.next(e, "")
		c.next(acc, stageParts)
	default:
		move("failed")
		c.next(e, "")
		edit(c, acc, func(a *account) { a.move("rejected", c.at(acc)) })
		c.emit(acc, "account.rejected")
	}
}

func goOnAccount(c *change, e *entity) {
	switch e.stage {
	case stageParts:
		sec := c.create("securities_account", c.w.newID("securities_account"), map[string]string{"account": e.id}, nil)
		s := securitiesAccount{ID: sec.id, AccountNumber: fmt.Sprintf("%09d", c.w.rng.IntN(1e9)), CreatedAt: stamp(c.at(sec))}
		s.History.add("created", c.at(sec))
		c.set(sec, s)
		edit(c, e, func(a *account) {
			a.CashAccount = c.bank("")
			a.SecuritiesAccount = &securitiesNumber{s.AccountNumber}
		})
		c.link(e, "securities_account", sec.id)
		c.next(e, stageOpen)
		c.emit(e, "cash_account.created")
		c.emit(sec, "securities_account.created")
	case stageOpen:
		sec := c.w.find("securities_account", e.links["securities_account"])
		edit(c, sec, func(s *securitiesAccount) { s.History.add("opened", c.at(sec)) })
		edit(c, e, func(a *account) { a.move("opened", c.at(e)) })
		c.link(e, "opened", "yes")
		c.next(e, "")
		c.emit(sec, "securities_account.opened")
		c.emit(e, "account.opened")
		c.deposit(e.id, c.amount(500, 20000))
	}
}

// openCheck begins a check of an account. The check is hidden: its id stands
// in events only, its state in the account's list of checks.
func (c *change) openCheck(accountID string, k check) {
	e := c.create("check", c.w.newID("check"), map[string]string{"account": accountID, "type": k.Type}, none{})
	list := c.derived("checks", accountID, []check{})
	k.Status = "action_required"
	k.History.add(k.Status, c.at(list))
	edit(c, list, func(ks *[]check) { *ks = append([]check{k}, *ks...) })
	c.next(e, k.Status)
	c.emit(e, "check.action_required")
}

func beginCheck(c *change, acc *entity) bool {
	due := c.w.clock().AddDate(0, 1, 0).Format("2006-01-02")
	c.openCheck(acc.id, check{Type: "tin_validation", Category: "post_onboarding", Actions: []action{{Type: "tax_identification", DueDate: due}}})
	return true
}

func goOnCheck(c *change, e *entity) {
	status, eventType, stage := "processing", "check.processing", "processing"
	if e.stage == "processing" {
		status, eventType, stage = "success", "check.succeeded", ""
		if c.roll(1, 10) {
			status, eventType = "failure", "check.failed"
		}
	}
	list := c.derived("checks", e.links["account"], []check{})
	edit(c, list, func(ks *[]check) {
		for i := range *ks {
			if k := &(*ks)[i]; k.Type == e.links["type"] && k.Status == e.stage {
				k.Status, k.Actions = status, []action{}
				k.History.add(status, c.at(list))
				return
			}
		}
	})
	c.next(e, stage)
	c.emit(e, eventType)
}

func beginUpdate(c *change, acc *entity) bool {
	e := c.create("person_update", c.w.newID("person_update"), map[string]string{"person": acc.links["person"]}, nil)
	u := personUpdate{ID: e.id, Type: "phone_number", Number: c.phone()}
	if c.roll(1, 2) {
		u = personUpdate{ID: e.id, Type: "email", Email: fmt.Sprintf("new.%d@example.com", c.w.rng.IntN(1e6))}
	}
	u.History.add("created", c.at(e))
	c.set(e, u)
	c.next(e, "decide")
	c.emit(e, "update.created")
	return true
}

func goOnUpdate(c *change, e *entity) {
	c.next(e, "")
	if c.roll(1, 4) {
		edit(c, e, func(u *personUpdate) { u.History.add("failure", c.at(e)) })
		c.emit(e, "update.failed")
		return
	}
	edit(c, e, func(u *personUpdate) { u.History.add("success", c.at(e)) })
	u := look[personUpdate](c, e)
	edit(c, c.w.find("person", e.links["person"]), func(p *person) {
		if u.Email != "" {
			p.Email = u.Email
		} else {
			p.PhoneNumber = u.Number
		}
	})
	c.emit(e, "update.succeeded")
}
