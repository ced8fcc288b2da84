package loops_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/loops"
)

// within requires d to be of a pause without its jitter of a tenth.
func within(t *testing.T, pause, d time.Duration) {
	t.Helper()
	require.InDelta(t, pause, d, float64(pause)/10+1)
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		require.True(t, loops.Sleep(t.Context(), time.Hour))
		require.Equal(t, time.Hour, time.Since(begun))

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun = time.Now()
		require.True(t, loops.Sleep(ctx, 0))
		require.True(t, loops.Sleep(ctx, -time.Hour))
		require.Zero(t, time.Since(begun))
		require.False(t, loops.Sleep(ctx, time.Hour), "ctx ends first")
		require.Equal(t, time.Minute, time.Since(begun))
		require.False(t, loops.Sleep(ctx, time.Hour), "ctx has ended")
		require.False(t, loops.Sleep(ctx, 0), "ctx has ended")
		require.Equal(t, time.Minute, time.Since(begun))
	})
}

func TestALoopThatDiesIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var died []string
		s := loops.Supervisor{
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Died: func(loop string, why error) {
				line, _, _ := strings.Cut(why.Error(), "\n")
				died = append(died, loop+": "+line)
			},
		}
		lives := 0
		s.Keep(t.Context(), "intake", func(context.Context) error {
			switch lives++; lives {
			case 1:
				panic("boom")
			case 2:
				return errRefused
			}
			return nil
		})
		require.Equal(t, 3, lives)
		require.Equal(t, []string{"intake: panic: boom", "intake: refused"}, died)
		require.Contains(t, log.String(), `msg="a loop panicked; it is started again" loop=intake panic=boom stack=`)
		require.Contains(t, log.String(), "supervisor_test.go", "the stack of the panic")
		require.Contains(t, log.String(), `msg="a loop died and is started again" loop=intake error=refused`)
	})
}

// Pauses double up to the longest, and start again after a life that was steady.
func TestPausesBeforeRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := loops.Supervisor{Longest: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var pauses []time.Duration
		var ended time.Time
		lives := 0
		s.Keep(ctx, "settler", func(ctx context.Context) error {
			if lives++; lives > 1 {
				pauses = append(pauses, time.Since(ended))
			}
			switch lives {
			case 9:
				loops.Sleep(ctx, loops.Steady+1)
			case 11:
				cancel()
			}
			ended = time.Now()
			panic("boom")
		})
		want := []time.Duration{200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 200, 400}
		require.Len(t, pauses, len(want))
		for i, w := range want {
			within(t, w*time.Millisecond, pauses[i])
		}
	})
}

func TestPausesAreSpread(t *testing.T) {
	var s loops.Supervisor
	seen := map[time.Duration]bool{}
	for range 100 {
		d := s.Pause(1000)
		within(t, 30*time.Second, d)
		seen[d] = true
	}
	require.Greater(t, len(seen), 50)
}

func TestALoopEndsWithItsContext(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(ctx context.Context) error
		deaths int
	}{
		"by its own error": {func(ctx context.Context) error { return ctx.Err() }, 0},
		"by nil":           {func(context.Context) error { return nil }, 0},
		"by a panic":       {func(context.Context) error { panic("boom") }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				deaths, lives := 0, 0
				s := loops.Supervisor{Logger: slog.New(slog.NewTextHandler(&log, nil)), Died: func(string, error) { deaths++ }}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				s.Keep(ctx, "member", func(ctx context.Context) error {
					lives++
					<-ctx.Done()
					return c.end(ctx)
				})
				require.Equal(t, 1, lives)
				require.Equal(t, c.deaths, deaths)
				require.Equal(t, c.deaths, strings.Count(log.String(), "level=ERROR"))
			})
		})
	}
	t.Run("in the pause before a restart", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := loops.Supervisor{Logger: slog.New(slog.DiscardHandler)}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			lives := 0
			s.Keep(ctx, "member", func(context.Context) error { lives++; return errRefused })
			require.Equal(t, 1, lives)
		})
	})
}
