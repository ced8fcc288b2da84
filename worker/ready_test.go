package worker

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// Who has waited longest is first in its class, whoever became ready first; a
// lane that was taken out leaves no gap that budget would be asked for.
func TestWhoHasWaitedLongestIsFirst(t *testing.T) {
	q := newReadyQueue()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	lanes := map[string]*lane{}
	push := func(name string, class event.Class, since time.Duration) {
		lanes[name] = &lane{key: event.Key{ID: name}, class: class}
		q.push(lanes[name], noon.Add(since))
	}
	push("late", event.Live, 3*time.Minute)
	push("sweep", event.Backfill, 0)
	push("early", event.Live, time.Minute)
	push("early too", event.Live, time.Minute)
	push("gone", event.Live, 0)
	push("middle", event.Live, 2*time.Minute)
	push("foreign", event.Class(17), time.Hour)
	require.True(t, q.remove(lanes["gone"]))
	require.False(t, q.remove(lanes["gone"]))
	require.Equal(t, 4, q.len(event.Live, 0))

	var order []string
	for _, c := range classes {
		for ln := q.pop(c, true); ln != nil; ln = q.pop(c, true) {
			order = append(order, ln.key.ID)
			require.False(t, q.remove(ln), "it is out")
		}
	}
	require.Equal(t, []string{"early", "early too", "middle", "late", "sweep", "foreign"}, order)
}

// Any sequence of pushes and removals leaves what is left in order.
func TestReadyQueueStaysInOrder(t *testing.T) {
	q := newReadyQueue()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var lanes []*lane
	for i := range 1000 {
		ln := &lane{key: event.Key{ID: fmt.Sprint(i)}}
		q.push(ln, noon.Add(time.Duration(i*7919%1000)*time.Millisecond))
		lanes = append(lanes, ln)
	}
	for i := 0; i < len(lanes); i += 3 {
		require.True(t, q.remove(lanes[i]))
	}
	last, n := int64(0), 0
	for ln := q.pop(event.Live, true); ln != nil; ln = q.pop(event.Live, true) {
		require.GreaterOrEqual(t, ln.turn.since, last)
		last, n = ln.turn.since, n+1
	}
	require.Equal(t, 666, n)
}

// An entry waits since it came to Redis, but never since a time to come: after
// Redis' clock was set back it would be passed by all others until then.
func TestNothingWaitsSinceTomorrow(t *testing.T) {
	w := &Worker{started: time.Now()}
	past := time.Now().Add(-time.Hour)
	require.Equal(t, past.UnixMilli(), w.since(fmt.Sprintf("%d-7", past.UnixMilli())).UnixMilli())
	require.WithinDuration(t, time.Now(), w.since(fmt.Sprintf("%d-0", time.Now().Add(time.Hour).UnixMilli())), time.Minute)
	require.WithinDuration(t, time.Now(), w.since("no id"), time.Minute)
}

// A lane waits since the oldest of what is in it came, also one that goes on
// after a sync, and one whose signals wait in Redis.
func TestALaneIsAsOldAsItsOldestSignal(t *testing.T) {
	w := &Worker{started: time.Now(), sources: map[string]*source{}}
	src := newSource(w, Source{Name: "acme"})
	w.sources["acme"] = src
	s := &shard{w: w, ctx: t.Context(), lanes: map[laneKey]*lane{}, quiet: make(chan struct{})}
	w.Metrics = telemetry.NewMetrics(prometheus.NewRegistry())
	came := func(id, entity string) stream.Entry {
		return stream.Entry{ID: id, Signal: event.Signal{Ref: event.Ref{Key: event.Key{Source: "acme", Kind: "widget", ID: entity}}}}
	}
	s.enqueue("acme", came("3000-0", "c"), came("1000-0", "a"), came("5000-0", "c"), came("4000-0", "a"), came("2000-0", "b"))
	parked := came("1500-0", "parked")
	s.startRetry(src, parked.Signal.Ref.Key, stream.Parked{}, []stream.Entry{parked})

	var order []string
	for ln := src.ready.pop(event.Live, true); ln != nil; ln = src.ready.pop(event.Live, true) {
		order = append(order, ln.key.ID)
		require.True(t, ln.claimForSync(event.Live))
		ln.endRetry()
		ln.done(min(1, len(ln.queue)))
	}
	require.Equal(t, []string{"a", "parked", "b", "c", "a", "c"}, order)
}

// However many lanes of entities that failed before wait, and however long, those
// that have not failed have every other turn, and all of them where no more of
// the others may start.
func TestLanesThatFailedBeforeTakeTurnsWithOthers(t *testing.T) {
	q := newReadyQueue()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range 4 {
		q.push(&lane{key: event.Key{ID: fmt.Sprint("failed", i)}, tried: true}, noon.Add(time.Duration(i)*time.Second))
	}
	late := &lane{key: event.Key{ID: "taken out"}, tried: true}
	q.push(late, noon)
	require.True(t, q.remove(late))
	for i := range 3 {
		q.push(&lane{key: event.Key{ID: fmt.Sprint("new", i)}}, noon.Add(time.Duration(i)*time.Hour))
	}
	require.Equal(t, 7, q.len(event.Live, 9))
	require.Equal(t, 5, q.len(event.Live, 2))
	var order []string
	for range 4 {
		order = append(order, q.pop(event.Live, true).key.ID)
	}
	order = append(order, q.pop(event.Live, false).key.ID)
	require.Nil(t, q.pop(event.Live, false))
	for range 2 {
		order = append(order, q.pop(event.Live, true).key.ID)
	}
	require.Nil(t, q.pop(event.Live, true))
	require.Equal(t, []string{"failed0", "new0", "failed1", "new1", "new2", "failed2", "failed3"}, order)
}
