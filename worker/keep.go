package worker

import (
	"context"
	"errors"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
)

// errStartedOver ends a shard after a panic: its entries in flight are taken over
// from Redis again.
var errStartedOver = errors.New("shard started over")

// supervisor returns the supervisor of the worker's loops. drop gives up what a loop
// that panicked may have left half done.
func (w *Worker) supervisor(drop func()) loops.Supervisor {
	return loops.Supervisor{Longest: longestSetback, Logger: w.Logger, Died: func(loop string, _ error) {
		w.Metrics.Restarts.WithLabelValues(loop).Inc()
		drop()
	}}
}

// longestSetback is the longest pause before a loop that panicked, or its shard, is
// started again.
const longestSetback = 10 * time.Second

// keep runs a loop until it returns by itself, again after each panic.
func (w *Worker) keep(ctx context.Context, name string, loop, drop func()) {
	w.Metrics.Restarts.WithLabelValues(name) // 0 from the start: a series that begins at 1 has not grown
	w.supervisor(drop).Keep(ctx, name, func(context.Context) error { loop(); return nil })
}

// keep runs one of the shard's loops. After a panic only Redis knows what the loop
// had in flight, so the whole shard is started over.
func (s *shard) keep(name string, loop func()) {
	s.w.Metrics.Restarts.WithLabelValues(name)
	_ = s.w.supervisor(s.startOver).Once(s.ctx, name, func(context.Context) error { loop(); return nil })
}

// startOver gives the shard up after a panic. This worker, or another once the
// lease has run out, acquires it again after a pause and reads the pending list
// again.
func (s *shard) startOver() {
	s.w.setBack(s.number)
	s.cancel(errStartedOver)
}

// startAllOver starts every shard over: what a loop of the whole worker had in
// flight may have been of any of them.
func (w *Worker) startAllOver() {
	for _, s := range w.held() {
		s.startOver()
	}
}

// setback keeps a shard that panicked from being taken again at once.
type setback struct {
	failed int
	last   time.Time
	until  time.Time
}

func (w *Worker) setBack(shard int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.setbacks[shard]
	now := time.Now()
	if now.Sub(b.last) > loops.Steady {
		b.failed = 0
	}
	b.failed++
	b.last, b.until = now, now.Add(w.supervisor(nil).Pause(b.failed))
	w.setbacks[shard] = b
}

// isSetBack reports whether a shard is not to be taken yet.
func (w *Worker) isSetBack(shard int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Before(w.setbacks[shard].until)
}
