package worker

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/worker/entity"
)

func named(id string) entity.ID { return entity.ID{Key: event.Key{ID: id}} }

// The lane that has waited longest is first in its class, in any order of readiness; a
// lane that was taken out leaves no gap that budget would be asked for.
func TestWhoHasWaitedLongestIsFirst(t *testing.T) {
	q := newReadyQueue()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	push := func(name string, class event.Class, since time.Duration) {
		q.push(readyLane{id: named(name), class: class}, noon.Add(since))
	}
	push("late", event.Live, 3*time.Minute)
	push("sweep", event.Backfill, 0)
	push("early", event.Live, time.Minute)
	push("early too", event.Live, time.Minute)
	push("gone", event.Live, 0)
	push("middle", event.Live, 2*time.Minute)
	push("foreign", event.Class(17), time.Hour)
	q.remove(nil, named("gone"))
	q.remove(nil, named("gone"))
	require.Equal(t, 4, q.len(event.Live, 0))

	var order []string
	for _, c := range classes {
		for ln := q.pop(c, true); ln != nil; ln = q.pop(c, true) {
			order = append(order, ln.id.Key.ID)
			q.remove(nil, ln.id) // it is out
		}
	}
	require.Equal(t, []string{"early", "early too", "middle", "late", "sweep", "foreign"}, order)
}

// Any sequence of pushes and removals leaves what is left in order.
func TestReadyQueueStaysInOrder(t *testing.T) {
	q := newReadyQueue()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range 1000 {
		q.push(readyLane{id: named(fmt.Sprint(i))}, noon)
		q.push(readyLane{id: named(fmt.Sprint(i))}, noon.Add(time.Duration(i*7919%1000)*time.Millisecond)) // instead of the first
	}
	for i := 0; i < 1000; i += 3 {
		q.remove(nil, named(fmt.Sprint(i)))
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

// However many lanes of entities that failed before wait, and however long, those
// that have not failed have every other turn, and all of them where no more of
// the others may start.
func TestLanesThatFailedBeforeTakeTurnsWithOthers(t *testing.T) {
	q := newReadyQueue()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range 4 {
		q.push(readyLane{id: named(fmt.Sprint("failed", i)), failed: true}, noon.Add(time.Duration(i)*time.Second))
	}
	q.push(readyLane{id: named("taken out"), failed: true}, noon)
	q.remove(nil, named("taken out"))
	for i := range 3 {
		q.push(readyLane{id: named(fmt.Sprint("new", i))}, noon.Add(time.Duration(i)*time.Hour))
	}
	require.Equal(t, 7, q.len(event.Live, 9))
	require.Equal(t, 5, q.len(event.Live, 2))
	var order []string
	for range 4 {
		order = append(order, q.pop(event.Live, true).id.Key.ID)
	}
	order = append(order, q.pop(event.Live, false).id.Key.ID)
	require.Nil(t, q.pop(event.Live, false))
	for range 2 {
		order = append(order, q.pop(event.Live, true).id.Key.ID)
	}
	require.Nil(t, q.pop(event.Live, true))
	require.Equal(t, []string{"failed0", "new0", "failed1", "new1", "new2", "failed2", "failed3"}, order)
}
