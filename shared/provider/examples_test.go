package provider

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider/signature"
)

// exampleCase is what a definition among the examples is tried on: a webhook of the
// documented shape, signed as the provider signs, and a few answers of its API.
type exampleCase struct {
	secret string
	header http.Header
	body   string
	// id, typ and names are what the event says: "kind/id" of each entity.
	id, typ, names string
	// auth is the header that the key goes in, with its value.
	auth [2]string
	// answers are by path and query. LINK in one stands for the address of the server.
	answers map[string]string
	links   map[string]string // the header Link, by path and query
	// fetched is the state of the first entity, listed how many pages its list has.
	fetched string
	pages   int
	gone    string // the body of a 404 that says that there is no such entity
}

var examples = map[string]exampleCase{
	"github": {
		secret: "It's a Secret to Everybody",
		header: http.Header{"X-Github-Delivery": {"72d3162e"}, "X-Github-Event": {"issues"}},
		body:   `{"action":"opened","issue":{"id":444500041,"number":2},"repository":{"name":"hello","owner":{"login":"octo"}}}`,
		id:     "72d3162e", typ: "issues.opened", names: "issue@octo,hello/2 repository@octo/hello",
		auth: [2]string{"Authorization", "Bearer key_1"},
		answers: map[string]string{
			"/repos/octo/hello/issues/2":                             `{"number":2,"title":"Spelling"}`,
			"/repos/octo/hello/issues?per_page=100&state=all":        `[{"number":2,"title":"Spelling"}]`,
			"/repos/octo/hello/issues?per_page=100&state=all&page=2": `[{"number":1}]`,
		},
		links:   map[string]string{"/repos/octo/hello/issues?per_page=100&state=all": `<LINK/repos/octo/hello/issues?per_page=100&state=all&page=2>; rel="next"`},
		fetched: `{"number":2,"title":"Spelling"}`, pages: 2,
		gone: `{"message":"Not Found","documentation_url":"https://docs.github.com"}`,
	},
	"shopify": {
		secret: "hush-hush-hush-hush",
		header: http.Header{"X-Shopify-Event-Id": {"98880550"}, "X-Shopify-Topic": {"orders/create"}, "X-Shopify-Triggered-At": {"2026-03-29T18:00:27.877Z"}},
		body:   `{"id":820982911946154508,"total_price":"10.00"}`,
		id:     "98880550", typ: "orders/create", names: "order/820982911946154508",
		auth: [2]string{"X-Shopify-Access-Token", "key_1"},
		answers: map[string]string{
			"/orders/820982911946154508.json":    `{"order":{"id":820982911946154508,"total_price":"10.00"}}`,
			"/orders.json?limit=250&status=any":  `{"orders":[{"id":1}]}`,
			"/orders.json?limit=250&page_info=a": `{"orders":[{"id":2}]}`,
		},
		links:   map[string]string{"/orders.json?limit=250&status=any": `<LINK/orders.json?limit=250&page_info=a>; rel="next"`},
		fetched: `{"id":820982911946154508,"total_price":"10.00"}`, pages: 2,
		gone: `{"errors":"Not Found"}`,
	},
	"paddle": {
		secret: "pdl_ntfset_example",
		body:   `{"event_id":"evt_01","event_type":"subscription.updated","occurred_at":"2026-04-12T10:18:49.621022Z","data":{"id":"sub_01","customer_id":"ctm_01"}}`,
		id:     "evt_01", typ: "subscription.updated", names: "subscription/sub_01 customer/ctm_01",
		auth: [2]string{"Authorization", "Bearer key_1"},
		answers: map[string]string{
			"/subscriptions/sub_01":       `{"data":{"id":"sub_01","status":"active"},"meta":{"request_id":"r"}}`,
			"/subscriptions?per_page=100": `{"data":[{"id":"sub_01"}],"meta":{"pagination":{"per_page":100,"next":"LINK/subscriptions?after=sub_01","has_more":true}}}`,
			"/subscriptions?after=sub_01": `{"data":[{"id":"sub_02"}],"meta":{"pagination":{"per_page":100,"next":"LINK/subscriptions?after=sub_02","has_more":false}}}`,
		},
		fetched: `{"id":"sub_01","status":"active"}`, pages: 2,
		gone: `{"error":{"type":"request_error","code":"not_found"}}`,
	},
	"standard": {
		secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		header: http.Header{"Webhook-Id": {"msg_1"}},
		body:   `{"type":"user.created","timestamp":"2026-09-21T14:13:20Z","data":{"id":"user_1"}}`,
		id:     "msg_1", typ: "user.created", names: "user/user_1",
		auth: [2]string{"Authorization", "Bearer key_1"},
		answers: map[string]string{
			"/users/user_1":    `{"id":"user_1","name":"A"}`,
			"/users?limit=100": `{"data":[{"id":"user_1"}],"pagination":{"next_cursor":"c"}}`,
			"/users?cursor=c":  `{"data":[{"id":"user_2"}],"pagination":{"next_cursor":null}}`,
		},
		fetched: `{"id":"user_1","name":"A"}`, pages: 2,
		gone: "problem",
	},
}

// Signatures that were not made here, so that a definition that is wrong in what it signs
// and in what it verifies is found out.
var exampleSignatures = map[string]struct {
	secret, body string
	header       http.Header
}{
	"github": {"It's a Secret to Everybody", "Hello, World!", http.Header{
		"X-Hub-Signature-256": {"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}}},
	"shopify": {"hush", `{"a":1}`, http.Header{"X-Shopify-Hmac-Sha256": {"3+Yq/TpwjqJ7IXuMq8EfED7b+y0XbokqOKLUdagDxMI="}}},
	"paddle": {"pdl_ntfset_x", `{"a":1}`, http.Header{
		"Paddle-Signature": {"ts=1790000000;h1=bd7cb0446de0d91d3b87ab0eab76e9d226f9c9cb6f8a1a0823008574e10d1cda"}}},
	"standard": {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", `{"type":"user.created","timestamp":"2026-09-21T14:13:20Z","data":{"id":"user_1"}}`, http.Header{
		"Webhook-Id": {"msg_tarn1"}, "Webhook-Timestamp": {"1790000000"},
		"Webhook-Signature": {"v1,vZyxb+EvmZOIh1SE/7rl4LcTvipr1Q3bqs/70if7VVA="}}},
}

func TestExamplesVerifyTheirProvidersSignatures(t *testing.T) {
	for name := range examples {
		c, known := exampleSignatures[name]
		require.True(t, known, name)
		v, err := NewVerifier(examplesOf(t, name), VerifierOptions{
			Secrets: []string{c.secret}, Now: func() time.Time { return time.Unix(1790000000, 0) },
		})
		require.NoError(t, err, name)
		require.NoError(t, v.Verify(c.header, []byte(c.body)), name)
	}
}

// Each definition among the examples takes a webhook of its provider and reads its API,
// as both are documented.
func TestExamples(t *testing.T) {
	files, err := fs.Glob(os.DirFS("examples"), "*.yaml")
	require.NoError(t, err)
	for _, file := range files {
		name := strings.TrimSuffix(file, ".yaml")
		t.Run(name, func(t *testing.T) {
			d, err := LoadFile(filepath.Join("examples", file))
			require.NoError(t, err)
			if name == "template" {
				return
			}
			c, tried := examples[name]
			require.True(t, tried, "%s has no test", file)
			e := c.receive(t, d)
			require.Equal(t, c.id, e.ID)
			require.Equal(t, c.typ, e.Type)
			var names []string
			for _, ref := range e.Entities {
				names = append(names, strings.TrimPrefix(ref.Key.String(), "s/"))
			}
			require.Equal(t, c.names, strings.Join(names, " "))
			c.ask(t, d, e.Entities[0])
		})
	}
}

// receive signs the body, verifies it and reads the event.
func (c exampleCase) receive(t *testing.T, d *Definition) *event.Event {
	t.Helper()
	signed, err := d.Signature().Sign(c.secret, signature.Message{Header: c.header, Body: []byte(c.body), At: now})
	require.NoError(t, err)
	h := c.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	for name, values := range signed.Header {
		h[name] = values
	}
	v, err := NewVerifier(d, VerifierOptions{Secrets: []string{c.secret}, Now: clock})
	require.NoError(t, err)
	require.NoError(t, v.VerifyRequest(WebhookRequest{Header: h, Body: []byte(c.body)}))
	requireReason(t, v.VerifyRequest(WebhookRequest{Header: h, Body: []byte(c.body + " ")}), "mismatch")
	events, err := d.Events("s", h, []byte(c.body), now)
	require.NoError(t, err)
	require.Len(t, events, 1)
	require.False(t, events[0].Undated)
	requireStored(t, d, events[0])
	return events[0]
}

// ask fetches the entity and reads its list, and asks for an entity that is gone.
func (c exampleCase) ask(t *testing.T, d *Definition, ref event.Ref) {
	t.Helper()
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := strings.TrimPrefix(r.RequestURI, "/v1")
		here := func(text string) string { return strings.ReplaceAll(text, "LINK", s.URL+"/v1") }
		w.Header().Set("Content-Type", "application/json")
		answer, there := c.answers[asked]
		switch {
		case r.Header.Get(c.auth[0]) != c.auth[1]:
			w.WriteHeader(http.StatusUnauthorized)
		case there:
			if link := c.links[asked]; link != "" {
				w.Header().Set("Link", here(link))
			}
			_, _ = fmt.Fprint(w, here(answer))
		case c.gone == "problem":
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = fmt.Fprint(w, `{"title":"Not Found"}`)
		default:
			w.WriteHeader(http.StatusNotFound)
			_, _ = fmt.Fprint(w, c.gone)
		}
	}))
	t.Cleanup(s.Close)
	client := clientOf(t, d, ClientOptions{}, s.URL)

	got, err := client.Fetch(t.Context(), ref, "x")
	require.NoError(t, err)
	require.Equal(t, c.fetched, string(got.Raw))

	key, cursor, pages := ListKey{Source: "s", Kind: ref.Key.Kind, Parents: ref.Parents}, "", 0
	for more := true; more; more = cursor != "" {
		p, err := client.ListPage(t.Context(), key, cursor, "x")
		require.NoError(t, err)
		require.Len(t, p.Items, 1)
		require.Empty(t, p.Unread)
		cursor = p.Next
		pages++
	}
	require.Equal(t, c.pages, pages)

	other, err := d.Ref(event.Key{Source: "s", Kind: ref.Key.Kind, ID: "4040"}, ref.Parents)
	require.NoError(t, err)
	_, err = client.Fetch(t.Context(), other, "x")
	requireClass(t, err, fate.Gone, http.StatusNotFound)
}

// examplesOf returns a definition among the examples.
func examplesOf(t *testing.T, name string) *Definition {
	t.Helper()
	d, err := LoadFile(filepath.Join("examples", name+".yaml"))
	require.NoError(t, err)
	return d
}

// GitHub lists each pull request among the issues too, under the same number. Its events
// are about both, or the issue would be as old as the last sweep.
func TestPullRequestsOfGitHubAreIssuesToo(t *testing.T) {
	d := examplesOf(t, "github")
	for eventType, names := range map[string]string{
		"pull_request":                "pull_request@o,r/7 issue@o,r/7 repository@o/r",
		"pull_request_review":         "pull_request@o,r/7 issue@o,r/7",
		"pull_request_review_comment": "pull_request@o,r/7 issue@o,r/7",
	} {
		header := http.Header{"X-Github-Event": {eventType}, "X-Github-Delivery": {"d"}}
		body := `{"action":"edited","pull_request":{"number":7},"repository":{"name":"r","owner":{"login":"o"}}}`
		e, err := d.Event("s", header, []byte(body), now)
		require.NoError(t, err)
		var got []string
		for _, ref := range e.Entities {
			got = append(got, strings.TrimPrefix(ref.Key.String(), "s/"))
		}
		require.Equal(t, names, strings.Join(got, " "), eventType)
	}
}
