package worker

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// fixture is a shard without loops, Redis or a store: what a test calls is all
// that runs.
func fixture(t *testing.T) (*shard, *source) {
	t.Helper()
	w := &Worker{sources: map[string]*source{}, names: []string{"acme"}}
	w.Metrics = telemetry.NewMetrics(prometheus.NewRegistry())
	w.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	w.Now = time.Now
	w.sources["acme"] = newSource(w, Source{Name: "acme"})
	s := &shard{
		w: w, ctx: t.Context(), log: w.Logger, lanes: map[laneKey]*lane{}, heads: map[event.Key]*head{},
		inHand: map[handle]bool{}, wake: make(chan struct{}, 1), quiet: make(chan struct{}),
	}
	s.acks = newAcker(s)
	return s, w.sources["acme"]
}

// waits is an entry of a sweep, which leaves no row and no letter.
func waits(id int) stream.Entry {
	return stream.Entry{
		ID: fmt.Sprintf("%d-0", id), Tier: event.TierBackground,
		Signal: event.Signal{Ref: event.Ref{Key: event.Key{Source: "acme", Kind: "widget", ID: "w1"}}, Cause: event.CauseSweep, Class: event.Backfill},
	}
}

// What is buried counts an attempt while intake puts more into the lane, which
// copies the queue when it grows.
//
// With Redis in the way the race detector sees nothing of such a race: package
// syscall tells it that every read of a socket or file comes after every earlier
// write to one, whoever made it, so each round trip puts the two in order. Nothing
// here reads or writes.
func TestBuryingLeavesTheQueueAlone(t *testing.T) {
	for range 100 {
		s, src := fixture(t)
		for id := range 4 { // as many as there is room for: the next one makes it grow
			s.enqueue("acme", waits(id+1))
		}
		ln := src.ready.pop(event.Backfill, true)
		require.True(t, ln.claimForSync(event.Backfill))
		queue := ln.waiting()
		a := &attempt{s: s, ln: ln, src: src, batch: queue}
		var wg sync.WaitGroup
		wg.Go(func() { s.enqueue("acme", waits(5)) })
		a.bury(fate.Permanent, errors.New("HTTP 400"))
		wg.Wait()
		for _, e := range queue {
			require.Zero(t, e.Attempts, "the attempt is counted in the queue's own entries")
		}
		rest := s.lanes[ln.id] // the same, or a new one if it came after the end of the other
		require.NotNil(t, rest)
		require.Len(t, rest.queue, 1, "what came since goes on")
	}
}
