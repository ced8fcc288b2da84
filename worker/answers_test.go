package worker

import (
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
	"github.com/tarn-sync/tarn/worker/entity"
)

// An entity counts once, by its last answer: a 404 that came too early is
// replaced by what came after it, one that is asked for again is not added.
func TestAnEntityCountsByItsLastAnswer(t *testing.T) {
	s := &source{evidence: &evidence{missing: map[event.Key]counted{}}}
	lost := fate.Errorf(fate.Gone, "no such widget")
	answer := func(id string, snap *provider.Snapshot, err error, foreseen bool) {
		doc := &storage.Document{Key: event.Key{Source: "acme", Kind: "widget", ID: id}, Raw: []byte(`{}`), SyncedClaim: 1, Claim: 2}
		require.True(t, knownAlive(doc))
		s.noteAnswer(entity.Report{Ref: event.Ref{Key: doc.Key}, Document: doc, Snapshot: snap, Err: err, Foreseen: foreseen})
	}
	there := &provider.Snapshot{}
	for range 3 {
		answer("w1", nil, lost, false)
	}
	require.Equal(t, 1, s.recent.sum)
	require.Equal(t, 1, s.recent.n)
	answer("w1", there, nil, false)
	require.Zero(t, s.recent.sum)
	require.Equal(t, 1, s.recent.n, "the 200 stands where the 404 did")
	require.Equal(t, 1, s.foreseen.n)

	answer("w2", nil, lost, true)
	require.Equal(t, 1, s.foreseen.sum)
	answer("w2", there, nil, false)
	require.Zero(t, s.foreseen.sum)
	require.Equal(t, 2, s.foreseen.n)

	answer("w3", nil, lost, false)
	for range len(s.recent.gone) {
		answer("w1", there, nil, false)
	}
	require.Zero(t, s.recent.sum, "it has left the window")
	answer("w3", there, nil, false)
	require.Zero(t, s.recent.sum)

	answer("w4", &provider.Snapshot{Deleted: true}, nil, false)
	require.True(t, s.evidence.isMissing(event.Key{Source: "acme", Kind: "widget", ID: "w4"}), "the stub of a deleted entity is no witness")
}

// What is remembered of missing entities is let go of once they are known to be
// gone, so that new ones find room.
func TestWhatIsGoneIsNotMissing(t *testing.T) {
	e := &evidence{turn: make(chan struct{}, 1), missing: map[event.Key]counted{}}
	k := func(i int) event.Key { return event.Key{Kind: "widget", ID: time.Duration(i).String()} }
	for i := range mostMissing {
		e.lost(k(i), counted{})
	}
	e.lost(k(-1), counted{})
	require.False(t, e.isMissing(k(-1)))
	e.found(k(0))
	e.lost(k(-1), counted{})
	require.True(t, e.isMissing(k(-1)))
}

// A pause that turns into one of another kind is as good as a new one: one that
// is for too many requests slows the pace.
func TestAPauseThatBecomesThrottledSlowsThePace(t *testing.T) {
	w := &Worker{Options: Options{Logger: slog.New(slog.DiscardHandler), Metrics: telemetry.NewMetrics(prometheus.NewRegistry())}}
	s := &source{Source: Source{Name: "acme"}, w: w, pace: newPace()}
	s.state.Store(&stream.SourceState{})
	s.see(stream.SourceState{Paused: true, Kind: fate.PausedDown})
	require.InDelta(t, 1, s.pace.now(time.Now()), 0)
	s.see(stream.SourceState{Paused: true, Kind: fate.PausedThrottled})
	slowed := s.pace.now(time.Now())
	require.Less(t, slowed, 0.9)
	s.see(stream.SourceState{Paused: true, Kind: fate.PausedThrottled})
	require.InDelta(t, slowed, s.pace.now(time.Now()), 0.01, "once for one pause")
}
