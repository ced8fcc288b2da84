package worker

import (
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/telemetry"
	"github.com/tarn-sync/tarn/worker/entity"
)

// bareSource is a source without a fleet.
func bareSource() *source {
	w := &Worker{Options: Options{Logger: slog.New(slog.DiscardHandler), Metrics: telemetry.NewMetrics(prometheus.NewRegistry())}}
	return newSource(w, Source{Name: "acme"})
}

// Answers for entities that the mirror does not know say nothing of the address,
// nor do failures other than a 404.
func TestOnlyAnswersForKnownEntitiesCount(t *testing.T) {
	s := bareSource()
	answer := func(id string, known bool, snap *provider.Snapshot, err error) event.Key {
		doc := &storage.Document{Key: event.Key{Source: "acme", Kind: "widget", ID: id}, Claim: 2}
		if known {
			doc.Raw, doc.SyncedClaim = []byte(`{}`), 1
		}
		require.Equal(t, known, doc.Alive())
		s.noteAnswer(entity.Report{Ref: event.Ref{Key: doc.Key}, Document: doc, Snapshot: snap, Err: err})
		return doc.Key
	}
	lost := fate.Errorf(fate.Gone, "no such widget")
	require.False(t, s.answers.Missing(answer("w1", false, nil, lost)))
	require.False(t, s.answers.Missing(answer("w2", true, nil, fate.Errorf(fate.Transient, "timeout"))))
	require.True(t, s.answers.Missing(answer("w3", true, nil, lost)))
	require.False(t, s.answers.Missing(answer("w3", true, &provider.Snapshot{}, nil)))
	require.True(t, s.answers.Missing(answer("w4", true, &provider.Snapshot{Deleted: true}, nil)))
}

// A source is suspect after failures in a row. What it answers in its own words
// ends the row, whatever it says.
func TestAnAnswerInItsOwnWordsEndsAStreak(t *testing.T) {
	s := bareSource()
	note := func(err error) {
		s.noteAnswer(entity.Report{Document: &storage.Document{}, Snapshot: &provider.Snapshot{}, Err: err})
	}
	for class, ends := range map[fate.Class]bool{
		fate.Gone: true, fate.Permanent: true, fate.Transient: false, fate.Throttled: false, fate.Refused: false, fate.Unavailable: false,
	} {
		s.failed.Fail()
		note(fate.Errorf(class, "boom"))
		require.Equal(t, ends, s.failed.Len() == 0, class)
		note(nil)
		require.Zero(t, s.failed.Len())
	}
}

// A pause that turns into one of another kind is as good as a new one: one that
// is for too many requests slows the pace.
func TestAPauseThatBecomesThrottledSlowsThePace(t *testing.T) {
	s := bareSource()
	s.condition.See(condition.State{Paused: true, Kind: condition.PausedDown}, time.Now())
	require.InDelta(t, 1, s.pace.Share(time.Now()), 0)
	s.condition.See(condition.State{Paused: true, Kind: condition.PausedThrottled}, time.Now())
	slowed := s.pace.Share(time.Now())
	require.Less(t, slowed, 0.9)
	s.condition.See(condition.State{Paused: true, Kind: condition.PausedThrottled}, time.Now())
	require.InDelta(t, slowed, s.pace.Share(time.Now()), 0.01, "once for one pause")
}
