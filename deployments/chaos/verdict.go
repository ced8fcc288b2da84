package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/shared/storage"
)

// verdict has the figures of a run; see the package comment.
type verdict struct {
	accepted, lost, wrong, regressed, inversions, unsettled int
	dead, superseded, duplicates, handovers, staleRefused   int64
	recovery                                                time.Duration
	feed                                                    feedVerdict
	commands                                                commandsVerdict
	// failures are violations of the harness' own rules: processes end when they
	// are stopped, and only then.
	failures []error
}

func (v verdict) String() string {
	return v.feed.String() + "\n" + v.commands.String() + fmt.Sprintf("\nchaos: accepted=%d lost=%d wrong=%d regressed=%d inversions=%d unsettled=%d dead=%d superseded=%d duplicates=%d handovers=%d stale_refused=%d recovery_p99_ms=%d",
		v.accepted, v.lost, v.wrong, v.regressed, v.inversions, v.unsettled,
		v.dead, v.superseded, v.duplicates, v.handovers, v.staleRefused, v.recovery.Milliseconds())
}

// clean reports whether the first five, and those of the feed, are 0 and nothing else went wrong that
// should not.
func (v verdict) clean() bool {
	return v.accepted > 0 && v.lost+v.wrong+v.regressed+v.inversions+v.unsettled == 0 && v.feed.clean() && v.commands.clean() && len(v.failures) == 0
}

// shownAtMost is how many of each kind of finding are printed.
const shownAtMost = 5

// judge compares everything with the truth.
func (c *chaos) judge() (v verdict, err error) {
	events, err := c.fleet.Simulator.Events(c.ctx)
	if err != nil {
		return v, err
	}
	rows, err := c.fleet.Rows(c.ctx)
	if err != nil {
		return v, err
	}
	for _, e := range events {
		if e.Accepted > 0 {
			v.accepted++
		}
	}
	v.lost = c.found("lost", fleet.Lost(events, rows))
	untrue, compared, err := c.fleet.Untrue(c.ctx)
	if err != nil {
		return v, err
	}
	v.wrong = c.found("wrong", texts(untrue))
	regressed, shown, err := c.fleet.Regressed(c.ctx)
	if err != nil {
		return v, err
	}
	v.regressed = c.found("regressed", regressed)
	v.inversions = c.found("inversions", fleet.Inversions(rows))
	left, err := c.fleet.Left(c.ctx)
	if err != nil {
		return v, err
	}
	v.unsettled = c.found("unsettled", open(rows)) + int(left.Live+left.Background+left.Parked)
	var recoveries []time.Duration
	for _, s := range c.outages {
		recoveries = append(recoveries, s.Recoveries(rows)...)
	}
	v.recovery = p99(recoveries)
	for _, r := range rows {
		v.duplicates += r.Duplicates
	}
	v.dead, err = c.fleet.Letters(c.ctx, storage.LetterOpen)
	superseded, err2 := c.fleet.Letters(c.ctx, storage.LetterSuperseded)
	v.superseded = superseded
	v.handovers = c.fleet.Count(c.ctx, "tarn_handovers_total")
	v.staleRefused = c.fleet.Count(c.ctx, "tarn_stale_writes_refused_total")
	var err3 error
	v.feed, err3 = c.judgeFeed(c.found)
	var err4 error
	v.commands, err4 = c.judgeCommands(c.found)
	v.failures = c.failures
	if len(c.odd) > 0 && v.dead > 0 {
		v.failures = append(v.failures, c.deadForNothing())
	}
	c.say("compared %d entities, %d states shown, %d rows, %d recoveries", compared, shown, len(rows), len(recoveries))
	return v, errors.Join(err, err2, err3, err4)
}

// teller tells findings of one sort and returns how many they are.
type teller func(what string, list []string) int

// counted is a teller that says nothing.
func counted(_ string, list []string) int { return len(list) }

// deadForNothing names dead letters of a run in which nothing is wrong for good.
func (c *chaos) deadForNothing() error {
	page, err := c.fleet.Store.Letters(c.ctx, storage.LetterFilter{Status: storage.LetterOpen, Limit: shownAtMost})
	if err != nil {
		return fmt.Errorf("read the dead letters: %w", err)
	}
	for _, l := range page.Items {
		c.say("dead: %s of event %s, %s: %v", l.Ref.Key, l.EventID, l.Class, l.Attempts)
	}
	return errors.New("work is dead, though nothing was wrong for good")
}

// found prints the first findings and counts all.
func (c *chaos) found(what string, list []string) int {
	for i, s := range list {
		if i == shownAtMost {
			c.say("%s: … %d more", what, len(list)-i)
			break
		}
		c.say("%s: %s", what, s)
	}
	return len(list)
}

func texts[T fmt.Stringer](list []T) []string {
	out := make([]string, len(list))
	for i, t := range list {
		out[i] = t.String()
	}
	return out
}

// open names the events that are not settled.
func open(rows []*storage.EventRow) []string {
	var out []string
	for _, r := range rows {
		if r.Status == storage.Pending || r.Status == storage.Retrying {
			out = append(out, fmt.Sprintf("%s %s is %s since %s, attempts %d, %s", r.ID, r.Type, r.Status, r.ReceivedAt.Format(time.TimeOnly), r.Attempts, r.Error))
		}
	}
	return out
}

// p99 is the 99th percentile, 0 of none.
func p99(list []time.Duration) time.Duration {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	return sorted[min(len(sorted)-1, len(sorted)*99/100)]
}
