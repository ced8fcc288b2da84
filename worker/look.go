package worker

import (
	"context"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/stream"
)

// stateEvery is how often the states of the sources are read, newsLate how old they may
// become. Taking budget returns that of its source too.
const (
	stateEvery = 250 * time.Millisecond
	newsLate   = stateEvery * 3 / 2
)

// lookout sees what others have changed about the sources. Heartbeats read it in their
// own round trip. Its loop reads it when none has: while the worker takes shards, while
// it stops, or where heartbeats are further apart.
type lookout struct {
	w *Worker
	// late fires when no news have come for newsLate.
	late *time.Timer

	mu   sync.Mutex
	read time.Time // when news were last read
	// retried are the texts of the last news, by source; nil before the first.
	retried map[string]string
}

func newLookout(w *Worker) *lookout { return &lookout{w: w, late: time.NewTimer(newsLate)} }

// run reads the news of all sources, in one call, when they are late, until ctx ends.
func (l *lookout) run(ctx context.Context) {
	loop := l.w.Health.Loop("sources")
	defer loop.Done()
	l.late.Reset(0) // also after a panic
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.late.C:
		}
		loop.Turn()
		l.late.Reset(newsLate)
		if news, err := l.w.Streams.Sources(ctx, l.w.names); err == nil {
			l.see(news)
		} // else the last known states stay; reading fails too while redis is away
		loop.Waiting("news of the sources")
	}
}

// due returns the sources whose news a heartbeat is to read: none if the last are recent.
// tick is the time between heartbeats.
func (l *lookout) due(tick time.Duration) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.read) < stateEvery-tick/2 {
		return nil
	}
	return l.w.names
}

// see acts on news of all sources. Without any it does nothing.
func (l *lookout) see(news []stream.SourceNews) {
	if len(news) == 0 {
		return
	}
	l.late.Reset(newsLate)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.read = time.Now()
	first := l.retried == nil
	if first {
		l.retried = make(map[string]string, len(news))
	}
	for i, name := range l.w.names {
		src := l.w.sources[name]
		src.condition.See(news[i].State)
		l.w.Metrics.Pace.WithLabelValues(name).Set(src.pace.Share(time.Now()))
		if news[i].State.Paused {
			src.attend(news[i].State)
		}
		if !first && news[i].Retried != l.retried[name] {
			l.overdue(name)
		}
		l.retried[name] = news[i].Retried
	}
}

// overdue has each shard look whether parked entities of a source are due.
func (l *lookout) overdue(source string) {
	for _, s := range l.w.held() {
		s.lease.Overdue(source)
	}
}

// nudgeAll makes every idle intake loop look again.
func (w *Worker) nudgeAll() {
	for _, s := range w.held() {
		s.nudge()
	}
}
