package stream

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

func TestEventsAreCountedByNoteAndTime(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	ctx, at := t.Context(), time.Unix(1_790_000_400, 0)
	none, err := s.Counted(ctx, "lemon", at, 7)
	require.NoError(t, err)
	require.Equal(t, Tally{Noted: map[event.Note]int64{}}, none)

	require.NoError(t, s.Count(ctx, "lemon", at, Tally{}))
	require.NoError(t, s.Count(ctx, "lemon", at, Tally{Noted: map[event.Note]int64{event.RequireUnmet: 2, event.UnknownType: 1}, All: 3}))
	require.NoError(t, s.Count(ctx, "lemon", at.Add(TallyPeriod-time.Second), Tally{Noted: map[event.Note]int64{event.RequireUnmet: 1}, All: 1}))
	require.NoError(t, s.Count(ctx, "lemon", at.Add(TallyPeriod), Tally{All: 5}))
	require.NoError(t, s.Count(ctx, "lime", at, Tally{All: 7}))
	for _, c := range []struct {
		at      time.Time
		periods int
		want    Tally
	}{
		{at, 1, Tally{Noted: map[event.Note]int64{event.RequireUnmet: 3, event.UnknownType: 1}, All: 4}},
		{at.Add(TallyPeriod), 1, Tally{Noted: map[event.Note]int64{}, All: 5}},
		{at.Add(TallyPeriod), 2, Tally{Noted: map[event.Note]int64{event.RequireUnmet: 3, event.UnknownType: 1}, All: 9}},
		{at.Add(3 * TallyPeriod), 2, Tally{Noted: map[event.Note]int64{}}},
	} {
		got, err := s.Counted(ctx, "lemon", c.at, c.periods)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
}
