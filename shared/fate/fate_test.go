package fate_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
)

func TestOf(t *testing.T) {
	class, after := fate.Of(errors.New("connection reset"))
	require.Equal(t, fate.Transient, class, "an error without a class is tried again")
	require.Zero(t, after)

	throttled := &fate.Error{Class: fate.Throttled, Status: 429, RetryAfter: 7 * time.Second, Err: errors.New("too many requests")}
	class, after = fate.Of(fmt.Errorf("fetch lemon/order/bord_1: %w", throttled))
	require.Equal(t, fate.Throttled, class)
	require.Equal(t, 7*time.Second, after)
}

func TestBackoff(t *testing.T) {
	b := fate.Backoff{}.WithDefaults()
	for failed, want := range map[int]time.Duration{
		1: time.Minute, 2: 2 * time.Minute, 3: 4 * time.Minute, 6: 32 * time.Minute, 7: time.Hour, 10: time.Hour, 5000: time.Hour,
	} {
		got := b.After(failed, 0)
		require.InDelta(t, want.Seconds(), got.Seconds(), want.Seconds()*b.Jitter+0.001, "after %d failures", failed)
	}
	require.Equal(t, 3*time.Hour, b.After(1, 3*time.Hour), "what the provider asks for is a lower bound")

	spread := map[time.Duration]bool{}
	for range 20 {
		spread[b.After(1, 0)] = true
	}
	require.Greater(t, len(spread), 10, "work that failed together does not come back together")
}

func TestStatusOf(t *testing.T) {
	for want, err := range map[string]error{
		"200":   nil,
		"error": errors.New("connection reset"),
		"429":   fmt.Errorf("fetch: %w", &fate.Error{Class: fate.Throttled, Status: 429, Err: errors.New("slow down")}),
	} {
		require.Equal(t, want, fate.StatusOf(err))
	}
	require.Equal(t, "error", fate.StatusOf(fate.New(fate.Transient, errors.New("no answer"))))
}
