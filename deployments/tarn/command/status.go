package command

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"
)

var statusCommand = Command{
	Name:  "status",
	Short: "Say whether the mirror is up to date, and what stands in the way",
	About: `Looks at workers, sources, what waits, open dead letters, and commands that need an operator. For a comparison with the
provider itself, which costs requests, see tarn verify.

Entities that wait for another attempt after a failure are printed. In a system that runs there are always some, so they are
wrong only from --max-age on after their first known failure. Of a source with such entities the 1000 that are tried next are
looked at.`,
	Example: "tarn status --api https://tarn.internal --token @token.txt --max-age 2m",
	Wrong:   "something stands in the way, which the output names",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		oldest := set.Duration("max-age", time.Minute, "how long live work, and an entity that has failed, may wait before that is wrong, as a `TIME`")
		return connected(set, func(ctx context.Context, c *connection, _ []string) error {
			return c.status(ctx, *oldest)
		})
	},
}

// fleetAnswer is what the command reads of /v1/fleet.
type fleetAnswer struct {
	Workers []struct{ ID string }
	Shards  []struct {
		Shard     int
		Owner     string
		WrongKeys []string `json:"wrong_keys"`
	}
	Sources      []sourceAnswer
	Unconfigured []struct {
		Source                   string
		Live, Background, Parked int64
	}
}

// sourceAnswer is a source of it.
type sourceAnswer struct {
	Source, Kind, Reason, By string
	Paused                   bool
	RetryAt                  time.Time `json:"retry_at"`
	Budget                   float64
	Live, Background, Parked int64
	OldestAgeS               float64 `json:"oldest_age_s"`
	Noted                    map[string]int64
}

// health is what status looks at.
type health struct {
	fleet   fleetAnswer
	letters map[string]int // open dead letters by source, at most mostLetters in all
	more    bool           // there are more
	// dead and asked count the commands of these states, by source, at most mostLetters each.
	dead, asked map[string]int
	holds       []holdAnswer
	// late are the entities that have waited for another attempt too long, by source.
	late map[string]lateEntities
}

// lateEntities are entities of a source that have waited for another attempt too long.
type lateEntities struct {
	count int
	// first is the first failure of them that is known.
	first time.Time
}

// mostLetters is how many open dead letters, and commands of a state, status counts, and
// how many parked entities of a source it looks at.
const mostLetters = 1000

func (c *connection) status(ctx context.Context, oldest time.Duration) error {
	h := health{letters: map[string]int{}, dead: map[string]int{}, asked: map[string]int{}}
	raw, err := c.get(ctx, &h.fleet, nil, "fleet")
	if err != nil {
		return err
	}
	left := mostLetters
	if err := each(ctx, c, mostLetters, url.Values{"status": {"open"}}, func(l letterAnswer, _ json.RawMessage) bool {
		h.letters[l.Source]++
		left--
		return true
	}, "dead-letters"); err != nil {
		return err
	}
	h.more = left == 0
	for state, into := range map[string]map[string]int{"dead": h.dead, "asked": h.asked} {
		if err := each(ctx, c, mostLetters, url.Values{"state": {state}}, func(got commandAnswer, _ json.RawMessage) bool {
			into[got.Source]++
			return true
		}, changesPath); err != nil {
			return err
		}
	}
	var list struct{ Holds []holdAnswer }
	if _, err := c.get(ctx, &list, url.Values{"limit": {"1"}}, changesPath); err != nil {
		return err
	}
	h.holds = list.Holds
	if err := c.lookForLate(ctx, &h, oldest); err != nil {
		return err
	}
	wrong := h.wrong(oldest)
	if c.json {
		text, err := json.Marshal(map[string]any{"ok": len(wrong) == 0, "wrong": wrong, "fleet": raw, "dead_letters": h.letters, "dead_commands": h.dead, "asked_commands": h.asked, "held_commands": h.holds, "late_entities": h.lateCounts()})
		if err != nil {
			return err
		}
		c.line(text)
	} else {
		c.printStatus(h, wrong)
	}
	if len(wrong) > 0 {
		return errWrong
	}
	return nil
}

// lookForLate looks for entities whose first failure is longer ago than oldest. Sources
// of which nothing is parked cost no request.
func (c *connection) lookForLate(ctx context.Context, h *health, oldest time.Duration) error {
	h.late = map[string]lateEntities{}
	before := c.env.Now().Add(-oldest)
	for _, s := range h.fleet.Sources {
		if s.Parked == 0 {
			continue
		}
		var late lateEntities
		if err := each(ctx, c, mostLetters, url.Values{"source": {s.Source}}, func(p parkedAnswer, _ json.RawMessage) bool {
			if since := p.since(); !since.IsZero() && since.Before(before) {
				late.count++
				if late.first.IsZero() || since.Before(late.first) {
					late.first = since
				}
			}
			return true
		}, "parked"); err != nil {
			return err
		}
		if late.count > 0 {
			h.late[s.Source] = late
		}
	}
	return nil
}

// lateCounts counts the late entities by source.
func (h health) lateCounts() map[string]int {
	counts := map[string]int{}
	for source, late := range h.late {
		counts[source] = late.count
	}
	return counts
}

// wrong says what stands in the way of a mirror that is up to date.
func (h health) wrong(oldest time.Duration) []string {
	wrong := []string{} // not null as JSON
	add := func(format string, args ...any) { wrong = append(wrong, printable(fmt.Sprintf(format, args...))) }
	if len(h.fleet.Workers) == 0 {
		add("no worker is alive")
	}
	idle, foreign := 0, 0
	for _, s := range h.fleet.Shards {
		if s.Owner == "" {
			idle++
		}
		if len(s.WrongKeys) > 0 {
			foreign++
		}
	}
	if idle > 0 && len(h.fleet.Workers) > 0 {
		add("%d of %d shards have no worker", idle, len(h.fleet.Shards))
	}
	if foreign > 0 {
		add("%d shards have keys in Redis that another program has written: see tarn status --json", foreign)
	}
	for _, s := range h.fleet.Sources {
		if s.Paused {
			add("%s is paused (%s) by %s: %s", s.Source, s.Kind, s.By, s.Reason)
		}
		if s.OldestAgeS > oldest.Seconds() {
			add("%s: work has waited for %s", s.Source, span(s.OldestAgeS))
		}
		if late, ok := h.late[s.Source]; ok {
			add("%s: %s for another attempt, the first since %s: see tarn parked --source %[1]s", s.Source,
				count(late.count, "entity waits", "entities wait"), at(late.first))
		}
	}
	for _, u := range h.fleet.Unconfigured {
		add("%s is not configured and %d entries of it wait", u.Source, u.Live+u.Background+u.Parked)
	}
	for _, source := range slices.Sorted(maps.Keys(h.letters)) {
		open := count(h.letters[source], "open dead letter", "open dead letters")
		if h.more {
			open = fmt.Sprintf("%d or more open dead letters", h.letters[source])
		}
		add("%s: %s: see tarn letters list --source %[1]s", source, open)
	}
	for _, source := range slices.Sorted(maps.Keys(h.dead)) {
		add("%s: %d dead commands: see tarn commands --state dead --source %[1]s", source, h.dead[source])
	}
	for _, source := range slices.Sorted(maps.Keys(h.asked)) {
		add("%s: %d commands wait for an operator's word: see tarn commands --asked --source %[1]s", source, h.asked[source])
	}
	for _, hold := range h.holds {
		add("%s: commands are held since %s, %s: see tarn commands --source %[1]s, then tarn commands release %[1]s", hold.Source, at(hold.Since), hold.Reason)
	}
	return wrong
}

func (c *connection) printStatus(h health, wrong []string) {
	held := 0
	for _, s := range h.fleet.Shards {
		if s.Owner != "" {
			held++
		}
	}
	c.env.printf("workers %d, shards %d of %d held\n\n", len(h.fleet.Workers), held, len(h.fleet.Shards))
	t := newTable(c.env.Out, "SOURCE", "STATE", "WAITING", "OLDEST", "LATER", "PARKED", "RATE LEFT", "DEAD LETTERS", "DEAD COMMANDS")
	for _, s := range h.fleet.Sources {
		state := "running"
		if s.Paused {
			state = "paused: " + cmp.Or(s.Kind, "by hand")
		}
		t.row(s.Source, state, fmt.Sprint(s.Live), span(s.OldestAgeS), fmt.Sprint(s.Background), fmt.Sprint(s.Parked),
			fmt.Sprintf("%.0f %%", 100*s.Budget), fmt.Sprint(h.letters[s.Source]), fmt.Sprint(h.dead[s.Source]))
	}
	t.flush()
	for _, s := range h.fleet.Sources {
		for _, note := range slices.Sorted(maps.Keys(s.Noted)) {
			c.env.printf("%s: %d events of the last hour are %s: see tarn events --source %[1]s --note %[3]s\n", s.Source, s.Noted[note], note)
		}
	}
	for _, s := range h.fleet.Sources {
		if s.Parked > 0 && h.late[s.Source].count == 0 {
			c.env.printf("%s: %s for another attempt, none too long: see tarn parked --source %[1]s\n", printable(s.Source), count(s.Parked, "entity waits", "entities wait"))
		}
	}
	if len(wrong) == 0 {
		c.env.printf("\nok\n")
		return
	}
	c.env.printf("\n")
	for _, text := range wrong {
		c.env.printf("wrong: %s\n", text)
	}
}
