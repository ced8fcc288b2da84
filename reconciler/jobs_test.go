package reconciler

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// bury makes n dead letters of an event each, about orders of one customer.
func (c *scene) bury(n int) {
	c.t.Helper()
	for i := range n {
		e, id := c.arrive(fmt.Sprintf("evt_%d", i), "order.created", "customer", "c0", "order", fmt.Sprintf("o%d", i))
		c.entries()
		_, err := c.store.Bury(c.ctx, []storage.Letter{{
			Source: "shop", EventID: e.ID, Ref: e.Entities[0], Signal: storage.SignalID{Shard: e.Home().Shard(testShards), ID: id},
			Class: "permanent", Attempts: []storage.Attempt{{At: c.clock.now().UTC(), Error: "HTTP 422"}}, At: c.clock.now().UTC(),
		}})
		require.NoError(c.t, err)
		c.clock.move(time.Millisecond)
	}
}

func (c *scene) job(kind string, spec storage.RedriveSpec) *storage.Task {
	c.t.Helper()
	text, err := json.Marshal(spec)
	require.NoError(c.t, err)
	c.clock.move(time.Second)
	t := &storage.Task{ID: "job_1", Kind: kind, Source: spec.Filter.Source, By: "ops", Spec: text}
	c.create(t)
	return t
}

func TestRedriveByFilter(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.bury(5)
	m := c.member("a")
	selected := storage.LetterFilter{Source: "shop", Kind: "order", Status: storage.LetterOpen, To: c.clock.now().Add(-2 * time.Millisecond)}
	want, err := c.store.CountLetters(c.ctx, selected)
	require.NoError(t, err)
	c.job(kindRedrive, storage.RedriveSpec{Filter: selected})
	c.start(m.Run)
	c.eventually("the job is done", func() bool { return c.task("job_1").Status == storage.TaskDone })
	require.Equal(t, map[string]int64{"total": want, "done": want, "failed": 0}, c.task("job_1").Counts)
	entries := c.entries()
	require.Len(t, entries, int(want))
	for _, e := range entries {
		require.Equal(t, event.Redrive, e.Signal.Class)
		require.Equal(t, event.CauseEvent, e.Signal.Cause)
		require.Equal(t, "order.created", e.Signal.EventType)
		require.Equal(t, map[string]string{"customer": "c0"}, e.Signal.Ref.Parents)
		rows, err := c.store.EventByID(c.ctx, "shop", e.Signal.CauseID)
		require.NoError(t, err)
		require.Equal(t, e.ID, rows[0].Entities[0].Signal.ID, "recover knows what stands for it")
		require.Equal(t, storage.Pending, rows[0].Entities[0].Status)
	}
	page, err := c.store.Letters(c.ctx, storage.LetterFilter{Status: storage.LetterRedriven})
	require.NoError(t, err)
	require.Len(t, page.Items, int(want))
	require.Equal(t, "ops", page.Items[0].By)
	left, err := c.store.CountLetters(c.ctx, storage.LetterFilter{Status: storage.LetterOpen})
	require.NoError(t, err)
	require.EqualValues(t, 5-want, left, "what the filter does not select stays")
}

func TestRedriveKeepsItsRateAndCanBeCancelled(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	const letters, rate = 60, 4
	c.bury(letters)
	var mu sync.Mutex
	var first int64 // how many are done at first
	c.store.saved = func(t *storage.Task) {
		mu.Lock()
		defer mu.Unlock()
		if first == 0 {
			first = t.Counts["done"]
		}
	}
	m := c.member("a")
	c.job(kindRedrive, storage.RedriveSpec{Rate: rate})
	begun := time.Now()
	c.start(m.Run)
	c.eventually("it has begun", func() bool { return c.task("job_1").Counts["done"] > 0 })
	ends, err := c.store.CancelTask(c.ctx, "job_1")
	require.NoError(t, err)
	require.True(t, ends)
	c.eventually("it has ended", func() bool { return c.task("job_1").Status == storage.TaskCancelled })
	seconds := int64(time.Since(begun) / time.Second)
	mu.Lock()
	defer mu.Unlock()
	require.EqualValues(t, rate, first, "a second's worth")
	counts := c.task("job_1").Counts
	require.LessOrEqual(t, counts["done"], rate*(seconds+1))
	left, err := c.store.CountLetters(c.ctx, storage.LetterFilter{Status: storage.LetterOpen})
	require.NoError(t, err)
	require.Positive(t, left)
	require.Equal(t, letters-counts["done"], left, "what it had not done stays undone")
	require.EqualValues(t, letters, counts["total"])
}

func TestAJobGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.bury(6)
	a, b := c.member("a"), c.member("b")
	c.job(kindRedrive, storage.RedriveSpec{Rate: 2})
	stop := c.start(a.Run)
	c.eventually("it has begun", func() bool { return c.task("job_1").Counts["done"] > 0 })
	stop()
	c.start(b.Run)
	c.eventually("it is done", func() bool { return c.task("job_1").Status == storage.TaskDone })
	require.Equal(t, map[string]int64{"total": 6, "done": 6, "failed": 0}, c.task("job_1").Counts)
	require.Len(t, c.entries(), 6, "each once")
}

func TestDiscardByFilter(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.bury(3)
	c.job(kindDiscard, storage.RedriveSpec{Reason: "a test account"})
	c.start(c.member("a").Run)
	c.eventually("it is done", func() bool { return c.task("job_1").Status == storage.TaskDone })
	page, err := c.store.Letters(c.ctx, storage.LetterFilter{})
	require.NoError(t, err)
	for _, l := range page.Items {
		require.Equal(t, []string{"discarded", "ops", "a test account"}, []string{string(l.Status), l.By, l.Reason})
	}
	require.Empty(t, c.entries())
}
