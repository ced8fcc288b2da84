package worker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/stream"
)

// A look that was to be taken at once says nothing of when a second look was
// asked for.
func TestWhenASecondLookWasMeantFor(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	kind := &provider.Kind{ReadLag: time.Hour, VerifyAfter: time.Minute}
	for name, c := range map[string]struct {
		meant  []time.Time
		second time.Time
		early  bool // an event came 10 s before the fetch, which is at noon
	}{
		"at once":              {[]time.Time{{}}, time.Time{}, false},
		"now, and at once":     {[]time.Time{noon, {}}, noon, true},
		"at once, and now":     {[]time.Time{{}, noon}, noon, true},
		"several, and at once": {[]time.Time{noon.Add(time.Second), {}, noon}, noon, true},
		"asked after it":       {[]time.Time{noon.Add(time.Hour)}, noon.Add(time.Hour), false},
	} {
		t.Run(name, func(t *testing.T) {
			var entries []stream.Entry
			for _, at := range c.meant {
				entries = append(entries, stream.Entry{Signal: event.Signal{Cause: event.CauseVerify, NotBefore: at}})
			}
			a := attempt{
				kind: kind,
				s:    &shard{w: &Worker{Options: Options{Now: func() time.Time { return noon }}}},
				snap: &provider.Snapshot{SentAt: noon},
				doc:  &mirror.Document{LastEvent: mirror.LastEvent{CreatedAt: noon.Add(-10 * time.Second)}},
			}
			require.Equal(t, len(entries), a.summary.add(kind, entries))
			require.True(t, a.summary.verify)
			require.Equal(t, c.second, a.summary.second)
			require.Equal(t, c.early, a.maybeEarly(kind))
		})
	}
}
