package command

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(redistest.Reuse())) }

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// shop is a definition whose signature has a time and whose lists have pages.
const shop = `provider: shop
signature: {scheme: hmac, headers: [Shop-Signature], parts: {separator: ";", time: ts, signature: h1}, signed: "{time}:{body}"}
envelope: {id: id, type: type, created_at: created_at, context: ids}
api: {errors: message, probe: /me, pagination: {style: cursor, items: data, next: next, limit: 2}}
kinds:
  account: {get: "/accounts/{account}", list: /accounts}
  order: {get: "/accounts/{account}/orders/{order}", list: "/accounts/{account}/orders", status: status, query: {expand: all}}
  total: {shape: singleton, get: "/accounts/{account}/total", every: 5s}
events:
  order: {touches: [order, "*"], derived: [total]}
`

const secretText = "a-secret-of-the-shop"

// file writes a file into a directory of the test and returns its path.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// ran is what a command did.
type ran struct {
	status   int
	out, err string
}

// run runs a command at noon.
func run(t *testing.T, in string, args ...string) ran {
	t.Helper()
	var out, failed bytes.Buffer
	env := &Env{In: strings.NewReader(in), Out: &out, Err: &failed, Version: "v1", Now: func() time.Time { return noon }}
	status := Run(t.Context(), env, args)
	require.NotContains(t, out.String()+failed.String(), secretText, "no output holds a secret")
	return ran{status, out.String(), failed.String()}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"--help"}, {"-h"}} {
		got := run(t, "", args...)
		require.Equal(t, OK, got.status)
		for _, c := range commands {
			require.Contains(t, got.out, "tarn "+c.Name)
		}
	}
	require.Equal(t, ran{OK, "v1\n", ""}, run(t, "", "--version"))
	require.Equal(t, Misused, run(t, "").status)
	got := run(t, "", "providers", "show", "lemon")
	require.Equal(t, ran{Misused, "", "tarn: there is no command \"providers show\": tarn help lists them\n"}, got)
}

// The help of each command has its flags, an example that begins with the command, and
// its exit statuses.
func TestEveryCommandHasHelp(t *testing.T) {
	for _, c := range commands {
		got := run(t, "", append(strings.Fields(c.Name), "--help")...)
		require.Equal(t, OK, got.status, c.Name)
		require.Empty(t, got.err)
		for _, want := range []string{"Usage: tarn " + c.Name, "Example:\n  tarn " + c.Name, "--help", "Exit status: 0 done, 1 "} {
			require.Contains(t, got.out, want, c.Name)
		}
		require.Equal(t, c.Wrong != "", strings.Contains(got.out, ", 3 "), c.Name)
		require.NotRegexp(t, `(?m)^  --\S+ +$`, got.out, "%s has a flag without a text", c.Name)
		for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(c.Example, -1) {
			require.Regexp(t, `(?m)^  `+flag+` `, got.out, "the example of %s uses %s", c.Name, flag)
		}
		require.Equal(t, Misused, run(t, "", append(strings.Fields(c.Name), "--moon", "x")...).status, c.Name)
	}
}

func TestProviderShow(t *testing.T) {
	got := run(t, "", "provider", "show", file(t, "shop.yaml", shop))
	require.Equal(t, OK, got.status, got.err)
	require.Equal(t, `provider shop

signature: HMAC-SHA256 of {time}:{body}, in hex, in header Shop-Signature as h1=…, parts separated by ";"; secrets are text; the time is the part ts, in seconds since 1970
           the time may be 5m0s from now, both ways

KIND     SHAPE      GET                                            LIST
account  entity     /accounts/{account}                            /accounts
order    entity     /accounts/{account}/orders/{order}?expand=all  /accounts/{account}/orders?expand=all
total    singleton  /accounts/{account}/total                      -

EVENTS   TOUCH     REFRESH
order.…  order; *  total
`, got.out)
	require.Contains(t, run(t, "", "provider", "show", "lemon").out, "LMG-Signature or Lemon-Markets-Signature")
	got = run(t, "", "provider", "show", "citrus")
	require.Equal(t, Failed, got.status)
	require.Contains(t, got.err, `tarn provider show: no built-in provider "citrus": there are lemon`)
	require.Equal(t, Misused, run(t, "", "provider", "show").status)
	require.Equal(t, Misused, run(t, "", "provider", "show", "a", "b").status)
}

func TestProviderCheckNamesEveryProblem(t *testing.T) {
	bad := strings.NewReplacer("provider: shop", "provider: Shop", "errors: message", "errors: loud", "every: 5s", "every: soon").Replace(shop)
	got := run(t, "", "provider", "check", file(t, "bad.yaml", bad))
	require.Equal(t, Wrong, got.status)
	for _, want := range []string{"bad.yaml:1: provider: ", "bad.yaml:4: api.errors: ", "bad.yaml:8: kinds.total.every: "} {
		require.Contains(t, got.out, want)
	}
	got = run(t, "", "provider", "check", "moon.yaml")
	require.Equal(t, Wrong, got.status)
	got = run(t, "", "provider", "check", "lemon")
	require.Equal(t, OK, got.status)
	require.Regexp(t, `^lemon: provider lemon, \d+ kinds, \d+ families of events, \d+ changes\n$`, got.out)
}

const orderEvent = `{"id":"evt_1","type":"order.made","created_at":"2026-07-01T11:59:59Z","ids":{"account":"a1","order":"o1"}}`

// signedHeader is the header of a body that was signed at noon.
func signedHeader(t *testing.T, body string) string {
	t.Helper()
	got := run(t, body, "webhook", "sign", "--provider", file(t, "shop.yaml", shop), "--secret", "@"+file(t, "secret", secretText+"\n"), "--event", "-")
	require.Equal(t, OK, got.status, got.err)
	return strings.TrimSpace(got.out)
}

func TestProviderCheckWithAnEvent(t *testing.T) {
	definition, key := file(t, "shop.yaml", shop), "@"+file(t, "secret", secretText)
	header := signedHeader(t, orderEvent)
	require.Regexp(t, `^Shop-Signature: ts=1782907200;h1=[0-9a-f]{64}$`, header)

	got := run(t, orderEvent, "provider", "check", definition, "--event", "-", "--header", header, "--secret", key)
	require.Equal(t, OK, got.status, got.out+got.err)
	for _, want := range []string{
		"  header       " + header + "\n", "  time         1782907200, which is 2026-07-01T12:00:00Z\n",
		"  signed text  1782907200:" + orderEvent + "\n", "  secret 1     matches\n  accepted\n",
		"event evt_1 of type order.made\n  created at 2026-07-01T11:59:59Z\n  is about order o1 of account a1\n  touches account a1\n  refreshes total a1\n",
		"requests\n  GET /accounts/a1/orders/o1?expand=all\n  GET /accounts/a1\n  GET /accounts/a1/total\n",
	} {
		require.Contains(t, got.out, want)
	}

	for name, c := range map[string]struct {
		body, header string
		want         []string
	}{
		"another body":   {orderEvent + " ", header, []string{"  secret 1     does not match: it makes ", "refused: mismatch: no signature in Shop-Signature"}},
		"no header":      {orderEvent, "X: y", []string{"refused: missing: no header Shop-Signature"}},
		"an old one":     {orderEvent, "Shop-Signature: ts=1;h1=" + strings.Repeat("0", 64), []string{"  time         1, which is 1970-01-01T00:00:01Z", "refused: mismatch"}},
		"a header alone": {orderEvent, "Shop-Signature: h1=00", []string{"refused: malformed: Shop-Signature: no timestamp"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := run(t, c.body, "provider", "check", definition, "--event", "-", "--header", c.header, "--secret", key)
			require.Equal(t, Wrong, got.status)
			for _, want := range c.want {
				require.Contains(t, got.out, want)
			}
		})
	}
	got = run(t, orderEvent, "provider", "check", definition, "--event", "-")
	require.Equal(t, OK, got.status)
	require.Contains(t, got.out, "  not checked: give --secret\n")
}

func TestProviderCheckOfEventsThatNameNothing(t *testing.T) {
	definition := file(t, "shop.yaml", shop)
	for body, want := range map[string]string{
		"{":                              "event: refused as malformed: body is not JSON",
		`{"id":"e"}`:                     "event: refused as malformed: type",
		`{"id":"e","type":"order.made"}`: "names_nothing: it names no entity",
		`{"id":"e","type":"moon.rose"}`:  "unknown_type: the definition knows neither the family of its type",
		strings.Replace(orderEvent, "2026-07-01T", "noon", 1):              "created_at cannot be read as a time",
		strings.Replace(orderEvent, `"account":"a1",`, "", 1):              "none yet, for the mirror has to know its parents",
		strings.Replace(orderEvent, `"order":"o1"`, `"order":{"id":1}`, 1): "does not name the entity that its type is about",
	} {
		got := run(t, body, "provider", "check", definition, "--event", "-")
		require.Contains(t, got.out, want, body)
	}
}

// A request may hold several events, and the definition may require values of them.
func TestProviderCheckOfSeveralEvents(t *testing.T) {
	definition := file(t, "shop.yaml", strings.Replace(shop, "envelope: {id: id, type: type, created_at: created_at, context: ids}",
		`envelope: {each: events, id: "@.id", type: "@.type", context: "@.ids", require: {mode: "{mode}"}}`, 1))
	two := `{"mode":"live","events":[` + orderEvent + `,` + strings.NewReplacer("evt_1", "evt_2", "o1", "o2").Replace(orderEvent) + `]}`
	check := func(body string, more ...string) ran {
		return run(t, body, append([]string{"provider", "check", definition, "--event", "-"}, more...)...)
	}
	got := check(two, "--setting", "mode=live")
	require.Equal(t, OK, got.status, got.out+got.err)
	for _, want := range []string{"event evt_1 of type order.made\n  keeps mode = live\n", "is about order o2 of account a1\n", "GET /accounts/a1/orders/o1?expand=all\n", "GET /accounts/a1/orders/o2?expand=all\n"} {
		require.Contains(t, got.out, want)
	}
	require.Equal(t, 1, strings.Count(got.out, "GET /accounts/a1\n"), "once, though both name it")
	got = check(two, "--setting", "mode=test")
	require.Equal(t, Wrong, got.status)
	require.Contains(t, got.out, "require_unmet: it lacks a value that the definition requires")
	require.Contains(t, check(`{"events":[]}`, "--setting", "mode=live").out, "the body holds no event")
	got = check(two)
	require.Equal(t, Misused, got.status)
	require.Contains(t, got.err, `--setting: provider shop needs the setting "mode"`)
	require.Contains(t, check(two, "--setting", "mode=live", "--setting", "moon=1").err, `provider shop has no setting "moon"`)

	signed := run(t, "", "webhook", "sign", "--provider", definition, "--secret", "@"+file(t, "secret", secretText), "--type", "order.made", "--id", "order=o1", "--id", "account=a1", "--setting", "mode=live")
	require.Equal(t, OK, signed.status, signed.err)
	_, body, _ := strings.Cut(signed.out, "\n\n")
	require.Equal(t, OK, check(body, "--setting", "mode=live").status)
}

// With an address and a key the requests are made.
func TestProviderCheckAsksTheAPI(t *testing.T) {
	definition := file(t, "shop.yaml", shop)
	answers := map[string]string{
		"/v1/me":                    `{}`,
		"/v1/accounts":              `{"data":[{"id":"a1"},{"id":"a2"}],"next":"c"}`,
		"/v1/accounts/a1":           `{"id":"a1"}`,
		"/v1/accounts/a1/orders":    `{"data":[{"id":"o1","status":"made"},{"x":1}]}`,
		"/v1/accounts/a1/orders/o1": `{"id":"o1","status":"made"}`,
		"/v1/accounts/a1/total":     `{"error":"no"}`,
	}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer the-key" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(answers[r.URL.Path]))
	}))
	t.Cleanup(api.Close)
	got := run(t, orderEvent, "provider", "check", definition, "--event", "-", "--api-url", api.URL+"/v1", "--api-key", "the-key")
	require.Equal(t, Wrong, got.status, got.err)
	for _, want := range []string{
		"probe: the API takes the key\n",
		"  GET /accounts/a1/orders/o1?expand=all\n    HTTP 200, proves itself as order, status made\n",
		"  GET /accounts/a1\n    HTTP 200, proves itself as account\n",
		"  GET /accounts/a1/total\n    fetch check/total/a1: the answer is empty or an error, so it is not the total (class transient)\n",
		"  GET /accounts\n    HTTP 200, 2 of account, more pages follow\n",
		"  GET /accounts/{account}/orders?expand=all\n    HTTP 200, 1 of order, the only page\n    list order: element 1: ",
	} {
		require.Contains(t, got.out, want)
	}

	got = run(t, "", "provider", "check", definition, "--api-url", api.URL+"/v1", "--api-key", "another")
	require.Equal(t, Wrong, got.status)
	require.Contains(t, got.out, "probe: HTTP 401: provider refuses our key (class refused)\n")
	require.NotContains(t, got.out, "another")
	require.Equal(t, Misused, run(t, "", "provider", "check", definition, "--api-url", api.URL).status)
}

func TestWebhookSign(t *testing.T) {
	definition, key := file(t, "shop.yaml", shop), "@"+file(t, "secret", secretText)
	sign := func(more ...string) ran {
		return run(t, "", append([]string{"webhook", "sign", "--provider", definition, "--secret", key}, more...)...)
	}
	got := sign("--type", "order.made", "--id", "account=a1", "--id", "order=o1", "--event-id", "evt_1", "--at", "2026-07-01T11:59:59Z")
	require.Equal(t, OK, got.status, got.err)
	header, body, found := strings.Cut(got.out, "\n\n")
	require.True(t, found)
	require.JSONEq(t, orderEvent, body)
	checked := run(t, strings.TrimSuffix(body, "\n"), "provider", "check", definition, "--event", "-", "--header", header, "--secret", key)
	require.Equal(t, OK, checked.status, checked.out)

	standard := file(t, "standard.yaml", strings.Replace(shop, shop[strings.Index(shop, "signature:"):strings.Index(shop, "envelope:")], "signature: {scheme: standard-webhooks, headers: [webhook-signature]}\n", 1))
	got = run(t, orderEvent, "webhook", "sign", "--provider", standard, "--secret", "whsec_c2VjcmV0", "--event", "-", "--event-id", "msg_1")
	require.Regexp(t, "^Webhook-Id: msg_1\nWebhook-Signature: v1,[A-Za-z0-9+/=]{44}\nWebhook-Timestamp: 1782907200\n$", got.out)
	got = run(t, orderEvent, "webhook", "sign", "--provider", standard, "--secret", "whsec_c2VjcmV0", "--event", "-", "--header", "webhook-id: msg_2")
	require.Contains(t, got.out, "Webhook-Id: msg_2\n")

	for name, c := range map[string]struct {
		args   []string
		status int
		err    string
	}{
		"neither":       {nil, Misused, "want either --event or --type"},
		"both":          {[]string{"--type", "a", "--event", "b"}, Misused, "want either --event or --type"},
		"no file":       {[]string{"--event", "moon.json"}, Failed, "read the event: open moon.json"},
		"a bad id":      {[]string{"--type", "a", "--id", "o1"}, Misused, "--id o1: want NAME=VALUE"},
		"an id twice":   {[]string{"--type", "a", "--id", "a=1", "--id", "a=2"}, Misused, "a is given twice"},
		"an id to file": {[]string{"--event", "-", "--id", "a=1"}, Misused, "--id is of no use with --event"},
		"a bad time":    {[]string{"--type", "a", "--at", "noon"}, Misused, "--at noon: want a time"},
		"a bad header":  {[]string{"--type", "a", "--header", "x"}, Misused, `--header "x": want 'Name: value'`},
		"an argument":   {[]string{"more"}, Misused, "want no arguments, not 1"},
	} {
		t.Run(name, func(t *testing.T) {
			got := sign(c.args...)
			require.Equal(t, c.status, got.status)
			require.Contains(t, got.err, c.err)
		})
	}
	got = run(t, "", "webhook", "sign", "--provider", definition, "--secret", "@moon", "--type", "a")
	require.Equal(t, Failed, got.status)
	require.Contains(t, got.err, "read a secret: open moon")
}

// A command that is cut off ends, and says so.
func TestSendingCanBeCutOff(t *testing.T) {
	asked := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server see that the client has left
		close(asked)
		<-r.Context().Done()
	}))
	t.Cleanup(api.Close)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	var out, failed bytes.Buffer
	args := []string{"webhook", "send", "--url", api.URL, "--provider", "lemon", "--secret", secretText, "--type", "order.created"}
	require.Equal(t, Failed, Run(ctx, &Env{Out: &out, Err: &failed}, args))
	require.Contains(t, failed.String(), "context canceled")
	require.NotContains(t, failed.String(), secretText)
}

// The first word of several commands lists them.
func TestAGroupListsItsCommands(t *testing.T) {
	for group, one := range map[string]string{"letters": "  tarn letters redrive [ID]", "provider": "  tarn provider check NAME|FILE", "webhook": "  tarn webhook sign"} {
		got := run(t, "", group)
		require.Equal(t, Misused, got.status, group)
		require.Empty(t, got.out)
		require.Contains(t, got.err, "tarn "+group+" is one of:\n")
		require.Contains(t, got.err, one)
		require.NotContains(t, got.err, "tarn webhooks")
		got = run(t, "", group, "--help")
		require.Equal(t, OK, got.status, group)
		require.Contains(t, got.out, one)
		require.Contains(t, run(t, "", group, "bogus").err, "there is no command \""+group+" bogus\"\ntarn "+group+" is one of:\n")
	}
	for group, one := range map[string]string{"commands": "  tarn commands resolve ID OUTCOME", "webhooks": "  tarn webhooks rewind NAME"} {
		require.Contains(t, run(t, "", group, "--help").out, one, "of a command that begins others too")
	}
}
