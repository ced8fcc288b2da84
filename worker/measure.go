package worker

import (
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/stream"
)

const (
	// measureEvery is how often Redis is measured, quietEvery how often while nothing
	// waits in it and nothing comes to the worker. lettersEvery is how often the store
	// is asked for the dead letters that are open.
	measureEvery = 5 * time.Second
	quietEvery   = 30 * time.Second
	lettersEvery = 15 * time.Second
)

// meter exports, for the whole fleet, what only Redis and the store know. The worker
// that holds shard 0 does it, and one reconciler, for when there is no worker. A
// worker that loses shard 0 removes its figures, so that no old ones remain beside
// new ones.
type meter struct{ *shard }

func (s meter) run() {
	loop := s.w.Health.Loop("measure")
	defer loop.Done()
	defer s.unmeasure()
	s.rememberSources()
	reported := reportedSources{}
	defer reported.clear(s.w.Metrics)
	undefined := waitingKinds{}
	defer s.forgetUndefined()
	var letters, measured time.Time
	quiet, woken := false, int64(0)
	for {
		loop.Turn()
		if now := s.w.woken.Load(); !quiet || now != woken || time.Since(measured) >= quietEvery {
			measured, woken = time.Now(), now
			quiet = s.measureRedis(quiet)
		}
		s.measureUnconfigured(reported)
		if time.Since(letters) >= lettersEvery {
			letters = time.Now()
			s.measureLetters()
			if !quiet || len(undefined) > 0 {
				s.measureUndefined(undefined)
			}
		}
		if !loops.Tick(s.ctx, measureEvery) {
			return
		}
	}
}

// measureRedis exports backlog, age and parked entities, and reports whether there is
// nothing of them. was: it was so the last time, so Redis is asked first whether it
// still is.
func (s meter) measureRedis(was bool) (quiet bool) {
	s.w.Metrics.Workers.WithLabelValues().Set(float64(s.w.members.Load()))
	if was {
		if still, err := s.w.Streams.Quiet(s.ctx, s.w.names); err == nil && still {
			return true
		}
	}
	shards, _, err := s.w.Streams.Fleet(s.ctx, s.w.names)
	if err != nil {
		return false // the next round tries again
	}
	quiet = true
	for name, t := range stream.Totals(shards, s.w.names) {
		s.w.Metrics.SetQueue(name, t.Live, t.Background-t.Scheduled, t.Parked, t.Oldest)
		quiet = quiet && t.Live+t.Background+t.Parked == 0
	}
	return quiet
}

// measureLetters exports how many dead letters are open.
func (s meter) measureLetters() {
	open, err := s.w.Store.OpenLetters(s.ctx)
	if err != nil {
		return
	}
	for _, name := range s.w.names {
		s.w.Metrics.DeadOpen.WithLabelValues(name).Set(float64(open[name]))
	}
}

func (s meter) unmeasure() {
	s.w.Metrics.ForgetQueue(s.w.names)
	for _, name := range s.w.names {
		s.w.Metrics.DeadOpen.DeleteLabelValues(name)
	}
}
