package provider

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
)

// writerOf returns a Writer of a provider.
func writerOf(tb testing.TB, d *Definition, address string) *Writer {
	tb.Helper()
	c, err := NewClient(d, ClientOptions{BaseURL: address, Key: "read-key", Now: clock})
	require.NoError(tb, err)
	tb.Cleanup(c.Close)
	w, err := c.Writer("write-key")
	require.NoError(tb, err)
	return w
}

// sent renders a command and sends it.
func sent(t *testing.T, w *Writer, cmd Command) Answer {
	t.Helper()
	req, err := w.client.def.Render(cmd, bound)
	require.NoError(t, err)
	return w.Send(t.Context(), cmd, req, "command-cmd_1")
}

var (
	createOrder = Command{Kind: "order", Op: "create", Ref: "r", Parents: inShop, Key: "cmd_1", Body: []byte(`{"amount":5}`)}
	updateOrder = Command{Kind: "order", Op: "update", ID: "o", Parents: inShop, Body: []byte(`{"note":"n"}`)}
	deleteOrder = Command{Kind: "order", Op: "delete", ID: "o", Parents: inShop}
	finishOrder = Command{Kind: "order", Op: "finish", ID: "o", Parents: inShop, Body: []byte(`{"pin":"1"}`)}
	ringOrder   = Command{Kind: "order", Op: "ring", ID: "o", Parents: inShop, Key: "cmd_2"}
	createCoin  = Command{Kind: "coin", Op: "create", Ref: "c", Body: []byte(`{"worth":1}`)}
)

func TestSourcesWithoutAWriteKeyChangeNothing(t *testing.T) {
	c, err := NewClient(ordered(t), ClientOptions{BaseURL: "https://api.example/v1", Key: "read-key"})
	require.NoError(t, err)
	_, err = c.Writer("")
	require.ErrorIs(t, err, ErrNoWriteKey)
	_, err = c.Writer("a\nb")
	require.ErrorContains(t, err, "write_key")
	require.NotContains(t, err.Error(), "a\nb")
}

func TestWhatIsSent(t *testing.T) {
	type got struct {
		*http.Request
		body string
	}
	requests := make(chan got, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- got{r, string(body)}
		answers(200, `{"order":{"id":"ord_1"}}`)(w, r)
	}))
	t.Cleanup(s.Close)
	w := writerOf(t, ordered(t), s.URL+"/v1")
	sent(t, w, createOrder)
	r := <-requests
	require.Equal(t, "POST /v1/shops/s%201/orders", r.Method+" "+r.RequestURI)
	require.Equal(t, `{"amount":5,"meta":{"ref":"r"}}`, r.body)
	require.Equal(t, "Bearer write-key", r.Header.Get("Authorization"), "the key of reads is for reads")
	require.Equal(t, "cmd_1", r.Header.Get("Idempotency-Key"))
	require.Equal(t, "application/json", r.Header.Get("Content-Type"))
	require.Equal(t, int64(len(r.body)), r.ContentLength)
	require.Empty(t, r.Header.Get("Traceparent"))

	sent(t, w, ringOrder)
	r = <-requests
	require.Equal(t, "cmd_2", r.Header.Get("Idempotency-Key"), "in whatever spelling")
	require.Empty(t, r.body)
	require.Zero(t, r.ContentLength)
	require.Empty(t, r.TransferEncoding, "no body in pieces")
	require.Empty(t, r.Header.Get("Content-Type"))

	sent(t, w, deleteOrder)
	r = <-requests
	require.Equal(t, "DELETE", r.Method)
	require.Empty(t, r.Header.Get("Idempotency-Key"))
	require.Empty(t, r.body)
	require.Empty(t, r.TransferEncoding)
}

// What is in an account of another is changed with its header, and found with it.
func TestWritesWithinAScope(t *testing.T) {
	requests := make(chan *http.Request, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		answers(200, `{"id":"p"}`)(w, r)
	}))
	t.Cleanup(s.Close)
	d := stripeScoped(t)
	w := writerOf(t, d, s.URL)
	for _, account := range []string{"acct_1", ""} {
		cmd := Command{Kind: "product", Op: "update", ID: "p", Body: []byte(`{"name":"a"}`)}
		if account != "" {
			cmd.Parents = map[string]string{"account": account}
		}
		req, err := d.Render(cmd, bound)
		require.NoError(t, err)
		require.Equal(t, account, req.Scope)
		require.Equal(t, Answered, w.Send(t.Context(), cmd, req, "x").Outcome)
		require.Equal(t, account, (<-requests).Header.Get("Stripe-Account"))
	}
	err := d.Check(Command{Kind: "product", Op: "archive", ID: "p", Parents: map[string]string{"account": "a b"}})
	require.ErrorContains(t, err, "parents.account: ")
	err = stripe(t).Check(Command{Kind: "product", Op: "archive", ID: "p", Parents: map[string]string{"account": "acct_1"}})
	require.ErrorContains(t, err, "parents.account: is no parent of a product: want none")
}

func TestAnswersAreClassified(t *testing.T) {
	const json, html = "application/json", "text/html"
	created := `{"order":{"id":"ord_1"},"pin":"1234"}`
	for name, c := range map[string]struct {
		cmd         Command
		status      int
		contentType string
		body        string
		header      []string
		want        Outcome
		check       func(*testing.T, Answer)
	}{
		"created": {createOrder, 201, json, created, []string{"X-Again", "true", "Request-Id", "req_1"}, Answered, func(t *testing.T, a Answer) {
			require.Equal(t, "ord_1", a.ID)
			require.True(t, a.Replayed)
			require.Equal(t, "req_1", a.RequestID)
			require.JSONEq(t, `{"order":{"id":"ord_1"}}`, string(a.Body), "secrets of the kind are cut out")
			require.Equal(t, now, a.SentAt)
		}},
		"created, with a number as id":    {createOrder, 200, json, `{"order":{"id":7}}`, nil, Answered, func(t *testing.T, a Answer) { require.Equal(t, "7", a.ID) }},
		"created, without an id":          {createOrder, 201, json, `{"order":{}}`, nil, Unknown, nil},
		"created, an error in the body":   {createOrder, 200, json, `{"ok":false,"order":{"id":"ord_1"}}`, nil, Unknown, nil},
		"created, nothing in the body":    {createOrder, 204, json, ``, nil, Unknown, nil},
		"created, a page of a proxy":      {createOrder, 200, html, `<html>`, nil, Unknown, nil},
		"created, half of the answer":     {createOrder, 201, json, `{"order":{"id":"ord_1"`, nil, Unknown, nil},
		"created, more than is kept":      {createOrder, 201, json, `{"order":{"id":"ord_1"},"x":"` + strings.Repeat("x", maxKeptAnswer) + `"}`, nil, Answered, func(t *testing.T, a Answer) { require.Equal(t, "ord_1", a.ID); require.Nil(t, a.Body) }},
		"put under our own id":            {createCoin, 204, "", ``, nil, Answered, func(t *testing.T, a Answer) { require.Equal(t, "c", a.ID) }},
		"updated":                         {updateOrder, 200, json, `{"id":"o","status":"open","pin":"1"}`, nil, Answered, func(t *testing.T, a Answer) { require.Equal(t, "open", a.State.Status); require.Empty(t, a.ID) }},
		"updated, and shows another":      {updateOrder, 200, json, `{"id":"p"}`, nil, Unknown, nil},
		"updated, and shows none":         {updateOrder, 200, json, ``, nil, Unknown, nil},
		"done, without words":             {finishOrder, 204, "", ``, nil, Answered, nil},
		"done, with a message":            {finishOrder, 200, json, `{"message":"finished"}`, nil, Answered, nil},
		"done, with few words":            {finishOrder, 202, json, `{}`, nil, Answered, nil},
		"done, and yet an error":          {finishOrder, 200, json, `{"error":"no"}`, nil, Unknown, nil},
		"deleted":                         {deleteOrder, 200, json, `{"deleted":true}`, nil, Answered, nil},
		"deleted before":                  {deleteOrder, 404, json, `{"message":"no such order"}`, nil, Answered, nil},
		"deleted before, says a proxy":    {deleteOrder, 404, html, `<html>`, nil, Misrouted, nil},
		"deleted before, half of it":      {deleteOrder, 404, json, `{"message":`, nil, Unknown, nil},
		"of what is not there":            {updateOrder, 404, json, `{"message":"no such order"}`, nil, Dead, nil},
		"not there, says a proxy":         {updateOrder, 404, html, `<html>`, nil, Misrouted, nil},
		"not there, says another's JSON":  {updateOrder, 404, json, `{"detail":"Not Found"}`, nil, Misrouted, nil},
		"not there, without a body":       {createOrder, 404, json, ``, nil, Misrouted, nil},
		"gone, says a proxy":              {createOrder, 410, html, `<html>`, nil, Misrouted, nil},
		"not understood":                  {updateOrder, 400, json, `{}`, nil, Dead, nil},
		"refused":                         {createOrder, 422, json, `{}`, nil, Dead, nil},
		"refused for good":                {createOrder, 410, json, `{"message":"it was deleted"}`, nil, Dead, nil},
		"not paid":                        {createOrder, 402, json, `{}`, nil, Dead, nil},
		"a condition":                     {createOrder, 412, json, `{}`, nil, Dead, nil},
		"in use":                          {createOrder, 409, json, `{}`, nil, Busy, nil},
		"locked":                          {createOrder, 423, json, `{}`, nil, Busy, nil},
		"too early":                       {createOrder, 425, json, `{}`, nil, Busy, nil},
		"too often":                       {createOrder, 429, json, `{}`, []string{"Retry-After", "7"}, Throttled, func(t *testing.T, a Answer) { require.Equal(t, 7*time.Second, a.RetryAfter) }},
		"too often, as 403":               {createOrder, 403, json, `{}`, []string{"Retry-After", "7"}, Throttled, nil},
		"the key":                         {createOrder, 401, json, `{}`, nil, Refused, nil},
		"the key, for this":               {createOrder, 403, json, `{}`, nil, Refused, nil},
		"too slow for the provider":       {createOrder, 408, json, `{}`, nil, Unknown, nil},
		"failed":                          {createOrder, 500, json, created, nil, Unknown, func(t *testing.T, a Answer) { require.Empty(t, a.ID) }},
		"not reached":                     {createOrder, 502, html, `<html>`, nil, Unknown, nil},
		"elsewhere":                       {createOrder, 303, html, ``, []string{"Location", "https://elsewhere.example"}, Unknown, nil},
		"failed, as it did before":        {createOrder, 500, json, `{}`, []string{"X-Again", "true"}, Unknown, func(t *testing.T, a Answer) { require.True(t, a.Replayed) }},
		"an answer that is not to be had": {finishOrder, 200, "application/problem+json", `{"error":"x"}`, nil, Unknown, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if c.contentType != "" {
					w.Header().Set("Content-Type", c.contentType)
				}
				for i := 0; i+1 < len(c.header); i += 2 {
					w.Header().Set(c.header[i], c.header[i+1])
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			t.Cleanup(s.Close)
			a := sent(t, writerOf(t, ordered(t), s.URL), c.cmd)
			require.Equal(t, c.want, a.Outcome, "%v", a.Err)
			require.Equal(t, c.status, a.Status)
			require.Equal(t, c.want == Answered && c.status < 300, a.Err == nil, "%v", a.Err)
			if c.check != nil {
				c.check(t, a)
			}
		})
	}
}

// What is in errors.entity of a definition is of the one entity.
func TestALockedObjectIsBusy(t *testing.T) {
	for code, want := range map[string]Outcome{"lock_timeout": Busy, "rate_limit": Throttled} {
		s := httptest.NewServer(answers(429, `{"error":{"code":"`+code+`"}}`))
		t.Cleanup(s.Close)
		a := sent(t, writerOf(t, stripe(t), s.URL), Command{Kind: "product", Op: "archive", ID: "p"})
		require.Equal(t, want, a.Outcome)
	}
}

// Stripe's 404 of a path that does not exist has no code.
func TestADeleteOfAWrongPathIsNoSuccess(t *testing.T) {
	for body, want := range map[string]Outcome{`{"error":{"code":"resource_missing"}}`: Answered, `{"error":{"type":"invalid_request_error"}}`: Misrouted} {
		s := httptest.NewServer(answers(404, body))
		t.Cleanup(s.Close)
		require.Equal(t, want, sent(t, writerOf(t, stripe(t), s.URL), Command{Kind: "product", Op: "delete", ID: "p"}).Outcome)
	}
}

func TestFailuresBeforeAndAfterAConnection(t *testing.T) {
	t.Run("no connection", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		address := "http://" + l.Addr().String()
		require.NoError(t, l.Close())
		a := sent(t, writerOf(t, ordered(t), address), createOrder)
		require.Equal(t, Unsent, a.Outcome)
		require.Error(t, a.Err)
		require.Zero(t, a.Status)
	})
	t.Run("no TLS", func(t *testing.T) {
		s := httptest.NewTLSServer(answers(200, `{}`))
		t.Cleanup(s.Close)
		s.Config.ErrorLog = nil
		require.Equal(t, Unsent, sent(t, writerOf(t, ordered(t), s.URL), createOrder).Outcome, "the certificate is not one that the system knows")
	})
	hanging := func(t *testing.T) (address string, arrived chan struct{}) {
		arrived = make(chan struct{}, 1)
		stop := make(chan struct{})
		s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			arrived <- struct{}{}
			<-stop
		}))
		t.Cleanup(s.Close)
		t.Cleanup(func() { close(stop) })
		return s.URL, arrived
	}
	t.Run("no answer", func(t *testing.T) {
		address, arrived := hanging(t)
		d := *ordered(t)
		d.api.writes.timeout = 2 * time.Second
		a := sent(t, writerOf(t, &d, address), createOrder)
		<-arrived
		require.Equal(t, Unknown, a.Outcome)
		require.ErrorContains(t, a.Err, "no whole answer within 2s")
	})
	t.Run("we end", func(t *testing.T) {
		address, arrived := hanging(t)
		w := writerOf(t, ordered(t), address)
		ctx, cancel := context.WithCancel(t.Context())
		req, err := w.client.def.Render(createOrder, bound)
		require.NoError(t, err)
		done := make(chan Answer, 1)
		go func() { done <- w.Send(ctx, createOrder, req, "x") }()
		<-arrived
		cancel()
		a := <-done
		require.Equal(t, Unknown, a.Outcome)
		require.ErrorIs(t, a.Err, context.Canceled)
	})
	t.Run("ended before", func(t *testing.T) {
		address, _ := hanging(t)
		w := writerOf(t, ordered(t), address)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		req, err := w.client.def.Render(createOrder, bound)
		require.NoError(t, err)
		require.Equal(t, Unsent, w.Send(ctx, createOrder, req, "x").Outcome)
	})
}

// closer is a server that answers the first request of each connection, and closes the
// connection once it has read the second: it may have done what that asked for.
type closer struct {
	address string
	mu      sync.Mutex
	changes []string // requests other than GET
}

func startCloser(t *testing.T) *closer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &closer{address: "http://" + l.Addr().String()}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { c.serve(conn) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return c
}

func (c *closer) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	for n := 0; ; n++ {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method != http.MethodGet {
			c.mu.Lock()
			c.changes = append(c.changes, r.Method+" "+r.Header.Get("Idempotency-Key"))
			c.mu.Unlock()
		}
		if n > 0 {
			return
		}
		const body = `{"order":{"id":"ord_1"}}`
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
}

func (c *closer) seen() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string{}, c.changes...)
}

// Go's transport repeats a request when a connection that was used before breaks, if it
// takes it for idempotent. No request of ours is repeated so. The control shows that the
// server does make the transport repeat.
func TestNothingIsSentTwiceInSilence(t *testing.T) {
	for name, cmd := range map[string]Command{"with a body": createOrder, "without a body": ringOrder, "a delete": deleteOrder, "without a key": updateOrder} {
		t.Run(name, func(t *testing.T) {
			s := startCloser(t)
			w := writerOf(t, ordered(t), s.address)
			require.NoError(t, w.Probe(t.Context(), "")) // leaves a connection
			a := sent(t, w, cmd)
			require.Equal(t, Unknown, a.Outcome)
			require.Len(t, s.seen(), 1)
			require.True(t, strings.HasSuffix(s.seen()[0], " "+cmd.Key), "%s", s.seen())
		})
	}
	for name, body := range map[string]io.Reader{"control, with a body": bytes.NewReader([]byte(`{}`)), "control, without a body": http.NoBody} {
		t.Run(name, func(t *testing.T) {
			s := startCloser(t)
			w := writerOf(t, ordered(t), s.address)
			require.NoError(t, w.Probe(t.Context(), ""))
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.address+"/x", body)
			require.NoError(t, err)
			r.Header.Set("Idempotency-Key", "cmd_1")
			res, err := w.client.http.Do(r)
			require.NoError(t, err, "the second request is the first of its connection")
			require.NoError(t, res.Body.Close())
			require.Len(t, s.seen(), 2)
		})
	}
}

func TestTheProvidersClock(t *testing.T) {
	date := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil
		if date != "" {
			w.Header().Set("Date", date)
		}
		answers(200, `{"order":{"id":"ord_1"}}`)(w, r)
	}))
	t.Cleanup(s.Close)
	w := writerOf(t, ordered(t), s.URL)
	sent(t, w, createOrder)
	_, ok := w.ProviderTime(now)
	require.False(t, ok, "nothing is known before an answer has a date")
	date = now.Add(90 * time.Second).UTC().Format(http.TimeFormat)
	require.NoError(t, w.Probe(t.Context(), ""))
	at, ok := w.ProviderTime(now)
	require.True(t, ok)
	require.Equal(t, now.Add(90*time.Second).Truncate(time.Second).UTC(), at.UTC())
}

// A token that is refused has had no effect, so the request goes out once more with a new
// one.
func TestARefusedTokenIsReplaced(t *testing.T) {
	var mu sync.Mutex
	tokens, changes := 0, 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/t" {
			tokens++
			answers(200, fmt.Sprintf(`{"access_token":"t%d","token_type":"bearer"}`, tokens))(w, r)
			return
		}
		changes++
		if r.Header.Get("Authorization") != "Bearer t2" {
			answers(401, `{}`)(w, r)
			return
		}
		answers(200, `{"order":{"id":"ord_1"}}`)(w, r)
	}))
	t.Cleanup(s.Close)
	text := strings.Replace(ordering, "errors: message", "errors: message\n  auth: {oauth2: {token_url: /t}}", 1)
	d, err := Parse("small.yaml", []byte(text))
	require.NoError(t, err)
	c, err := NewClient(d, ClientOptions{BaseURL: s.URL, Key: "reader:secret"})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	w, err := c.Writer("writer:secret")
	require.NoError(t, err)
	a := sent(t, w, createOrder)
	require.Equal(t, Answered, a.Outcome, "%v", a.Err)
	require.Equal(t, 2, changes)
	require.Equal(t, 2, tokens)
}

// A token that cannot be had means that nothing was sent, though the token's endpoint was
// connected to.
func TestNoTokenIsNoRequest(t *testing.T) {
	for status, want := range map[int]Outcome{400: Refused, 401: Refused, 500: Unsent} {
		changes := make(chan struct{}, 1)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/t" {
				changes <- struct{}{}
			}
			answers(status, `{"error":"invalid_client"}`)(w, r)
		}))
		t.Cleanup(s.Close)
		d, err := Parse("small.yaml", []byte(strings.Replace(ordering, "errors: message", "errors: message\n  auth: {oauth2: {token_url: /t}}", 1)))
		require.NoError(t, err)
		c, err := NewClient(d, ClientOptions{BaseURL: s.URL, Key: "reader:secret"})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		w, err := c.Writer("writer:secret")
		require.NoError(t, err)
		a := sent(t, w, createOrder)
		require.Equal(t, want, a.Outcome, "%d: %v", status, a.Err)
		require.Empty(t, changes)
	}
}

func TestErrorsOfWritesHaveAClass(t *testing.T) {
	s := httptest.NewServer(answers(422, `{"message":"Ada Lovelace owes us"}`))
	t.Cleanup(s.Close)
	a := sent(t, writerOf(t, ordered(t), s.URL), createOrder)
	require.True(t, fate.Is(a.Err, fate.Permanent))
	require.NotContains(t, a.Err.Error(), "Ada", "no personal data in an error")
	require.Contains(t, string(a.Body), "Ada", "but in the answer that is kept with the command")
}
