package worker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream"
)

// The backlog is what a worker could do now: a signal that is scheduled for
// later is none of it, and must not call for more workers.
func TestBacklogLeavesOutWhatIsScheduled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.streams.Pause(b.ctx, "acme", 0, "so that nothing is read", "ops"))
	ref := event.Ref{Key: event.Key{Source: "acme", Kind: "widget", ID: "w1"}}
	for id, until := range map[string]time.Time{"now": {}, "later": time.Now().Add(time.Hour)} {
		_, err := b.streams.Append(b.ctx, stream.Draft{Signal: event.Signal{
			Ref: ref, Cause: event.CauseDerived, CauseID: id, Class: event.Reconcile, NotBefore: until,
		}})
		require.NoError(t, err)
	}
	b.start("w1")
	require.True(t, eventually(func() bool { return b.metric("tarn_backlog_entries", "acme", "background") > 0 }))
	require.InDelta(t, 1, b.metric("tarn_backlog_entries", "acme", "background"), 0)
}
