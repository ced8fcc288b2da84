package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

func TestFleet(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.queue.workers = []string{"w1", "w2"}
	f.queue.paused = condition.State{Paused: true, Reason: "429", By: "w1", Since: noon, Until: noon.Add(time.Minute)}
	f.queue.shards = []stream.ShardState{
		{Shard: 0, Owner: "w1", Epoch: noon.UnixMilli(), Sources: map[string]stream.ShardSource{"lemon": {Live: 2, Background: 3, Parked: 1, Oldest: 1500 * time.Millisecond}}},
		{Shard: 1, Owner: "w1", Epoch: noon.Add(-time.Hour).UnixMilli(), Sources: map[string]stream.ShardSource{"lemon": {Live: 1, Oldest: time.Second}}},
		{Shard: 2, Sources: map[string]stream.ShardSource{"lemon": {}}},
	}
	w := f.get("/v1/fleet")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.JSONEq(t, `{
		"workers":[{"id":"w1","shards":2,"since":"2026-03-01T11:00:00.000Z"},{"id":"w2","shards":0}],
		"shards":[
			{"shard":0,"owner":"w1","epoch":1772366400000,"backlog":5,"oldest_age_s":1.5,"parked":1},
			{"shard":1,"owner":"w1","epoch":1772362800000,"backlog":1,"oldest_age_s":1,"parked":0},
			{"shard":2,"backlog":0,"oldest_age_s":0,"parked":0}],
		"sources":[{"source":"lemon","paused":true,"reason":"429","by":"w1","since":"2026-03-01T12:00:00.000Z","retry_at":"2026-03-01T12:01:00.000Z",
			"budget":0.5,"live":3,"background":3,"parked":1,"oldest_age_s":1.5}]}`, w.Body.String())
	require.Equal(t, http.StatusUnprocessableEntity, f.get("/v1/fleet?source=lemon").Code)
}

// However many clients keep the page open, Redis is read once a second.
func TestFleetIsLookedAtOnceASecond(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	looks := func() int {
		f.queue.mu.Lock()
		defer f.queue.mu.Unlock()
		return f.queue.looks
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { f.get("/v1/fleet") })
	}
	all.Wait()
	require.Equal(t, 1, looks())
	f.clock.advance(time.Second)
	f.get("/v1/fleet")
	require.Equal(t, 2, looks())
	f.clock.advance(-time.Hour)
	f.get("/v1/fleet")
	require.Equal(t, 3, looks(), "a clock that was set back does not keep an old answer")

	f.clock.advance(time.Second)
	f.queue.set(func(q *fakeQueue) { q.err = errors.New("away") })
	require.Equal(t, http.StatusServiceUnavailable, f.get("/v1/fleet").Code)
	f.queue.set(func(q *fakeQueue) { q.err, q.workers = nil, []string{"w1"} })
	w := f.get("/v1/fleet")
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Body.String(), `"w1"`, "nothing is kept of a look that failed")
}

func TestFleetOnRedis(t *testing.T) {
	t.Parallel()
	f, streams := onRedis(t, redistest.Start(t))
	_, err := streams.Member("w1").Beat(t.Context())
	require.NoError(t, err)
	shard := event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}.Shard(4)
	_, err = streams.Acquire(t.Context(), shard, "w1", []string{"lemon"})
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, f.do(webhook("lemon", orderEvent("evt_1"), noon)).Code)

	w := f.get("/v1/fleet")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	var got fleet
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
	require.Len(t, got.Shards, 4)
	require.Equal(t, "w1", got.Shards[shard].Owner)
	require.EqualValues(t, 1, got.Shards[shard].Backlog)
	require.Len(t, got.Workers, 1)
	require.Equal(t, 1, got.Workers[0].Shards)
	require.WithinDuration(t, time.Now(), got.Workers[0].Since.Time, time.Minute)
	require.Len(t, got.Sources, 1)
	require.EqualValues(t, 1, got.Sources[0].Live)
	require.Equal(t, 1.0, got.Sources[0].Budget)
}

// watchful is a queue and a store that see until when they are asked.
type watchful struct {
	Queue
	*fakeStore
	queue, store bool
}

func (w *watchful) Ping(context.Context) error { return nil }

func (w *watchful) Fleet(ctx context.Context, sources []string) ([]stream.ShardState, []string, error) {
	_, w.queue = ctx.Deadline()
	return w.Queue.Fleet(ctx, sources)
}

func (w *watchful) Task(ctx context.Context, id string) (*storage.Task, error) {
	_, w.store = ctx.Deadline()
	return w.fakeStore.Task(ctx, id)
}

// Redis and the store are never asked without a deadline: a client that goes away
// does not end the waiting for a Redis that is silent.
func TestReadersAskWithADeadline(t *testing.T) {
	t.Parallel()
	w := &watchful{}
	f := newFixture(t, func(o *Options) {
		w.Queue, w.fakeStore = o.Queue, o.Store.(*fakeStore)
		o.Queue, o.Store = w, w
	})
	f.get("/v1/fleet")
	f.get("/v1/jobs/none")
	require.True(t, w.queue)
	require.True(t, w.store)
}
