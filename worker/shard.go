package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

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
	// common logs what other shards most likely say at the same time.
	common *slog.Logger

	// ctx ends when the shard is lost or handed over. Syncs that still run for it
	// then stop, and their writes are fenced.
	ctx    context.Context
	cancel context.CancelCauseFunc
	// ended is closed when nothing runs for the shard any more.
	ended chan struct{}

	acks   *acker
	parked parkedList
	// wake makes an idle intake loop look again; entered lets it have the gate.
	wake, entered chan struct{}
	// troubled is set when Redis did not answer as it should.
	troubled atomic.Bool
	// quiet is closed when the shard is closing and no sync is under way.
	quiet chan struct{}

	machine
	inFlight

	mu      sync.Mutex // of both, and of
	delayed delays
	closing bool
}

// newShard returns a shard whose context ends with that of work.
func newShard(work context.Context, w *Worker, lease *stream.Lease) *shard {
	s := &shard{
		w: w, lease: lease, number: lease.Shard(),
		log: w.Logger.With("shard", lease.Shard(), "epoch", lease.Epoch()), common: w.sparing.With("shard", lease.Shard()),
		ended: make(chan struct{}), wake: make(chan struct{}, 1), entered: make(chan struct{}, 1), quiet: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancelCause(work)
	s.machine.s, s.inFlight = s, newInFlight(s)
	s.forgetEntities()
	s.acks, s.parked = newAcker(s), parkedList{s}
	return s
}

// start begins to work the shard until it is lost or handed over.
func (s *shard) start() {
	var wg sync.WaitGroup
	wg.Go(func() { s.keep("intake", func() { newIntake(s).run() }) })
	wg.Go(func() { s.keep("acks", s.acks.run) })
	if s.number == 0 {
		wg.Go(func() { s.keep("notes", courier{s}.run) })
		wg.Go(func() { s.keep("measure", meter{s}.run) })
		if s.w.mayWrite() {
			wg.Go(func() { s.keep("commands", reminder{s}.run) })
		}
	}
	go func() {
		<-s.ctx.Done()
		s.drop()
		wg.Wait()
		s.w.forget(s)
		close(s.ended)
	}()
}

// beginHandover stops reading and starting syncs. It reports whether this call
// was the first.
func (s *shard) beginHandover() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.closing = true
	s.stepLocked(entity.Close{})
	s.nudge()
	return true
}

// handover lets syncs under way finish, for Grace at most, and releases the lease.
// Entries of other lanes stay pending in Redis for the next owner.
func (s *shard) handover(work context.Context) {
	t := time.NewTimer(s.w.Grace)
	defer t.Stop()
	select {
	case <-s.quiet:
	case <-t.C:
		s.common.Info("handing over with work under way; the next owner does it again")
	case <-s.ctx.Done():
	}
	s.giveBackRetries(work)
	s.cancel(errHandedOver) // before another worker may begin
	release(work, s.common, s.lease)
	<-s.ended
}

// release lets another worker have a shard at once. If work was dropped, Redis may
// be another fleet's: nothing is written to it, and the lease runs out.
func release(work context.Context, log *slog.Logger, lease *stream.Lease) {
	if work.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(work, time.Second)
	defer cancel()
	if err := lease.Release(ctx); err != nil && work.Err() == nil {
		log.Info("could not release the lease; it runs out by itself", "error", err)
	}
}

// giveBackRetries makes parked entities whose retries were not begun due for the
// successor. If it fails they are due once the time of a lease is over.
func (s *shard) giveBackRetries(work context.Context) {
	s.mu.Lock()
	keys := s.entities.Unbegun()
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(work, time.Second)
	defer cancel()
	for _, k := range keys {
		if err := s.lease.Defer(ctx, k, 0); err != nil {
			s.common.Info("could not give retries back; they are due when a lease's time is over", "entities", len(keys), "error", err)
			return
		}
	}
}

// drop forgets everything in flight, once the shard is not ours any more.
func (s *shard) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight.drop()
	for _, id := range s.entities.Lanes() {
		s.w.sources[id.Key.Source].ready.remove(s, id)
	}
	s.forgetEntities()
	s.delayed.clear(s.w)
}
