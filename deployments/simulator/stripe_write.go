package simulator

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// What can be changed through Stripe's API here: products, prices, customers and coupons.
// Parameters are those of the specification that this world has a use for; others are
// refused as unknown.

// stripeKeys: every POST takes a key. The first status and body are kept for 24 hours,
// also of a 500, unless the request was not valid or another was under way
// (docs.stripe.com/api/idempotent_requests).
var stripeKeys = &keyRules{
	covers:  func(r *http.Request) bool { return r.Method == http.MethodPost },
	longest: 255, keep: 24 * time.Hour, keepsErrors: true, replayed: "Idempotent-Replayed",
	tooLong:      keyError(http.StatusBadRequest, "", "Idempotency keys can be up to 255 characters long."),
	otherRequest: keyError(http.StatusBadRequest, "", "Keys for idempotent requests can only be used with the same parameters they were first used with."),
	inUse:        keyError(http.StatusConflict, "idempotency_key_in_use", "There is currently another in-progress request using this Idempotent Key."),
}

func keyError(status int, code, message string) *refusal {
	r := refuse(status, message)
	r.code, r.errorType = code, "idempotency_error"
	return r
}

// stripeWrites adds the paths by which something is changed.
func stripeWrites(a *api) {
	for _, k := range []struct {
		kind, path     string
		create, update func(c *change, in *input, e *entity, p *formBody) error
		remove         func(c *change, e *entity) error
	}{
		{"product", "/products", createProduct, updateProduct, removeProduct},
		{"price", "/prices", createPrice, updatePrice, nil},
		{"customer", "/customers", createCustomer, updateCustomer, removeCustomer},
		{"coupon", "/coupons", createCoupon, updateCoupon, removeCoupon},
	} {
		a.write(http.MethodPost, k.path, writeRoute{"create", k.kind, creating(k.kind, k.create)})
		a.write(http.MethodPost, k.path+"/{id}", writeRoute{"update", k.kind, updating(k.kind, k.update)})
		if k.remove != nil {
			a.write(http.MethodDelete, k.path+"/{id}", writeRoute{"delete", k.kind, removing(k.kind, k.remove)})
		}
	}
}

// ownIDs are the kinds whose id may be given when they are created.
var ownIDs = []string{"product", "coupon"}

func creating(kind string, fill func(*change, *input, *entity, *formBody) error) func(*change, *input) (effect, error) {
	return func(c *change, in *input) (effect, error) {
		p, err := parseForm(string(in.body))
		if err != nil {
			return effect{}, err
		}
		id := c.w.newID(kind)
		if slices.Contains(ownIDs, kind) {
			p.text("id", func(v string) { id = v })
		}
		if c.w.find(kind, id) != nil {
			r := refuse(http.StatusBadRequest, fmt.Sprintf("%s already exists.", kind))
			r.code, r.param = "resource_already_exists", "id"
			return effect{}, r
		}
		links := map[string]string{}
		if in.account != "" {
			links[connected] = in.account
		}
		e := c.create(kind, id, links, struct{}{})
		if err := fill(c, in, e, p); err != nil {
			return effect{}, err
		}
		if refused := p.rest(); refused != nil {
			return effect{}, refused
		}
		c.emit(e, kind+".created")
		return effect{entity: e, status: http.StatusOK}, nil
	}
}

func updating(kind string, fill func(*change, *input, *entity, *formBody) error) func(*change, *input) (effect, error) {
	return func(c *change, in *input) (effect, error) {
		e, err := ofAccount(c, in, kind)
		if err != nil {
			return effect{}, err
		}
		p, err := parseForm(string(in.body))
		if err != nil {
			return effect{}, err
		}
		if err := fill(c, in, e, p); err != nil {
			return effect{}, err
		}
		if refused := p.rest(); refused != nil {
			return effect{}, refused
		}
		c.emit(e, kind+".updated")
		return effect{entity: e, status: http.StatusOK}, nil
	}
}

func removing(kind string, remove func(*change, *entity) error) func(*change, *input) (effect, error) {
	return func(c *change, in *input) (effect, error) {
		e, err := ofAccount(c, in, kind)
		if err != nil {
			return effect{}, err
		}
		if len(in.body) > 0 {
			return effect{}, unknownParameter(string(in.body))
		}
		if err := remove(c, e); err != nil {
			return effect{}, err
		}
		return effect{entity: e, status: http.StatusOK, answer: struct {
			ID      string `json:"id"`
			Object  string `json:"object"`
			Deleted bool   `json:"deleted"`
		}{e.id, kind, true}}, nil
	}
}

// ofAccount is the entity that a path names, of the account that the request is for.
func ofAccount(c *change, in *input, kind string) (*entity, error) {
	e := c.w.find(kind, in.id)
	if e == nil || e.current().Deleted || e.links[connected] != in.account {
		return nil, unknownStripe(c.w.dialect.kind(kind), in.id)
	}
	return e, nil
}

func createProduct(c *change, in *input, e *entity, p *formBody) error {
	at := c.seconds(e)
	c.set(e, stripeProduct{
		ID: e.id, Object: "product", Active: true, Created: at, Updated: at, Images: []string{}, Livemode: true,
		Features: []string{}, Metadata: map[string]string{},
	})
	if p.values["name"] == "" {
		p.must("name", func(string) {})
	}
	return fillProduct(c, in, e, p)
}

func updateProduct(c *change, in *input, e *entity, p *formBody) error {
	if err := fillProduct(c, in, e, p); err != nil {
		return err
	}
	edit(c, e, func(s *stripeProduct) { s.Updated = c.seconds(e) })
	return nil
}

func fillProduct(c *change, _ *input, e *entity, p *formBody) error {
	edit(c, e, func(s *stripeProduct) {
		p.text("name", func(v string) { s.Name = v })
		p.flag("active", func(v bool) { s.Active = v })
		p.optional("description", func(v *string) { s.Description = v })
		p.optional("url", func(v *string) { s.URL = v })
		p.optional("unit_label", func(v *string) { s.UnitLabel = v })
		p.optional("statement_descriptor", func(v *string) { s.Descriptor = v })
		p.optional("tax_code", func(v *string) { s.TaxCode = v })
		p.flag("shippable", func(v bool) { s.Shippable = &v })
		p.list("images", func(v []string) { s.Images = v })
		p.text("default_price", func(v string) {
			if price := c.w.find("price", v); price == nil || price.links["product"] != e.id {
				p.fail(missingObject("price", v, "default_price"))
			}
			s.DefaultPrice = &v
		})
		s.Metadata = p.metadata(s.Metadata)
	})
	return nil
}

// removeProduct deletes a product that has no prices.
func removeProduct(c *change, e *entity) error {
	for _, p := range c.w.under("price", e.links[connected]) {
		if p.links["product"] == e.id {
			return refuse(http.StatusBadRequest, "This product cannot be deleted because it has one or more user-created prices.")
		}
	}
	c.remove(e)
	c.emit(e, "product.deleted")
	return nil
}

func createPrice(c *change, in *input, e *entity, p *formBody) error {
	s := stripePrice{
		ID: e.id, Object: "price", Active: true, BillingScheme: "per_unit", Created: c.seconds(e), Livemode: true,
		Metadata: map[string]string{}, Type: "one_time",
	}
	p.must("currency", func(v string) { s.Currency = v })
	p.must("product", func(v string) {
		product := c.w.find("product", v)
		if product == nil || product.current().Deleted || product.links[connected] != in.account {
			p.fail(missingObject("product", v, "product"))
		}
		s.Product = v
	})
	p.whole("unit_amount", func(v int64) { s.UnitAmount = v })
	p.object("recurring", func(r *formBody) {
		s.Type, s.Recurring = "recurring", &stripeRecurring{"", 1, "licensed"}
		r.must("interval", func(v string) { s.Recurring.Interval = v })
		r.whole("interval_count", func(v int64) { s.Recurring.IntervalCount = int(v) })
		r.text("usage_type", func(v string) { s.Recurring.UsageType = v })
	})
	c.set(e, s)
	c.link(e, "product", s.Product)
	return updatePrice(c, in, e, p)
}

func updatePrice(c *change, in *input, e *entity, p *formBody) error {
	edit(c, e, func(s *stripePrice) {
		p.flag("active", func(v bool) { s.Active = v })
		p.optional("nickname", func(v *string) { s.Nickname = v })
		p.optional("lookup_key", func(v *string) {
			if v != nil && c.taken(e, in.account, *v) {
				p.fail(badParameter("lookup_key", "another price has it"))
			}
			s.LookupKey = v
		})
		p.text("tax_behavior", func(v string) { s.TaxBehavior = &v })
		s.Metadata = p.metadata(s.Metadata)
	})
	return nil
}

// taken reports whether another active price has a lookup key.
func (c *change) taken(e *entity, account, key string) bool {
	return slices.ContainsFunc(c.w.under("price", account), func(other *entity) bool {
		s := look[stripePrice](c, other)
		return other != e && s.Active && s.LookupKey != nil && *s.LookupKey == key
	})
}

func createCustomer(c *change, in *input, e *entity, p *formBody) error {
	c.set(e, stripeCustomer{
		ID: e.id, Object: "customer", Created: c.seconds(e), Livemode: true, Metadata: map[string]string{}, Locales: []string{}, TaxExempt: "none",
	})
	return updateCustomer(c, in, e, p)
}

func updateCustomer(c *change, _ *input, e *entity, p *formBody) error {
	edit(c, e, func(s *stripeCustomer) {
		p.text("name", func(v string) { s.Name = v })
		p.text("email", func(v string) { s.Email = v })
		p.optional("description", func(v *string) { s.Description = v })
		p.optional("phone", func(v *string) { s.Phone = v })
		p.whole("balance", func(v int64) { s.Balance = v })
		p.text("tax_exempt", func(v string) { s.TaxExempt = v })
		p.list("preferred_locales", func(v []string) { s.Locales = v })
		p.object("address", func(a *formBody) {
			if a == nil {
				s.Address = nil
				return
			}
			if s.Address == nil {
				s.Address = &stripeAddress{}
			}
			a.text("city", func(v string) { s.Address.City = v })
			a.text("country", func(v string) { s.Address.Country = v })
			a.text("line1", func(v string) { s.Address.Line1 = v })
			a.optional("line2", func(v *string) { s.Address.Line2 = v })
			a.text("postal_code", func(v string) { s.Address.PostalCode = v })
			a.optional("state", func(v *string) { s.Address.State = v })
		})
		s.Metadata = p.metadata(s.Metadata)
	})
	return nil
}

// removeCustomer deletes a customer and ends what it subscribed to.
func removeCustomer(c *change, e *entity) error {
	leave(c, e)
	return nil
}

func createCoupon(c *change, in *input, e *entity, p *formBody) error {
	s := stripeCoupon{ID: e.id, Object: "coupon", Created: c.seconds(e), Duration: "once", Livemode: true, Metadata: map[string]string{}, Valid: true}
	p.text("duration", func(v string) { s.Duration = v })
	p.whole("duration_in_months", func(v int64) { s.Months = &v })
	p.whole("amount_off", func(v int64) { s.AmountOff = &v })
	p.optional("currency", func(v *string) { s.Currency = v })
	p.whole("max_redemptions", func(v int64) { s.MaxRedemptions = &v })
	p.whole("redeem_by", func(v int64) { s.RedeemBy = &v })
	p.text("percent_off", func(v string) {
		percent, err := strconv.ParseFloat(v, 64)
		if err != nil || percent <= 0 || percent > 100 {
			p.fail(badParameter("percent_off", "want more than 0, and at most 100"))
		}
		s.PercentOff = percent
	})
	if (s.PercentOff > 0) == (s.AmountOff != nil) {
		p.fail(refuse(http.StatusBadRequest, "You must pass either percent_off or amount_off when creating a coupon."))
	}
	c.set(e, s)
	return updateCoupon(c, in, e, p)
}

func updateCoupon(c *change, _ *input, e *entity, p *formBody) error {
	edit(c, e, func(s *stripeCoupon) {
		p.text("name", func(v string) { s.Name = v })
		s.Metadata = p.metadata(s.Metadata)
	})
	return nil
}

func removeCoupon(c *change, e *entity) error {
	c.remove(e)
	c.emit(e, "coupon.deleted")
	return nil
}
