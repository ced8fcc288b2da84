package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// Entries that arrive after their shard was lost are not in flight: else they
// would count against what this worker may read for as long as it lives.
func TestALostShardTakesNothingInFlight(t *testing.T) {
	w := &Worker{sources: map[string]*source{"acme": {}}}
	s := &shard{w: w, wake: make(chan struct{}, 1)}
	s.machine.s, s.inFlight = s, inFlight{s, map[streamName]map[string]struct{}{}}
	s.forgetEntities()
	in := intake{shard: s}
	s.ctx, s.cancel = context.WithCancelCause(t.Context())
	entries := func() []event.Entry {
		return []event.Entry{{ID: "1-0", Tier: event.TierLive}, {ID: "2-0", Tier: event.TierLive}}
	}
	require.Len(t, s.hold("acme", entries()), 2)
	require.EqualValues(t, 2, w.sources["acme"].live.Load())
	in.delay(w.sources["acme"], entries()[0], 1)
	require.EqualValues(t, 1, w.sources["acme"].delayed.Load())

	s.cancel(stream.ErrFenced)
	s.drop()
	require.Empty(t, s.hold("acme", entries()))
	in.delay(w.sources["acme"], entries()[0], 1)
	require.Zero(t, w.sources["acme"].live.Load())
	require.Zero(t, w.sources["acme"].delayed.Load())
}

// A call of Redis is repeated until Redis is back or the shard is lost.
func TestCallsOfRedisAreRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		w := &Worker{Options: Options{Metrics: telemetry.NewMetrics(prometheus.NewRegistry())}}
		text := slog.New(slog.NewTextHandler(&log, nil))
		s := &shard{w: w, log: text, common: text}
		s.ctx, s.cancel = context.WithCancelCause(t.Context())
		calls := 0
		call := func(then error) func() error {
			calls = 0
			return func() error {
				if calls++; calls <= 5 {
					return errors.New("connection refused")
				}
				return then
			}
		}
		begun := time.Now()
		require.NoError(t, s.insist(s.ctx, nil, "ack entries", call(nil)))
		require.Equal(t, 5*redisPause, time.Since(begun))
		require.Equal(t, 1, strings.Count(log.String(), "waiting: ack entries"), log.String())
		require.NoError(t, s.ctx.Err())

		require.ErrorIs(t, s.insist(s.ctx, nil, "ack entries", call(fmt.Errorf("ack: %w", stream.ErrFenced))), stream.ErrFenced)
		require.Equal(t, 6, calls)
		require.ErrorIs(t, context.Cause(s.ctx), stream.ErrFenced, "the shard ends")
	})
}
