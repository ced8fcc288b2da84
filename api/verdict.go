package api

import (
	"fmt"
	"strings"
	"time"
)

// Levels of a verdict, from the best to the worst.
const (
	levelRight   = "right"   // nothing says that the mirror differs
	levelBehind  = "behind"  // it will be right without help, or was not compared
	levelWrong   = "wrong"   // some of it stays wrong until an operator acts
	levelUnknown = "unknown" // what would say it does not answer
)

var levels = []string{levelRight, levelBehind, levelWrong, levelUnknown}

// verdict answers whether the mirror is right.
type verdict struct {
	Level    string   `json:"level" enum:"right,behind,wrong,unknown" doc:"right: nothing says that the mirror differs from the provider; behind: some of it is late and will be right without help, or could not be compared; wrong: some of it stays wrong until an operator acts; unknown: what would say it does not answer."`
	Sentence string   `json:"sentence" doc:"The answer in a sentence."`
	Reasons  []reason `json:"reasons" nullable:"false" doc:"What it rests on, the worst first."`
}

type reason struct {
	Level string `json:"level" enum:"right,behind,wrong,unknown"`
	Text  string `json:"text"`
	See   string `json:"see,omitempty" enum:"fleet,waiting,dead-letters,drift,work,sources" doc:"The page of the console that shows it."`
}

// behindAfter is the age of live work from which the mirror counts as behind. Below it,
// changes are on their way.
const behindAfter = 30 * time.Second

// judge says whether the mirror is right, by a summary without its verdict.
func judge(n *now) verdict {
	v := verdict{Level: levelRight, Reasons: []reason{}}
	add := func(level, see, format string, args ...any) {
		v.Reasons = append(v.Reasons, reason{Level: level, Text: fmt.Sprintf(format, args...), See: see})
	}
	for _, what := range n.Away {
		add(levelUnknown, "", "%s does not answer: what it would show is not known.", strings.ToUpper(what[:1])+what[1:])
	}
	if letters := n.point().Letters; letters > 0 {
		add(levelWrong, "dead-letters", "%s open: the work of an event was given up, so its entity may be out of date.", count(letters, "dead letter is", "dead letters are"))
	}
	if n.Drift.Failed > 0 {
		add(levelWrong, "drift", "%s not be repaired.", upTo(n.Drift.Failed, "difference from the provider could", "differences from the provider could"))
	}
	judgeSources(n, add)
	judgeWorkers(n, add)
	if n.Drift.Confirmed > 0 {
		add(levelBehind, "drift", "%s confirmed and being repaired.", upTo(n.Drift.Confirmed, "difference from the provider is", "differences from the provider are"))
	}
	for _, c := range n.Compared {
		if c.Unchecked > 0 {
			add(levelBehind, "work", "The last comparison with the provider of %s could not check %s: whether the mirror has what is there is not known.",
				c.Source, count(c.Unchecked, "entity", "entities"))
		}
	}
	if n.Backlog.Parked > 0 {
		add(levelBehind, "waiting", "%s for another attempt.", count(n.Backlog.Parked, "entity waits", "entities wait"))
	}
	if oldest := seconds(n.Backlog.OldestAgeS); oldest >= behindAfter {
		add(levelBehind, "fleet", "The oldest change has waited for %s.", spell(oldest))
	}
	v.settle(n)
	return v
}

// judgeSources looks for sources that are paused.
func judgeSources(n *now, add func(level, see, format string, args ...any)) {
	for _, src := range n.Sources {
		if !src.Paused {
			continue
		}
		level := levelBehind
		if src.RetryAt.IsZero() {
			level = levelWrong // only an operator ends it
		}
		waits := ""
		if src.Live > 0 {
			waits = ", and " + count(src.Live, "change waits", "changes wait")
		}
		add(level, "sources", "Source %s is paused: nothing is fetched from its provider%s.", src.Source, waits)
	}
	if n.Unconfigured > 0 {
		add(levelWrong, "sources", "Work of %s, and no worker does it.", count(int64(n.Unconfigured), "source waits that is not configured", "sources waits that are not configured"))
	}
}

// judgeWorkers looks for shards that no worker reads.
func judgeWorkers(n *now, add func(level, see, format string, args ...any)) {
	switch {
	case n.Shards == 0:
	case n.Workers == 0:
		add(levelWrong, "fleet", "No worker runs: events are accepted and wait.")
	case n.Unowned > 0 && n.Backlog.Live > 0:
		add(levelBehind, "fleet", "%s without a worker at the moment.", count(int64(n.Unowned), "shard is", "shards are"))
	}
}

// settle sorts the reasons and writes the sentence.
func (v *verdict) settle(n *now) {
	var sorted []reason
	for i := len(levels) - 1; i >= 0; i-- {
		for _, r := range v.Reasons {
			if r.Level == levels[i] {
				sorted = append(sorted, r)
			}
		}
	}
	if len(sorted) > 0 {
		v.Reasons, v.Level = sorted, sorted[0].Level
	}
	switch v.Level {
	case levelUnknown:
		v.Sentence = "It is not known whether the mirror is right."
	case levelWrong:
		v.Sentence = "No: part of the mirror stays out of date until you act."
	case levelBehind:
		v.Sentence = "Not quite: part of the mirror is late and is being brought up to date."
	default:
		v.Sentence = "Yes: every event received is in the mirror."
		if n.Backlog.Live > 0 {
			v.Sentence = fmt.Sprintf("Yes: %s on the way, everything else received is in the mirror.", count(n.Backlog.Live, "change is", "changes are"))
		}
	}
}

// count is a number with what it counts.
func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// upTo is the same of a count that stops at driftCounted.
func upTo(n int, one, many string) string {
	if n >= driftCounted {
		return fmt.Sprintf("%d or more %s", n, many)
	}
	return count(int64(n), one, many)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// spell is a duration in the unit a reader would choose.
func spell(d time.Duration) string {
	switch {
	case d < time.Minute:
		return count(int64(d/time.Second), "second", "seconds")
	case d < time.Hour:
		return count(int64(d/time.Minute), "minute", "minutes")
	case d < 48*time.Hour:
		return count(int64(d/time.Hour), "hour", "hours")
	}
	return count(int64(d/(24*time.Hour)), "day", "days")
}
