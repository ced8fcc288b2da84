package worker

import (
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/stream"
)

const (
	// measureEvery is how often Redis is measured, lettersEvery how often the
	// store is asked for the dead letters that are open.
	measureEvery = 5 * time.Second
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
	var letters time.Time
	for {
		loop.Turn()
		s.measureRedis()
		s.measureUnconfigured(reported)
		if time.Since(letters) >= lettersEvery {
			letters = time.Now()
			s.measureLetters()
			s.measureUndefined(undefined)
		}
		if !loops.Sleep(s.ctx, measureEvery) {
			return
		}
	}
}

// measureRedis exports backlog, age and parked entities.
func (s meter) measureRedis() {
	shards, workers, err := s.w.Streams.Fleet(s.ctx, s.w.names)
	if err != nil {
		return // the next round tries again
	}
	s.w.Metrics.Workers.WithLabelValues().Set(float64(len(workers)))
	for name, t := range stream.Totals(shards, s.w.names) {
		s.w.Metrics.SetQueue(name, t.Live, t.Background-t.Scheduled, t.Parked, t.Oldest)
	}
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
