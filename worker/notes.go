package worker

import (
	"time"

	"github.com/tarn-sync/tarn/shared/mirror"
)

const (
	notesAtOnce  = 500
	notesEvery   = 500 * time.Millisecond
	measureEvery = 5 * time.Second
)

// notes carries the receivers' notes into the audit. One worker of the fleet
// does it, the one that holds shard 0.
func (s *shard) notes() {
	loop := s.w.Health.Loop("notes")
	defer loop.Done()
	for {
		loop.Turn()
		n, err := s.carryNotes()
		if err != nil && s.ctx.Err() == nil {
			s.log.Warn("could not carry notes to the audit; trying again", "error", err)
		}
		if n < notesAtOnce && !sleep(s.ctx, notesEvery) || s.ctx.Err() != nil {
			return
		}
	}
}

// carryNotes takes one batch: to the store, and then out of Redis. The ids
// make a batch that is carried twice count once.
func (s *shard) carryNotes() (int, error) {
	found, err := s.w.Streams.Notes(s.ctx, notesAtOnce)
	if err != nil || len(found) == 0 {
		return 0, err
	}
	notes := make([]mirror.Note, len(found))
	ids := make([]string, len(found))
	for i, n := range found {
		ids[i] = n.ID
		notes[i] = mirror.Note{ID: "note/" + n.ID, At: n.At, Source: n.Source, Kind: n.Kind, EventID: n.EventID, Reason: n.Reason, Count: n.Count}
	}
	if err := s.w.Store.Note(s.ctx, notes); err != nil {
		return 0, err
	}
	return len(found), s.w.Streams.DropNotes(s.ctx, ids)
}

// measure exports what only Redis knows: backlog, age and parked entities, for
// the whole fleet.
func (s *shard) measure() {
	m := s.w.Metrics
	for {
		shards, _, err := s.w.Streams.Fleet(s.ctx, s.w.names)
		if err == nil {
			for _, name := range s.w.names {
				var live, background, parked int64
				var oldest time.Duration
				for _, sh := range shards {
					q := sh.Sources[name]
					live, background, parked = live+q.Live, background+q.Background, parked+q.Parked
					oldest = max(oldest, q.Oldest)
				}
				m.Backlog.WithLabelValues(name, "live").Set(float64(live))
				m.Backlog.WithLabelValues(name, "background").Set(float64(background))
				m.Parked.WithLabelValues(name).Set(float64(parked))
				m.OldestAge.WithLabelValues(name).Set(oldest.Seconds())
			}
		}
		if !sleep(s.ctx, measureEvery) {
			return
		}
	}
}
