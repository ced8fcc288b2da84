package worker

import (
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/measure"
	"github.com/tarn-sync/tarn/shared/telemetry"
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
	commands := openCommands{}
	defer commands.clear(s.w.Metrics)
	var letters, measured time.Time
	quiet, woken := false, int64(0)
	for {
		loop.Turn()
		measure.Full(s.w.Metrics, s.w.Streams, s.w.Store)
		if now := s.w.woken.Load(); !quiet || now != woken || time.Since(measured) >= quietEvery {
			measured, woken = time.Now(), now
			quiet = s.measureRedis(quiet)
			s.measureFeed()
		}
		s.measureUnconfigured(reported)
		if time.Since(letters) >= lettersEvery {
			letters = time.Now()
			s.measureLetters()
			s.measureCommands(commands)
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
	for _, t := range measure.Queue(s.w.Metrics, shards, s.w.names) {
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
	s.w.Metrics.ForgetFleet(s.w.names)
	for _, name := range s.w.names {
		s.w.Metrics.DeadOpen.DeleteLabelValues(name)
		s.w.Metrics.FeedDebt.DeleteLabelValues(name)
	}
}

// measureFeed exports how long changes have waited for the change feed, also while no
// reconciler is there to take them.
func (s meter) measureFeed() {
	if s.w.WithoutFeed {
		return
	}
	for _, name := range s.w.names {
		if oldest, err := s.w.Streams.OldestHint(s.ctx, name); err == nil {
			s.w.Metrics.FeedDebt.WithLabelValues(name).Set(oldest.Seconds())
		}
	}
}

// openCommands are the labels of the counts of commands that were exported.
type openCommands map[[4]string]bool

// measureCommands exports how many commands are not over, and for how long the oldest
// waits for an operator.
func (s meter) measureCommands(exported openCommands) {
	if !s.w.writes() {
		exported.clear(s.w.Metrics)
		clear(exported)
		return
	}
	counts, err := s.w.Store.Commands().Counts(s.ctx)
	if err != nil {
		return
	}
	m, now := s.w.Metrics, openCommands{}
	for _, c := range counts.Counts {
		if s.w.sources[c.Source] == nil {
			continue
		}
		labels := [4]string{c.Source, c.Kind, c.Op, string(c.State)}
		now[labels], exported[labels] = true, true
		m.CommandsOpen.WithLabelValues(labels[:]...).Set(float64(c.Count))
	}
	for labels := range exported {
		if !now[labels] {
			m.CommandsOpen.DeleteLabelValues(labels[:]...)
			delete(exported, labels)
		}
	}
	for _, name := range s.w.names {
		age := 0.0
		if since, asked := counts.AskedSince[name]; asked {
			age = s.w.Now().Sub(since).Seconds()
		}
		m.CommandAskedSeconds.WithLabelValues(name).Set(max(0, age))
	}
}

func (exported openCommands) clear(m *telemetry.Metrics) {
	for labels := range exported {
		m.CommandsOpen.DeleteLabelValues(labels[:]...)
		m.CommandAskedSeconds.DeleteLabelValues(labels[0])
	}
}
