package api

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// dead is an api on a real Redis and a real store, where a worker has given up
// the work of evt_1 on bord_1.
type dead struct {
	*fixture
	streams *stream.Streams
	store   storage.Store
	letter  string
}

func newDead(t *testing.T) *dead {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "tarn.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	d := &dead{store: store}
	d.fixture, d.streams = onRedis(t, redistest.Start(t), func(o *Options) { o.Store = store })
	require.JSONEq(t, `{"status":"accepted","id":"evt_1"}`, d.deliver(t))

	entries := d.work(t, "w1", func(e []event.Entry) {
		d.log(t, e)
		key := e[0].Signal.Ref.Key
		l := storage.Letter{
			Source: "lemon", EventID: "evt_1", Ref: e[0].Signal.Ref, Signal: storage.SignalID{Shard: key.Shard(4), ID: e[0].ID},
			Class: "permanent", Attempts: []storage.Attempt{{At: noon, Error: "422"}}, Claim: 1, At: noon,
		}
		d.letter = l.ID()
		_, err := store.Bury(t.Context(), []storage.Letter{l})
		require.NoError(t, err)
		require.Contains(t, d.deliver(t), `"duplicate"`, "until it is buried the mark stands")
		require.NoError(t, d.streams.ForgetEvents(t.Context(), map[string]event.Key{"evt_1": key}))
	})
	require.Len(t, entries, 1)
	return d
}

func (d *dead) deliver(t *testing.T) string {
	t.Helper()
	w := d.do(webhook("lemon", orderEvent("evt_1"), noon))
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	return w.Body.String()
}

// work reads what is in bord_1's live stream, does something with it, and acks
// it as a worker does.
func (d *dead) work(t *testing.T, worker string, do func([]event.Entry)) []event.Entry {
	t.Helper()
	ctx, key := t.Context(), ref("order", "bord_1").Key
	lease, err := d.streams.Acquire(ctx, key.Shard(4), worker, []string{"lemon"})
	require.NoError(t, err)
	_, err = lease.TakeOver(ctx, "lemon", event.TierLive, func([]event.Entry) error { return nil })
	require.NoError(t, err)
	entries, err := lease.Read(ctx, "lemon", event.TierLive, stream.Limits{Count: 100, Bytes: 1 << 20})
	require.NoError(t, err)
	if len(entries) > 0 {
		do(entries)
	}
	var ids, events []string
	for _, e := range entries {
		ids = append(ids, e.ID)
		if e.Signal.Body != nil {
			events = append(events, e.Signal.CauseID)
		}
	}
	require.NoError(t, lease.Ack(ctx, "lemon", event.TierLive, ids, events))
	require.NoError(t, lease.Release(ctx))
	return entries
}

func (d *dead) log(t *testing.T, entries []event.Entry) storage.Logged {
	t.Helper()
	logged, err := d.store.Log(t.Context(), []storage.Arrival{{
		Event: entries[0].Signal.Body, Signal: storage.SignalID{Shard: entries[0].Signal.Ref.Key.Shard(4), ID: entries[0].ID},
	}})
	require.NoError(t, err)
	return logged[0]
}

// status returns what has become of the event for bord_1. (It names an account
// too, which this test ignores.)
func (d *dead) status(t *testing.T) storage.EventStatus {
	t.Helper()
	rows, err := d.store.EventByID(t.Context(), "lemon", "evt_1")
	require.NoError(t, err)
	require.Equal(t, ref("order", "bord_1").Key, rows[0].Entities[0].Ref.Key)
	return rows[0].Entities[0].Status
}

// A provider that sends an event again whose work is a dead letter has it redriven.
func TestRedeliveryOfADeadEventIsTakenUp(t *testing.T) {
	t.Parallel()
	d := newDead(t)
	require.Equal(t, storage.Dead, d.status(t))
	require.JSONEq(t, `{"status":"accepted","id":"evt_1"}`, d.deliver(t), "acking what was buried has not marked it again")
	d.work(t, "w2", func(e []event.Entry) {
		require.Len(t, e, 1)
		logged := d.log(t, e)
		require.True(t, logged.Redelivered)
		require.Equal(t, storage.Pending, logged.Outcomes[ref("order", "bord_1").Key])
	})
	require.Equal(t, storage.Pending, d.status(t))
	require.Contains(t, d.deliver(t), `"duplicate"`, "what is taken up is marked as ever")
}

func TestRedriveOnRedisAndAStore(t *testing.T) {
	t.Parallel()
	d := newDead(t)
	require.Equal(t, []string{d.letter}, d.walk(t, "/v1/dead-letters?status=open&entity=lemon/order/bord_1", 1))
	d.clock.advance(time.Millisecond)
	require.JSONEq(t, `{"count":1}`, d.post("/v1/dead-letters/redrive", `{"kind":"order","dry_run":true}`).Body.String())
	w := d.post("/v1/dead-letters/"+d.letter+"/redrive", "")
	require.Equal(t, http.StatusAccepted, w.Code, w.Body)
	require.Contains(t, w.Body.String(), `"status":"redriven"`)
	require.Equal(t, storage.Pending, d.status(t), "its outcome is open again")
	d.work(t, "w2", func(e []event.Entry) {
		require.Len(t, e, 1)
		s := e[0].Signal
		unsettled, _, err := d.store.Unsettled(t.Context(), "lemon", noon.Add(time.Hour), 10, "")
		require.NoError(t, err)
		require.Len(t, unsettled, 1)
		require.Equal(t, e[0].ID, unsettled[0].Entities[0].Signal.ID, "recovery looks for this entry, not for the first")
		require.Equal(t, ref("order", "bord_1", "account", "cusa_1"), s.Ref)
		require.Equal(t, event.CauseEvent, s.Cause)
		require.Equal(t, "evt_1", s.CauseID)
		require.Equal(t, event.Redrive, s.Class)
		require.False(t, s.CreatedAt.IsZero())
		require.Nil(t, s.Body)
	})
	require.Empty(t, d.walk(t, "/v1/dead-letters?status=open", 1))
	require.Equal(t, http.StatusConflict, d.post("/v1/dead-letters/"+d.letter+"/discard", `{"reason":"r"}`).Code)
}

func TestDiscardOnAStore(t *testing.T) {
	t.Parallel()
	d := newDead(t)
	w := d.post("/v1/dead-letters/"+d.letter+"/discard", `{"reason":"account closed"}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Contains(t, w.Body.String(), `"reason":"account closed"`)
	require.Equal(t, storage.Discarded, d.status(t))
	require.Equal(t, []string{d.letter}, d.walk(t, "/v1/dead-letters?status=discarded", 1))
}

// A job and a sweep go through a real store to the reconciler, and back.
func TestTasksOnAStore(t *testing.T) {
	t.Parallel()
	d := newDead(t)
	d.clock.advance(time.Millisecond)
	w := d.post("/v1/dead-letters/redrive", `{"all":true}`)
	require.Equal(t, http.StatusAccepted, w.Code, w.Body)
	job := w.Header().Get("Location")
	w = d.get(job)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Contains(t, w.Body.String(), `"status":"waiting"`)
	require.Contains(t, w.Body.String(), `"total":1,"done":0,"failed":0`)

	id := job[len("/v1/jobs/"):]
	task, err := d.store.Task(t.Context(), id)
	require.NoError(t, err)
	task.Status, task.Epoch, task.Counts["done"], task.StartedAt = storage.TaskRunning, 1, 1, noon
	saved, err := d.store.SaveTask(t.Context(), task)
	require.NoError(t, err)
	require.True(t, saved)
	require.Contains(t, d.get(job).Body.String(), `"total":1,"done":1,"failed":0`)
	require.Equal(t, http.StatusAccepted, d.send(http.MethodDelete, job, "").Code)
	require.Contains(t, d.get(job).Body.String(), `"cancelling":true`)
	task.Status, task.FinishedAt = storage.TaskCancelled, noon
	saved, err = d.store.SaveTask(t.Context(), task)
	require.NoError(t, err)
	require.True(t, saved)
	require.Equal(t, http.StatusConflict, d.send(http.MethodDelete, job, "").Code)
	require.Contains(t, d.get(job).Body.String(), `"status":"cancelled"`)

	w = d.post("/v1/sweeps", `{"source":"lemon","kinds":["order"]}`)
	require.Equal(t, http.StatusAccepted, w.Code, w.Body)
	sweep := w.Header().Get("Location")
	require.Contains(t, d.get(sweep).Body.String(), `"kinds":["order"],"mode":"sweep","status":"waiting"`)
	require.Len(t, d.walk(t, "/v1/sweeps", 1), 1)
	require.Len(t, d.walk(t, "/v1/jobs", 1), 1)
	require.Contains(t, d.send(http.MethodDelete, sweep, "").Body.String(), `"status":"cancelled"`, "it has not begun")
	for _, path := range []string{"/v1/jobs", "/v1/sweeps", "/v1/dead-letters", "/v1/discrepancies"} {
		require.Equal(t, http.StatusBadRequest, d.get(path+"?cursor=nonsense").Code, path)
	}
}
