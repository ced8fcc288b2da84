package trial

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
)

func TestP99(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var rows []*storage.EventRow
	for i := range 200 {
		rows = append(rows, &storage.EventRow{ReceivedAt: at, ProcessedAt: at.Add(time.Duration(i) * time.Millisecond)})
	}
	rows = append(rows, &storage.EventRow{ReceivedAt: at})
	require.Equal(t, 198*time.Millisecond, P99(rows), "what is not settled does not count")
	require.Zero(t, P99(nil))
}

// A pause counts from the time without the fault on, and to the next event however late.
func TestLongest(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	second := func(n int) time.Time { return at.Add(time.Duration(n) * time.Second) }
	all := []time.Time{second(0), second(9), second(10), second(13), second(14), second(40)}
	require.Equal(t, 3*time.Second, longest(all, second(9), second(20)))
	require.Equal(t, 26*time.Second, longest(all, second(10), second(60)))
	require.Equal(t, 9*time.Second, longest(all, second(8), second(10)), "it began before")
	require.Zero(t, longest(nil, at, second(1)))
}
