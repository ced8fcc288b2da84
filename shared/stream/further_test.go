package stream

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

// What entries already taken lead to goes in however full Redis is, marks and
// all, beside appends that are refused.
func TestFullRedisTakesWhatLetsEntriesLeave(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			o := quiet(kind.urls(t)...)
			o.Shards = 4
			s := openStreams(t, o)
			ctx := t.Context()
			limitMemory(t, s, 1)
			s.lookAtMemory(ctx)

			refresh := Draft{Signal: look("bord_1", event.Reconcile), Once: time.Hour}
			drafts := []Draft{{Signal: further("evt_1", "bord_1")}, {Signal: further("evt_1", "bord_2")}, refresh, refresh}
			receipts, err := s.AppendFurther(ctx, drafts)
			require.NoError(t, err)
			require.Len(t, receipts, 4)
			for i, r := range receipts {
				require.NotEmpty(t, r.ID)
				require.Equal(t, i == 3, r.Duplicate)
			}
			_, err = s.Append(ctx, Draft{Signal: happened("evt_2", "bord_1")})
			require.ErrorIs(t, err, ErrFull)
		})
	}
}
