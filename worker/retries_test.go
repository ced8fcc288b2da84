package worker

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream"
)

// waiting is an entry for a widget.
func waiting(id string, class event.Class) stream.Entry {
	return stream.Entry{ID: "1-0", Tier: class.Tier(), Signal: event.Signal{
		Ref: event.Ref{Key: event.Key{Source: "acme", Kind: "widget", ID: id}}, Cause: event.CauseSweep, Class: class,
	}}
}

// Retries in lanes are counted for each that is due: however many lanes there
// are, only those of retries are looked at.
func TestRetriesAreCountedAmongRetries(t *testing.T) {
	s, src := fixture(t)
	for i := range 20_000 {
		s.enqueue("acme", waiting(fmt.Sprint(i), event.Live))
	}
	retry := func(id string, class event.Class) *lane {
		e := waiting(id, class)
		s.startRetry(src, e.Signal.Ref.Key, stream.Parked{}, []stream.Entry{e})
		return s.lanes[laneKey{key: e.Signal.Ref.Key}]
	}
	retry("live", event.Live)
	retry("sweep", event.Backfill)
	over, left := retry("over", event.Live), retry("left", event.Backfill)
	count := func() [2]int { all, lower := s.retries(src); return [2]int{all, lower} }
	require.Equal(t, [2]int{4, 2}, count())
	over.endRetry()
	require.Equal(t, [2]int{3, 2}, count())
	left.leave()
	require.Equal(t, [2]int{2, 1}, count())
	s.enqueue("acme", waiting("sweep", event.Live)) // it has come for an entity that is tried
	require.Equal(t, [2]int{2, 0}, count())
	other, _ := s.retries(newSource(s.w, Source{Name: "other"}))
	require.Zero(t, other)

	fastest := time.Hour
	for range 50 {
		begun := time.Now()
		s.retries(src)
		fastest = min(fastest, time.Since(begun))
	}
	require.Less(t, fastest, 20*time.Microsecond, "20,000 lanes are looked at for two retries")
}
