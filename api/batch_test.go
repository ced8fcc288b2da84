package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// batching is a source whose provider sends several events in a request, asks whether
// an address is ours, and wants an answer of its own.
func batching(t *testing.T, envelope string) func(*Options) {
	t.Helper()
	def, err := provider.Parse("batch.yaml", []byte(`provider: batch
signature: {scheme: timestamped-hmac, headers: [LMG-Signature]}
envelope:
  `+strings.ReplaceAll(envelope, "\n", "\n  ")+`
api: {errors: message, probe: /me, pagination: {style: cursor}}
kinds: {thing: {get: "/things/{thing}", list: /things}}
events: {thing: {touches: [thing]}}
`))
	require.NoError(t, err)
	if def.AnswersGET() {
		def, err = def.With(map[string]string{"token": "sesame"})
		require.NoError(t, err)
	}
	return func(o *Options) {
		v, err := provider.NewVerifier(def, provider.VerifierOptions{Secrets: []string{testSecret}, Now: o.Now})
		require.NoError(t, err)
		o.Sources = []Source{{Name: "batch", Provider: def, Verifier: v}}
	}
}

const several = "each: events\nid: \"@.id\"\ntype: \"@.type\"\nobject: {id: \"@.thing\"}"

func thingEvents(from, to int) string {
	var all []string
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf(`{"id":"e_%d","type":"thing.made","thing":"t_%d"}`, i, i))
	}
	return `{"events":[` + strings.Join(all, ",") + `]}`
}

func TestARequestWithSeveralEvents(t *testing.T) {
	t.Parallel()
	f := newFixture(t, batching(t, several))
	w := f.do(webhook("batch", thingEvents(0, 3), noon))
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.JSONEq(t, `{"status":"accepted","events":3,"duplicates":0}`, w.Body.String())
	drafts := f.queue.appended()
	require.Len(t, drafts, 3)
	for i, d := range drafts {
		require.Equal(t, fmt.Sprintf("e_%d", i), d.Signal.CauseID, "in their order")
		require.Equal(t, event.Key{Source: "batch", Kind: "thing", ID: fmt.Sprintf("t_%d", i)}, d.Signal.Ref.Key)
		require.JSONEq(t, fmt.Sprintf(`{"id":"e_%d","type":"thing.made","thing":"t_%d"}`, i, i), string(d.Signal.Body.Payload), "its own part")
	}

	w = f.do(webhook("batch", thingEvents(1, 5), noon))
	require.JSONEq(t, `{"status":"accepted","events":4,"duplicates":2}`, w.Body.String())
	require.Len(t, f.queue.appended(), 5)
	require.Equal(t, []stream.Note{
		{At: noon, Source: "batch", Kind: "duplicate", EventID: "e_1", Count: 1},
		{At: noon, Source: "batch", Kind: "duplicate", EventID: "e_2", Count: 1},
	}, f.queue.noted())
	w = f.do(webhook("batch", thingEvents(0, 5), noon))
	require.JSONEq(t, `{"status":"duplicate","events":5,"duplicates":5}`, w.Body.String())
	require.Zero(t, f.store.counted(), "the receiver must not touch the store")
}

func TestARequestIsConfirmedWhole(t *testing.T) {
	t.Parallel()
	f := newFixture(t, batching(t, several))
	f.queue.set(func(q *fakeQueue) { q.failAt = 2 })
	w := f.do(webhook("batch", thingEvents(0, 4), noon))
	require.Equal(t, http.StatusServiceUnavailable, w.Code, "two are in, and two are not")
	require.Equal(t, "5", w.Header().Get("Retry-After"))
	require.Len(t, f.queue.appended(), 2)

	f.queue.set(func(q *fakeQueue) { q.failAt = 0 })
	w = f.do(webhook("batch", thingEvents(0, 4), noon))
	require.JSONEq(t, `{"status":"accepted","events":4,"duplicates":2}`, w.Body.String(), "the repeat brings the rest")
	require.Len(t, f.queue.appended(), 4)

	f.queue.set(func(q *fakeQueue) { q.noteErr = errors.New("away") })
	require.Equal(t, http.StatusServiceUnavailable, f.do(webhook("batch", thingEvents(0, 4), noon)).Code, "duplicates are on record first")
}

func TestRequestsWithoutEvents(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"events":[]}`, `{"events":null}`} {
		f := newFixture(t, batching(t, several))
		for range 3 {
			w := f.do(webhook("batch", body, noon))
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			require.JSONEq(t, `{"status":"accepted","events":0,"duplicates":0}`, w.Body.String())
		}
		require.Empty(t, f.queue.appended())
		f.tally.flush(t.Context())
		require.Equal(t, []stream.Note{{At: noon, Source: "batch", Kind: "empty", Count: 3}}, f.queue.noted())
		require.NotContains(t, f.logs.String(), "refused")
	}
}

func TestBadElements(t *testing.T) {
	t.Parallel()
	f := newFixture(t, batching(t, several))
	w := f.do(webhook("batch", `{"events":[{"id":"e_1","type":"thing.made","thing":"t_1"},{"type":"thing.made"},7]}`, noon))
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	drafts := f.queue.appended()
	require.Len(t, drafts, 3, "the bad ones are kept")
	for _, d := range drafts[1:] {
		require.Equal(t, event.Unreadable, d.Signal.Body.Note)
		require.NotEmpty(t, d.Signal.Body.Given["unreadable"])
	}
	for body, wrong := range map[string]string{
		`{"events":[{"type":"thing.made"},7]}`: "event 1 of 2: @.id is nothing",
		`{"events":[[{"id":"e_1"}]]}`:          "event 1 of 1: events is array: want an object",
		`{"events":{"id":"e_1"}}`:              "events is object: want an array",
		`{"event":[]}`:                         "is missing",
		`[]`:                                   "is missing",
	} {
		f := newFixture(t, batching(t, several))
		w := f.do(webhook("batch", body, noon))
		require.Equal(t, http.StatusBadRequest, w.Code, body)
		require.Contains(t, w.Body.String(), wrong)
		require.Empty(t, f.queue.appended())
	}
}

// A request of many events is one call of the append script.
func TestAHundredEventsCostOneRoundTrip(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	f, _ := onRedis(t, redis, batching(t, several))
	f.do(webhook("batch", thingEvents(1000, 1001), noon)) // the script is known from here on
	calls := func() (n int) {
		stats, err := redis.Client().Info(t.Context(), "commandstats").Result()
		require.NoError(t, err)
		_, rest, found := strings.Cut(stats, "cmdstat_evalsha:calls=")
		require.True(t, found, stats)
		_, err = fmt.Sscanf(rest, "%d,", &n)
		require.NoError(t, err)
		return n
	}
	for _, want := range []string{`{"status":"accepted","events":100,"duplicates":0}`, `{"status":"duplicate","events":100,"duplicates":100}`} {
		before := calls()
		w := f.do(webhook("batch", thingEvents(0, 100), noon))
		require.JSONEq(t, want, w.Body.String())
		require.Equal(t, before+1, calls())
		require.Len(t, bodiesIn(t, redis), 101)
	}
}

func TestChallenges(t *testing.T) {
	t.Parallel()
	f := newFixture(t, batching(t, `id: id
type: event.type
object: {id: thing}
challenge: {when: {type: url_verification}, echo: challenge, get: hub.challenge, token: {hub.verify_token: "{token}"}}
ack: {body: "[accepted]"}`))
	w := f.do(webhook("batch", `{"type":"url_verification","challenge":"3eZb"}`, noon))
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, "3eZb", w.Body.String())
	require.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
	require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	require.Empty(t, f.queue.appended())
	require.Equal(t, http.StatusUnauthorized, f.do(with(webhook("batch", `{"type":"url_verification","challenge":"3eZb"}`, noon), "LMG-Signature", "t=1,v1=00")).Code)

	w = f.do(webhook("batch", `{"id":"e_1","type":"event_callback","event":{"type":"thing.made"},"thing":"t_1"}`, noon))
	require.Equal(t, "[accepted]", w.Body.String())
	w = f.do(webhook("batch", `{"id":"e_1","type":"event_callback","event":{"type":"thing.made"},"thing":"t_1"}`, noon))
	require.Equal(t, "[accepted]", w.Body.String(), "a duplicate too")
	require.Len(t, f.queue.appended(), 1)

	for query, want := range map[string]int{
		"hub.mode=subscribe&hub.challenge=115&hub.verify_token=sesame": http.StatusOK,
		"hub.challenge=115&hub.verify_token=Sesame":                    http.StatusForbidden,
		"hub.challenge=115":       http.StatusForbidden,
		"hub.verify_token=sesame": http.StatusForbidden,
		"hub.challenge=115&hub.verify_token=sesame&hub.verify_token=sesame":       http.StatusForbidden,
		"hub.challenge=" + strings.Repeat("1", 2000) + "&hub.verify_token=sesame": http.StatusForbidden,
		"": http.StatusForbidden,
	} {
		w := httptest.NewRecorder()
		f.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/webhooks/batch?"+query, nil))
		require.Equal(t, want, w.Code, query)
		if want == http.StatusOK {
			require.Equal(t, "115", w.Body.String())
			require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		}
	}
	w = f.get("/webhooks/nowhere?hub.challenge=1")
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
	w = newFixture(t).get("/webhooks/lemon?hub.challenge=1")
	require.Equal(t, http.StatusMethodNotAllowed, w.Code, "of a provider that asks by POST or not at all")
	require.Equal(t, "POST", w.Header().Get("Allow"))
}
