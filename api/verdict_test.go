package api

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// calmNow is a summary of a fleet where all is well.
func calmNow() now {
	return now{
		Workers: 2, Shards: 4, Letters: map[string]int64{},
		Sources: []fleetSource{{SourceState: SourceState{Source: "lemon"}}},
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		change   func(*now)
		level    string
		sentence string
		reasons  []string
		see      string
	}{
		{"all is well", func(*now) {}, levelRight, "Yes: every event received is in the mirror.", []string{}, ""},
		{"changes are on the way", func(n *now) { n.Backlog = backlogByAge{Live: 3, OldestAgeS: 2} },
			levelRight, "Yes: 3 changes are on the way, everything else received is in the mirror.", []string{}, ""},
		{"one is late", func(n *now) { n.Backlog = backlogByAge{Live: 1, OldestAgeS: 95} }, levelBehind,
			"Not quite: part of the mirror is late and is being brought up to date.", []string{"The oldest change has waited for 1 minute."}, "fleet"},
		{"entities are parked", func(n *now) { n.Backlog.Parked = 1 }, levelBehind, "", []string{"1 entity waits for another attempt."}, "waiting"},
		{"a source waits for its provider", func(n *now) {
			n.Sources[0].Paused, n.Sources[0].RetryAt, n.Sources[0].Live = true, momentOf(noon), 7
		}, levelBehind, "", []string{"Source lemon is paused: nothing is fetched from its provider, and 7 changes wait."}, "sources"},
		{"an operator has paused it", func(n *now) { n.Sources[0].Paused = true }, levelWrong,
			"No: part of the mirror stays out of date until you act.",
			[]string{"Source lemon is paused: nothing is fetched from its provider."}, "sources"},
		{"dead letters are open", func(n *now) { n.Letters = map[string]int64{"lemon": 1, "stripe": 2} }, levelWrong, "",
			[]string{"3 dead letters are open: the work of an event was given up, so its entity may be out of date."}, "dead-letters"},
		{"drift is being repaired", func(n *now) { n.Drift.Confirmed = driftCounted }, levelBehind, "",
			[]string{"100 or more differences from the provider are confirmed and being repaired."}, "drift"},
		{"drift could not be repaired", func(n *now) { n.Drift.Failed = 1 }, levelWrong, "",
			[]string{"1 difference from the provider could not be repaired."}, "drift"},
		{"what is suspected may be nothing", func(n *now) { n.Drift.Suspected, n.Drift.RepairedDay = 5, 5 }, levelRight, "", []string{}, ""},
		{"entities could not be compared", func(n *now) { n.Compared = []compared{{Source: "lemon", Unchecked: 1}, {Source: "stripe"}} }, levelBehind, "",
			[]string{"The last comparison with the provider of lemon could not check 1 entity: whether the mirror has what is there is not known."}, "work"},
		{"no worker", func(n *now) { n.Workers = 0 }, levelWrong, "", []string{"No worker runs: events are accepted and wait."}, "fleet"},
		{"shards change their worker", func(n *now) { n.Unowned, n.Backlog.Live = 2, 1 }, levelBehind, "",
			[]string{"2 shards are without a worker at the moment."}, "fleet"},
		{"idle shards may have none", func(n *now) { n.Unowned = 2 }, levelRight, "", []string{}, ""},
		{"a source that is not configured", func(n *now) { n.Unconfigured = 1 }, levelWrong, "",
			[]string{"Work of 1 source waits that is not configured, and no worker does it."}, "sources"},
		{"the database is away", func(n *now) { n.Away = []string{"database"} }, levelUnknown, "It is not known whether the mirror is right.",
			[]string{"Database does not answer: what it would show is not known."}, ""},
		{"the worst comes first", func(n *now) {
			n.Backlog.Parked, n.Drift.Failed, n.Away = 2, 1, []string{"redis"}
		}, levelUnknown, "", []string{
			"Redis does not answer: what it would show is not known.",
			"1 difference from the provider could not be repaired.",
			"2 entities wait for another attempt.",
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := calmNow()
			c.change(&n)
			v := judge(&n)
			require.Equal(t, c.level, v.Level)
			if c.sentence != "" {
				require.Equal(t, c.sentence, v.Sentence)
			}
			texts := []string{}
			for _, r := range v.Reasons {
				texts = append(texts, r.Text)
			}
			require.Equal(t, c.reasons, texts)
			if c.see != "" {
				require.Equal(t, c.see, v.Reasons[0].See)
			}
		})
	}
}

func TestSpell(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		time.Second: "1 second", 59 * time.Second: "59 seconds", 61 * time.Second: "1 minute", 3 * time.Hour: "3 hours", 72 * time.Hour: "3 days",
	} {
		require.Equal(t, want, spell(d))
	}
}
