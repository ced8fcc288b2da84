package worker

import (
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// appendFurther appends the signals an event makes besides its own: one for each
// further entity that is open, and one for each derived kind, held back so that a
// burst of events refreshes it once.
func (s eventLog) appendFurther(out []stream.Draft, src *source, e *event.Entry, l storage.Logged) []stream.Draft {
	for _, ref := range e.Signal.Body.Entities {
		if ref.Key == e.Signal.Ref.Key || l.Outcomes[ref.Key] != storage.Pending {
			continue
		}
		sig := e.Signal
		sig.Ref, sig.Body = ref, nil
		out = append(out, stream.Draft{Signal: sig, Recorded: true})
	}
	for _, ref := range e.Signal.Body.Derived {
		every := time.Minute // of a kind that only a newer definition has
		if kind := src.Definition.Kind(ref.Key.Kind); kind != nil {
			every = kind.Every
		}
		out = append(out, stream.Draft{
			Signal: event.Signal{
				Ref: ref, Cause: event.CauseDerived, CauseID: e.Signal.CauseID, Class: event.Reconcile,
				NotBefore: s.w.Now().Add(every), Trace: e.Signal.Trace,
			},
			Once: onceFor(every),
		})
	}
	return out
}

// onceFor returns how long a held-back signal keeps out others like it if the sync
// that ends it never comes: much longer than it is held back.
func onceFor(held time.Duration) time.Duration { return 10*held + time.Minute }

// appendAll appends signals that entries in flight lead to. It tries until Redis has
// them all, however full it is. Some may go in twice, which costs a second sync. Those
// without a row in the store that too few replicas confirm are appended again later; see
// doubts.
func (s *shard) appendAll(loop *telemetry.Loop, drafts []stream.Draft) error {
	if len(drafts) == 0 {
		return nil
	}
	var rows, others []stream.Draft
	for _, d := range drafts {
		if d.Recorded {
			rows = append(rows, d)
		} else {
			others = append(others, d)
		}
	}
	return s.insist(s.ctx, loop, "append signals", func() error {
		if _, err := s.w.Streams.AppendFurther(s.ctx, rows); err != nil {
			return err
		}
		rows = nil
		return s.w.doubts.append(s.ctx, others)
	})
}
