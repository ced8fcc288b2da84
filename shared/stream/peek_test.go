package stream

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

func TestPeekShowsWhatWaitsAndDeliversNothing(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	appended(t, s, happened("evt_1", "bord_1"), happened("evt_2", "bord_2"), happened("evt_3", "bord_3"))
	l := ready(t, s, "w1")
	for range 2 {
		got, err := s.Peek(t.Context(), 0, "lemon", event.TierLive, 2)
		require.NoError(t, err)
		require.Len(t, got, 2)
		require.Equal(t, "evt_2", got[1].Signal.CauseID)
	}
	entries, err := l.Read(t.Context(), "lemon", event.TierLive, Limits{})
	require.NoError(t, err)
	require.Len(t, entries, 3)
	got, err := s.Peek(t.Context(), 0, "lemon", event.TierBackground, 2)
	require.NoError(t, err)
	require.Empty(t, got)
}
