package simulator

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// shopper asks for changes as a client does.
type shopper struct {
	*running
	headers map[string]string
	ctx     context.Context
}

// do sends one request. A request without an answer has status 0.
func (s *shopper) do(method, path, body string) (int, http.Header, []byte) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.ctx, method, s.url+path, strings.NewReader(body))
	require.NoError(s.t, err)
	req.Header.Set("Authorization", "Bearer write")
	req.Header.Set("LMG-Data-Privacy-Access-Principal", "test-none")
	req.Header.Set("LMG-Data-Privacy-Access-Justification", "command-1")
	for name, value := range s.headers {
		req.Header.Set(name, value)
	}
	req.GetBody = nil // this client repeats nothing
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, nil
	}
	defer res.Body.Close()
	text := new(bytes.Buffer)
	if _, err := text.ReadFrom(res.Body); err != nil {
		return 0, nil, nil
	}
	return res.StatusCode, res.Header, text.Bytes()
}

// keyed sets the idempotency key of the requests that follow.
func (s *shopper) keyed(key string) *shopper {
	return &shopper{s.running, map[string]string{"Idempotency-Key": key}, s.ctx}
}

func shopping(t *testing.T, o Options) *shopper {
	t.Helper()
	o.WriteKey, o.APIKey, o.KeepEvents, o.KeepVersions = "write", "key", -1, -1
	return &shopper{start(t, o), nil, t.Context()}
}

// effects are the requests that had one.
func (s *shopper) effects() (all []WriteFacts) {
	for _, f := range s.Writes() {
		if f.Effect {
			all = append(all, f)
		}
	}
	return all
}

func idIn(t *testing.T, body []byte) string {
	t.Helper()
	id := stripeID(body)
	require.NotEmpty(t, id, "%s", body)
	return id
}

func TestACatalogueIsWritten(t *testing.T) {
	hooks := newReceiver(t)
	hooks.header = "Stripe-Signature"
	s := shopping(t, Options{Provider: Stripe, WebhookURL: hooks.URL, WebhookSecret: testSecret})
	status, header, product := s.keyed("k1").do("POST", "/v1/products", "id=sku-42&name=Lake+guide&metadata%5Btarn_ref%5D=sku-42&images%5B0%5D=a&images%5B1%5D=b")
	require.Equal(t, 200, status, "%s", product)
	require.NotEmpty(t, header.Get("Request-Id"))
	members := checkStripe(t, "product", product)
	require.JSONEq(t, `"sku-42"`, string(members["id"]), "an id of the client's own")
	require.JSONEq(t, `["a","b"]`, string(members["images"]))
	require.JSONEq(t, `{"tarn_ref":"sku-42"}`, string(members["metadata"]))

	status, _, price := s.do("POST", "/v1/prices", "product=sku-42&currency=eur&unit_amount=1990&recurring%5Binterval%5D=month&lookup_key=monthly")
	require.Equal(t, 200, status, "%s", price)
	checkStripe(t, "price", price)
	status, _, body := s.do("POST", "/v1/prices", "product=sku-42&currency=eur&unit_amount=1&lookup_key=monthly")
	require.Equal(t, 400, status, "%s", body)
	status, _, body = s.do("DELETE", "/v1/products/sku-42", "")
	require.Equal(t, 400, status, "one with prices stays: %s", body)
	status, _, body = s.do("POST", "/v1/products/sku-42", "description=New&metadata%5Bshelf%5D=A&active=false")
	require.Equal(t, 200, status, "%s", body)
	status, _, body = s.do("POST", "/v1/products/sku-42", "description=&images=&metadata%5Bshelf%5D=")
	require.Equal(t, 200, status, "%s", body)
	members = checkStripe(t, "product", body)
	require.Equal(t, "null", string(members["description"]))
	require.Equal(t, "[]", string(members["images"]))
	require.JSONEq(t, `{"tarn_ref":"sku-42"}`, string(members["metadata"]))
	require.Equal(t, "false", string(members["active"]))

	status, _, customer := s.do("POST", "/v1/customers", "email=a%40example.com&address%5Bcity%5D=Kochel&balance=-500")
	require.Equal(t, 200, status, "%s", customer)
	cus := idIn(t, customer)
	status, _, body = s.do("POST", "/v1/customers/"+cus, "name=Ada&address=")
	require.Equal(t, 200, status, "%s", body)
	require.Equal(t, "null", string(checkStripe(t, "customer", body)["address"]))
	status, _, body = s.do("DELETE", "/v1/customers/"+cus, "")
	require.JSONEq(t, `{"id":"`+cus+`","object":"customer","deleted":true}`, string(body), "%d", status)
	status, _, body = s.do("POST", "/v1/coupons", "id=SPRING&percent_off=12.5&duration=once")
	require.Equal(t, 200, status, "%s", body)
	checkStripe(t, "coupon", body)
	status, _, body = s.do("POST", "/v1/coupons/SPRING", "name=Spring")
	require.Equal(t, 200, status, "%s", body)
	status, _, _ = s.do("DELETE", "/v1/coupons/SPRING", "")
	require.Equal(t, 200, status)
	status, _, _ = s.do("DELETE", "/v1/coupons/SPRING", "")
	require.Equal(t, 404, status)

	// What was changed is in the answers to reads, in lists and in webhooks.
	status, shown := s.get("/v1/products/sku-42")
	require.Equal(t, 200, status)
	require.Contains(t, string(shown), `"name":"Lake guide"`)
	require.Len(t, stripePages(t, s.running, "/prices?product=sku-42", func() {}), 1)
	want := []string{"product.created", "price.created", "product.updated", "product.updated", "customer.created", "customer.updated", "customer.deleted", "coupon.created", "coupon.updated", "coupon.deleted"}
	var made []string
	for _, e := range s.Events() {
		made = append(made, e.Type)
	}
	require.Equal(t, want, made)
	require.Eventually(t, func() bool { return len(hooks.ids()) == len(want) }, soon, often)
	require.Contains(t, string(s.Events()[0].Body), `"idempotency_key":"k1"`, "an event says which request caused it")

	effects := s.effects()
	require.Len(t, effects, len(want))
	require.Equal(t, "create product sku-42 k1", effects[0].Op+" "+effects[0].Kind+" "+effects[0].ID+" "+effects[0].Key)
	require.Len(t, s.Writes(), len(want)+3, "those that were refused are on record too")
	require.True(t, slices.IsSortedFunc(s.Writes(), func(a, b WriteFacts) int { return int(a.Seq - b.Seq) }))
}

func TestStripeRefusesWhatIsWrong(t *testing.T) {
	s := shopping(t, Options{Provider: Stripe})
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		code, param        string
	}{
		"no name":              {"POST", "/v1/products", "active=true", 400, "parameter_missing", "name"},
		"an unknown parameter": {"POST", "/v1/products", "name=a&colour=red", 400, "parameter_unknown", "colour"},
		"the first mistake":    {"POST", "/v1/prices", "currency=eur&product=p&recurring%5Binterval%5D=month&recurring%5Bx%5D=1", 400, "resource_missing", "product"},
		"a number":             {"POST", "/v1/customers", "balance=x", 400, "parameter_invalid_integer", "balance"},
		"twice":                {"POST", "/v1/products", "name=a&name=b", 400, "parameter_invalid_integer", "name"},
		"a text and an object": {"POST", "/v1/customers", "address=x", 400, "parameter_invalid_integer", "address"},
		"no such product":      {"POST", "/v1/prices", "currency=eur&product=moon", 400, "resource_missing", "product"},
		"of what is not there": {"POST", "/v1/products/moon", "name=a", 404, "resource_missing", "id"},
		"both amounts":         {"POST", "/v1/coupons", "percent_off=5&amount_off=5", 400, "", ""},
		"JSON":                 {"POST", "/v1/products", `{"name":"a"}`, 400, "", ""},
		"no such path":         {"POST", "/v1/invoices", "customer=c", 404, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			status, _, body := s.do(c.method, c.path, c.body)
			require.Equal(t, c.status, status, "%s", body)
			var e stripeError
			require.NoError(t, json.Unmarshal(body, &e))
			if c.code != "" {
				require.Equal(t, c.code, e.Error.Code, "%s", body)
				require.Equal(t, c.param, e.Error.Param, "%s", body)
			}
		})
	}
	require.Empty(t, s.effects())
	require.Zero(t, s.Counters().Versions)
}

func TestAnOwnIDIsTakenOnce(t *testing.T) {
	s := shopping(t, Options{Provider: Stripe})
	status, _, _ := s.do("POST", "/v1/products", "id=a&name=a")
	require.Equal(t, 200, status)
	status, _, body := s.do("POST", "/v1/products", "id=a&name=a")
	require.Equal(t, 400, status)
	require.Contains(t, string(body), "resource_already_exists")
	require.Len(t, s.effects(), 1)
}

// lemonAccount is an account of lemon that can pay money out.
func lemonAccount(t *testing.T, s *running) string {
	t.Helper()
	for range 2000 {
		grow(t, s.world, 1)
		for _, e := range s.world.under("account", "") {
			_, err := s.world.change(func(c *change) {
				if look[account](c, e).ReferenceAccount == nil || e.links["securities_account"] == "" {
					c.fail(errNotFound)
				}
			})
			if err == nil {
				return e.id
			}
		}
	}
	t.Fatal("no account was opened")
	return ""
}

const goodOrder = `{"side":"buy","type":"market","instrument":"US0378331005","amount":"100.50","fees":{"base_amount":"0"},"currency":"EUR"}`

func statusOf(t *testing.T, body []byte) string {
	t.Helper()
	var v struct {
		Status  string
		History history
	}
	require.NoError(t, json.Unmarshal(body, &v))
	if v.Status != "" {
		return v.Status
	}
	return v.History.now()
}

func TestOrdersAreWritten(t *testing.T) {
	s := shopping(t, Options{})
	acc := "/v1/accounts/" + lemonAccount(t, s.running)
	before := len(s.Events())
	status, _, body := s.keyed("k").do("POST", acc+"/orders", goodOrder)
	require.Equal(t, 201, status, "%s", body)
	require.Equal(t, "created", statusOf(t, body))
	id := idIn(t, body)
	status, _, body = s.do("POST", acc+"/orders/"+id+"/confirm", `{}`)
	require.Equal(t, 422, status, "the customer has to sign: %s", body)
	status, _, body = s.do("POST", acc+"/orders/"+id+"/confirm", `{"sca":{"client_credential_id":"c","signature":"s"}}`)
	require.Equal(t, 200, status, "%s", body)
	require.Equal(t, "confirmed", statusOf(t, body))
	status, _, _ = s.do("POST", acc+"/orders/"+id+"/confirm", `{"sca":{"client_credential_id":"c","signature":"s"}}`)
	require.Equal(t, 422, status, "once")
	status, _, body = s.do("POST", acc+"/orders/"+id+"/cancel", "")
	require.Equal(t, 200, status, "%s", body)
	require.Equal(t, "canceling", statusOf(t, body))
	status, _, _ = s.do("POST", acc+"/orders/"+id+"/cancel", "")
	require.Equal(t, 422, status, "once")

	status, _, body = s.do("POST", acc+"/withdrawals", `{"amount":"12.30"}`)
	require.Equal(t, 201, status, "%s", body)
	wid := idIn(t, body)
	status, _, body = s.do("POST", acc+"/withdrawals/"+wid+"/confirm", `{"sca":{"client_credential_id":"c","signature":"s"}}`)
	require.Equal(t, 200, status, "%s", body)
	require.Equal(t, "confirmed", statusOf(t, body))

	var made []string
	for _, e := range s.Events()[before:] {
		made = append(made, e.Type)
	}
	require.Equal(t, []string{"order.created", "order.confirmed", "order.canceling", "withdrawal.created", "withdrawal.confirmed"}, made)
	status, shown := s.get(acc + "/orders/" + id)
	require.Equal(t, 200, status)
	require.Equal(t, "canceling", statusOf(t, shown))
	status, shown = s.get(acc + "/withdrawals")
	require.Equal(t, 200, status)
	require.Contains(t, string(shown), wid)
	require.Equal(t, "command-1", s.effects()[0].Why)

	// Life goes on with what was confirmed, and leaves alone what was not.
	status, _, body = s.do("POST", acc+"/orders", goodOrder)
	require.Equal(t, 201, status)
	waiting := idIn(t, body)
	grow(t, s.world, 3000)
	require.Equal(t, "canceled", statusOf(t, s.History("order", id)[len(s.History("order", id))-1].State))
	require.Equal(t, "created", statusOf(t, s.History("order", waiting)[0].State))
	require.Len(t, s.History("order", waiting), 1)
}

func TestLemonRefusesWhatIsWrong(t *testing.T) {
	s := shopping(t, Options{})
	acc := "/v1/accounts/" + lemonAccount(t, s.running)
	for name, c := range map[string]struct {
		path, body string
		status     int
	}{
		"no JSON":              {acc + "/orders", `{`, 422},
		"an unknown member":    {acc + "/orders", strings.Replace(goodOrder, "{", `{"colour":"red",`, 1), 422},
		"a side":               {acc + "/orders", strings.Replace(goodOrder, "buy", "hold", 1), 422},
		"no fees":              {acc + "/orders", strings.Replace(goodOrder, `"fees":{"base_amount":"0"},`, "", 1), 422},
		"both fees":            {acc + "/orders", strings.Replace(goodOrder, `{"base_amount":"0"}`, `{"base_amount":"0","pct":"1"}`, 1), 422},
		"an amount":            {acc + "/orders", strings.Replace(goodOrder, "100.50", "-1", 1), 422},
		"too many places":      {acc + "/orders", strings.Replace(goodOrder, "100.50", "1.001", 1), 422},
		"an instrument":        {acc + "/orders", strings.Replace(goodOrder, "US0378331005", "US0000000000", 1), 422},
		"a securities account": {acc + "/orders", strings.Replace(goodOrder, "{", `{"securities_account":"moon",`, 1), 422},
		"no account":           {"/v1/accounts/moon/orders", goodOrder, 404},
		"no order":             {acc + "/orders/moon/cancel", "", 404},
		"no amount":            {acc + "/withdrawals", `{}`, 422},
		"a currency":           {acc + "/withdrawals", `{"amount":"1","currency":"USD"}`, 422},
	} {
		t.Run(name, func(t *testing.T) {
			status, _, body := s.keyed("one").do("POST", c.path, c.body)
			require.Equal(t, c.status, status, "%s", body)
		})
	}
	require.Empty(t, s.effects())
	status, _, body := s.keyed("one").do("POST", acc+"/orders", goodOrder)
	require.Equal(t, 201, status, "what was refused has not used the key up: %s", body)
}

func TestTheKeyOfReadsChangesNothing(t *testing.T) {
	for _, provider := range []string{Lemon, Stripe} {
		t.Run(provider, func(t *testing.T) {
			s := shopping(t, Options{Provider: provider})
			read, write := "/v1/accounts", "/v1/accounts/x/orders"
			if provider == Stripe {
				read, write = "/v1/products", "/v1/products"
			}
			status := func(method, path, key string) int {
				s := &shopper{s.running, map[string]string{"Authorization": "Bearer " + key}, t.Context()}
				got, _, _ := s.do(method, path, "")
				return got
			}
			require.Equal(t, 200, status("GET", read, "key"))
			require.Equal(t, 200, status("GET", read, "write"))
			require.Equal(t, 403, status("POST", write, "key"))
			require.NotContains(t, []int{401, 403}, status("POST", write, "write"))
			require.Equal(t, 401, status("POST", write, "other"))
			require.Equal(t, 401, status("GET", read, "other"))
		})
	}
}

// With the same key there is one effect, and one answer.
func TestKeys(t *testing.T) {
	now := ticking()
	var ahead atomic.Int64
	s := shopping(t, Options{Provider: Stripe, Now: func() time.Time { return now().Add(time.Duration(ahead.Load())) }})
	k := s.keyed("k1")
	status, header, first := k.do("POST", "/v1/customers", "name=a")
	require.Equal(t, 200, status)
	require.Empty(t, header.Get("Idempotent-Replayed"))
	for range 2 {
		status, header, again := k.do("POST", "/v1/customers", "name=a")
		require.Equal(t, 200, status)
		require.Equal(t, string(first), string(again))
		require.Equal(t, "true", header.Get("Idempotent-Replayed"))
	}
	status, _, body := k.do("POST", "/v1/customers", "name=b")
	require.Equal(t, 400, status)
	require.Contains(t, string(body), `"type":"idempotency_error"`)
	status, _, _ = k.do("POST", "/v1/coupons", "name=a")
	require.Equal(t, 400, status, "another path")
	status, _, _ = s.keyed(strings.Repeat("k", 256)).do("POST", "/v1/customers", "name=a")
	require.Equal(t, 400, status)
	require.Len(t, s.effects(), 1)
	require.Len(t, s.Writes(), 6)
	require.True(t, s.Writes()[1].Replayed)
	ahead.Store(int64(25 * time.Hour))
	status, header, again := k.do("POST", "/v1/customers", "name=a")
	require.Equal(t, 200, status)
	require.Empty(t, header.Get("Idempotent-Replayed"))
	require.NotEqual(t, idIn(t, first), idIn(t, again), "a key that was forgotten makes a second one")
	require.Len(t, s.effects(), 2)
	status, _, _ = s.do("POST", "/v1/customers", "name=a")
	require.Equal(t, 200, status)
	require.Len(t, s.effects(), 3, "no key, no protection")
}

func TestKeysOfLemon(t *testing.T) {
	s := shopping(t, Options{})
	acc := "/v1/accounts/" + lemonAccount(t, s.running)
	k := s.keyed("k")
	status, _, first := k.do("POST", acc+"/orders", goodOrder)
	require.Equal(t, 201, status)
	status, _, again := k.do("POST", acc+"/orders", goodOrder)
	require.Equal(t, 201, status)
	require.Equal(t, string(first), string(again))
	status, _, _ = k.do("POST", acc+"/orders", strings.Replace(goodOrder, "100.50", "1.00", 1))
	require.Equal(t, 422, status)
	status, _, _ = s.keyed(strings.Repeat("k", 101)).do("POST", acc+"/orders", goodOrder)
	require.Equal(t, 422, status)
	require.Len(t, s.effects(), 1)
	for range 2 {
		status, _, _ = k.do("POST", acc+"/withdrawals", `{"amount":"1"}`)
		require.Equal(t, 201, status)
	}
	require.Len(t, s.effects(), 3, "only orders take keys")
}

// While the first request with a key has not been answered, a second one is refused.
func TestAKeyIsInUse(t *testing.T) {
	s := shopping(t, Options{Provider: Stripe, Chaos: Chaos{SlowAnswer: 1, SlowFor: Duration(time.Minute)}})
	ctx, cancel := context.WithCancel(t.Context())
	first := s.keyed("k")
	first.ctx = ctx
	done := make(chan int, 1)
	go func() {
		status, _, _ := first.do("POST", "/v1/customers", "name=a")
		done <- status
	}()
	require.Eventually(t, func() bool { return len(s.effects()) == 1 }, soon, often)
	status, _, body := s.keyed("k").do("POST", "/v1/customers", "name=a")
	require.Equal(t, 409, status)
	require.Contains(t, string(body), "idempotency_key_in_use")
	require.Equal(t, mishapSlow, s.effects()[0].Answer)
	cancel()
	require.Zero(t, <-done)
}

// What goes wrong after the effect leaves it in place, on record and under its key.
func TestChaosAfterTheEffect(t *testing.T) {
	for name, c := range map[string]struct {
		provider      string
		chaos         Chaos
		first         int // status, 0: none
		again         int // status of the same request once chaos is over
		effects       int // after the second
		answer        string
		firstIsEffect bool
	}{
		"lost":                       {Stripe, Chaos{LoseAnswer: 1, HangFor: Duration(time.Millisecond)}, 0, 200, 1, mishapLost, true},
		"reset":                      {Stripe, Chaos{ResetAnswer: 1}, 0, 200, 1, mishapReset, true},
		"an error, kept":             {Stripe, Chaos{ErrorAfter: 1}, 500, 500, 1, mishapError, true},
		"an error before, kept":      {Stripe, Chaos{ErrorBefore: 1}, 500, 500, 0, mishapBefore, false},
		"slow":                       {Stripe, Chaos{SlowAnswer: 1, SlowFor: Duration(time.Millisecond)}, 200, 200, 1, mishapSlow, true},
		"lemon, an error":            {Lemon, Chaos{ErrorAfter: 1}, 500, 201, 1, mishapError, true},
		"lemon, an error before":     {Lemon, Chaos{ErrorBefore: 1}, 500, 201, 1, mishapBefore, false},
		"lemon, lost":                {Lemon, Chaos{LoseAnswer: 1, HangFor: Duration(time.Millisecond)}, 0, 201, 1, mishapLost, true},
		"lemon, the connection ends": {Lemon, Chaos{ResetAnswer: 1}, 0, 201, 1, mishapReset, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := shopping(t, Options{Provider: c.provider})
			path, body := "/v1/customers", "name=a"
			if c.provider == Lemon {
				path, body = "/v1/accounts/"+lemonAccount(t, s.running)+"/orders", goodOrder
			}
			s.SetChaos(c.chaos)
			status, _, _ := s.keyed("k").do("POST", path, body)
			require.Equal(t, c.first, status)
			require.Equal(t, c.answer, s.Writes()[0].Answer)
			require.Equal(t, c.firstIsEffect, s.Writes()[0].Effect)
			s.SetChaos(Chaos{})
			status, header, text := s.keyed("k").do("POST", path, body)
			require.Equal(t, c.again, status, "%s", text)
			require.Len(t, s.effects(), c.effects)
			if c.provider == Stripe {
				require.Equal(t, "true", header.Get("Idempotent-Replayed"))
			}
		})
	}
}

// What is known of keys and effects is there after a restart, and after the journal was
// rewritten.
func TestKeysAndEffectsSurvive(t *testing.T) {
	dir := t.TempDir()
	o := Options{Provider: Stripe, Data: dir}
	s := shopping(t, o)
	_, _, first := s.keyed("k").do("POST", "/v1/customers", "name=a")
	s.SetChaos(Chaos{ErrorBefore: 1})
	status, _, _ := s.keyed("e").do("POST", "/v1/customers", "name=a")
	require.Equal(t, 500, status)
	s.SetChaos(Chaos{})
	before := s.Writes()
	s.stop()

	for _, rewrite := range []bool{false, true} {
		s = shopping(t, o)
		if rewrite {
			s.world.mu.Lock()
			require.NoError(t, s.world.journal.rewrite(s.world.write))
			s.world.mu.Unlock()
		}
		require.Len(t, s.Writes(), len(before))
		require.Equal(t, before[0].ID, s.Writes()[0].ID)
		_, _, again := s.keyed("k").do("POST", "/v1/customers", "name=a")
		require.Equal(t, string(first), string(again))
		status, header, _ := s.keyed("e").do("POST", "/v1/customers", "name=a")
		require.Equal(t, 500, status)
		require.Equal(t, "true", header.Get("Idempotent-Replayed"))
		require.Len(t, s.effects(), 1)
		before = s.Writes()
		s.stop()
	}
}

func TestWritesOfAConnectedAccount(t *testing.T) {
	s := shopping(t, Options{Provider: Stripe})
	_, _, body := s.ask("POST", "/_sim/accounts", `{"customers":1}`)
	var connectedAs struct{ Account string }
	require.NoError(t, json.Unmarshal(body, &connectedAs))
	account := connectedAs.Account
	of := &shopper{s.running, map[string]string{accountHeader: account, "Idempotency-Key": "k"}, t.Context()}
	status, _, body := of.do("POST", "/v1/products", "id=p&name=a")
	require.Equal(t, 200, status, "%s", body)
	status, _, _ = s.do("POST", "/v1/products/p", "name=b")
	require.Equal(t, 404, status, "it is not the platform's own")
	status, _, body = s.keyed("k").do("POST", "/v1/products", "id=q&name=a")
	require.Equal(t, 200, status, "keys are of one account: %s", body)
	require.Equal(t, account, s.effects()[0].Account)
}

func TestEffectsAreServed(t *testing.T) {
	s := shopping(t, Options{Provider: Stripe})
	s.keyed("k").do("POST", "/v1/customers", "name=a")
	s.keyed("k").do("POST", "/v1/customers", "name=a")
	lines := func(path string) (all []WriteFacts) {
		res, err := http.Get(s.url + path) //nolint:noctx // a test's own server
		require.NoError(t, err)
		defer res.Body.Close()
		in := bufio.NewScanner(res.Body)
		for in.Scan() {
			var f WriteFacts
			require.NoError(t, json.Unmarshal(in.Bytes(), &f))
			all = append(all, f)
		}
		return all
	}
	require.Len(t, lines("/_sim/writes"), 2)
	effects := lines("/_sim/effects")
	require.Len(t, effects, 1)
	require.Equal(t, "k", effects[0].Key)
	require.Equal(t, "name=a", effects[0].Body)
	require.Empty(t, lines("/_sim/effects?after=1"))
	require.Len(t, lines("/_sim/writes?after=1"), 1)
}

// FuzzForm: for any body the answer is parameters or a refusal.
func FuzzForm(f *testing.F) {
	f.Add("a=1&b[c][0]=2&b[c][]=3&d=")
	f.Add("a[=1&]=2&[a]=3&a[b]c=4&%zz=5&a=1&a[b]=2")
	f.Fuzz(func(t *testing.T, body string) {
		p, err := parseForm(body)
		if err != nil {
			require.Equal(t, http.StatusBadRequest, asRefusal(err).status)
			return
		}
		p.metadata(nil)
		p.list("images", func([]string) {})
		p.whole("balance", func(int64) {})
		_ = p.rest()
	})
}
