package loops_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

var (
	errAway    = errors.New("no primary")
	errSlow    = fmt.Errorf("%w: it took longer than 10 s", errAway)
	errRefused = errors.New("refused")
)

func isAway(err error) bool { return errors.Is(err, errAway) }
func isSlow(err error) bool { return err == errSlow }

// fails returns a call that fails with each error in turn and then succeeds.
func fails(errs ...error) func() error {
	return func() error {
		if len(errs) == 0 {
			return nil
		}
		err := errs[0]
		errs = errs[1:]
		return err
	}
}

// A call that times out is reported at its third time-out, and goes on: log, alert,
// count and health name the call.
func TestThreeTimeoutsAreSaidAloud(t *testing.T) {
	for name, c := range map[string]struct {
		errs  []error
		aloud int
		took  time.Duration
	}{
		"a server that is away comes back":       {slices.Repeat([]error{errAway}, 5), 0, 5 * time.Second},
		"two time-outs":                          {slices.Repeat([]error{errSlow}, 2), 0, 3 * time.Second},
		"three time-outs":                        {slices.Repeat([]error{errSlow}, 3), 1, 7 * time.Second},
		"many time-outs are one alert":           {slices.Repeat([]error{errSlow}, 20), 1, 63*time.Second + 14*time.Minute},
		"and a reminder after thirty more":       {slices.Repeat([]error{errSlow}, 33), 2, 63*time.Second + 27*time.Minute},
		"time-outs with another failure between": {[]error{errSlow, errSlow, errAway, errSlow, errSlow}, 0, 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				var alerts []string
				counts := map[string]int{}
				health := telemetry.NewHealth(nil)
				healthz := ""
				retry := loops.Retry{
					Server: "store", Away: isAway, TimedOut: isSlow,
					Logger: slog.New(slog.NewTextHandler(&log, nil)),
					Count:  func(what string) { counts[what]++ },
					Alert:  func(source, reason string) { alerts = append(alerts, source+": "+reason) },
				}
				call := loops.Call{What: "read documents", Source: "lemon", Health: health.Loop("sweep")}
				do, begun := fails(c.errs...), time.Now()
				require.NoError(t, retry.Do(t.Context(), call, func() error {
					answer := httptest.NewRecorder()
					health.Healthz().ServeHTTP(answer, httptest.NewRequest("GET", "/healthz?verbose", nil))
					healthz = answer.Body.String()
					return do()
				}))
				require.Equal(t, c.took, time.Since(begun))
				require.Len(t, alerts, c.aloud)
				require.Equal(t, c.aloud, counts["store_timeout"])
				require.Equal(t, 1, counts["store"])
				require.Equal(t, 1, strings.Count(log.String(), `level=WARN msg="waiting: read documents" source=lemon`), log.String())
				require.Equal(t, c.aloud, strings.Count(log.String(), "level=ERROR"), log.String())
				require.Contains(t, healthz, `"store`)
				require.Equal(t, c.aloud > 0, strings.Contains(healthz, "store: read documents timed out"), healthz)
				if c.aloud > 0 {
					require.Equal(t, "lemon: read documents timed out 3 times in a row", alerts[0])
				}
			})
		})
	}
}

func TestRetryEnds(t *testing.T) {
	retry := loops.Retry{Server: "store", Away: isAway, Pause: time.Hour, Logger: slog.New(slog.DiscardHandler)}
	t.Run("with an error that does not pass", func(t *testing.T) {
		err := retry.Do(t.Context(), loops.Call{What: "write"}, fails(errRefused))
		require.ErrorIs(t, err, errRefused)
		require.EqualError(t, err, "write: refused")
		require.Equal(t, errRefused, retry.Do(t.Context(), loops.Call{}, fails(errRefused)))
	})
	t.Run("when its context has ended within the call", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		require.Equal(t, context.Canceled, retry.Do(ctx, loops.Call{}, func() error { cancel(); return errRefused }))
	})
	t.Run("when its context ends in the pause", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			begun := time.Now()
			require.Equal(t, context.DeadlineExceeded, retry.Do(ctx, loops.Call{}, fails(errAway)))
			require.Equal(t, time.Minute, time.Since(begun))
		})
	})
}

// A process that starts logs once what it waits for.
func TestRetryWithoutANamedCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		retry := loops.Retry{Server: "redis", Away: isAway, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		require.NoError(t, retry.Do(t.Context(), loops.Call{}, fails(errAway, errAway)))
		require.Equal(t, 1, strings.Count(log.String(), "waiting for redis"), log.String())
	})
}

// A call counts as held from its first failure until it ends, however it ends.
func TestHeldCallsAreReleased(t *testing.T) {
	for name, c := range map[string]struct {
		errs []error
		most float64
	}{
		"one that succeeds at once":     {nil, 0},
		"one that waits":                {[]error{errAway, errAway}, 1},
		"one that waits and is refused": {[]error{errAway, errRefused}, 1},
		"one that is refused at once":   {[]error{errRefused}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				held, most := 0.0, 0.0
				retry := loops.Retry{
					Server: "store", Away: isAway, Logger: slog.New(slog.DiscardHandler),
					Hold: func(server string, by float64) {
						require.Equal(t, "store", server)
						held += by
						most = max(most, held)
					},
				}
				_ = retry.Do(t.Context(), loops.Call{What: "settle"}, fails(c.errs...)) // either way
				require.Zero(t, held)
				require.InDelta(t, c.most, most, 0)
			})
		})
	}
}
