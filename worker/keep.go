package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/tarn-sync/tarn/shared/fate"
)

// errStartedOver ends a shard after a panic of ours: what was in hand is taken
// over from Redis anew.
var errStartedOver = errors.New("shard started over")

// restarts is the pause before a loop that panicked is started again.
var restarts = fate.Backoff{First: 200 * time.Millisecond, Cap: 10 * time.Second}.WithDefaults()

// steady is how long a loop runs until its earlier panics are forgotten.
const steady = time.Minute

// keep runs a loop until it returns by itself. One that panics is started
// again, each time after a longer pause; before that drop gives up what it may
// have left half done.
func (w *Worker) keep(ctx context.Context, name string, loop, drop func()) {
	for failed := 1; ; failed++ {
		begun := time.Now()
		if !w.panics(name, loop) {
			return
		}
		if time.Since(begun) > steady {
			failed = 1
		}
		drop()
		if !sleep(ctx, restarts.After(failed, 0)) {
			return
		}
	}
}

// panics runs a loop and reports whether it panicked, which is put on record.
func (w *Worker) panics(name string, loop func()) (panicked bool) {
	defer func() {
		if p := recover(); p != nil {
			panicked = true
			w.Metrics.Restarts.WithLabelValues(name).Inc()
			w.Logger.Error("a loop panicked; it is started again", "loop", name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	loop()
	return false
}

// keep runs one of the shard's loops. What it has in hand when it panics is
// known to Redis alone, so the whole shard is started over.
func (s *shard) keep(name string, loop func()) {
	if s.w.panics(name, loop) {
		s.startOver()
	}
}

// startOver gives the shard up after a panic. This worker, or another once the
// lease has run out, takes it again after a while and reads the pending list
// anew.
func (s *shard) startOver() {
	s.w.setBack(s.number)
	s.cancel(errStartedOver)
}

// startAllOver starts every shard over: what a loop of the whole worker had in
// hand may have been of any of them.
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
	if now.Sub(b.last) > steady {
		b.failed = 0
	}
	b.failed++
	b.last, b.until = now, now.Add(restarts.After(b.failed, 0))
	w.setbacks[shard] = b
}

// isSetBack reports whether a shard is not to be taken yet.
func (w *Worker) isSetBack(shard int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Before(w.setbacks[shard].until)
}
