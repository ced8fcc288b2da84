package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	providersignature "github.com/tarn-sync/tarn/shared/provider/signature"
	"github.com/tarn-sync/tarn/shared/stream"
)

func TestAcceptedEventIsAppendedAsItCame(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	body := orderEvent("evt_1")
	w := f.do(webhook("lemon", body, noon))

	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.JSONEq(t, `{"status":"accepted","id":"evt_1"}`, w.Body.String())
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))

	require.Len(t, f.queue.appended(), 1)
	got := f.queue.appended()[0].Signal
	require.Equal(t, event.CauseEvent, got.Cause)
	require.Equal(t, "evt_1", got.CauseID)
	require.Equal(t, event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}, got.Ref.Key)
	require.Equal(t, body, string(got.Body.Payload))
	require.Equal(t, noon, got.Body.ReceivedAt)
	require.Zero(t, f.store.counted(), "the receiver must not touch the store")
}

func TestDuplicateIsOnRecordBeforeItIsAnswered(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	require.Equal(t, http.StatusOK, f.do(webhook("lemon", orderEvent("evt_1"), noon)).Code)
	w := f.do(webhook("lemon", orderEvent("evt_1"), noon))
	require.Equal(t, http.StatusOK, w.Code)
	require.JSONEq(t, `{"status":"duplicate","id":"evt_1"}`, w.Body.String())
	require.Len(t, f.queue.appended(), 1)
	require.Equal(t, []stream.Note{{At: noon, Source: "lemon", Kind: "duplicate", EventID: "evt_1", Count: 1}}, f.queue.noted())

	t.Run("a note that cannot be made is no success", func(t *testing.T) {
		f.queue.set(func(q *fakeQueue) { q.noteErr = errors.New("connection refused") })
		require.Equal(t, http.StatusServiceUnavailable, f.do(webhook("lemon", orderEvent("evt_1"), noon)).Code)
	})
}

func TestAckCodesAreConfigurable(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) { o.Sources[0].Ack = Ack{Accepted: 202, Duplicate: 409} })
	require.Equal(t, http.StatusAccepted, f.do(webhook("lemon", orderEvent("evt_1"), noon)).Code)
	w := f.do(webhook("lemon", orderEvent("evt_1"), noon))
	require.Equal(t, http.StatusConflict, w.Code)
	require.JSONEq(t, `{"status":"duplicate","id":"evt_1"}`, w.Body.String())
}

// signed makes a webhook of a body with the signature header given.
func signed(body, header string) *http.Request {
	req := webhook("lemon", body, noon)
	req.Header.Set("LMG-Signature", header)
	return req
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	good := orderEvent("evt_1")
	goodHeader := signature(testSecret, good, noon)
	big := orderEvent("evt_1") + strings.Repeat(" ", 1<<20)
	of := func(body string) *http.Request { return webhook("lemon", body, noon) }
	for _, c := range []struct {
		name   string
		req    *http.Request
		status int
		reason string
	}{
		{"unknown source", webhook("lime", good, noon), 404, "unknown_source"},
		{"unknown source before body size", webhook("lime", big, noon), 404, "unknown_source"},
		{"1 MB body", of(big), 413, "too_large"},
		{"1 MB body of undeclared length", chunked(of(big)), 413, "too_large"},
		{"one byte over the limit", of(good + strings.Repeat(" ", 256<<10-len(good)+1)), 413, "too_large"},
		{"size before signature", signed(big, "t=1,v1=00"), 413, "too_large"},
		{"no signature", without(of(good), "LMG-Signature"), 401, "missing"},
		{"empty signature", signed(good, ""), 401, "missing"},
		{"signature without parts", signed(good, "nonsense"), 401, "malformed"},
		{"signature without time", signed(good, "v1="+strings.Repeat("0", 64)), 401, "malformed"},
		{"signature of another body", of2(good, "evt_2"), 401, "mismatch"},
		{"signature by another secret", signed(good, signature("other", good, noon)), 401, "mismatch"},
		{"signature from yesterday", signed(good, signature(testSecret, good, noon.Add(-24*time.Hour))), 401, "too_old"},
		{"signature from tomorrow", signed(good, signature(testSecret, good, noon.Add(24*time.Hour))), 401, "in_future"},
		{"signature before malformed body", signed("{", "t=1,v1=00"), 401, ""},
		{"malformed JSON", of(`{"id":"evt_1"`), 400, "bad_event"},
		{"empty body", of(``), 400, "bad_event"},
		{"JSON that is no object", of(`[1]`), 400, "bad_event"},
		{"two JSON values", of(good + good), 400, "bad_event"},
		{"no id", of(`{"type":"order.executed","created_at":"2026-03-01T11:59:58Z","context":{}}`), 400, "bad_event"},
		{"id of wrong type", of(`{"id":{},"type":"order.executed","created_at":"2026-03-01T11:59:58Z","context":{}}`), 400, "bad_event"},
		{"no type", of(`{"id":"evt_1","created_at":"2026-03-01T11:59:58Z","context":{}}`), 400, "bad_event"},
		{"type of wrong type", of(`{"id":"evt_1","type":{},"created_at":"2026-03-01T11:59:58Z","context":{}}`), 400, "bad_event"},
		{"encoded body", with(of(good), "Content-Encoding", "gzip"), 400, "encoded"},
		{"doubled time in signature", signed(good, fmt.Sprintf("t=%d,%s", noon.Unix()-1, goodHeader)), 401, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			w := f.do(c.req)
			require.Equal(t, c.status, w.Code, w.Body)
			if c.reason != "" {
				requireProblem(t, w, strings.ReplaceAll(c.reason, "_", "-"))
			}
			require.Empty(t, f.queue.appended())
			require.NotContains(t, w.Body.String()+f.logs.String(), testSecret)
		})
	}
}

func of2(body, otherID string) *http.Request {
	return signed(body, signature(testSecret, orderEvent(otherID), noon))
}

func chunked(req *http.Request) *http.Request {
	req.ContentLength = -1
	return req
}

func with(req *http.Request, name, value string) *http.Request {
	req.Header.Set(name, value)
	return req
}

func without(req *http.Request, name string) *http.Request {
	req.Header.Del(name)
	return req
}

func TestUnknownIsKept(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body string
		home       event.Key
	}{
		{"unknown type", `{"id":"e","type":"moon.landed","created_at":"2026-03-01T11:59:58Z","context":{"rocket":"r1"}}`, event.Key{Source: "lemon", ID: "e"}},
		{"no context", `{"id":"e","type":"order.executed","created_at":"2026-03-01T11:59:58Z"}`, event.Key{Source: "lemon", ID: "e"}},
		{"context null", `{"id":"e","type":"order.executed","created_at":"2026-03-01T11:59:58Z","context":null}`, event.Key{Source: "lemon", ID: "e"}},
		{"unknown context keys", `{"id":"e","type":"order.executed","created_at":"2026-03-01T11:59:58Z","context":{"account":"cusa_1","order":"bord_1","moon":"m","n":1}}`, event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}},
		{"unknown fields", `{"id":"e","type":"order.executed","created_at":"2026-03-01T11:59:58Z","context":{"account":"cusa_1","order":"bord_1"},"more":[1]}`, event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			w := f.do(webhook("lemon", c.body, noon))
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			require.Len(t, f.queue.appended(), 1)
			require.Equal(t, c.home, f.queue.appended()[0].Signal.Ref.Key)
			require.Equal(t, c.body, string(f.queue.appended()[0].Signal.Body.Payload))
		})
	}
}

func TestContentTypeIsIgnored(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for i, ct := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "☃"} {
		w := f.do(with(webhook("lemon", orderEvent(fmt.Sprint("evt_", i)), noon), "Content-Type", ct))
		require.Equal(t, http.StatusOK, w.Code, ct)
	}
}

func TestSeveralSecretsWhileRotating(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) { o.Sources[0] = lemon(t, o.Now, "the-new-secret-of-the-rotation", testSecret) })
	require.Equal(t, http.StatusOK, f.do(webhook("lemon", orderEvent("evt_1"), noon)).Code)
	body := orderEvent("evt_2")
	require.Equal(t, http.StatusOK, f.do(signed(body, signature("the-new-secret-of-the-rotation", body, noon))).Code)

	require.NoError(t, f.SetSources([]Source{lemon(t, f.clock.now, "the-new-secret-of-the-rotation")}))
	require.Equal(t, http.StatusUnauthorized, f.do(webhook("lemon", orderEvent("evt_3"), noon)).Code, "the old secret is gone")
	require.NoError(t, f.SetSources(nil))
	require.Equal(t, http.StatusNotFound, f.do(webhook("lemon", orderEvent("evt_4"), noon)).Code)
}

func TestNotConfirmedIsNoSuccess(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, reason, retryAfter string
		change                   func(*fakeQueue)
	}{
		{"redis away", "unconfirmed", "5", func(q *fakeQueue) { q.err = errors.New("dial tcp 10.1.2.3:6379: connection refused") }},
		{"redis full", "full", "30", func(q *fakeQueue) { q.err = fmt.Errorf("append: %w", stream.ErrFull) }},
		{"redis silent", "timeout", "5", func(q *fakeQueue) { q.hang = true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, func(o *Options) { o.AppendTimeout = 20 * time.Millisecond })
			f.queue.set(c.change)
			w := f.do(webhook("lemon", orderEvent("evt_1"), noon))
			require.Equal(t, http.StatusServiceUnavailable, w.Code)
			require.Equal(t, c.retryAfter, w.Header().Get("Retry-After"))
			requireProblem(t, w, c.reason)
			require.NotContains(t, w.Body.String(), "10.1.2.3", "addresses are not for senders")
		})
	}
}

func TestRefusalsAreSummedPerMinute(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for i := range 1000 {
		f.do(webhook(fmt.Sprintf("stranger%d", i), "{}", noon))
	}
	for range 3 {
		f.do(signed("{}", "t=1,v1=00"))
	}
	require.Empty(t, f.queue.noted(), "nothing is written while the minute runs")
	require.Equal(t, 2, strings.Count(f.logs.String(), "\n"), "one line per reason:\n%s", f.logs)

	f.queue.set(func(q *fakeQueue) { q.noteErr = errors.New("away") })
	f.tally.flush(context.Background())
	f.clock.advance(time.Minute)
	f.do(webhook("stranger", "{}", noon))
	f.queue.set(func(q *fakeQueue) { q.noteErr = nil })
	f.tally.flush(context.Background())
	notes := f.queue.noted()
	require.Len(t, notes, 2)
	byReason := map[string]stream.Note{}
	for _, n := range notes {
		byReason[n.Reason] = n
		require.Equal(t, "rejected", n.Kind)
		require.Equal(t, noon, n.At, "a sum that was kept keeps its minute")
	}
	require.EqualValues(t, 1001, byReason["unknown_source"].Count)
	require.Equal(t, "unknown", byReason["unknown_source"].Source)

	f.tally.flush(context.Background())
	require.Len(t, f.queue.noted(), 2, "what is on record is not written again")
}

func TestPanicIsAnsweredAndDoesNotLogHeaders(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) { o.Sources[0].Provider = panicking{} })
	req := webhook("lemon", orderEvent("evt_1"), noon)
	w := f.do(req)
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.Contains(t, f.logs.String(), "handler panicked")
	require.NotContains(t, f.logs.String(), req.Header.Get("LMG-Signature"))
}

type panicking struct{ Provider }

func (panicking) Event(string, http.Header, []byte, time.Time) (*event.Event, error) {
	panic("out of cheese")
}

func (panicking) Kind(string) *provider.Kind { return nil }
func (panicking) Kinds() []*provider.Kind    { return nil }

// unsigned is a source whose webhooks are not signed.
func unsigned(t *testing.T, secret string) Source {
	t.Helper()
	def, err := provider.Parse("unsigned.yaml", []byte(`provider: unsigned
signature: {scheme: none}
envelope: {id: id, type: type, context: context}
api: {errors: message, probe: /me}
kinds:
  order: {get: "/orders/{order}"}
events:
  order: {touches: [order]}
`))
	require.NoError(t, err)
	v, err := provider.NewVerifier(def, provider.VerifierOptions{Secrets: []string{secret}})
	require.NoError(t, err)
	return Source{Name: "shop", Provider: def, Verifier: v, SecretInPath: true}
}

// Where nothing is signed the secret is in the path. It is in no answer and no log.
func TestSecretInThePath(t *testing.T) {
	t.Parallel()
	const secret = "a-secret-in-the-path"
	body := `{"id":"evt_1","type":"order.executed","context":{"order":"o1"}}`
	for _, c := range []struct {
		name, path string
		status     int
		reason     string
	}{
		{"the secret", "/webhooks/shop/" + secret, 200, ""},
		{"another", "/webhooks/shop/another-secret-0123", 401, "mismatch"},
		{"none", "/webhooks/shop", 401, "missing"},
		{"an empty one", "/webhooks/shop/", 404, "route"},
		{"one step more", "/webhooks/shop/" + secret + "/more", 404, ""},
		{"an escaped one", "/webhooks/shop/a%2Dsecret-in-the-path", 401, "mismatch"},
		{"in the query", "/webhooks/shop?secret=" + secret, 401, "missing"},
		{"of a source that signs", "/webhooks/lemon/" + testSecret, 404, "unknown-source"},
		{"of no source", "/webhooks/nothing/" + secret, 404, "unknown-source"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, func(o *Options) { o.Sources = append(o.Sources, unsigned(t, secret)) })
			req := httptest.NewRequest(http.MethodPost, c.path, strings.NewReader(body))
			w := f.do(req)
			require.Equal(t, c.status, w.Code, w.Body)
			if c.reason != "" {
				requireProblem(t, w, c.reason)
			}
			require.Len(t, f.queue.appended(), map[bool]int{true: 1}[c.status == 200])
			require.NotContains(t, w.Body.String()+f.logs.String(), secret)
			require.NotContains(t, w.Body.String()+f.logs.String(), testSecret)
		})
	}
}

// A source may sign anything of a request: here its method and its own address.
func TestSignedAddress(t *testing.T) {
	t.Parallel()
	def, err := provider.Parse("shop.yaml", []byte(`provider: shop
signature: {scheme: hmac, headers: [X-Sig], signed: "{method} {url} {body}"}
envelope: {id: id, type: type, context: context}
api: {errors: message, probe: /me}
kinds:
  order: {get: "/orders/{order}"}
events:
  order: {touches: [order]}
`))
	require.NoError(t, err)
	const url = "https://hooks.example.com/webhooks/shop"
	v, err := provider.NewVerifier(def, provider.VerifierOptions{Secrets: []string{testSecret}, URL: url})
	require.NoError(t, err)
	f := newFixture(t, func(o *Options) { o.Sources = []Source{{Name: "shop", Provider: def, Verifier: v}} })
	body := `{"id":"evt_1","type":"order.executed","context":{"order":"o1"}}`
	for to, status := range map[string]int{url: 200, "http://localhost/webhooks/shop": 401} {
		made, err := def.Signature().Sign(testSecret, providersignature.Message{Method: http.MethodPost, URL: to, Body: []byte(body)})
		require.NoError(t, err)
		require.Equal(t, status, f.post("/webhooks/shop", body, "X-Sig", made.Header.Get("X-Sig")).Code, to)
	}
}

func TestConfigurationOfSources(t *testing.T) {
	t.Parallel()
	good := lemon(t, time.Now, testSecret)
	for _, c := range []struct {
		name   string
		change func(*Source)
		says   string
	}{
		{"empty name", func(s *Source) { s.Name = "" }, "want 1 to 63"},
		{"slash in name", func(s *Source) { s.Name = "a/b" }, "want 1 to 63"},
		{"reserved name", func(s *Source) { s.Name = "unknown" }, "not configured"},
		{"no verifier", func(s *Source) { s.Verifier = nil }, "verifier"},
		{"accepted 500", func(s *Source) { s.Ack.Accepted = 500 }, "ack.accepted"},
		{"accepted without body", func(s *Source) { s.Ack.Accepted = 204 }, "ack.accepted"},
		{"duplicate 404", func(s *Source) { s.Ack.Duplicate = 404 }, "ack.duplicate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			s := good
			c.change(&s)
			require.ErrorContains(t, f.SetSources([]Source{s}), c.says)
			require.Equal(t, http.StatusOK, f.do(webhook("lemon", orderEvent("evt_1"), noon)).Code, "the old set stands")
		})
	}
	require.ErrorContains(t, newFixture(t).SetSources([]Source{good, good}), "twice")
}

func TestPlainRoutes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	require.Equal(t, http.StatusMethodNotAllowed, f.get("/webhooks/lemon").Code)
	w := f.get("/nowhere")
	require.Equal(t, http.StatusNotFound, w.Code)
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	require.Equal(t, http.StatusOK, f.get("/healthz").Code)
	require.Contains(t, f.get("/metrics").Body.String(), "tarn_webhooks_received_total")

	require.Equal(t, http.StatusOK, f.get("/readyz").Code)
	f.store.err = errors.New("mongodb://secret@host: no primary")
	w = f.get("/readyz")
	require.Equal(t, http.StatusOK, w.Code, "webhooks are taken without the store")
	require.JSONEq(t, `{"status":"ready","checks":{"redis":"ok","store":"not ready"}}`, w.Body.String())
	f.queue.set(func(q *fakeQueue) { q.err = errors.New("away") })
	require.Equal(t, http.StatusServiceUnavailable, f.get("/readyz").Code)
}

func TestAnswerEscapesIDs(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"evt_1", `a"b\c`, "ü\u2028", "<&>", strings.Repeat("x", 255)} {
		w := httptest.NewRecorder()
		answer(w, 200, `{"status":"accepted","id":`, id)
		var got receipt
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
		require.Equal(t, id, got.ID)
	}
}
