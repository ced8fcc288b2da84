package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/storage"
)

func order(id string, verified time.Time) *storage.Document {
	return &storage.Document{
		Key: event.Key{Source: "lemon", Kind: "order", ID: id}, Parents: map[string]string{"account": "cusa_1"},
		Raw: []byte(`{"id":"` + id + `","quantity":1.10,"big":12345678901234567890.123456789,"e":1E2,"html":"<&>"}`), Status: "executed", Terminal: true,
		Claim: 2, SyncedClaim: 2, SyncedAt: verified, VerifiedAt: verified,
	}
}

func TestEntityKeepsEveryTokenAndLeavesOutWhatIsNot(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.put(order("bord_1", noon))
	w := f.get("/v1/entities/lemon/order/bord_1")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Contains(t, w.Body.String(), `"state":{"id":"bord_1","quantity":1.10,"big":12345678901234567890.123456789,"e":1E2,"html":"<&>"}`)
	var got map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
	delete(got, "state")
	require.Equal(t, map[string]any{
		"source": "lemon", "kind": "order", "id": "bord_1", "parents": map[string]any{"account": "cusa_1"},
		"status": "executed", "terminal": true,
		"synced_at": "2026-03-01T12:00:00.000Z", "verified_at": "2026-03-01T12:00:00.000Z",
	}, got)
}

func TestEntityWithEverything(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d := order("bord_1", noon)
	berlin := time.FixedZone("", 3600)
	d.DeletedAt = noon.In(berlin)
	d.LastEvent = storage.LastEvent{ID: "evt_1", Type: "order.executed", CreatedAt: noon.In(berlin)}
	d.Behind = &storage.Behind{Since: noon.In(berlin), Reason: "retrying"}
	f.store.put(d)
	w := f.get("/v1/entities/lemon/order/bord_1")
	require.Equal(t, http.StatusOK, w.Code, "a tombstone is there")
	for _, part := range []string{
		`"deleted_at":"2026-03-01T12:00:00.000Z"`,
		`"last_event":{"id":"evt_1","type":"order.executed","created_at":"2026-03-01T12:00:00.000Z"}`,
		`"behind":{"since":"2026-03-01T12:00:00.000Z","reason":"retrying"}`,
	} {
		require.Contains(t, w.Body.String(), part)
	}
}

func TestEntityPaths(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	odd := "a/b +%c?"
	f.store.put(order(odd, noon))
	f.store.put(&storage.Document{Key: event.Key{Source: "lemon", Kind: "order", ID: "claimed"}, Claim: 1})
	for _, c := range []struct {
		name, path string
		status     int
		kind, says string
	}{
		{"escaped id", "/v1/entities/lemon/order/" + url.PathEscape(odd), 200, "", ""},
		{"plus is a plus", "/v1/entities/lemon/order/a%2Fb%20+%25c%3F", 200, "", ""},
		{"never fetched", "/v1/entities/lemon/order/bord_9", 404, "not-yet", "lemon/order/bord_9"},
		{"claimed, never fetched", "/v1/entities/lemon/order/claimed", 404, "not-yet", ""},
		{"unknown source", "/v1/entities/lime/order/bord_1", 404, "", `no source \"lime\"`},
		{"unknown kind", "/v1/entities/lemon/moon/bord_1", 404, "", `no kind \"moon\"`},
		{"dots", "/v1/entities/lemon/order/%2E%2E", 422, "", "path step"},
		{"control character", "/v1/entities/lemon/order/a%00b", 422, "", "control"},
		{"not UTF-8", "/v1/entities/lemon/order/%ff", 422, "", "UTF-8"},
		{"too long", "/v1/entities/lemon/order/" + strings.Repeat("x", 256), 422, "", "longer"},
		{"wait without unit", "/v1/entities/lemon/order/bord_1?wait=5", 422, "", "duration"},
		{"wait too long", "/v1/entities/lemon/order/bord_1?wait=31s", 422, "", "30s"},
		{"negative wait", "/v1/entities/lemon/order/bord_1?wait=-1s", 422, "", "duration"},
		{"fresh_after no time", "/v1/entities/lemon/order/bord_1?fresh_after=now", 422, "", "want a time as RFC 3339 has it"},
		{"misspelt parameter", "/v1/entities/lemon/order/bord_1?fresh-after=x", 422, "", "unknown query parameter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := f.get(c.path)
			require.Equal(t, c.status, w.Code, w.Body)
			require.Contains(t, w.Body.String(), c.says)
			if c.status >= 400 {
				requireProblem(t, w, c.kind)
			}
		})
	}
}

// requireProblem requires that an answer is a problem whose type ends in kind;
// "" is the type of its status.
func requireProblem(t *testing.T, w *httptest.ResponseRecorder, kind string) {
	t.Helper()
	if kind == "" {
		kind = problems.OfStatus(w.Code)
	}
	require.Equal(t, problems.Base+kind, requireShape(t, w).Type)
}

func TestFreshAfterIsACondition(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.put(order("bord_1", noon))
	at := func(d time.Duration) string { return url.QueryEscape(noon.Add(d).Format(time.RFC3339Nano)) }

	require.Equal(t, http.StatusOK, f.get("/v1/entities/lemon/order/bord_1?fresh_after="+at(0)).Code)
	w := f.get("/v1/entities/lemon/order/bord_1?wait=50ms&fresh_after=" + at(1))
	require.Equal(t, http.StatusGatewayTimeout, w.Code)
	requireProblem(t, w, "not-fresh")
	requireProblem(t, f.get("/v1/entities/lemon/order/bord_2?wait=50ms"), "not-yet")
}

func TestWaitEndsWhenTheSyncIsThere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.looked = make(chan struct{})
	answered := make(chan *httptest.ResponseRecorder)
	go func() {
		answered <- f.get("/v1/entities/lemon/order/bord_1?wait=30s&fresh_after=" + noon.Format(time.RFC3339))
	}()
	<-f.store.looked
	f.store.put(order("bord_1", noon.Add(-time.Second)))
	<-f.store.looked
	<-f.store.looked
	select {
	case w := <-answered:
		t.Fatalf("answered with a state that is too old: %s", w.Body)
	default:
	}
	f.store.put(order("bord_1", noon))
	for {
		select {
		case w := <-answered:
			require.Equal(t, http.StatusOK, w.Code)
			return
		case <-f.store.looked:
		}
	}
}

// The pauses between looks grow; a state that arrives in the last pause still answers the
// client.
func TestWaitLooksOnceMoreAtItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &reader{store: &fakeStore{}, leaving: make(chan struct{})}
		key := event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}
		// Looks begin 1,126 ms after the start and, unhurried, 1,267 ms after it.
		time.AfterFunc(1150*time.Millisecond, func() { r.store.(*fakeStore).put(order("bord_1", noon)) })
		began := time.Now()
		doc, err := r.await(t.Context(), key, 1200*time.Millisecond, func(*storage.Document) bool { return true })
		require.NoError(t, err)
		require.Equal(t, key, doc.Key)
		require.Equal(t, 1200*time.Millisecond, time.Since(began))
	})
}

// A reader that waits alone learns of a state soon: after an eighth more than the time
// that it took, or a millisecond.
func TestWaitEndsSoonAfterTheSync(t *testing.T) {
	t.Parallel()
	for _, took := range []time.Duration{500 * time.Microsecond, 4 * time.Millisecond, 30 * time.Millisecond, 500 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			r := &reader{store: &fakeStore{}, leaving: make(chan struct{})}
			time.AfterFunc(took, func() { r.store.(*fakeStore).put(order("bord_1", noon)) })
			began := time.Now()
			_, err := r.await(t.Context(), order("bord_1", noon).Key, time.Minute, func(*storage.Document) bool { return true })
			require.NoError(t, err)
			require.LessOrEqual(t, time.Since(began), took+max(took/8, time.Millisecond))
		})
	}
}

// However many wait, the store is asked no more often than a few waiters may ask it.
func TestManyWaitersAreNoLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		r := &reader{store: store, leaving: make(chan struct{})}
		const waiters, seconds = 1000, 10
		var all sync.WaitGroup
		for range waiters {
			all.Go(func() {
				_, err := r.await(t.Context(), order("bord_1", noon).Key, seconds*time.Second, func(*storage.Document) bool { return true })
				assert.ErrorIs(t, err, storage.ErrNotFound)
			})
		}
		all.Wait()
		looks := store.counted() - 2*waiters // the first and the last look of each
		require.LessOrEqual(t, looks, seconds*int(time.Second/looksApart))
		require.GreaterOrEqual(t, looks, (seconds-2)*waiters, "each looks about once a second all the same")
	})
}

// One that has just begun to wait learns of a state soon though many others wait for long.
func TestOldWaitersHoldUpNoNewOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		r := &reader{store: store, leaving: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		for range 1000 {
			go func() {
				_, _ = r.await(ctx, order("bord_2", noon).Key, time.Minute, func(*storage.Document) bool { return true })
			}()
		}
		time.Sleep(20 * time.Second)
		time.AfterFunc(5*time.Millisecond, func() { store.put(order("bord_1", noon)) })
		began := time.Now()
		_, err := r.await(ctx, order("bord_1", noon).Key, time.Minute, func(*storage.Document) bool { return true })
		require.NoError(t, err)
		require.Less(t, time.Since(began), 100*time.Millisecond)
		cancel()
		synctest.Wait()
	})
}

// A document that was broken by hand does not hide the others of its page.
func TestBrokenStateDoesNotBreakItsPage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	broken := order("bord_1", noon)
	broken.Raw = []byte(`{"id":"bord_1",`)
	f.store.put(broken)
	f.store.put(order("bord_2", noon))
	for _, path := range []string{"/v1/entities/lemon/order", "/v1/entities/lemon/order/bord_1"} {
		w := f.get(path)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.Contains(t, w.Body.String(), `"state":"{\"id\":\"bord_1\","`)
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.put(order("bord_1", noon))
	f.store.next = "abc"

	t.Run("filters of entities reach the store", func(t *testing.T) {
		w := f.get("/v1/entities/lemon/order?status=executed&account=cusa_1&from=2026-03-01T00:00:00%2B01:00&to=2026-03-02T00:00:00Z&limit=7&cursor=xyz")
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		want := storage.EntityFilter{Source: "lemon", Kind: "order", Status: "executed", Limit: 7, Cursor: "xyz"}
		want.Parent.Kind, want.Parent.ID = "account", "cusa_1"
		want.To = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
		got := f.store.entities
		require.True(t, got.From.Equal(time.Date(2026, 2, 28, 23, 0, 0, 0, time.UTC)))
		got.From = time.Time{}
		require.Equal(t, want, got)
		require.Contains(t, w.Body.String(), `"next_cursor":"abc"`)
	})
	t.Run("any parent selects", func(t *testing.T) {
		for query, want := range map[string][2]string{
			"/v1/entities/lemon/order?parent=account/cusa_1":        {"account", "cusa_1"},
			"/v1/entities/lemon/person_update?parent=person/cusp_1": {"person", "cusp_1"},
			"/v1/entities/lemon/order?parent=account/a/b":           {"account", "a/b"},
		} {
			w := f.get(query)
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			require.Equal(t, want, [2]string{f.store.entities.Parent.Kind, f.store.entities.Parent.ID})
		}
	})
	for query, says := range map[string]string{
		"order?parent=cusa_1": "kind/id", "order?parent=account/": "kind/id", "order?parent=/cusa_1": "kind/id",
		"order?parent=person/cusp_1": "is under account", "person_update?account=cusa_1": "is under person",
		"account?account=cusa_1": "is under nothing", "order?parent=account/a&account=b": "one parent",
	} {
		t.Run("refused: "+query, func(t *testing.T) {
			w := f.get("/v1/entities/lemon/" + query)
			require.Equal(t, http.StatusUnprocessableEntity, w.Code, w.Body)
			require.Contains(t, w.Body.String(), says)
			requireProblem(t, w, "")
		})
	}
	t.Run("filters of events reach the store", func(t *testing.T) {
		w := f.get("/v1/events?status=dead&type=order.executed&source=lemon&kind=order&entity=lemon/order/a/b&limit=200")
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.Equal(t, storage.EventFilter{
			Status: storage.Dead, Type: "order.executed", Source: "lemon", Kind: "order",
			Entity: event.Key{Source: "lemon", Kind: "order", ID: "a/b"}, Limit: 200,
		}, f.store.events)
	})
	t.Run("events of an entity", func(t *testing.T) {
		w := f.get("/v1/entities/lemon/order/bord_1/events?limit=3")
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.Equal(t, storage.EventFilter{
			Source: "lemon", Entity: event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}, Limit: 3,
		}, f.store.events)
	})
	t.Run("an empty last page", func(t *testing.T) {
		empty := newFixture(t)
		require.JSONEq(t, `{"items":[]}`, empty.get("/v1/events").Body.String())
		require.JSONEq(t, `{"items":[]}`, empty.get("/v1/entities/lemon/order").Body.String())
	})
	for _, query := range []string{"limit=0", "limit=201", "limit=x", "from=yesterday", "entity=order",
		"from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", "sort=asc"} {
		t.Run("refused: "+query, func(t *testing.T) {
			w := f.get("/v1/events?" + query)
			require.Equal(t, http.StatusUnprocessableEntity, w.Code, w.Body)
			requireProblem(t, w, "")
		})
	}
	for _, path := range []string{"/v1/events?cursor=bad", "/v1/entities/lemon/order?cursor=bad", "/v1/entities/lemon/order/bord_1/events?cursor=bad"} {
		t.Run("bad cursor: "+path, func(t *testing.T) {
			f := newFixture(t)
			f.store.err = storage.ErrCursor
			w := f.get(path)
			require.Equal(t, http.StatusBadRequest, w.Code, w.Body)
			requireProblem(t, w, "")
		})
	}
	require.Equal(t, http.StatusNotFound, f.get("/v1/entities/lime/order").Code)
	require.Equal(t, http.StatusNotFound, f.get("/v1/entities/lemon/moon").Code)
	require.Equal(t, http.StatusNotFound, f.get("/v1/entities/lemon/moon/x/events").Code)
}

func TestEvent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	row := &storage.EventRow{
		ID: "evt_1", Source: "lemon", Type: "order.executed", CreatedAt: noon, ReceivedAt: noon, ProcessedAt: noon,
		Status: storage.Processed, Duplicates: 2, Overtaken: true, TraceID: "0af7651916cd43dd8448eb211c80319c",
		Payload: []byte(orderEvent("evt_1")),
		Entities: []storage.Outcome{{
			Ref:    event.Ref{Key: event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}},
			Status: storage.Processed, Signal: storage.SignalID{Shard: 3, ID: "1-1"},
			CoveredBy: &storage.Covered{Claim: 4, FetchedAt: noon, Signal: "1-2"},
		}},
	}
	f.store.rows = []*storage.EventRow{row}
	w := f.get("/v1/events/evt_1")
	require.Equal(t, http.StatusOK, w.Code)
	require.JSONEq(t, `{
		"id":"evt_1","source":"lemon","type":"order.executed",
		"created_at":"2026-03-01T12:00:00.000Z","received_at":"2026-03-01T12:00:00.000Z","processed_at":"2026-03-01T12:00:00.000Z",
		"status":"processed","attempts":0,"duplicates":2,"out_of_order":false,"overtaken":true,"lagging":false,
		"entities":[{"kind":"order","id":"bord_1","status":"processed","signal":{"shard":3,"id":"1-1"},
			"covered_by":{"claim":4,"fetched_at":"2026-03-01T12:00:00.000Z","signal":"1-2"}}],
		"payload":`+orderEvent("evt_1")+`,"trace_id":"0af7651916cd43dd8448eb211c80319c"}`, w.Body.String())

	other := *row
	other.Source, other.Payload = "lime", []byte("not JSON")
	f.store.rows = append(f.store.rows, &other)
	w = f.get("/v1/events/evt_1")
	require.Equal(t, http.StatusConflict, w.Code)
	requireProblem(t, w, "ambiguous")
	w = f.get("/v1/events/evt_1?source=lime")
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Body.String(), `"payload":"not JSON"`)
	require.Equal(t, http.StatusNotFound, f.get("/v1/events/evt_2").Code)
}

// anyBody is a body an act takes, by the last step of its path.
var anyBody = map[string]string{
	"redrive": `{}`, "discard": `{"reason":"r"}`, "sweeps": `{"source":"lemon"}`,
}

func TestAnswersWithoutTheStoreShowNoInternals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		err    error
		status int
	}{
		{"away", fate.Errorf(fate.Unavailable, "mongodb://user:pw@10.1.2.3: no primary"), http.StatusServiceUnavailable},
		{"broken", errors.New("syntax error near 10.1.2.3"), http.StatusInternalServerError},
	} {
		for _, path := range []string{"/v1/entities/lemon/order", "/v1/entities/lemon/order/x", "/v1/events", "/v1/events/x",
			"/v1/dead-letters", "/v1/dead-letters/x", "/v1/jobs", "/v1/jobs/x", "/v1/sweeps", "/v1/sweeps/x", "/v1/discrepancies",
			"POST /v1/dead-letters/x/redrive", "POST /v1/dead-letters/x/discard", "POST /v1/dead-letters/redrive", "POST /v1/dead-letters/discard",
			"POST /v1/sweeps", "DELETE /v1/jobs/x", "DELETE /v1/sweeps/x", "POST /v1/entities/lemon/order/x/sync"} {
			t.Run(c.name+" "+path, func(t *testing.T) {
				f := newFixture(t)
				f.store.err = c.err
				method, path, act := strings.Cut(path, " ")
				if !act {
					method, path = http.MethodGet, method
				}
				body := anyBody[path[strings.LastIndexByte(path, '/')+1:]]
				if strings.Count(path, "/") == 3 && body != "" && act { // of many
					body = strings.Replace(strings.Replace(body, "{", `{"all":true,`, 1), ",}", "}", 1)
				}
				w := f.send(method, path, body)
				require.Equal(t, c.status, w.Code, w.Body)
				requireProblem(t, w, "")
				require.NotContains(t, w.Body.String(), "10.1.2.3")
				require.Contains(t, f.logs.String(), "10.1.2.3")
				require.Equal(t, c.status == 503, w.Header().Get("Retry-After") != "")
			})
		}
	}
}
