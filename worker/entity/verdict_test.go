package entity

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
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
			var entries []event.Entry
			for _, at := range c.meant {
				entries = append(entries, event.Entry{Signal: event.Signal{Cause: event.CauseVerify, NotBefore: at}})
			}
			a := facts{
				kind: kind,
				s:    &Shard{now: noon},
				snap: &provider.Snapshot{SentAt: noon},
				doc:  &storage.Document{LastEvent: storage.LastEvent{CreatedAt: noon.Add(-10 * time.Second)}},
			}
			require.Equal(t, len(entries), a.summary.Add(kind, entries))
			require.True(t, a.summary.verify)
			require.Equal(t, c.second, a.summary.second)
			require.Equal(t, c.early, a.maybeEarly())
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
		types []typeSeen
		prev  *provider.Snapshot
		snap  *provider.Snapshot
		want  bool
	}{
		"the status it has":                {[]typeSeen{{"account.opened", just}}, read("created"), read("opened", "created"), false},
		"one that it has been in":          {[]typeSeen{{"account.opened", just}}, read("created"), read("opened", "opened", "created"), true},
		"one that it has left":             {[]typeSeen{{"account.opened", just}}, read("created"), read("closed", "opened", "created"), true},
		"an event long ago":                {[]typeSeen{{"account.opened", before}}, read("created"), read("opened", "opened", "created"), false},
		"not the newest event":             {[]typeSeen{{"account.opened", just}, {"order.canceling", noon}}, read("created"), read("opened", "opened", "created"), true},
		"an event of another kind":         {[]typeSeen{{"order.canceling", just}}, read("created"), read("opened", "opened", "created"), false},
		"an entity that was never fetched": {[]typeSeen{{"account.opened", just}}, nil, read("closed", "opened", "created"), false},
	} {
		t.Run(name, func(t *testing.T) {
			a := facts{s: &Shard{cfg: Config{Definition: func(string) *provider.Definition { return def }}}, kind: kind, snap: c.snap}
			a.ref.Key.Kind = kind.Name
			a.summary.types, a.summary.newest.ID = c.types, "evt_1"
			require.Equal(t, c.want, a.maybeBefore(c.prev))
		})
	}
}
