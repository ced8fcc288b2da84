package worker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/stream"
)

// member keeps this worker in the fleet until ctx ends. It sends heartbeats, works
// out which shards are its fair share, acquires those and hands over the rest. work
// is the context of what it starts.
func (w *Worker) member(ctx, work context.Context) {
	loop := w.Health.Loop("member")
	defer loop.Done()
	tick := w.LeaseTTL / 20
	var handing sync.WaitGroup
	defer handing.Wait()
	for beat := 0; ; beat++ {
		loop.Turn()
		asked := time.Now()
		live, news, err := w.place.BeatAndRead(ctx, w.lookout.due(tick))
		w.lookout.see(news, asked)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			loop.Waiting("redis")
			if beat%20 == 0 {
				w.sparing.Warn("no heartbeat: redis does not answer", "error", err)
			}
		default:
			w.balance(ctx, work, live, &handing)
		}
		if !loops.Tick(ctx, tick) {
			return
		}
	}
}

// balance brings the held shards to the fair share among the live workers.
func (w *Worker) balance(ctx, work context.Context, live []string, handing *sync.WaitGroup) {
	if !slices.Equal(live, w.live) {
		w.live, w.fair = live, stream.FairShare(live, w.Streams.Shards(), w.ID)
		w.members.Store(int64(len(live)))
	}
	fair := w.fair
	if fault.Off("leases") {
		fair = stream.FairShare([]string{w.ID}, w.Streams.Shards(), w.ID) // every worker reads every shard
	}
	for _, s := range w.held() {
		if !slices.Contains(fair, s.number) && s.beginHandover() {
			handing.Go(func() { s.handover(work) })
		}
	}
	for _, n := range fair {
		if w.holds(n) || w.isSetBack(n) || !w.mayTake(n) {
			continue
		}
		lease, err := w.Streams.Acquire(ctx, n, w.ID, w.names)
		switch {
		case errors.Is(err, stream.ErrHeld):
			continue // its holder is handing it over, or died and its lease runs out
		case err != nil:
			if ctx.Err() == nil {
				w.sparing.Warn("could not take a shard", "shard", n, "error", err)
			}
			return
		}
		if !w.confirm(ctx, work, lease) {
			return
		}
		w.start(work, lease)
	}
}

// confirm reports whether a lease just acquired may be used. Redis may have been
// emptied after the heartbeat that allowed it, which a second heartbeat shows. If
// not, the lease is released.
func (w *Worker) confirm(ctx, work context.Context, lease *stream.Lease) bool {
	_, err := w.place.Beat(ctx)
	if err == nil && w.mayTake(lease.Shard()) {
		return true
	}
	release(work, w.sparing.With("shard", lease.Shard()), lease)
	return false
}

// mayTake reports whether a shard may be taken if its lease is free.
func (w *Worker) mayTake(n int) bool {
	w.mu.Lock()
	former := w.fenced[n]
	w.mu.Unlock()
	return w.place.MayTake(former)
}

func (w *Worker) start(work context.Context, lease *stream.Lease) {
	s := newShard(work, w, lease)
	w.mu.Lock()
	w.shards[s.number] = s
	delete(w.fenced, s.number)
	held := len(w.shards)
	w.mu.Unlock()
	w.Metrics.Handovers.Inc()
	w.Metrics.LeasesHeld.Set(float64(held))
	s.start()
}

// forget removes a shard that is no longer held.
func (w *Worker) forget(s *shard) {
	w.mu.Lock()
	if w.shards[s.number] == s {
		delete(w.shards, s.number)
	}
	if errors.Is(context.Cause(s.ctx), stream.ErrFenced) {
		w.fenced[s.number] = s.lease
	}
	held := len(w.shards)
	w.mu.Unlock()
	w.Metrics.LeasesHeld.Set(float64(held))
}

func (w *Worker) holds(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.shards[n] != nil
}

func (w *Worker) held() []*shard {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]*shard, 0, len(w.shards))
	for _, s := range w.shards {
		out = append(out, s)
	}
	return out
}

// handoverAll hands over all shards at once, and waits.
func (w *Worker) handoverAll(work context.Context) {
	var wg sync.WaitGroup
	for _, s := range w.held() {
		if s.beginHandover() {
			wg.Go(func() { s.handover(work) })
		} else {
			wg.Go(func() { <-s.ended })
		}
	}
	wg.Wait()
}
