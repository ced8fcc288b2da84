package loops

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUntilTick(t *testing.T) {
	const d = 250 * time.Millisecond
	for since, want := range map[time.Duration]time.Duration{
		0:       d,
		1:       d - 1,
		d - 1:   1,
		d:       d, // the tick that has come is not waited for again
		d + 1:   d - 1,
		9*d + 5: d - 5,
		-1:      1,
		-d:      d,
		1 - d:   d - 1,
	} {
		require.Equal(t, want, untilTick(since, d), since)
	}
}

// Loops that begin at different times and take different times for a turn wake together.
func TestTicksCoincide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		const d = 250 * time.Millisecond
		woke := map[time.Duration]map[time.Time]bool{}
		for _, every := range []time.Duration{d, 4 * d, 8 * d} {
			times := map[time.Time]bool{}
			woke[every] = times
			go func() {
				Sleep(ctx, every/7) // begins later
				for Tick(ctx, every) {
					times[time.Now()] = true
					Sleep(ctx, every/3) // a turn
				}
			}()
		}
		<-ctx.Done()
		synctest.Wait() // all have ended
		require.InDelta(t, 40, len(woke[d]), 1)
		require.InDelta(t, 10, len(woke[4*d]), 1)
		require.InDelta(t, 5, len(woke[8*d]), 1)
		for _, every := range []time.Duration{4 * d, 8 * d} {
			for at := range woke[every] {
				require.True(t, woke[d][at], "the loop of %s woke alone", every)
			}
		}
		require.False(t, Tick(ctx, d), "ctx has ended")
	})
}
