package worker

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
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
	retried := map[string]string{}
	for first := true; ; first = false {
		loop.Turn()
		news, err := w.Streams.Sources(ctx, w.names)
		if err != nil {
			loop.Waiting("redis") // the last known states stay; reading fails too while redis is away
		} else {
			for i, name := range w.names {
				src := w.sources[name]
				src.condition.See(news[i].State)
				w.Metrics.Pace.WithLabelValues(name).Set(src.pace.Share(time.Now()))
				if news[i].State.Paused {
					src.attend(news[i].State)
				}
				if !first && news[i].Retried != retried[name] {
					w.overdue(name)
				}
				retried[name] = news[i].Retried
			}
			w.statesRead()
		}
		if !loops.Sleep(ctx, stateEvery) {
			return
		}
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
