package worker

import (
	"time"
)

const (
	// measureEvery is how often Redis is measured, lettersEvery how often the
	// store is asked for the dead letters that are open.
	measureEvery = 5 * time.Second
	lettersEvery = 15 * time.Second
)

// measure exports what only Redis and the store know, for the whole fleet. One
// worker does it, the one that holds shard 0; when it no longer does, it takes
// its figures back, so that old ones do not stand beside new ones.
func (s *shard) measure() {
	loop := s.w.Health.Loop("measure")
	defer loop.Done()
	defer s.unmeasure()
	s.rememberSources()
	orphaned := orphaned{}
	defer orphaned.clear(s.w.Metrics)
	var letters time.Time
	for {
		loop.Turn()
		s.measureRedis()
		s.measureOrphans(orphaned)
		if time.Since(letters) >= lettersEvery {
			letters = time.Now()
			s.measureLetters()
		}
		if !sleep(s.ctx, measureEvery) {
			return
		}
	}
}

// measureRedis exports backlog, age and parked entities.
func (s *shard) measureRedis() {
	shards, _, err := s.w.Streams.Fleet(s.ctx, s.w.names)
	if err != nil {
		return // the next round says more than a line in the log
	}
	m := s.w.Metrics
	for _, name := range s.w.names {
		var live, background, parked int64
		var oldest time.Duration
		for _, sh := range shards {
			q := sh.Sources[name]
			live, background, parked = live+q.Live, background+q.Background-q.Scheduled, parked+q.Parked
			oldest = max(oldest, q.Oldest)
		}
		m.Backlog.WithLabelValues(name, "live").Set(float64(live))
		m.Backlog.WithLabelValues(name, "background").Set(float64(background))
		m.Parked.WithLabelValues(name).Set(float64(parked))
		m.OldestAge.WithLabelValues(name).Set(oldest.Seconds())
	}
}

// measureLetters exports how many dead letters are open.
func (s *shard) measureLetters() {
	open, err := s.w.Store.OpenLetters(s.ctx)
	if err != nil {
		return
	}
	for _, name := range s.w.names {
		s.w.Metrics.DeadOpen.WithLabelValues(name).Set(float64(open[name]))
	}
}

func (s *shard) unmeasure() {
	m := s.w.Metrics
	for _, name := range s.w.names {
		m.Backlog.DeleteLabelValues(name, "live")
		m.Backlog.DeleteLabelValues(name, "background")
		m.Parked.DeleteLabelValues(name)
		m.OldestAge.DeleteLabelValues(name)
		m.DeadOpen.DeleteLabelValues(name)
	}
}
