package provider

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

const order = `{"id":"bord_1","amount":1.10,"history":[{"status":"created","timestamp":"2026-07-01T12:00:00Z"}]}`

var orderRef = event.Ref{
	Key:     event.Key{Source: "lemon", Kind: "order", ID: "bord_1"},
	Parents: map[string]string{"account": "cusa_1"},
}

// server runs a provider that answers as the handler says, over TLS with
// HTTP/2, and returns a client of it.
func server(t *testing.T, o ClientOptions, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	o.TLS = &tls.Config{RootCAs: roots}
	return clientOf(t, lemon(t), o, s.URL)
}

func clientOf(t *testing.T, d *Definition, o ClientOptions, address string) *Client {
	t.Helper()
	o.BaseURL, o.Key = address+"/v1", "key_1"
	if o.Now == nil {
		o.Now = clock
	}
	c, err := NewClient(d, o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// answers is a handler that gives one answer.
func answers(status int, text string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	}
}

func TestFetch(t *testing.T) {
	requests := make(chan *http.Request, 1)
	c := server(t, ClientOptions{}, func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		answers(200, order)(w, r)
	})
	s, err := c.Fetch(t.Context(), orderRef, "webhook-evt_1")
	require.NoError(t, err)
	require.Equal(t, order, string(s.Raw))
	require.Equal(t, "created", s.Status)
	require.Equal(t, now, s.SentAt)

	r := <-requests
	require.Equal(t, "HTTP/2.0", r.Proto)
	require.Equal(t, "/v1/accounts/cusa_1/orders/bord_1", r.URL.String())
	require.Equal(t, "Bearer key_1", r.Header.Get("Authorization"))
	require.Equal(t, "tarn-none", r.Header.Get("LMG-Data-Privacy-Access-Principal"))
	require.Equal(t, "webhook-evt_1", r.Header.Get("LMG-Data-Privacy-Access-Justification"))
	require.Empty(t, r.Header.Get("Traceparent"), "our traces are none of the provider's business")
}

func TestManyFetchesShareOneConnection(t *testing.T) {
	var addresses sync.Map
	arrived := make(chan struct{}, 50)
	release := make(chan struct{})
	c := server(t, ClientOptions{}, func(w http.ResponseWriter, r *http.Request) {
		addresses.Store(r.RemoteAddr, true)
		arrived <- struct{}{}
		<-release
		answers(200, order)(w, r)
	})
	// The first request finds out that the server speaks HTTP/2.
	done := make(chan error, 51)
	fetch := func() {
		_, err := c.Fetch(t.Context(), orderRef, "x")
		done <- err
	}
	go fetch()
	<-arrived
	for range 49 {
		go fetch()
	}
	for range 49 {
		<-arrived // all 50 are under way at once
	}
	close(release)
	for range 50 {
		require.NoError(t, <-done)
	}
	n := 0
	addresses.Range(func(any, any) bool { n++; return true })
	require.Equal(t, 1, n)
}

func TestFetchAsksForTheRightPath(t *testing.T) {
	ref := func(kind, id string, parents ...string) event.Ref {
		r := event.Ref{Key: event.Key{Source: "lemon", Kind: kind, ID: id}, Parents: map[string]string{}}
		for i := 0; i+1 < len(parents); i += 2 {
			r.Parents[parents[i]] = parents[i+1]
		}
		return r
	}
	for name, c := range map[string]struct {
		ref  event.Ref
		want string
	}{
		"at the root":       {ref("account", "cusa_1"), "/v1/accounts/cusa_1?person_customer=true"},
		"under an account":  {ref("trade", "tr_1", "account", "cusa_1", "order", "bord_1"), "/v1/accounts/cusa_1/trades/tr_1"},
		"with a parameter":  {ref("workflow", "wf_1", "account", "cusa_1"), "/v1/accounts/cusa_1/workflows/wf_1?unified_orders=true"},
		"under a person":    {ref("person_update", "upd_1", "person", "pers_1"), "/v1/persons/pers_1/updates/upd_1"},
		"a singleton":       {ref("financials", "cusa_1"), "/v1/accounts/cusa_1/financials"},
		"a list":            {ref("positions", "cusa_1"), "/v1/accounts/cusa_1/positions?limit=100"},
		"a list of all":     {ref("agreements", RootID), "/v1/agreements?limit=100"},
		"an id to escape":   {ref("order", "a/b?c#d%e f;ä", "account", "x/../y"), "/v1/accounts/x%2F..%2Fy/orders/a%2Fb%3Fc%23d%25e%20f%3B%C3%A4"},
		"an id with a plus": {ref("account", "a+b&c=d"), "/v1/accounts/a+b&c=d?person_customer=true"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan string, 1)
			client := server(t, ClientOptions{}, func(w http.ResponseWriter, r *http.Request) {
				asked <- r.RequestURI
				answers(200, fmt.Sprintf(`{"data":[],"id":%q,"balance":"0","currency":"EUR"}`, c.ref.Key.ID))(w, r)
			})
			_, err := client.Fetch(t.Context(), c.ref, "x")
			require.NoError(t, err)
			require.Equal(t, c.want, <-asked)
		})
	}
}

func TestFetchRefusesIdsItCannotAskFor(t *testing.T) {
	var asked atomic.Int64
	c := server(t, ClientOptions{}, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	for name, ref := range map[string]event.Ref{
		"unknown kind":     {Key: event.Key{Kind: "moon", ID: "x"}},
		"no id":            {Key: event.Key{Kind: "account"}},
		"dots":             {Key: event.Key{Kind: "account", ID: ".."}},
		"control char":     {Key: event.Key{Kind: "account", ID: "a\r\nb"}},
		"too long":         {Key: event.Key{Kind: "account", ID: strings.Repeat("x", 256)}},
		"no parent":        {Key: event.Key{Kind: "order", ID: "bord_1"}},
		"dots for parents": {Key: event.Key{Kind: "order", ID: "bord_1"}, Parents: map[string]string{"account": ".."}},
	} {
		t.Run(name, func(t *testing.T) {
			want := fate.Permanent
			if name == "unknown kind" { // says something about the definition, nothing about the entity
				want = fate.Undefined
			}
			_, err := c.Fetch(t.Context(), ref, "x")
			requireClass(t, err, want, 0)
		})
	}
	require.Zero(t, asked.Load())
}

func requireClass(t *testing.T, err error, class fate.Class, status int) {
	t.Helper()
	var classed *fate.Error
	require.ErrorAs(t, err, &classed)
	require.Equal(t, class, classed.Class, "%v", err)
	require.Equal(t, status, classed.Status)
	require.NotContains(t, err.Error(), "key_1")
	require.NotContains(t, err.Error(), "PRIVATE", "no payload in errors")
}

func TestAnswersHaveTheirClass(t *testing.T) {
	const own = `{"message":"PRIVATE"}`
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		class  fate.Class
		status int
		after  time.Duration
	}{
		"408":                         {answers(408, own), fate.Transient, 408, 0},
		"425":                         {answers(425, own), fate.Transient, 425, 0},
		"500":                         {answers(500, own), fate.Transient, 500, 0},
		"502 of a proxy":              {answers(502, "<html>PRIVATE", "Content-Type", "text/html"), fate.Transient, 502, 0},
		"503":                         {answers(503, own), fate.Transient, 503, 0},
		"503 with seconds":            {answers(503, own, "Retry-After", "7"), fate.Transient, 503, 7 * time.Second},
		"500 with seconds":            {answers(500, own, "Retry-After", "7"), fate.Transient, 500, 7 * time.Second},
		"502 with seconds":            {answers(502, "", "Retry-After", "7"), fate.Transient, 502, 7 * time.Second},
		"408 with seconds":            {answers(408, "", "Retry-After", "7"), fate.Transient, 408, 7 * time.Second},
		"425 with seconds":            {answers(425, "", "Retry-After", "7"), fate.Transient, 425, 7 * time.Second},
		"302 with seconds":            {answers(302, "", "Retry-After", "7"), fate.Transient, 302, 0},
		"400 with seconds":            {answers(400, own, "Retry-After", "7"), fate.Permanent, 400, 0},
		"429":                         {answers(429, own), fate.Throttled, 429, 0},
		"429 with seconds":            {answers(429, own, "Retry-After", "30"), fate.Throttled, 429, 30 * time.Second},
		"429 with a date":             {answers(429, own, "Retry-After", now.Add(time.Minute).Format(http.TimeFormat)), fate.Throttled, 429, time.Minute},
		"429 with a date gone by":     {answers(429, own, "Retry-After", now.Add(-time.Minute).Format(http.TimeFormat)), fate.Throttled, 429, 0},
		"429 with years":              {answers(429, own, "Retry-After", "999999999"), fate.Throttled, 429, time.Hour},
		"429 with nonsense":           {answers(429, own, "Retry-After", "-5"), fate.Throttled, 429, 0},
		"429 with half seconds":       {answers(429, own, "Retry-After", "2.5"), fate.Throttled, 429, 2500 * time.Millisecond},
		"429 with a decimal point":    {answers(429, own, "Retry-After", "2.0"), fate.Throttled, 429, 2 * time.Second},
		"429 with a power":            {answers(429, own, "Retry-After", "1e2"), fate.Throttled, 429, 0},
		"429 with no digits":          {answers(429, own, "Retry-After", ".5"), fate.Throttled, 429, 0},
		"429 with centuries":          {answers(429, own, "Retry-After", "99999999999999999999.0"), fate.Throttled, 429, time.Hour},
		"403 with seconds":            {answers(403, own, "Retry-After", "30"), fate.Throttled, 403, 30 * time.Second},
		"403 with no seconds":         {answers(403, own, "Retry-After", "0"), fate.Refused, 403, 0},
		"401 with seconds":            {answers(401, own, "Retry-After", "30"), fate.Refused, 401, 0},
		"401":                         {answers(401, own), fate.Refused, 401, 0},
		"403":                         {answers(403, own), fate.Refused, 403, 0},
		"400":                         {answers(400, own), fate.Permanent, 400, 0},
		"422":                         {answers(422, own), fate.Permanent, 422, 0},
		"404":                         {answers(404, own), fate.Gone, 404, 0},
		"404 with charset":            {answers(404, own, "Content-Type", "application/json; charset=utf-8"), fate.Gone, 404, 0},
		"404 of a proxy":              {answers(404, "<html>", "Content-Type", "text/html"), fate.Transient, 404, 0},
		"404 without a body":          {answers(404, ""), fate.Transient, 404, 0},
		"404 in another shape":        {answers(404, `{"detail":"Not Found"}`), fate.Transient, 404, 0},
		"404 with an empty text":      {answers(404, `{"message":""}`), fate.Transient, 404, 0},
		"404 that says it is HTML":    {answers(404, own, "Content-Type", "text/html"), fate.Transient, 404, 0},
		"405":                         {answers(405, own), fate.Transient, 405, 0},
		"409":                         {answers(409, own), fate.Transient, 409, 0},
		"301":                         {answers(301, own, "Location", "/elsewhere"), fate.Transient, 301, 0},
		"307":                         {answers(307, own, "Location", "https://example.com/"), fate.Transient, 307, 0},
		"204":                         {answers(204, ""), fate.Transient, 204, 0},
		"wrong content type":          {answers(200, order, "Content-Type", "text/html"), fate.Transient, 200, 0},
		"empty content type":          {answers(200, order, "Content-Type", ""), fate.Transient, 200, 0},
		"no JSON":                     {answers(200, "PRIVATE"), fate.Transient, 200, 0},
		"JSON cut off":                {answers(200, order[:30]), fate.Transient, 200, 0},
		"a list instead of an object": {answers(200, "["+order+"]"), fate.Transient, 0, 0},
		"410":                         {answers(410, own), fate.Gone, 410, 0},
		"410 of a proxy":              {answers(410, "<html>", "Content-Type", "text/html"), fate.Transient, 410, 0},
		"410 without a body":          {answers(410, ""), fate.Transient, 410, 0},
		"410 with seconds":            {answers(410, own, "Retry-After", "7"), fate.Gone, 410, 0},
		"another entity":              {answers(200, `{"id":"bord_2"}`), fate.Transient, 0, 0},
		"too long":                    {answers(200, order+strings.Repeat(" ", 5000)), fate.Permanent, 200, 0},
		"body cut off": {func(w http.ResponseWriter, r *http.Request) {
			answers(200, order[:20])(w, r)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, fate.Transient, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			client := server(t, ClientOptions{MaxBody: 4096}, func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				c.answer(w, r)
			})
			_, err := client.Fetch(t.Context(), orderRef, "x")
			requireClass(t, err, c.class, c.status)
			require.ErrorContains(t, err, "fetch lemon/order/bord_1: ")
			_, after := fate.Of(err)
			require.Equal(t, c.after, after)
			require.EqualValues(t, 1, asked.Load(), "no redirect is followed, nothing is asked twice")
		})
	}
}

func TestTheKeyNeverFollowsARedirect(t *testing.T) {
	leaked := make(chan string, 1)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		leaked <- r.Header.Get("Authorization")
	}))
	t.Cleanup(other.Close)
	c := server(t, ClientOptions{}, answers(302, "", "Location", other.URL))
	_, err := c.Fetch(t.Context(), orderRef, "x")
	requireClass(t, err, fate.Transient, 302)
	require.Empty(t, leaked)
}

func TestDeadlines(t *testing.T) {
	hang := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	t.Run("ours, before the answer", func(t *testing.T) {
		c := server(t, ClientOptions{Timeout: 50 * time.Millisecond}, hang)
		_, err := c.Fetch(t.Context(), orderRef, "x")
		requireClass(t, err, fate.Transient, 0)
		require.ErrorContains(t, err, "no whole answer within 50ms")
	})
	t.Run("ours, within the body", func(t *testing.T) {
		c := server(t, ClientOptions{Timeout: 50 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
			answers(200, order[:20])(w, r)
			w.(http.Flusher).Flush()
			hang(w, r)
		})
		_, err := c.Fetch(t.Context(), orderRef, "x")
		requireClass(t, err, fate.Transient, 0)
		require.ErrorContains(t, err, "no whole answer within 50ms")
	})
	t.Run("the caller's", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := server(t, ClientOptions{}, func(w http.ResponseWriter, r *http.Request) {
			cancel()
			hang(w, r)
		})
		_, err := c.Fetch(ctx, orderRef, "x")
		require.ErrorIs(t, err, context.Canceled)
		var classed *fate.Error
		require.NotErrorAs(t, err, &classed, "the end of the caller says nothing about the entity")
	})
	t.Run("no server", func(t *testing.T) {
		s := httptest.NewServer(nil)
		s.Close()
		c := clientOf(t, lemon(t), ClientOptions{}, s.URL)
		_, err := c.Fetch(t.Context(), orderRef, "x")
		requireClass(t, err, fate.Transient, 0)
		require.NotContains(t, err.Error(), "/accounts/", "only what failed, not the whole address")
	})
}

func TestSentAtIsBeforeTheRequest(t *testing.T) {
	var ticks atomic.Int64
	tick := func() time.Time { return now.Add(time.Duration(ticks.Add(1)) * time.Second) }
	t.Run("of an entity", func(t *testing.T) {
		ticks.Store(0)
		arrived := make(chan int64, 1)
		c := server(t, ClientOptions{Now: tick}, func(w http.ResponseWriter, r *http.Request) {
			arrived <- ticks.Load()
			answers(200, order)(w, r)
		})
		s, err := c.Fetch(t.Context(), orderRef, "x")
		require.NoError(t, err)
		require.EqualValues(t, 1, <-arrived)
		require.Equal(t, now.Add(time.Second), s.SentAt)
	})
	t.Run("of a list, its first page", func(t *testing.T) {
		ticks.Store(0)
		c := server(t, ClientOptions{Now: tick}, pages(map[string]string{
			"limit=100": `{"data":[],"pagination":{"next_cursor":"b"}}`, "cursor=b": `{"data":[]}`,
		}))
		s, err := c.Fetch(t.Context(), positionsRef, "x")
		require.NoError(t, err)
		require.EqualValues(t, 2, ticks.Load())
		require.Equal(t, now.Add(time.Second), s.SentAt)
	})
}

// A provider in trouble must not be met with a new connection per failure.
func TestConnectionsOutliveErrors(t *testing.T) {
	var connections atomic.Int64
	s := httptest.NewUnstartedServer(answers(503, `{"message":"`+strings.Repeat("x", 10_000)+`"}`))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	c := clientOf(t, lemon(t), ClientOptions{}, s.URL)
	for range 20 {
		_, err := c.Fetch(t.Context(), orderRef, "x")
		requireClass(t, err, fate.Transient, 503)
	}
	require.EqualValues(t, 1, connections.Load())
}

func TestProbe(t *testing.T) {
	asked := make(chan string, 1)
	c := server(t, ClientOptions{}, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.RequestURI
		answers(200, `{"data":[]}`)(w, r)
	})
	require.NoError(t, c.Probe(t.Context()))
	require.Equal(t, "/v1/accounts?limit=1", <-asked)

	c = server(t, ClientOptions{}, answers(401, `{"message":"no"}`))
	requireClass(t, c.Probe(t.Context()), fate.Refused, 401)
}

func TestHeadersHoldNoForeignText(t *testing.T) {
	got := make(chan string, 2)
	c := server(t, ClientOptions{}, func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Get("LMG-Data-Privacy-Access-Justification")
		answers(200, order)(w, r)
	})
	for why, want := range map[string]string{"webhook-ä\r\nX: y": "webhook-___X: y", "": "unknown"} {
		_, err := c.Fetch(t.Context(), orderRef, why)
		require.NoError(t, err)
		require.Equal(t, want, <-got)
	}
}

func TestBasicAuthAndErrorStyles(t *testing.T) {
	product := event.Ref{Key: event.Key{Kind: "product", ID: "prod_1"}}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		class  fate.Class
	}{
		"its own 404":     {answers(404, `{"error":{"type":"invalid_request_error","code":"resource_missing"}}`), fate.Gone},
		"no such path":    {answers(404, `{"error":{"type":"invalid_request_error","message":"Unrecognized request URL"}}`), fate.Transient},
		"another's 404":   {answers(404, `{"message":"x"}`), fate.Transient},
		"not of its type": {answers(404, `{"error":"x"}`), fate.Transient},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				user, password, _ := r.BasicAuth()
				if user != "key_1" || password != "" || r.Header.Get("Stripe-Version") != "2026-08-26.dahlia" {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				c.answer(w, r)
			}))
			t.Cleanup(s.Close)
			_, err := clientOf(t, stripe(t), ClientOptions{}, s.URL).Fetch(t.Context(), product, "x")
			requireClass(t, err, c.class, 404)
		})
	}
	t.Run("RFC 9457", func(t *testing.T) {
		for contentType, class := range map[string]fate.Class{"application/problem+json": fate.Gone, "application/json": fate.Transient} {
			s := httptest.NewServer(answers(404, `{"title":"Not Found"}`, "Content-Type", contentType))
			t.Cleanup(s.Close)
			user := event.Ref{Key: event.Key{Kind: "user", ID: "u_1"}}
			_, err := clientOf(t, example(t, "standard.yaml"), ClientOptions{}, s.URL).Fetch(t.Context(), user, "x")
			requireClass(t, err, class, 404)
		}
	})
}

func TestImpossibleClientOptions(t *testing.T) {
	good := ClientOptions{BaseURL: "https://example.com/v1", Key: "k"}
	for name, c := range map[string]struct {
		change func(*ClientOptions)
		err    string
	}{
		"no address":           {func(o *ClientOptions) { o.BaseURL = "" }, "is no http or https address"},
		"no scheme":            {func(o *ClientOptions) { o.BaseURL = "example.com/v1" }, "is no http or https address"},
		"another scheme":       {func(o *ClientOptions) { o.BaseURL = "ftp://example.com" }, "is no http or https address"},
		"a key in the address": {func(o *ClientOptions) { o.BaseURL = "https://k@example.com" }, "holds a user"},
		"a query":              {func(o *ClientOptions) { o.BaseURL = "https://example.com?a=b" }, "holds a user, query"},
		"no key":               {func(o *ClientOptions) { o.Key = "" }, "api_key is empty"},
		"a key with a break":   {func(o *ClientOptions) { o.Key = "a\nb" }, "api_key is empty or holds"},
		"a bad principal":      {func(o *ClientOptions) { o.Principal = "a\nb" }, "principal holds"},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			c.change(&o)
			_, err := NewClient(lemon(t), o)
			require.ErrorContains(t, err, c.err)
		})
	}
	_, err := NewClient(lemon(t), good)
	require.NoError(t, err)
	_, err = url.Parse(good.BaseURL)
	require.NoError(t, err)
}
