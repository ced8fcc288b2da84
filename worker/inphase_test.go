package worker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/erased"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
)

// News are late at a time at which heartbeats are sent, whenever they came, and not before
// a second heartbeat.
func TestNewsAreLateWithAHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 50 {
			time.Sleep(37 * time.Millisecond)
			late := newsLate()
			require.Greater(t, late, stateEvery)
			require.LessOrEqual(t, late, 2*stateEvery)
			time.Sleep(late)
			require.Equal(t, stateEvery, loops.UntilTick(stateEvery), "a whole tick until the next")
		}
	})
}

// looks tells when the list of what was erased is looked at, how long before the next tick.
type looks struct {
	storage.Store
	before chan time.Duration
}

func (l looks) Erasures(context.Context, int64) ([]storage.Erasure, int64, error) {
	l.before <- loops.UntilTick(erased.Every)
	return nil, 0, nil
}

// The list of what was erased is looked at when other loops wake, whenever the worker began.
func TestErasuresAreLookedAtWithATick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := looks{before: make(chan time.Duration)}
		w := &Worker{erased: erased.NewWatch(l)}
		time.Sleep(loops.UntilTick(erased.Every) + 300*time.Millisecond)
		go w.watchErased(ctx)
		require.Equal(t, erased.Every-300*time.Millisecond, <-l.before, "at once")
		for range 3 {
			require.Equal(t, erased.Every, <-l.before)
		}
		cancel()
	})
}
