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

// meter exports what only Redis and the store know, for the whole fleet. One
// worker does it, the one that holds shard 0, and one reconciler, for when there
// is no worker; when the worker no longer does, it takes its figures back, so that old ones do not stand beside new ones.
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
		return // the next round says more than a line in the log
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
