package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stripeRequired are the members that the OpenAPI document of version
// 2026-08-26.dahlia requires of each object.
var stripeRequired = map[string]string{
	"customer":          "created id livemode object",
	"product":           "active created id images livemode marketing_features metadata name object updated",
	"price":             "active billing_scheme created currency id livemode metadata object product type",
	"coupon":            "created duration id livemode object times_redeemed valid",
	"subscription":      "automatic_tax billing_cycle_anchor billing_mode billing_schedules cancel_at_period_end collection_method created currency customer discounts id invoice_settings items livemode metadata object start_date status",
	"subscription_item": "created current_period_end current_period_start discounts id metadata object price subscription",
	"invoice":           "amount_due amount_overpaid amount_paid amount_paid_off_stripe amount_remaining amount_shipping attempt_count attempted auto_advance automatic_tax collection_method created currency customer default_tax_rates discounts id issuer lines livemode object payment_settings period_end period_start post_payment_credit_notes_amount pre_payment_credit_notes_amount starting_balance status_transitions subtotal total",
	"line_item":         "amount currency discountable discounts id livemode metadata object period subtotal",
	"charge":            "amount amount_captured amount_refunded billing_details captured created currency disputed id livemode metadata object paid refunded status",
	"refund":            "amount created currency id object",
	"balance":           "available livemode object pending",
	"event":             "created data id livemode object pending_webhooks type",
	"webhook_endpoint":  "created enabled_events id livemode metadata object status url",
	"list":              "data has_more object url",
}

// checkStripe wants every member that an object must have.
func checkStripe(t *testing.T, object string, body []byte) map[string]json.RawMessage {
	t.Helper()
	var members map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(body, &members), "%.300s", body)
	require.Equal(t, `"`+object+`"`, string(members["object"]), "%.300s", body)
	require.NotEmpty(t, stripeRequired[object], object)
	for name := range strings.FieldsSeq(stripeRequired[object]) {
		require.Contains(t, members, name, "%.300s", body)
	}
	return members
}

// shop is a running world of Stripe in which much has happened.
func shop(t *testing.T, steps int) *running {
	t.Helper()
	r := start(t, Options{Provider: Stripe, Now: ticking(), MaxEntities: -1, KeepVersions: -1, KeepEvents: -1})
	grow(t, r.world, steps)
	return r
}

// stripePages reads all pages of a list and calls between after each.
func stripePages(t *testing.T, r *running, path string, between func()) (all []json.RawMessage) {
	t.Helper()
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	for after := ""; ; {
		status, body := r.get("/v1" + path + after)
		require.Equal(t, http.StatusOK, status, "%s", body)
		checkStripe(t, "list", body)
		var p stripeList[json.RawMessage]
		require.NoError(t, json.Unmarshal(body, &p))
		all = append(all, p.Data...)
		if !p.HasMore {
			return all
		}
		between()
		after = sep + "starting_after=" + stripeID(all[len(all)-1])
	}
}

func stripeIDs(all []json.RawMessage) []string {
	ids := make([]string, len(all))
	for i, v := range all {
		ids[i] = stripeID(v)
	}
	return ids
}

// errorOf is the error that an answer has.
func errorOf(t *testing.T, body []byte) (e stripeError) {
	t.Helper()
	require.NoError(t, json.Unmarshal(body, &e), "%.300s", body)
	require.NotEmpty(t, e.Error.Message)
	require.NotEmpty(t, e.Error.Type)
	return e
}

func TestStripeAnswers(t *testing.T) {
	r := shop(t, 2500)
	checked := map[string]int{}
	for _, tr := range r.Truth("", 0) {
		k := stripe.kind(tr.Kind)
		path := k.path
		if k.shape == single {
			path += "/" + tr.ID
		}
		if checked[tr.Kind]++; checked[tr.Kind] > 60 && !tr.Deleted {
			continue
		}
		status, body := r.get("/v1" + path)
		switch {
		case !tr.Deleted:
			require.Equal(t, http.StatusOK, status)
			require.Equal(t, string(stripeShown(k, tr.State)), string(body))
			checkStripe(t, tr.Kind, body)
		case tr.Kind == "customer":
			require.Equal(t, http.StatusOK, status)
			require.JSONEq(t, `{"id":"`+tr.ID+`","object":"customer","deleted":true}`, string(body))
		default:
			require.Equal(t, http.StatusNotFound, status)
			e := errorOf(t, body).Error
			require.Equal(t, []string{"resource_missing", "id", "invalid_request_error"}, []string{e.Code, e.Param, e.Type})
		}
		checked[fmt.Sprintf("%s deleted %t", tr.Kind, tr.Deleted)]++
	}
	for _, kind := range []string{"customer", "product", "price", "coupon", "subscription", "invoice", "charge", "refund", "balance"} {
		require.Positive(t, checked[kind], kind)
	}
	for _, kind := range []string{"customer", "product", "coupon", "invoice"} {
		require.Positive(t, checked[kind+" deleted true"], kind)
	}
	living := func(kind string) string {
		all := r.Truth(kind, 0)
		i := slices.IndexFunc(all, func(tr Truth) bool { return !tr.Deleted })
		require.GreaterOrEqual(t, i, 0, kind)
		return all[i].ID
	}
	_, body := r.get("/v1/account")
	require.Contains(t, string(body), stripeAccount)
	for _, k := range stripeKinds {
		if k.shape != single || checked[k.name] > 0 {
			continue
		}
		path := k.path
		switch k.parent {
		case "":
		case "account":
			continue // there is none
		default:
			path = strings.ReplaceAll(path, "{parent}", living(k.parent))
		}
		require.Empty(t, stripePages(t, r, path, func() {}), path)
	}
}

// Without this, a mirror of what a GET shows would pass for the whole.
func TestStripeShowsTenOfAList(t *testing.T) {
	r := shop(t, 1500)
	seen := map[string]int{}
	for _, tr := range slices.Concat(r.Truth("subscription", 0), r.Truth("invoice", 0)) {
		if tr.Deleted {
			continue
		}
		inside, elements := "items", itemsOf
		path := "/subscription_items?limit=4&subscription=" + tr.ID
		object := "subscription_item"
		if tr.Kind == "invoice" {
			inside, elements, path, object = "lines", linesOf, "/invoices/"+tr.ID+"/lines?limit=4", "line_item"
		}
		whole, err := elements(tr.State)
		require.NoError(t, err)
		_, body := r.get("/v1" + stripe.kind(tr.Kind).path + "/" + tr.ID)
		var shown stripeList[json.RawMessage]
		require.NoError(t, json.Unmarshal(checkStripe(t, tr.Kind, body)[inside], &shown))
		require.Len(t, shown.Data, min(10, len(whole)))
		require.Equal(t, len(whole) > 10, shown.HasMore)
		status, _ := r.get(shown.URL)
		require.Equal(t, http.StatusOK, status, shown.URL)
		if seen[tr.Kind]++; len(whole) > 10 {
			seen[tr.Kind+" cut"]++
		} else if seen[tr.Kind] > 10 {
			continue
		}
		got := stripePages(t, r, path, func() {})
		require.Equal(t, whole, got)
		checkStripe(t, object, got[0])
	}
	require.Positive(t, seen["subscription cut"])
	require.Positive(t, seen["invoice cut"])
	item := r.Truth("subscription", 0)[0]
	items, err := itemsOf(item.State)
	require.NoError(t, err)
	_, body := r.get("/v1/subscription_items/" + stripeID(items[len(items)-1]))
	require.Equal(t, string(items[len(items)-1]), string(body))
}

func TestStripeRefuses(t *testing.T) {
	r := shop(t, 600)
	of := func(kind string) Truth {
		all := r.Truth(kind, 0)
		i := slices.IndexFunc(all, func(tr Truth) bool { return !tr.Deleted })
		return all[i]
	}
	customer, subscription := of("customer").ID, of("subscription").ID
	for name, tc := range map[string]struct {
		path        string
		status      int
		code, param string
	}{
		"a path there is not":      {"/nothing", 404, "", ""},
		"a path below another":     {"/customers/" + customer + "/nothing", 404, "", ""},
		"an id there is not":       {"/customers/cus_0", 404, "resource_missing", "id"},
		"under one there is not":   {"/customers/cus_0/sources", 404, "resource_missing", "id"},
		"a status on a GET":        {"/subscriptions/" + subscription + "?status=all", 400, "parameter_unknown", "status"},
		"an unknown parameter":     {"/products?status=all", 400, "parameter_unknown", "status"},
		"no bound of time":         {"/quotes?created[gte]=1", 400, "parameter_unknown", "created[gte]"},
		"a limit of none":          {"/customers?limit=0", 400, "parameter_invalid_integer", "limit"},
		"a limit too large":        {"/customers?limit=101", 400, "parameter_invalid_integer", "limit"},
		"a limit that is none":     {"/customers?limit=ten", 400, "parameter_invalid_integer", "limit"},
		"a time that is none":      {"/customers?created[gte]=now", 400, "parameter_invalid_integer", "created[gte]"},
		"items of no subscription": {"/subscription_items", 400, "parameter_missing", "subscription"},
		"items of an unknown one":  {"/subscription_items?subscription=sub_0", 404, "resource_missing", "id"},
		"a good one":               {"/customers?limit=3&created[gte]=5", 200, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			status, header, body := r.ask(http.MethodGet, "/v1"+tc.path, "")
			require.Equal(t, tc.status, status, "%s", body)
			require.NotEmpty(t, header.Get("Request-Id"))
			if status == http.StatusOK {
				return
			}
			e := errorOf(t, body).Error
			require.Equal(t, []string{tc.code, tc.param, "invalid_request_error"}, []string{e.Code, e.Param, e.Type})
		})
	}
	t.Run("no key", func(t *testing.T) {
		resp, err := http.Get(r.url + "/v1/customers")
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	})
	t.Run("a restricted key", func(t *testing.T) {
		r.SetChaos(Chaos{Entities: map[string]int{"refund/*": 403}})
		defer r.SetChaos(Chaos{})
		for _, path := range []string{"/refunds", "/refunds/" + of("refund").ID} {
			status, body := r.get("/v1" + path)
			require.Equal(t, http.StatusForbidden, status)
			require.Empty(t, errorOf(t, body).Error.Code)
		}
		status, _ := r.get("/v1/charges")
		require.Equal(t, http.StatusOK, status)
	})
}

func TestStripeSaysWhichLimitWasExceeded(t *testing.T) {
	r := shop(t, 200)
	r.SetChaos(Chaos{TooMany: 1})
	status, header, body := r.ask(http.MethodGet, "/v1/customers", "")
	require.Equal(t, http.StatusTooManyRequests, status)
	require.Contains(t, rateReasons, header.Get("Stripe-Rate-Limited-Reason"))
	require.Empty(t, header.Get("Retry-After"))
	require.Equal(t, "rate_limit", errorOf(t, body).Error.Code)

	r.SetChaos(Chaos{Locked: 1, LockedFor: Duration(time.Hour)})
	status, header, body = r.ask(http.MethodGet, "/v1/customers/"+r.Truth("customer", 0)[0].ID, "")
	require.Equal(t, http.StatusTooManyRequests, status)
	require.Empty(t, header.Get("Stripe-Rate-Limited-Reason"))
	require.Equal(t, "lock_timeout", errorOf(t, body).Error.Code)
}

func TestStripeLists(t *testing.T) {
	r := shop(t, 1200)
	newest := func(kind string, passes func(Truth) bool) (ids []string) {
		for _, e := range r.world.under(kind, "") {
			if tr := truthOf(e, e.current()); !tr.Deleted && passes(tr) {
				ids = append([]string{e.id}, ids...)
			}
		}
		return ids
	}
	every := func(Truth) bool { return true }
	canceled := func(tr Truth) bool { return bytes.Contains(tr.State, []byte(`"status":"canceled"`)) }
	t.Run("newest first, ten a page", func(t *testing.T) {
		want := newest("customer", every)
		require.Greater(t, len(want), 30)
		got := stripeIDs(stripePages(t, r, "/customers", func() {}))
		require.Equal(t, want, got)
	})
	t.Run("canceled subscriptions are listed with all alone", func(t *testing.T) {
		all := newest("subscription", every)
		require.Equal(t, all, stripeIDs(stripePages(t, r, "/subscriptions?status=all&limit=100", func() {})))
		live := newest("subscription", func(tr Truth) bool { return !canceled(tr) })
		require.Less(t, len(live), len(all))
		require.Equal(t, live, stripeIDs(stripePages(t, r, "/subscriptions?limit=100", func() {})))
		require.Len(t, stripePages(t, r, "/subscriptions?status=canceled&limit=100", func() {}), len(all)-len(live))
	})
	t.Run("from a time on", func(t *testing.T) {
		charges := r.Truth("charge", 0)
		var at struct{ Created int64 }
		require.NoError(t, json.Unmarshal(charges[len(charges)/2].State, &at))
		want := newest("charge", func(tr Truth) bool {
			var c struct{ Created int64 }
			return json.Unmarshal(tr.State, &c) == nil && c.Created >= at.Created
		})
		require.Equal(t, want, stripeIDs(stripePages(t, r, "/charges?created[gte]="+fmt.Sprint(at.Created), func() {})))
	})
	t.Run("a cursor that was lost", func(t *testing.T) {
		seen := map[int]bool{}
		for _, id := range newest("product", every) {
			_, err := r.world.change(func(c *change) { c.remove(c.w.find("product", id)) })
			require.NoError(t, err)
			status, body := r.get("/v1/products?starting_after=" + id)
			e := errorOf(t, body).Error
			require.Equal(t, []string{"resource_missing", "starting_after"}, []string{e.Code, e.Param})
			seen[status] = true
		}
		require.Equal(t, map[int]bool{400: true, 404: true}, seen)
	})
	t.Run("a subscription canceled between two pages", func(t *testing.T) {
		id := newest("subscription", func(tr Truth) bool { return !canceled(tr) })[3]
		_, err := r.world.change(func(c *change) { c.cancelSubscription(c.w.find("subscription", id)) })
		require.NoError(t, err)
		_, body := r.get("/v1/subscriptions?starting_after=" + id)
		require.Equal(t, "starting_after", errorOf(t, body).Error.Param)
		status, _ := r.get("/v1/subscriptions?status=all&starting_after=" + id)
		require.Equal(t, http.StatusOK, status)
	})
	t.Run("endless", func(t *testing.T) {
		r.SetChaos(Chaos{Endless: 1, EndlessFor: Duration(time.Hour)})
		_, body := r.get("/v1/refunds?limit=100")
		require.Contains(t, string(body), `"has_more":true`)
	})
	t.Run("bad pages", func(t *testing.T) {
		r.SetChaos(Chaos{BadPages: 1, BadPagesFor: Duration(time.Hour)})
		defer r.SetChaos(Chaos{})
		status, _ := r.get("/v1/charges")
		require.Equal(t, http.StatusOK, status)
		status, _ = r.get("/v1/charges?starting_after=" + newest("charge", every)[0])
		require.NotEqual(t, http.StatusOK, status)
	})
}

func TestStripeEventsAreListedForThirtyDays(t *testing.T) {
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	s, err := New(Options{Provider: Stripe, Now: func() time.Time { return now }, KeepEvents: -1})
	require.NoError(t, err)
	grow(t, s.world, 40)
	old := s.Events()
	now = now.Add(20 * 24 * time.Hour)
	grow(t, s.world, 40)
	young := s.Events()[len(old):]
	list := func(path string) []string {
		req, err := http.NewRequest(http.MethodGet, "/v1/events?limit=100"+path, nil)
		require.NoError(t, err)
		v, err := s.api.stripeEvents(req)
		require.NoError(t, err)
		return stripeIDs(v.(stripeList[json.RawMessage]).Data)
	}
	ids := func(events []EventFacts) (ids []string) {
		for _, e := range slices.Backward(events) {
			ids = append(ids, e.ID)
		}
		return ids
	}
	require.Equal(t, append(ids(young), ids(old)...)[:min(100, len(old)+len(young))], list(""))
	require.Equal(t, ids(young), list(fmt.Sprintf("&created[gte]=%d", now.Unix())))
	require.Equal(t, ids(young)[3:], list("&starting_after=" + ids(young)[2])[:len(young)-3])
	now = now.Add(20 * 24 * time.Hour)
	require.Equal(t, ids(young), list(""))
	for _, e := range young {
		checkStripe(t, "event", e.Body)
		require.Contains(t, list("&type="+e.Type), e.ID)
		family, _, _ := strings.Cut(e.Type, ".")
		require.Contains(t, list("&type="+family+".*"), e.ID)
		require.Contains(t, list("&types[]=x&types[]="+e.Type), e.ID)
	}
}

// Every change but that of the balance has an event that names the entity and shows
// it as it is then.
func TestStripeEventsShowTheObject(t *testing.T) {
	s, err := New(Options{Provider: Stripe, Now: ticking(), MaxEntities: -1, KeepEvents: -1})
	require.NoError(t, err)
	types, previous := map[string]bool{}, 0
	for range 2500 {
		seq, eventSeq := s.world.seq, s.world.eventSeq
		grow(t, s.world, 1)
		shown := map[string]json.RawMessage{}
		for _, n := range s.eventsAfter(eventSeq) {
			var e stripeEvent
			require.NoError(t, json.Unmarshal(n.Body, &e))
			types[e.Type] = true
			shown[n.Context[aboutID]] = e.Data.Object
			require.True(t, e.Livemode)
			require.True(t, e.Data.Previous == nil || strings.HasSuffix(e.Type, ".updated"))
			previous += len(e.Data.Previous)
			again, err := readStripeEvent(n.Body)
			require.NoError(t, err)
			require.Equal(t, n.Context, again.Context)
			require.Equal(t, n.CreatedAt.Truncate(time.Second), again.CreatedAt)
		}
		for _, tr := range s.Truth("", seq) {
			if tr.Kind != "balance" {
				require.Equal(t, string(stripeShown(stripe.kind(tr.Kind), tr.State)), string(shown[tr.ID]), "%s %s", tr.Kind, tr.ID)
			}
		}
	}
	require.Positive(t, previous)
	for _, typ := range []string{
		"customer.created", "customer.updated", "customer.deleted", "product.created", "product.updated", "product.deleted",
		"price.created", "price.updated", "coupon.created", "coupon.updated", "coupon.deleted",
		"customer.subscription.created", "customer.subscription.updated", "customer.subscription.deleted",
		"invoice.created", "invoice.deleted", "invoice.finalized", "invoice.paid", "invoice.payment_succeeded", "invoice.voided",
		"charge.pending", "charge.succeeded", "charge.failed", "charge.refunded", "refund.created", "refund.updated", "balance.available",
	} {
		require.True(t, types[typ], typ)
		delete(types, typ)
	}
	require.Empty(t, types)
}

func TestStripeWebhooks(t *testing.T) {
	for name, thin := range map[string]bool{"snapshots": false, "thin": true} {
		t.Run(name, func(t *testing.T) {
			to := newReceiver(t)
			to.header = "Stripe-Signature"
			o := to.options()
			o.Provider, o.Thin = Stripe, thin
			r := start(t, o)
			grow(t, r.world, 60)
			settledSoon(t, r.Simulator)
			events := map[string]EventFacts{}
			for _, e := range r.Events() {
				require.Equal(t, 1, e.Accepted)
				events[e.ID] = e
			}
			require.Len(t, to.taken(), len(events))
			for _, got := range to.taken() {
				at := signedAt(t, got.signature)
				_, v1, _ := strings.Cut(Sign(testSecret, at, got.body), ",")
				parts := strings.Split(got.signature, ",")
				require.Len(t, parts, 4)
				require.NotEqual(t, v1, parts[1], "by the secret that ends")
				require.Equal(t, v1, parts[2])
				require.True(t, strings.HasPrefix(parts[3], "v0="))
				if !thin {
					require.Equal(t, string(events[got.id].Body), string(got.body))
					continue
				}
				var e thinEvent
				require.NoError(t, json.Unmarshal(got.body, &e))
				twin := events[e.Snapshot]
				require.Equal(t, []string{"v2.core.event", "v1." + twin.Type}, []string{e.Object, e.Type})
				require.NotContains(t, events, e.ID)
				_, err := time.Parse(time.RFC3339, e.Created)
				require.NoError(t, err)
				status, body := r.get(e.Related.URL)
				require.True(t, status == http.StatusOK || status == http.StatusNotFound && strings.Contains(string(body), "resource_missing"), "%s", body)
				delete(events, e.Snapshot)
			}
			require.Equal(t, thin, len(events) == 0)
			_, body := r.get("/v1/webhook_endpoints")
			var p stripeList[json.RawMessage]
			require.NoError(t, json.Unmarshal(body, &p))
			require.Len(t, p.Data, 1)
			checkStripe(t, "webhook_endpoint", p.Data[0])
			require.Contains(t, string(p.Data[0]), to.URL)
		})
	}
	_, err := New(Options{Thin: true})
	require.ErrorContains(t, err, "lemon has no thin events")
	_, err = New(Options{Provider: "paypal"})
	require.ErrorContains(t, err, `provider: "paypal" is none of lemon, stripe`)
}

// Events of test mode are about objects that the live API does not know, and are no
// delivery of the event they are made of.
func TestStripeTestMode(t *testing.T) {
	to := newReceiver(t)
	to.header = "Stripe-Signature"
	o := to.options()
	o.Provider, o.Chaos = Stripe, Chaos{TestMode: 0.5}
	r := start(t, o)
	require.NoError(t, r.StartLoad(Load{Entities: 20, Events: 200, Rate: 1e6}))
	require.Eventually(t, func() bool { return r.LoadProgress().Done }, soon, often)
	settledSoon(t, r.Simulator)
	live, tests := map[string]bool{}, 0
	for _, e := range r.Events() {
		require.Equal(t, 1, e.Accepted)
		live[e.ID] = true
	}
	for _, got := range to.taken() {
		var e stripeEvent
		require.NoError(t, json.Unmarshal(got.body, &e))
		require.Equal(t, e.Livemode, live[e.ID])
		if e.Livemode {
			continue
		}
		tests++
		about, err := readStripeEvent(got.body)
		require.NoError(t, err)
		require.Nil(t, r.world.find(about.Context[aboutKind], about.Context[aboutID]))
		status, body := r.get("/v1" + stripe.kind(about.Context[aboutKind]).path + "/" + about.Context[aboutID])
		require.Equal(t, http.StatusNotFound, status)
		require.Equal(t, "resource_missing", errorOf(t, body).Error.Code)
	}
	require.InDelta(t, 100, tests, 50)
	c := r.Counters().Webhooks
	require.EqualValues(t, tests, c.TestMode)
	require.EqualValues(t, 200, c.Accepted)
}

func TestStripeLoads(t *testing.T) {
	r := start(t, Options{Provider: Stripe, Seed: 5, KeepVersions: -1, KeepEvents: -1})
	require.NoError(t, r.StartLoad(Load{Entities: 120, Events: 4000, Rate: 1e6}))
	require.Eventually(t, func() bool { return r.LoadProgress().Made == 4000 }, soon, often)
	all := r.Truth("", 0)
	require.Len(t, all, 120)
	require.Len(t, r.Truth("customer", 0), 12)
	versions, deleted, kinds := 0, 0, map[string]bool{}
	for _, tr := range all {
		h := r.History(tr.Kind, tr.ID)
		versions += len(h)
		kinds[tr.Kind] = true
		for i := 1; i < len(h); i++ {
			require.True(t, h[i].Deleted || string(h[i-1].State) != string(h[i].State), "each is a change")
		}
		if tr.Deleted {
			deleted++
		}
	}
	require.Equal(t, 4000, versions, "one a change, one change an event")
	require.Positive(t, deleted)
	require.Equal(t, []string{"charge", "customer", "invoice", "price", "product", "refund", "subscription"}, slices.Sorted(maps.Keys(kinds)))
}

func TestStripeDrift(t *testing.T) {
	r := start(t, Options{Provider: Stripe, Seed: 3})
	require.NoError(t, r.StartLoad(Load{Entities: 400, Events: 400, Rate: 1e6}))
	require.Eventually(t, func() bool { return r.LoadProgress().Done }, soon, often)
	events, before := len(r.Events()), map[string]Truth{}
	for _, tr := range r.Truth("", 0) {
		before[tr.Kind+"/"+tr.ID] = tr
	}
	d, err := r.Drift(Drift{Change: 0.2, Delete: 0.3})
	require.NoError(t, err)
	require.InDelta(t, 80, len(d.Changed), 35)
	require.NotEmpty(t, d.Deleted)
	require.Len(t, r.Events(), events)
	tail := map[string]bool{}
	for _, tr := range r.Truth("", 0) {
		name := tr.Kind + "/" + tr.ID
		require.Equal(t, slices.Contains(d.Changed, name) || slices.Contains(d.Deleted, name), tr.Version > before[name].Version, name)
		if k := stripe.kind(tr.Kind); slices.Contains(d.Changed, name) && string(stripeShown(k, tr.State)) == string(stripeShown(k, before[name].State)) {
			tail[tr.Kind] = true // beyond what a GET shows
		}
	}
	require.Equal(t, map[string]bool{"subscription": true, "invoice": true}, tail)
}

// A world of Stripe is the same after a restart, and none of another provider.
func TestStripeIsKept(t *testing.T) {
	o := Options{Provider: Stripe, Data: t.TempDir(), Now: ticking(), KeepEvents: -1}
	s, err := New(o)
	require.NoError(t, err)
	grow(t, s.world, 800)
	require.NoError(t, s.world.journal.rewrite(s.world.write))
	grow(t, s.world, 100)
	want := whole(t, s)
	require.NoError(t, s.world.journal.close())
	again, err := New(o)
	require.NoError(t, err)
	require.Equal(t, want, whole(t, again))
	grow(t, again.world, 100)
	require.NoError(t, again.world.journal.close())
	o.Provider = Lemon
	_, err = New(o)
	require.ErrorContains(t, err, "the world of another provider than lemon")
}

func TestStripeWorldsOfOneSeedAreTheSame(t *testing.T) {
	world := func(seed uint64) []Truth {
		s, err := New(Options{Provider: Stripe, Seed: seed, Now: ticking()})
		require.NoError(t, err)
		grow(t, s.world, 500)
		return s.Truth("", 0)
	}
	require.Equal(t, world(7), world(7))
	require.NotEqual(t, world(7), world(8))
}

func TestAFullWorldOfStripeDoesNotGrow(t *testing.T) {
	s, err := New(Options{Provider: Stripe, Now: ticking(), MaxEntities: 300, KeepEvents: 100, KeepVersions: 3})
	require.NoError(t, err)
	grow(t, s.world, 2500)
	size := len(s.world.entities)
	require.Less(t, size, 700)
	grow(t, s.world, 500)
	require.Equal(t, size, len(s.world.entities))
}

func TestStripeOddTimes(t *testing.T) {
	at := time.Unix(1_790_000_000, 0)
	n := &notice{ID: "evt_1", Type: "customer.created", CreatedAt: at}
	s, err := New(Options{Provider: Stripe, Now: ticking()})
	require.NoError(t, err)
	_, err = s.world.change(func(c *change) {
		writeStripeEvent(c, n, c.customer(nil), nil)
	})
	require.NoError(t, err)
	for i, odd := range stripeOddTimes {
		body := s.chaos.dated(n.Body, n, odd(at))
		require.True(t, json.Valid(body), "%s", body)
		require.NotEqual(t, string(n.Body), string(body), i)
	}
}
