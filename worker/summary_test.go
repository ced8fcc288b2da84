package worker

import (
	"fmt"
	"strings"
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

// The history proves an event by an entry of its own status only, whichever event of
// the batch that is.
func TestWhatAHistoryProves(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	def, err := provider.Load("lemon")
	require.NoError(t, err)
	kind := def.Kind("account")
	read := func(statuses ...string) *provider.Snapshot {
		var history []string
		for i, s := range statuses { // newest first
			history = append(history, fmt.Sprintf(`{"status":%q,"timestamp":"2026-03-01T11:00:%02dZ"}`, s, 59-i))
		}
		snap, err := def.Read("account", []byte(`{"id":"cusa_1","history":[`+strings.Join(history, ",")+`]}`))
		require.NoError(t, err)
		snap.SentAt = noon
		return snap
	}
	just, before := noon.Add(-time.Second/2), noon.Add(-time.Minute)
	for name, c := range map[string]struct {
		types []typeSummary
		prev  *provider.Snapshot
		snap  *provider.Snapshot
		want  bool
	}{
		"the status it has":                {[]typeSummary{{"account.opened", just}}, read("created"), read("opened", "created"), false},
		"one that it has been in":          {[]typeSummary{{"account.opened", just}}, read("created"), read("opened", "opened", "created"), true},
		"one that it has left":             {[]typeSummary{{"account.opened", just}}, read("created"), read("closed", "opened", "created"), true},
		"an event long ago":                {[]typeSummary{{"account.opened", before}}, read("created"), read("opened", "opened", "created"), false},
		"not the newest event":             {[]typeSummary{{"account.opened", just}, {"order.canceling", noon}}, read("created"), read("opened", "opened", "created"), true},
		"an event of another kind":         {[]typeSummary{{"order.canceling", just}}, read("created"), read("opened", "opened", "created"), false},
		"an entity that was never fetched": {[]typeSummary{{"account.opened", just}}, nil, read("closed", "opened", "created"), false},
	} {
		t.Run(name, func(t *testing.T) {
			a := attempt{src: &source{Source: Source{Definition: def}}, kind: kind, snap: c.snap}
			a.summary.types, a.summary.newest.ID = c.types, "evt_1"
			require.Equal(t, c.want, a.maybeBefore(c.prev))
		})
	}
}
