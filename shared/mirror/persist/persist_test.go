package persist_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/mirror/persist"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

var (
	away = fate.New(fate.Unavailable, errors.New("no primary"))
	slow = fate.New(fate.Unavailable, fmt.Errorf("%w: 10 s", mirror.ErrTimeout))
)

// fails fails n times with an error and then succeeds.
func fails(n int, with error) func() error {
	return func() error {
		if n--; n >= 0 {
			return with
		}
		return nil
	}
}

// TestACallThatTimesOutIsToldOf at its third time-out, once, and goes on: log,
// alert, metric and health say which call it is.
func TestACallThatTimesOutIsToldOf(t *testing.T) {
	for name, c := range map[string]struct {
		do   func() error
		told int
	}{
		"a store that is away comes back":  {fails(5, away), 0},
		"two time-outs":                    {fails(2, slow), 0},
		"three time-outs":                  {fails(3, slow), 1},
		"many time-outs are one alert":     {fails(20, slow), 1},
		"and a reminder after thirty more": {fails(33, slow), 2},
		"time-outs with another failure between": {func() func() error {
			failures := []error{slow, slow, away, slow, slow}
			return func() error {
				if len(failures) == 0 {
					return nil
				}
				err := failures[0]
				failures = failures[1:]
				return err
			}
		}(), 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				var alerts []alert.Alert
				registry := prometheus.NewRegistry()
				metrics := telemetry.NewMetrics(registry)
				health := telemetry.NewHealth(nil)
				loop := health.Loop("sweep")
				healthz := ""
				w := persist.Waiter{
					Metrics: metrics, Logger: slog.New(slog.NewTextHandler(&log, nil)), Pause: time.Second,
					Alert: func(a alert.Alert) { alerts = append(alerts, a) },
				}
				require.NoError(t, w.Do(t.Context(), loop, "lemon", "read documents", func() error {
					answer := httptest.NewRecorder()
					health.Healthz().ServeHTTP(answer, httptest.NewRequest("GET", "/healthz", nil))
					healthz = answer.Body.String()
					return c.do()
				}))
				require.Len(t, alerts, c.told)
				require.EqualValues(t, c.told, count(t, registry, "store_timeout"))
				require.EqualValues(t, 1, count(t, registry, "store"))
				require.Equal(t, c.told, strings.Count(log.String(), "level=ERROR"), log.String())
				require.Equal(t, c.told > 0, strings.Contains(healthz, "store: read documents timed out"), healthz)
				if c.told > 0 {
					require.Equal(t, alert.Alert{Kind: alert.StoreSlow, Source: "lemon", Reason: "read documents timed out 3 times in a row"}, alerts[0])
				}
			})
		})
	}
}

func TestWhatDoesNotPassIsReturned(t *testing.T) {
	w := persist.Waiter{Metrics: telemetry.NewMetrics(prometheus.NewRegistry()), Logger: slog.New(slog.DiscardHandler), Pause: time.Hour}
	refused := fate.New(fate.Permanent, errors.New("refused"))
	require.ErrorIs(t, w.Do(t.Context(), nil, "", "write", fails(1, refused)), refused)
	ctx, cancel := context.WithCancel(t.Context())
	err := w.Do(ctx, nil, "", "write", func() error { cancel(); return away })
	require.Equal(t, context.Canceled, err)
}

// count is how many calls had to wait for what.
func count(t *testing.T, from prometheus.Gatherer, what string) (n float64) {
	t.Helper()
	families, err := from.Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "tarn_unavailable_total" && m.GetLabel()[0].GetValue() == what {
				n = m.GetCounter().GetValue()
			}
		}
	}
	return n
}
