package worker

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/worker/entity"
)

// errHandedOver ends a shard that was given up on purpose.
var errHandedOver = errors.New("shard handed over")

// shard is one shard this worker holds the lease of.
type shard struct {
	w      *Worker
	lease  *stream.Lease
	number int
	log    *slog.Logger

	// ctx ends when the shard is lost or handed over: whatever still runs for
	// it then stops, and what it would have written is fenced.
	ctx    context.Context
	cancel context.CancelCauseFunc
	// ended is closed when nothing runs for the shard any more.
	ended chan struct{}

	acks *acker
	// wake makes an idle intake loop look again; entered lets it have the gate.
	wake, entered chan struct{}
	// quiet is closed when the shard is closing and no sync is under way.
	quiet chan struct{}

	mu       sync.Mutex
	entities *entity.Shard
	runs     map[entity.Number]*run
	spilled  []entity.Park // to be parked by the reader that holds the gate
	inHand   map[handle]bool
	delayed  delays
	closing  bool
}

// handle names an entry among all of a shard's streams.
type handle struct {
	source string
	tier   event.Tier
	id     string
}

func newShard(w *Worker, lease *stream.Lease) *shard {
	s := &shard{
		w: w, lease: lease, number: lease.Shard(),
		log:   w.Logger.With("shard", lease.Shard(), "epoch", lease.Epoch()),
		ended: make(chan struct{}), wake: make(chan struct{}, 1), entered: make(chan struct{}, 1), quiet: make(chan struct{}),
		inHand: map[handle]bool{},
	}
	s.forgetEntities()
	s.acks = newAcker(s)
	return s
}

// forgetEntities begins with nothing in hand. The caller holds s.mu, if others
// have s.
func (s *shard) forgetEntities() {
	s.runs, s.spilled = map[entity.Number]*run{}, nil
	s.entities = entity.NewShard(entity.Config{
		Shard:      s.number,
		Definition: func(source string) *provider.Definition { return s.w.sources[source].Definition },
		Retry:      s.w.Retry, LagPauses: s.w.LagPauses, Rewritten: s.w.Rewritten, Split: fault.Off("lanes"), Logger: s.w.Logger,
	})
}

// start begins to work the shard until it is lost or handed over.
func (s *shard) start(work context.Context) {
	s.ctx, s.cancel = context.WithCancelCause(work)
	var wg sync.WaitGroup
	wg.Go(func() { s.keep("lease", s.renew) })
	wg.Go(func() { s.keep("intake", s.intake) })
	wg.Go(func() { s.keep("acks", s.acks.run) })
	if s.number == 0 {
		wg.Go(func() { s.keep("notes", s.notes) })
		wg.Go(func() { s.keep("measure", s.measure) })
	}
	go func() {
		<-s.ctx.Done()
		s.drop()
		wg.Wait()
		s.w.forget(s)
		close(s.ended)
	}()
}

// renew keeps the lease, and lets go of the shard by our own clock when it can
// no longer be sure of it.
func (s *shard) renew() {
	loop := s.w.Health.Loop("lease " + strconv.Itoa(s.number))
	defer loop.Done()
	tick := time.NewTicker(s.w.LeaseTTL / 5)
	defer tick.Stop()
	for {
		loop.Turn()
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		err := s.lease.Renew(s.ctx)
		if s.lost(err) || err != nil && !s.ours() {
			return
		}
	}
}

// lost reports whether err says that the shard is no longer ours, and if so
// lets go of it.
func (s *shard) lost(err error) bool {
	if !errors.Is(err, stream.ErrFenced) {
		return false
	}
	if s.ctx.Err() == nil {
		s.w.Metrics.LeasesLost.Inc()
		s.log.Info("lost the lease to another worker")
	}
	s.cancel(stream.ErrFenced)
	return true
}

// ours reports whether the lease is surely still ours, and lets go of the shard
// if not. What is written to the store without a claim is preceded by it.
func (s *shard) ours() bool {
	if s.lease.Valid() {
		return true
	}
	if s.ctx.Err() == nil {
		s.w.Metrics.LeasesLost.Inc()
		s.log.Warn("lost the lease: its time has run out")
	}
	s.cancel(stream.ErrFenced)
	return false
}

// beginHandOver stops reading and starting syncs. It reports whether this call
// was the first.
func (s *shard) beginHandOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.closing = true
	s.stepLocked(entity.Close{})
	return true
}

// handOver lets what is under way finish, for Grace at most, and releases the
// lease. What was not begun stays pending in Redis for the next owner.
func (s *shard) handOver(work context.Context) {
	t := time.NewTimer(s.w.Grace)
	defer t.Stop()
	select {
	case <-s.quiet:
	case <-t.C:
		s.log.Warn("handing over with work under way; the next owner does it again")
	case <-s.ctx.Done():
	}
	s.giveBackRetries(work)
	s.cancel(errHandedOver) // before somebody else may begin
	s.releaseLease(work)
	<-s.ended
}

// releaseLease lets another worker have the shard at once. If work was dropped,
// Redis may be another fleet's: nothing is written to it, and the lease runs out.
func (s *shard) releaseLease(work context.Context) {
	if work.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(work, time.Second)
	defer cancel()
	if err := s.lease.Release(ctx); err != nil {
		s.log.Warn("could not release the lease; it runs out by itself", "error", err)
	}
}

// giveBackRetries makes parked entities whose retries were not begun due for
// the successor. At worst they are once a lease's time is over.
func (s *shard) giveBackRetries(work context.Context) {
	s.mu.Lock()
	keys := s.entities.Unbegun()
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(work, time.Second)
	defer cancel()
	for _, k := range keys {
		if err := s.lease.Defer(ctx, k, 0); err != nil {
			s.log.Warn("could not give retries back; they are due when a lease's time is over", "entities", len(keys), "error", err)
			return
		}
	}
}

// isClosing reports whether the shard is being handed over.
func (s *shard) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// drop forgets everything in hand, once the shard is not ours any more.
func (s *shard) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := range s.inHand {
		s.w.sources[h.source].inHand(h.tier).Add(-1)
	}
	for _, id := range s.entities.Lanes() {
		s.w.sources[id.Key.Source].ready.remove(s, id)
	}
	s.inHand = map[handle]bool{}
	s.forgetEntities()
	s.delayed.clear(s.w)
}

// nudge makes an idle intake loop look again.
func (s *shard) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// hold takes entries into hand; it returns those that were not there already.
func (s *shard) hold(source string, entries []stream.Entry) []stream.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil // the shard was lost while they were on their way, and what it had is dropped
	}
	fresh := entries[:0]
	for _, e := range entries {
		h := handle{source, e.Tier, e.ID}
		if s.inHand[h] {
			continue
		}
		s.inHand[h] = true
		s.w.sources[source].inHand(e.Tier).Add(1)
		fresh = append(fresh, e)
	}
	return fresh
}

// release lets go of entries that are no longer pending in Redis.
func (s *shard) release(source string, tier event.Tier, ids []string) {
	s.mu.Lock()
	n := 0
	for _, id := range ids {
		h := handle{source, tier, id}
		if s.inHand[h] {
			delete(s.inHand, h)
			n++
		}
	}
	s.mu.Unlock()
	s.w.sources[source].inHand(tier).Add(int64(-n))
	s.nudge()
}
