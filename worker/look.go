package worker

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/stream"
)

// stateEvery is how often the states of the sources are read. Taking budget returns
// that of its source too.
const stateEvery = 250 * time.Millisecond

// lookout sees what others have changed about the sources.
type lookout struct{ *Worker }

// run reads the states of all sources, in one call, until ctx ends.
func (w lookout) run(ctx context.Context) {
	loop := w.Health.Loop("sources")
	defer loop.Done()
	last := make([]stream.SourceNews, len(w.names))
	for first := true; ; first = false {
		loop.Turn()
		news, err := w.Streams.Sources(ctx, w.names)
		if err != nil {
			loop.Waiting("redis") // the last known states stay; reading fails too while redis is away
		} else {
			for i, name := range w.names {
				w.see(w.sources[name], last[i], news[i])
				if !first && news[i].Retried != last[i].Retried {
					w.overdue(name)
				}
			}
			last = news
			w.statesRead()
		}
		if !loops.Sleep(ctx, stateEvery) {
			return
		}
	}
}

// see takes the state of a source.
func (w lookout) see(src *source, last, now stream.SourceNews) {
	switch {
	case now.Err == nil:
		src.condition.See(now.State)
	case last.Err == nil:
		w.Logger.Error("the state of a source cannot be read; it counts as it was last known", "source", src.Name, "error", now.Err)
	}
	w.Metrics.Pace.WithLabelValues(src.Name).Set(src.pace.Share(time.Now()))
	if now.State.Paused {
		src.attend(now.State)
	}
}

// overdue has each shard look whether parked entities of a source are due.
func (w lookout) overdue(source string) {
	for _, s := range w.held() {
		s.lease.Overdue(source)
	}
}

// nudgeAll makes every idle intake loop look again.
func (w lookout) nudgeAll() {
	for _, s := range w.held() {
		s.nudge()
	}
}
