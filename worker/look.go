package worker

import (
	"context"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/stream"
)

// stateEvery is how often the states of the sources are read. Taking budget returns that of
// its source too.
const stateEvery = 250 * time.Millisecond

// lookout sees what others have changed about the sources. Heartbeats read it in their
// own round trip. Its loop reads it when none has: while the worker takes shards, while
// it stops, or where heartbeats are further apart.
type lookout struct {
	w *Worker
	// late fires with the second heartbeat that has brought no news.
	late *time.Timer

	mu   sync.Mutex
	read time.Time           // when news were last read
	last []stream.SourceNews // nil before the first
}

func newLookout(w *Worker) *lookout { return &lookout{w: w, late: time.NewTimer(newsLate())} }

// newsLate returns how long until news that come now are late: until the second multiple of
// stateEvery from now. With the usual lease that is a time at which a heartbeat is sent. see
// moves the timer later, but the runtime still wakes at the time set before: so that time is
// one at which the process wakes anyway.
func newsLate() time.Duration { return loops.UntilTick(stateEvery) + stateEvery }

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
		l.late.Reset(newsLate())
		asked := time.Now()
		if news, err := l.w.Streams.Sources(ctx, l.w.names); err == nil {
			l.see(news, asked)
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

// see acts on news of all sources that were asked for at a time. Without any it does nothing.
// A RetryParked that the first news tell of may be later than what shards know of due times.
func (l *lookout) see(news []stream.SourceNews, asked time.Time) {
	if len(news) == 0 {
		return
	}
	l.late.Reset(newsLate())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.read = time.Now()
	for i, name := range l.w.names {
		var last stream.SourceNews
		if l.last != nil {
			last = l.last[i]
		}
		l.seeOne(l.w.sources[name], last, news[i], asked)
		if news[i].Retried != last.Retried {
			l.overdue(name)
		}
	}
	l.last = news
	l.w.statesRead()
}

// seeOne takes the state of a source.
func (l *lookout) seeOne(src *source, last, now stream.SourceNews, asked time.Time) {
	switch {
	case now.Err == nil:
		src.condition.See(now.State, asked)
	case last.Err == nil:
		l.w.Logger.Error("the state of a source cannot be read; it counts as it was last known", "source", src.Name, "error", now.Err)
	}
	l.w.Metrics.Pace.WithLabelValues(src.Name).Set(src.pace.Share(time.Now()))
	if now.State.Paused {
		src.attend(now.State)
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
