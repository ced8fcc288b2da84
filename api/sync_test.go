package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
	"github.com/tarn-sync/tarn/shared/waiting"
)

func TestSyncIsAppended(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, path string
		known      bool
		ref        event.Ref
	}{
		{"of a known entity, parents from the mirror", "/v1/entities/lemon/order/bord_1/sync", true, ref("order", "bord_1", "account", "cusa_1")},
		{"the known parents given", "/v1/entities/lemon/order/bord_1/sync?account=cusa_1", true, ref("order", "bord_1", "account", "cusa_1")},
		{"of an unknown entity", "/v1/entities/lemon/order/bord_9/sync?account=cusa_1", false, ref("order", "bord_9", "account", "cusa_1")},
		{"by any parent", "/v1/entities/lemon/person_update/u_1/sync?parent=person/cusp_1", false, ref("person_update", "u_1", "person", "cusp_1")},
		{"of what needs no parents", "/v1/entities/lemon/account/cusa_1/sync", false, ref("account", "cusa_1")},
		{"of what stands in its parent's name", "/v1/entities/lemon/positions/cusa_1/sync", false, ref("positions", "cusa_1")},
		{"parents that are not needed are left out", "/v1/entities/lemon/account/cusa_1/sync?parent=person/cusp_1", false, ref("account", "cusa_1")},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, func(o *Options) { o.Tokens = []Token{operatorToken} })
			if c.known {
				f.store.put(order(c.ref.Key.ID, noon))
			}
			w := f.post(c.path, "", "Authorization", "Bearer "+operatorToken.Secret)
			require.Equal(t, http.StatusAccepted, w.Code, w.Body)
			require.Len(t, f.queue.appended(), 1)
			d := f.queue.appended()[0]
			require.Equal(t, event.Signal{Ref: c.ref, Cause: event.CauseOperator, CauseID: d.Signal.CauseID, Class: event.Live}, d.Signal)
			require.Regexp(t, `^sync_[a-z0-9]{16}$`, d.Signal.CauseID)
			require.JSONEq(t, `{"status":"queued","id":"`+d.Signal.CauseID+`","signal":{"shard":3,"id":"1-2"}}`, w.Body.String())
			require.Equal(t, []string{"ops: sync " + c.ref.Key.String() + ": " + d.Signal.CauseID}, f.store.acts())
		})
	}
}

// ref makes a reference; parents are kind, id, kind, id.
func ref(kind, id string, parents ...string) event.Ref {
	r := event.Ref{Key: event.Key{Source: "lemon", Kind: kind, ID: id}}
	for i := 0; i < len(parents); i += 2 {
		if r.Parents == nil {
			r.Parents = map[string]string{}
		}
		r.Parents[parents[i]] = parents[i+1]
	}
	return r
}

func TestSyncRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, c := range []struct {
		name, path string
		status     int
		says       string
	}{
		{"unknown source", "/v1/entities/lime/order/bord_1/sync", 404, "no source"},
		{"unknown kind", "/v1/entities/lemon/moon/x/sync", 404, "no kind"},
		{"an unknown entity without its parents", "/v1/entities/lemon/order/bord_9/sync", 422, "?account="},
		{"an unknown entity with another parent", "/v1/entities/lemon/order/bord_9/sync?parent=person/cusp_1", 422, "account of order"},
		{"a parent that is a path step", "/v1/entities/lemon/order/bord_9/sync?account=..", 422, "path step"},
		{"a parent without a kind", "/v1/entities/lemon/order/bord_9/sync?parent=cusa_1", 422, "kind/id"},
		{"a parent without an id", "/v1/entities/lemon/order/bord_9/sync?parent=account/", 422, "kind/id"},
		{"dots", "/v1/entities/lemon/account/%2E%2E/sync", 422, "path step"},
		{"wait without unit", "/v1/entities/lemon/account/cusa_1/sync?wait=5", 422, "duration"},
		{"wait too long", "/v1/entities/lemon/account/cusa_1/sync?wait=31s", 422, "30s"},
		{"misspelt parameter", "/v1/entities/lemon/account/cusa_1/sync?fresh_after=x", 422, "unknown query parameter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := f.post(c.path, "")
			require.Equal(t, c.status, w.Code, w.Body)
			require.Contains(t, w.Body.String(), c.says)
			requireProblem(t, w, "")
		})
	}
	require.Empty(t, f.queue.appended())
	require.Empty(t, f.store.acts())
}

// Parents that differ from those of an entity the mirror has are refused. Of one
// it has never had, or has as deleted, the right ones may be those given.
func TestSyncUnderOtherParents(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*storage.Document)
		status int
	}{
		"known":         {func(*storage.Document) {}, http.StatusConflict},
		"never fetched": {func(d *storage.Document) { d.Raw, d.SyncedClaim = nil, 0 }, http.StatusAccepted},
		"never seen":    {func(d *storage.Document) { d.Raw, d.DeletedAt = nil, noon }, http.StatusAccepted},
		"deleted":       {func(d *storage.Document) { d.DeletedAt = noon }, http.StatusAccepted},
		"unusable":      {func(d *storage.Document) { d.Parents = map[string]string{"depot": "d_1"} }, http.StatusAccepted},
	} {
		for _, wait := range []string{"", "&wait=1ms"} {
			t.Run(name+wait, func(t *testing.T) {
				f := newFixture(t)
				doc := order("bord_1", noon)
				c.change(doc)
				f.store.put(doc)
				w := f.post("/v1/entities/lemon/order/bord_1/sync?account=cusa_2"+wait, "")
				require.Equal(t, c.status, w.Code, w.Body)
				if c.status == http.StatusConflict {
					requireProblem(t, w, "parents-differ")
					require.Empty(t, f.queue.appended())
					require.Empty(t, f.store.acts())
					return
				}
				require.Equal(t, ref("order", "bord_1", "account", "cusa_2"), f.queue.appended()[0].Signal.Ref)
			})
		}
	}
}

// What can be done without the store is done without it.
func TestSyncWithoutTheStore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.err = fate.Errorf(fate.Unavailable, "away")
	f.store.noteErr = f.store.err
	require.Equal(t, http.StatusAccepted, f.post("/v1/entities/lemon/order/bord_1/sync?account=cusa_1", "").Code)
	require.Equal(t, http.StatusAccepted, f.post("/v1/entities/lemon/account/cusa_1/sync", "").Code)
	require.Equal(t, http.StatusServiceUnavailable, f.post("/v1/entities/lemon/order/bord_1/sync", "").Code, "whose parents only the store knows")
	require.Equal(t, http.StatusServiceUnavailable, f.post("/v1/entities/lemon/account/cusa_1/sync?wait=1s", "").Code)
	require.Len(t, f.queue.appended(), 2)
}

func TestSyncWaitsForAFetchBegunSince(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	begun := order("bord_1", noon)
	begun.Claim, begun.SyncedClaim = 8, 7 // a fetch is under way
	f.store.put(begun)
	f.store.looked = make(chan struct{})
	answered := make(chan *httptest.ResponseRecorder)
	go func() { answered <- f.post("/v1/entities/lemon/order/bord_1/sync?wait=30s", "") }()
	look := func() {
		t.Helper()
		select {
		case <-f.store.looked:
		case w := <-answered:
			t.Fatalf("answered with a fetch begun before the request: %s", w.Body)
		}
	}
	look() // for the claim

	older := order("bord_1", noon.Add(time.Hour))
	older.Claim, older.SyncedClaim = 8, 8
	look()
	f.store.put(older)
	look()
	look()
	newer := order("bord_1", noon.Add(-time.Hour)) // clocks do not count
	newer.Claim, newer.SyncedClaim = 9, 9
	f.store.put(newer)
	for {
		select {
		case w := <-answered:
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			var got synced
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
			require.Equal(t, "synced", got.Status)
			require.Equal(t, noon.Add(-time.Hour), got.Entity.SyncedAt.Time)
			require.Len(t, f.queue.appended(), 1)
			return
		case <-f.store.looked:
		}
	}
}

func TestSyncThatIsNotThereInTimeIsQueued(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.put(order("bord_1", noon))
	for path, says := range map[string]string{
		"/v1/entities/lemon/order/bord_1/sync?wait=30ms":                "the state from before is not passed off as new",
		"/v1/entities/lemon/order/bord_2/sync?wait=30ms&account=cusa_1": "never fetched",
	} {
		w := f.post(path, "")
		require.Equal(t, http.StatusAccepted, w.Code, w.Body)
		require.Contains(t, w.Body.String(), `"status":"queued"`, says)
		require.NotContains(t, w.Body.String(), `"entity"`)
	}
}

// TestASyncThatIsGivenUpIsAnsweredThen: the caller does not wait for what no worker tries
// any more.
func TestASyncThatIsGivenUpIsAnsweredThen(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.put(order("bord_1", noon))
	for i, wait := range []string{"30s", "100ms"} {
		answered := make(chan *httptest.ResponseRecorder, 1)
		began := time.Now()
		go func() { answered <- f.post("/v1/entities/lemon/order/bord_1/sync?wait="+wait, "") }()
		require.Eventually(t, func() bool { return len(f.queue.appended()) > i }, 5*time.Second, time.Millisecond)
		id := f.queue.appended()[i].Signal.CauseID
		require.NoError(t, f.store.Note(t.Context(), []storage.Note{{ID: storage.GivenUpID(id), Kind: storage.NoteGivenUp, Reason: "HTTP 422: no such order"}}))
		w := <-answered
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		var got synced
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
		require.Equal(t, "failed", got.Status, wait)
		require.Equal(t, "HTTP 422: no such order", got.Error)
		require.Nil(t, got.Entity)
		require.Less(t, time.Since(began), 10*time.Second)
	}
}

// The signal of a sync is in the live stream, behind what waits for the entity.
func TestSyncOnRedis(t *testing.T) {
	t.Parallel()
	f, streams := onRedis(t, redistest.Start(t))
	require.Equal(t, http.StatusOK, f.do(webhook("lemon", orderEvent("evt_1"), noon)).Code)
	require.Equal(t, http.StatusAccepted, f.post("/v1/entities/lemon/order/bord_1/sync?account=cusa_1", "").Code)
	got := f.read(t, streams, "w1", ref("order", "bord_1").Key)
	require.Len(t, got, 2)
	require.Equal(t, "evt_1", got[0].Signal.CauseID)
	require.Equal(t, event.CauseOperator, got[1].Signal.Cause)
	require.Equal(t, ref("order", "bord_1", "account", "cusa_1"), got[1].Signal.Ref)
}

// TestASyncCanBeFollowed by its id, until it is done or given up.
func TestASyncCanBeFollowed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	doc := order("bord_1", noon)
	f.store.put(doc)
	w := f.post("/v1/entities/lemon/order/bord_1/sync", "")
	at := w.Header().Get("Location")
	require.Regexp(t, `^/v1/syncs/sync_[a-z0-9]{16}$`, at)
	is := func() (got followed) {
		t.Helper()
		w := f.get(at)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
		return got
	}
	first := is()
	require.Equal(t, followed{
		ID: strings.TrimPrefix(at, "/v1/syncs/"), Status: "queued", Source: "lemon", Kind: "order", Entity: "bord_1", By: "local", At: momentOf(noon),
		Signal: signal{Shard: 3, ID: "1-2"},
	}, first)

	f.queue.set(func(q *fakeQueue) { q.waiting = []stream.Waiting{parkedOrder("bord_1", waiting.Failed, "transient")} })
	require.Equal(t, "retrying", is().Status)
	require.Equal(t, waiting.Failed, is().Parked.Reason)
	waited := f.post("/v1/entities/lemon/order/bord_1/sync?wait=1ms", "")
	require.Equal(t, http.StatusAccepted, waited.Code)
	require.Contains(t, waited.Body.String(), `"status":"retrying"`)

	require.NoError(t, f.store.Note(t.Context(), []storage.Note{{ID: storage.GivenUpID(first.ID), Kind: storage.NoteGivenUp, Reason: "HTTP 422"}}))
	require.Equal(t, "failed", is().Status)
	require.Equal(t, "HTTP 422", is().Error)

	later := *doc
	later.Claim, later.SyncedClaim = doc.Claim+1, doc.Claim+1
	f.store.put(&later)
	require.Equal(t, "synced", is().Status)
	require.Equal(t, http.StatusNotFound, f.get("/v1/syncs/sync_0").Code)
}
