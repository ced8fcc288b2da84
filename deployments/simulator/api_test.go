package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

// schemas validates answers against the provider's own schemas.
type schemas struct{ compiler *jsonschema.Compiler }

func loadSchemas(t *testing.T) schemas {
	f, err := os.Open("testdata/lemon-schema.json")
	require.NoError(t, err)
	defer f.Close()
	doc, err := jsonschema.UnmarshalJSON(f)
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	require.NoError(t, c.AddResource("lemon.json", doc))
	return schemas{c}
}

// check validates the answer of an operation, "/accounts/{}".
func (s schemas) check(t *testing.T, operation string, body []byte) {
	t.Helper()
	pointer := url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(operation))
	s.at(t, "#/operations/"+pointer, body)
}

func (s schemas) at(t *testing.T, pointer string, body []byte) {
	t.Helper()
	schema, err := s.compiler.Compile("lemon.json" + pointer)
	require.NoError(t, err)
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(body)))
	require.NoError(t, err, "%.300s", body)
	require.NoError(t, schema.Validate(v), "%.300s", body)
}

// operation is the path of a kind with its placeholders emptied.
func operation(path string) string { return strings.ReplaceAll(path, "{parent}", "{}") }

func TestAnswersAreWhatTheProviderDocuments(t *testing.T) {
	r := start(t, Options{Now: ticking(), MaxEntities: -1})
	grow(t, r.world, 2500)
	s := loadSchemas(t)

	for i := range lemonKinds {
		k := &lemonKinds[i]
		if k.shape == hidden {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			checked := 0
			for _, truth := range r.Truth(k.name, 0) {
				path := strings.ReplaceAll(k.path, "{parent}", truth.Parent)
				if k.shape != single {
					checkAnswer(t, r, s, operation(k.path), path)
				} else {
					checkAnswer(t, r, s, operation(k.path)+"/{}", path+"/"+truth.ID)
					if !k.noList && checked < 10 {
						checkAnswer(t, r, s, operation(k.path), path)
					}
				}
				if checked++; checked == 100 {
					break
				}
			}
			never := map[string]bool{"account_corporate_action": true, "treasury_fee": true, "business": true,
				"agreements": true, "treasury_financials": true, "tax_exemption_usages": true}
			require.Equal(t, never[k.name], checked == 0, "this world makes some of it")
		})
	}
	acc := r.Truth("account", 0)[0].ID
	for op, path := range map[string]string{
		"/accounts":                           "/accounts?person_customer=true&limit=100",
		"/events":                             "/events?limit=100",
		"/instruments":                        "/instruments?type=etf",
		"/instruments/{}":                     "/instruments/DE0005933931",
		"/webhooks":                           "/webhooks",
		"/businesses":                         "/businesses",
		"/agreements":                         "/agreements",
		"/treasury_fees":                      "/treasury_fees",
		"/accounts/{}/corporate_actions":      "/accounts/" + acc + "/corporate_actions",
		"/accounts/{}/treasury_financials":    "/accounts/" + acc + "/treasury_financials",
		"/accounts/{}/tax_exemption_usages":   "/accounts/" + acc + "/tax_exemption_usages",
		"/settlement_accounts":                "/settlement_accounts",
		"/settlement_accounts/{}/settlements": "/settlement_accounts/" + settlementAccountID + "/settlements",
	} {
		t.Run(path, func(t *testing.T) { checkAnswer(t, r, s, op, path) })
	}
}

func checkAnswer(t *testing.T, r *running, s schemas, op, path string) {
	t.Helper()
	status, body := r.get("/v1" + path)
	require.Equal(t, http.StatusOK, status, "%s: %.300s", path, body)
	s.check(t, op, body)
}

func TestEventsHaveTheDocumentedContexts(t *testing.T) {
	s, err := New(Options{Now: ticking(), MaxEntities: -1})
	require.NoError(t, err)
	grow(t, s.world, 6000)
	seen := map[string]envelope{}
	for _, n := range s.eventsAfter(0) {
		var e envelope
		require.NoError(t, json.Unmarshal(n.Body, &e))
		seen[e.Type] = e
		require.Len(t, e.Context, len(contextKeys(e.Type)), "%s names all it should", n.Body)
	}
	never := []string{"account.closed", "securities_account.rejected", "securities_account.closed", "check.pending",
		"treasury_transfer.canceling", "batch_order.rejected"}
	var missing []string
	for _, typ := range lemonEventTypes {
		if _, ok := seen[typ]; !ok {
			missing = append(missing, typ)
		}
	}
	require.ElementsMatch(t, never, missing, "types this world never makes")
	require.Len(t, lemonEventTypes, 83)
}

func TestErrorsHaveTheProvidersShape(t *testing.T) {
	r := start(t, Options{APIKey: "key", Now: ticking()})
	grow(t, r.world, 200)
	s := loadSchemas(t)
	acc := r.Truth("account", 0)[0].ID
	other := r.Truth("order", 0)[0]
	all := http.Header{"Authorization": {"Bearer key"}, "Lmg-Data-Privacy-Access-Principal": {"a"}, "Lmg-Data-Privacy-Access-Justification": {"b"}}
	without := func(name, value string) http.Header {
		h := all.Clone()
		h.Set(name, value)
		return h
	}
	for name, tc := range map[string]struct {
		path   string
		header http.Header
		want   int
	}{
		"no key":             {"/accounts", without("Authorization", ""), 401},
		"not a bearer":       {"/accounts", without("Authorization", "Basic key"), 401},
		"wrong key":          {"/accounts", without("Authorization", "Bearer yek"), 401},
		"no principal":       {"/accounts", without("LMG-Data-Privacy-Access-Principal", ""), 422},
		"no justification":   {"/events", without("LMG-Data-Privacy-Access-Justification", ""), 422},
		"settlements ask it": {"/settlement_accounts", http.Header{"Authorization": {"Bearer key"}}, 200},
		"unknown path":       {"/nothing", all, 404},
		"unknown account":    {"/accounts/cusa_0", all, 404},
		"under unknown":      {"/accounts/cusa_0/orders", all, 404},
		"under another":      {"/accounts/" + strings.Replace(other.Account, "cusa_", "cusa_x", 1) + "/orders/" + other.ID, all, 404},
		"limit too small":    {"/accounts?limit=0", all, 422},
		"limit too large":    {"/accounts?limit=101", all, 422},
		"limit no number":    {"/accounts?limit=ten", all, 422},
		"bad cursor":         {"/accounts?cursor=%21", all, 400},
		"bad since":          {"/events?since=yesterday", all, 422},
		"bad sort":           {"/events?sort=up", all, 422},
		"good":               {"/accounts/" + acc, all, 200},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/v1"+tc.path, nil)
			require.NoError(t, err)
			req.Header = tc.header
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			require.Equal(t, tc.want, resp.StatusCode)
			require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
			if tc.want != 200 {
				var body json.RawMessage
				require.NoError(t, json.NewDecoder(resp.Body).Decode(&body))
				s.at(t, "#/$defs/ErrorResponse", body)
			}
		})
	}
}

// ids reads all pages of a list and calls between after each.
func pages(t *testing.T, r *running, path string, between func()) (ids []string) {
	next := path
	for {
		status, body := r.get("/v1" + next)
		require.Equal(t, http.StatusOK, status, "%s", body)
		var p struct {
			Data       []struct{ ID string }
			Pagination struct {
				NextCursor *string `json:"next_cursor"`
			}
		}
		require.NoError(t, json.Unmarshal(body, &p))
		for _, d := range p.Data {
			ids = append(ids, d.ID)
		}
		if p.Pagination.NextCursor == nil {
			return ids
		}
		base, _, _ := strings.Cut(path, "?")
		next = base + "?limit=7&cursor=" + *p.Pagination.NextCursor
		between()
	}
}

func TestPagesAreStableWhileTheWorldGoesOn(t *testing.T) {
	r := start(t, Options{Now: ticking(), MaxEntities: -1})
	grow(t, r.world, 2000)
	goOn := func() { grow(t, r.world, 30) }
	status := func(tr Truth) string {
		var a account
		require.NoError(t, json.Unmarshal(tr.State, &a))
		return a.Status
	}

	t.Run("entities newest first", func(t *testing.T) {
		var want []string
		for _, e := range r.world.under("account", "") {
			want = append([]string{e.id}, want...)
		}
		require.Greater(t, len(want), 14, "three pages")
		require.Equal(t, want, pages(t, r, "/accounts?limit=7", goOn))
	})
	t.Run("a cursor carries the filters", func(t *testing.T) {
		var want []string
		for _, tr := range r.Truth("account", 0) {
			if status(tr) == "created" {
				want = append(want, tr.ID)
			}
		}
		require.NotEmpty(t, want)
		got := pages(t, r, "/accounts?limit=1&status=created", func() {})
		require.ElementsMatch(t, want, got)
	})
	t.Run("events both ways", func(t *testing.T) {
		var want []string
		for _, n := range r.eventsAfter(0) {
			if n.Type == "order.executed" {
				want = append(want, n.ID)
			}
		}
		require.Greater(t, len(want), 20)
		asc := pages(t, r, "/events?type=order.executed&sort=asc&limit=7", goOn)
		require.Equal(t, want, asc[:len(want)], "later ones follow")
		desc := pages(t, r, "/events?type=order.executed&limit=7", goOn)
		for i := range want {
			require.Equal(t, want[i], desc[len(desc)-1-i])
		}
	})
	t.Run("events since, of one account", func(t *testing.T) {
		events := r.eventsAfter(0)
		from := events[len(events)/2]
		got := pages(t, r, "/events?sort=asc&limit=7&since="+url.QueryEscape(from.CreatedAt.Format(time.RFC3339Nano)), func() {})
		require.Equal(t, from.ID, got[0], "the bound is included")
		require.Len(t, got, len(events)-len(events)/2)
		var want []string
		for _, n := range events {
			if n.Context["account"] == from.Context["account"] {
				want = append(want, n.ID)
			}
		}
		if from.Context["account"] != "" {
			require.Equal(t, want, pages(t, r, "/events?sort=asc&limit=7&context.account="+from.Context["account"], func() {}))
		}
	})
	t.Run("elements of a list", func(t *testing.T) {
		for _, tr := range r.Truth("positions", 0) {
			var all []json.RawMessage
			require.NoError(t, json.Unmarshal(tr.State, &all))
			if len(all) > 3 {
				require.Len(t, pages(t, r, "/accounts/"+tr.ID+"/positions?limit=2", func() {}), len(all))
				return
			}
		}
		t.Fatal("no account holds enough")
	})
}

func TestAnAccountShowsItsCustomerInFullUnlessAskedNotTo(t *testing.T) {
	r := start(t, Options{Now: ticking()})
	grow(t, r.world, 50)
	acc := r.Truth("account", 0)[0]
	_, short := r.get("/v1/accounts/" + acc.ID + "?person_customer=true")
	require.Equal(t, string(acc.State), string(short), "truth is what the API serves, byte for byte")
	_, full := r.get("/v1/accounts/" + acc.ID)
	require.Contains(t, string(full), `"firstname"`)
	_, lines := r.get("/_sim/truth?kind=account&person_customer=false")
	require.Contains(t, string(lines), string(full))
}

func TestWebhookSubscriptions(t *testing.T) {
	r := start(t, Options{Now: ticking()})
	s := loadSchemas(t)
	for name, tc := range map[string]struct {
		body string
		want int
	}{
		"malformed":    {`{`, 400},
		"no url":       {`{"events":["order.created"]}`, 422},
		"no events":    {`{"url":"https://example.com/x","events":[]}`, 422},
		"unknown type": {`{"url":"https://example.com/x","events":["order.exploded"]}`, 422},
		"twice":        {`{"url":"https://example.com/x","events":["order.created","order.created"]}`, 422},
	} {
		t.Run(name, func(t *testing.T) {
			status, _, body := r.ask(http.MethodPost, "/v1/webhooks", tc.body)
			require.Equal(t, tc.want, status)
			s.at(t, "#/$defs/ErrorResponse", body)
		})
	}
	to := newReceiver(t)
	status, _, body := r.ask(http.MethodPost, "/v1/webhooks", fmt.Sprintf(`{"url":%q,"events":["account.created"]}`, to.URL))
	require.Equal(t, http.StatusCreated, status)
	s.at(t, "#/$defs/Webhook", body)
	var hook webhookAnswer
	require.NoError(t, json.Unmarshal(body, &hook))
	require.Len(t, hook.Secret, 64)
	_, list := r.get("/v1/webhooks")
	require.Contains(t, string(list), hook.ID)

	grow(t, r.world, 60)
	created := 0
	for _, n := range r.eventsAfter(0) {
		if n.Type == "account.created" {
			created++
		}
	}
	require.Eventually(t, func() bool { return len(to.ids()) == created }, soon, often)
	require.Equal(t, Sign(hook.Secret, signedAt(t, to.taken()[0].signature), to.taken()[0].body), to.taken()[0].signature)

	status, _, _ = r.ask(http.MethodDelete, "/v1/webhooks/"+hook.ID, "")
	require.Equal(t, http.StatusNoContent, status)
	status, _, _ = r.ask(http.MethodDelete, "/v1/webhooks/"+hook.ID, "")
	require.Equal(t, http.StatusNotFound, status)
}
