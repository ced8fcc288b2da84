package worker

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream"
)

// Entries that arrive after their shard was lost are in nobody's hand: else they
// would count against what this worker may read for as long as it lives.
func TestALostShardTakesNothingIntoHand(t *testing.T) {
	w := &Worker{sources: map[string]*source{"acme": {}}}
	s := &shard{w: w, inHand: map[handle]bool{}, wake: make(chan struct{}, 1)}
	s.forgetEntities()
	s.ctx, s.cancel = context.WithCancelCause(t.Context())
	entries := func() []stream.Entry {
		return []stream.Entry{{ID: "1-0", Tier: event.TierLive}, {ID: "2-0", Tier: event.TierLive}}
	}
	require.Len(t, s.hold("acme", entries()), 2)
	require.EqualValues(t, 2, w.sources["acme"].live.Load())
	s.delay(w.sources["acme"], entries()[0], 1)
	require.EqualValues(t, 1, w.sources["acme"].delayed.Load())

	s.cancel(stream.ErrFenced)
	s.drop()
	require.Empty(t, s.hold("acme", entries()))
	s.delay(w.sources["acme"], entries()[0], 1)
	require.Zero(t, w.sources["acme"].live.Load())
	require.Zero(t, w.sources["acme"].delayed.Load())
}
