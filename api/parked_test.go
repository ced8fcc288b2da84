package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/waiting"
)

// parkedOrder is an order that waits for a reason, after a failure of a class.
func parkedOrder(id string, reason waiting.Reason, class string) stream.Waiting {
	record := waiting.Record{
		Why:      &waiting.Why{Reason: reason, Class: class, At: noon, Error: "HTTP 404: no such order"},
		Attempts: []waiting.Attempt{{N: 1, At: noon.Add(-time.Minute), Error: "HTTP 500"}},
	}
	return stream.Waiting{
		Parked: stream.Parked{Key: event.Key{Source: "lemon", Kind: "order", ID: id}, Len: 2, Attempt: 1, State: record.Encode(stream.MaxState)},
		Due:    noon.Add(time.Minute),
	}
}

// waits has three entities parked: one that failed, one never seen, one spilled.
func (f *fixture) waits() {
	spilled := stream.Waiting{Parked: stream.Parked{Key: event.Key{Source: "lemon", Kind: "account", ID: "cusa_1"}, Len: 1, Spilled: true}, Due: noon}
	f.queue.set(func(q *fakeQueue) {
		q.waiting = []stream.Waiting{spilled, parkedOrder("bord_1", waiting.Failed, "transient"), parkedOrder("bord_2", waiting.NeverSeen, "gone")}
	})
}

func TestParkedSaysWhatWaitsAndWhy(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.waits()
	ids := func(query string) (ids []string) {
		t.Helper()
		w := f.get("/v1/parked" + query)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		var got struct{ Items []struct{ Entity string } }
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
		for _, i := range got.Items {
			ids = append(ids, i.Entity)
		}
		return ids
	}
	require.Equal(t, []string{"cusa_1", "bord_1", "bord_2"}, ids(""))
	require.Equal(t, []string{"bord_1", "bord_2"}, ids("?source=lemon&kind=order"))
	require.Equal(t, []string{"bord_2"}, ids("?reason=never_seen"))
	require.Equal(t, []string{"bord_2"}, ids("?class=gone"))
	require.Equal(t, []string{"cusa_1"}, ids("?reason=backlog"))
	require.Equal(t, []string{"bord_2"}, ids("?entity=lemon/order/bord_2"))
	require.Empty(t, ids("?entity=lemon/order/bord_2&reason=failed"))
	require.Empty(t, ids("?entity=lemon/order/bord_9"))

	require.JSONEq(t, `{"items":[{
		"source":"lemon","kind":"order","entity":"bord_2","reason":"never_seen","class":"gone","error":"HTTP 404: no such order",
		"failed_at":"2026-03-01T12:00:00.000Z","attempts":[{"at":"2026-03-01T11:59:00.000Z","error":"HTTP 500"}],
		"next_attempt_at":"2026-03-01T12:01:00.000Z","waiting":2}]}`, f.get("/v1/parked?entity=lemon/order/bord_2").Body.String())
	require.JSONEq(t, `{"items":[{"source":"lemon","kind":"account","entity":"cusa_1","reason":"backlog","next_attempt_at":"2026-03-01T12:00:00.000Z","waiting":1}]}`,
		f.get("/v1/parked?kind=account").Body.String())

	for query, status := range map[string]int{
		"?source=lime": 404, "?kind=nothing": 400, "?source=lemon&kind=nothing": 400, "?reason=nothing": 400, "?class=nothing": 400,
		"?cursor=bad": 400, "?limit=0": 422, "?entity=nothing": 422,
	} {
		w := f.get("/v1/parked" + query)
		require.Equal(t, status, w.Code, query)
	}
	f.queue.set(func(q *fakeQueue) { q.err = errors.New("connection refused") })
	require.Equal(t, http.StatusServiceUnavailable, f.get("/v1/parked").Code)
}

func TestParkedEntitiesAreRetriedOneOrByFilter(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.waits()
	retried := func(body string) (ids []string) {
		t.Helper()
		f.queue.set(func(q *fakeQueue) { q.retried = nil })
		w := f.post("/v1/parked/retry", body)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		var got struct{ Entities int }
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
		f.queue.set(func(q *fakeQueue) {
			for _, k := range q.retried {
				ids = append(ids, k.ID)
			}
		})
		require.Len(t, ids, got.Entities)
		return ids
	}
	require.Equal(t, []string{"bord_1"}, retried(`{"entity":"lemon/order/bord_1"}`))
	require.Equal(t, []string{"bord_2"}, retried(`{"class":"gone"}`))
	require.Equal(t, []string{"cusa_1", "bord_1", "bord_2"}, retried(`{"all":true}`))
	require.Empty(t, retried(`{"entity":"lemon/order/bord_9"}`))
	require.Equal(t, "local: retry 1 parked entity: class=gone", f.store.notes[1].Reason)
	require.Equal(t, storage.NoteOperator, f.store.notes[1].Kind)

	require.Equal(t, http.StatusBadRequest, f.post("/v1/parked/retry", `{}`).Code, "everything has to be meant")
	require.Equal(t, http.StatusNotFound, f.post("/v1/parked/retry", `{"source":"lime"}`).Code)
}

// An outcome says why it is retried from the first failure on, charged or not.
func TestAnOutcomeSaysWhyItIsRetried(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	outcomeOf := func(id string, failed time.Time, status storage.EventStatus) storage.Outcome {
		return storage.Outcome{
			Ref: event.Ref{Key: event.Key{Source: "lemon", Kind: "order", ID: id}}, Status: status,
			FailedAt: failed, NextAt: noon.Add(time.Minute), Error: "HTTP 404",
		}
	}
	row := &storage.EventRow{ID: "evt_1", Source: "lemon", Type: "order.created", CreatedAt: noon, ReceivedAt: noon, Status: storage.Retrying,
		Entities: []storage.Outcome{
			outcomeOf("bord_1", noon, storage.Pending), outcomeOf("bord_2", time.Time{}, storage.Pending), outcomeOf("bord_3", noon, storage.Processed),
		}}
	f.store.rows = []*storage.EventRow{row}
	entities := func() string {
		t.Helper()
		var got struct{ Entities json.RawMessage }
		require.NoError(t, json.Unmarshal(f.get("/v1/events/evt_1").Body.Bytes(), &got))
		return string(got.Entities)
	}
	require.JSONEq(t, `[
		{"kind":"order","id":"bord_1","status":"retrying","last_error":"HTTP 404","next_attempt_at":"2026-03-01T12:01:00.000Z"},
		{"kind":"order","id":"bord_2","status":"pending"},
		{"kind":"order","id":"bord_3","status":"processed"}]`, entities())
	row.Status = storage.Pending // it was dead, and is redriven
	require.NotContains(t, entities(), "retrying")
}

// TestEntitySaysWhatItWaitsFor, also one that was never fetched.
func TestEntitySaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.waits()
	doc := order("bord_1", noon)
	f.store.put(doc)
	require.NotContains(t, f.get("/v1/entities/lemon/order/bord_1").Body.String(), "behind")
	doc.Behind = &storage.Behind{Since: noon, Reason: storage.ReasonRetrying}
	var got struct{ Behind behind }
	require.NoError(t, json.Unmarshal(f.get("/v1/entities/lemon/order/bord_1").Body.Bytes(), &got))
	require.Equal(t, "retrying", got.Behind.Reason)
	require.Equal(t, waiting.Failed, got.Behind.Parked.Reason)
	require.Equal(t, noon.Add(time.Minute), got.Behind.Parked.NextAttemptAt.Time)

	doc.Behind, doc.Claim = nil, doc.SyncedClaim+1 // a sync by hand has failed
	require.NoError(t, json.Unmarshal(f.get("/v1/entities/lemon/order/bord_1").Body.Bytes(), &got))
	require.Equal(t, storage.ReasonRetrying, got.Behind.Reason)
	require.Equal(t, noon, got.Behind.Since.Time)

	p := requireShape(t, f.get("/v1/entities/lemon/order/bord_2"))
	require.Equal(t, problems.Base+problems.NotYet, p.Type)
	require.Equal(t, waiting.NeverSeen, p.Parked.Reason)
	require.Nil(t, requireShape(t, f.get("/v1/entities/lemon/order/bord_9")).Parked)

	// The store alone answers while Redis is away.
	f.queue.set(func(q *fakeQueue) { q.err = errors.New("connection refused") })
	w := f.get("/v1/entities/lemon/order/bord_1")
	require.Equal(t, http.StatusOK, w.Code)
	require.NotContains(t, w.Body.String(), "parked")
	f.queue.set(func(q *fakeQueue) { q.err = nil })

	spilled := order("cusa_1", noon)
	spilled.Key.Kind, spilled.Claim = "account", spilled.SyncedClaim+1
	f.store.put(spilled)
	require.NotContains(t, f.get("/v1/entities/lemon/account/cusa_1").Body.String(), "behind", "it has not failed")
}
