package deployments

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/provider"
)

// goldenRequest is a request of the golden file of a definition.
type goldenRequest struct {
	about, method, path, contentType, body string
}

// goldenRequests reads the requests that package provider makes of its test commands.
func goldenRequests(t *testing.T, name string) (all []goldenRequest) {
	t.Helper()
	text, err := os.ReadFile("../shared/provider/testdata/writes/" + name + ".txt")
	require.NoError(t, err)
	for block := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n# ") {
		lines := strings.Split(strings.TrimPrefix(block, "# "), "\n")
		r := goldenRequest{about: lines[0]}
		r.method, r.path, _ = strings.Cut(lines[1], " ")
		for _, line := range lines[2:] {
			switch header, value, _ := strings.Cut(line, ": "); header {
			case "Idempotency-Key":
			case "Content-Type":
				r.contentType = value
			default:
				r.body += line
			}
		}
		all = append(all, r)
	}
	require.Greater(t, len(all), 10)
	return all
}

// send sends a golden request to stripe-mock.
func (r goldenRequest) send(t *testing.T, address string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.method, address+r.path, strings.NewReader(r.body))
	require.NoError(t, err)
	req.SetBasicAuth("sk_test_123", "")
	req.Header.Set("Stripe-Version", "2026-08-26.dahlia")
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(body)
}

// Each change that the definition of Stripe sends is one that Stripe's own OpenAPI
// document knows, with parameters of the right types.
func TestStripeMockTakesTheWritesOfTheDefinition(t *testing.T) {
	address := stripeMock(t).String() + "/v1"
	requests := goldenRequests(t, "stripe")
	for _, r := range requests {
		status, body := r.send(t, address)
		require.Equal(t, http.StatusOK, status, "%s: %s", r.about, body)
	}
	// A check that cannot fail proves nothing.
	for _, c := range []struct{ old, new string }{{"name=", "nome="}, {"images%5B0%5D=", "images%5Bfirst%5D%5B0%5D="}} {
		r := requests[0]
		require.Contains(t, r.body, c.old)
		r.body = strings.Replace(r.body, c.old, c.new, 1)
		status, _ := r.send(t, address)
		require.Equal(t, http.StatusBadRequest, status, c.new)
	}
}

// shop is a simulated provider that Tarn's client changes things at.
type shop struct {
	*simulator.Simulator
	t          *testing.T
	definition *provider.Definition
	client     *provider.Client
	writer     *provider.Writer
}

func openShop(t *testing.T, name string) *shop {
	t.Helper()
	s, err := simulator.New(simulator.Options{Provider: name, APIKey: "read-key", WriteKey: "write-key", KeepEvents: -1, KeepVersions: -1, Seed: 1, Rate: 2000})
	require.NoError(t, err)
	server := httptest.NewServer(s.Handler())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
		server.Close()
	})
	d, err := provider.Builtin(name)
	require.NoError(t, err)
	c, err := provider.NewClient(d, provider.ClientOptions{BaseURL: server.URL + "/v1", Key: "read-key"})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	w, err := c.Writer("write-key")
	require.NoError(t, err)
	return &shop{s, t, d, c, w}
}

// do renders and sends a command.
func (s *shop) do(kind, op, id, ref string, parents map[string]string, body string) provider.Answer {
	s.t.Helper()
	cmd := provider.Command{Kind: kind, Op: op, ID: id, Ref: ref, Parents: parents, Body: []byte(body), Key: "cmd_" + kind + op + id + ref}
	req, err := s.definition.Render(cmd, func(r provider.RefName) (string, bool) { return r.Ref, true })
	require.NoError(s.t, err)
	return s.writer.Send(s.t.Context(), cmd, req, "command-test")
}

// done is do for what the provider has to do.
func (s *shop) done(kind, op, id, ref string, parents map[string]string, body string) string {
	s.t.Helper()
	a := s.do(kind, op, id, ref, parents, body)
	require.Equal(s.t, provider.Answered, a.Outcome, "%s %s: %v %s", kind, op, a.Err, a.Body)
	return a.ID
}

// seen fetches an entity with the key of reads.
func (s *shop) seen(kind, id string, parents map[string]string) *provider.Snapshot {
	s.t.Helper()
	got, err := s.client.Fetch(s.t.Context(), s.definition.Kind(kind).Ref("s", id, parents), "test")
	require.NoError(s.t, err)
	return got
}

// The simulated Stripe takes what the definition sends, and shows it.
func TestTheSimulatedStripeTakesWrites(t *testing.T) {
	s := openShop(t, simulator.Stripe)
	s.SetRate(0) // life deletes products and customers
	product := s.done("product", "create", "", "sku-42", nil, `{"name":"Lake guide","images":["https://a.example/1"],"metadata":{"shelf":"A"}}`)
	require.Equal(t, "sku-42", product, "the id is the ref")
	require.Equal(t, "sku-42", s.definition.Kind("product").RefIn(s.seen("product", product, nil).Raw))
	price := s.done("price", "create", "", "sku-42-m", nil, `{"product":{"$ref":"product/sku-42"},"currency":"eur","unit_amount":1990,"recurring":{"interval":"month"}}`)
	s.done("price", "update", price, "", nil, `{"nickname":"monthly"}`)
	s.done("price", "archive", price, "", nil, "")
	s.done("product", "update", product, "", nil, `{"description":"x","images":[],"metadata":{"shelf":null}}`)
	s.done("product", "archive", product, "", nil, "")
	require.Equal(t, provider.Dead, s.do("product", "delete", product, "", nil, "").Outcome, "it has a price")
	var state struct {
		Active      bool
		Description string
		Images      []string
		Metadata    map[string]string
	}
	require.NoError(t, json.Unmarshal(s.seen("product", product, nil).Raw, &state))
	require.False(t, state.Active)
	require.Equal(t, "x", state.Description)
	require.Empty(t, state.Images)
	require.Equal(t, map[string]string{"tarn_ref": "sku-42"}, state.Metadata)
	customer := s.done("customer", "create", "", "user-7", nil, `{"name":"Ada","email":"ada@example.com","address":{"city":"Kochel","country":"DE"}}`)
	s.done("customer", "update", customer, "", nil, `{"address":{"line1":"Seestraße 1"},"description":null}`)
	s.done("customer", "delete", customer, "", nil, "")
	require.True(t, s.seen("customer", customer, nil).Deleted)
	s.done("coupon", "create", "", "SPRING", nil, `{"percent_off":12.5,"duration":"once"}`)
	s.done("coupon", "update", "SPRING", "", nil, `{"name":"Spring"}`)
	s.done("coupon", "delete", "SPRING", "", nil, "")
	require.Equal(t, provider.Answered, s.do("coupon", "delete", "SPRING", "", nil, "").Outcome, "it is gone already")
	require.Equal(t, provider.Dead, s.do("coupon", "update", "SPRING", "", nil, `{"name":"x"}`).Outcome)
}

// The simulated lemon takes orders and withdrawals.
func TestTheSimulatedLemonTakesWrites(t *testing.T) {
	s := openShop(t, simulator.Lemon)
	account := s.anAccount()
	in := map[string]string{"account": account}
	const signed = `{"sca":{"client_credential_id":"cred_1","signature":"MEUCIQ"}}`
	order := s.done("order", "create", "", "buy-1", in, `{"side":"buy","type":"market","instrument":"US0378331005","amount":"100.00","fees":{"base_amount":"0"},"currency":"EUR"}`)
	cancel, err := s.definition.Op("order", "cancel")
	require.NoError(t, err)
	require.Equal(t, provider.NotThere, cancel.Look(s.seen("order", order, in)))
	s.done("order", "confirm", order, "", in, signed)
	confirm, err := s.definition.Op("order", "confirm")
	require.NoError(t, err)
	require.Equal(t, provider.There, confirm.Look(s.seen("order", order, in)))
	second := s.done("order", "create", "", "buy-2", in, `{"side":"buy","type":"market","instrument":"US0378331005","amount":"100.00","fees":{"base_amount":"0"},"currency":"EUR"}`)
	s.done("order", "cancel", second, "", in, "")
	require.Equal(t, provider.There, cancel.Look(s.seen("order", second, in)))
	require.Equal(t, provider.Dead, s.do("order", "cancel", second, "", in, "").Outcome)
	withdrawal := s.done("withdrawal", "create", "", "w-1", in, `{"amount":"12.34"}`)
	s.done("withdrawal", "confirm", withdrawal, "", in, signed)

	for _, f := range s.Writes() {
		require.Equal(t, "command-test", f.Why)
	}
}

// anAccount waits until life has opened an account that can pay money out, and stops life
// there.
func (s *shop) anAccount() (id string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		for _, a := range s.Truth("account", 0) {
			var state struct {
				Reference  json.RawMessage `json:"reference_account"`
				Securities json.RawMessage `json:"securities_account"`
			}
			if json.Unmarshal(a.State, &state) == nil && state.Reference != nil && state.Securities != nil {
				id = a.ID
				return true
			}
		}
		return false
	}, time.Minute, 10*time.Millisecond)
	s.SetRate(0)
	return id
}

// An answer that is lost leaves the outcome unknown. Each strategy that the definition
// names finds out what became of the request, and none makes it twice.
func TestStrategiesFindOutAtTheSimulator(t *testing.T) {
	t.Run("key", func(t *testing.T) {
		s := openShop(t, simulator.Stripe)
		s.SetRate(0)
		s.SetChaos(simulator.Chaos{ResetAnswer: 1})
		a := s.do("price", "create", "", "m", nil, `{"product":"none","currency":"eur"}`)
		require.Equal(t, provider.Dead, a.Outcome, "no product: %v", a.Err)
		s.SetChaos(simulator.Chaos{})
		s.done("product", "create", "", "p", nil, `{"name":"p"}`)
		s.SetChaos(simulator.Chaos{ResetAnswer: 1})
		a = s.do("price", "create", "", "n", nil, `{"product":"p","currency":"eur"}`)
		require.Equal(t, provider.Unknown, a.Outcome)
		s.SetChaos(simulator.Chaos{})
		require.Eventually(t, func() bool { // the provider may not be done with the first
			a = s.do("price", "create", "", "n", nil, `{"product":"p","currency":"eur"}`)
			return a.Outcome != provider.Busy
		}, time.Minute, 10*time.Millisecond)
		require.Equal(t, provider.Answered, a.Outcome)
		require.True(t, a.Replayed)
		require.Equal(t, 1, effectsOf(s, "price"))
	})
	t.Run("a replayed error, then look", func(t *testing.T) {
		s := openShop(t, simulator.Stripe)
		s.SetRate(0)
		for _, chaos := range []simulator.Chaos{{ErrorAfter: 1}, {ErrorBefore: 1}} {
			ref := fmt.Sprintf("p-%v", chaos.ErrorAfter)
			s.SetChaos(chaos)
			a := s.do("product", "create", "", ref, nil, `{"name":"p"}`)
			require.Equal(t, provider.Unknown, a.Outcome)
			s.SetChaos(simulator.Chaos{})
			a = s.do("product", "create", "", ref, nil, `{"name":"p"}`)
			require.Equal(t, provider.Unknown, a.Outcome, "a replayed error is not the truth")
			require.True(t, a.Replayed)
			create, err := s.definition.Op("product", "create")
			require.NoError(t, err)
			seen, err := s.client.Fetch(t.Context(), s.definition.Kind("product").Ref("s", ref, nil), "test")
			want := map[bool]provider.Verdict{true: provider.There, false: provider.NotThere}[chaos.ErrorAfter == 1]
			require.Equal(t, want == provider.There, err == nil, "%v", err)
			require.Equal(t, want, create.Look(seen))
		}
		require.Equal(t, 1, effectsOf(s, "product"))
	})
	t.Run("find", func(t *testing.T) {
		s := openShop(t, simulator.Lemon)
		in := map[string]string{"account": s.anAccount()}
		require.NoError(t, s.writer.Probe(t.Context(), "")) // tells the time
		earlier := s.done("withdrawal", "create", "", "w-0", in, `{"amount":"77.77"}`)
		s.SetChaos(simulator.Chaos{ResetAnswer: 1})
		a := s.do("withdrawal", "create", "", "w-1", in, `{"amount":"77.70"}`)
		require.Equal(t, provider.Unknown, a.Outcome)
		s.SetChaos(simulator.Chaos{})
		create, err := s.definition.Op("withdrawal", "create")
		require.NoError(t, err)
		since, ok := s.writer.ProviderTime(a.SentAt)
		require.True(t, ok)
		find := func(amount string) provider.Finding {
			cmd := provider.Command{Kind: "withdrawal", Op: "create", Parents: in, Body: []byte(`{"amount":"` + amount + `"}`)}
			page, err := s.client.FindPage(t.Context(), "s", cmd, "", "test")
			require.NoError(t, err)
			require.Empty(t, page.Next)
			require.Empty(t, page.Unread)
			return create.Find(page.Items, provider.Search{Sent: cmd, Since: since})
		}
		found := find("77.7")
		require.Equal(t, provider.There, found.Verdict)
		require.NotEqual(t, earlier, found.ID)
		require.Equal(t, provider.CannotTell, find("0.01").Verdict)
	})
	t.Run("the key of reads", func(t *testing.T) {
		s := openShop(t, simulator.Stripe)
		w, err := s.client.Writer("read-key")
		require.NoError(t, err)
		s.writer = w
		require.Equal(t, provider.Refused, s.do("product", "create", "", "p", nil, `{"name":"p"}`).Outcome)
		require.Empty(t, s.Writes())
	})
}

func effectsOf(s *shop, kind string) (n int) {
	for _, f := range s.Writes() {
		if f.Effect && f.Kind == kind {
			n++
		}
	}
	return n
}
