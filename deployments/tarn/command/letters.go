package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
)

// letterAnswer is what the commands read of a dead letter.
type letterAnswer struct {
	ID, Source, Event, Kind, Entity, Status, Class, By, Reason string
	EventType                                                  string `json:"event_type"`
	Attempts                                                   []struct {
		At    time.Time
		Error string
	}
	BuriedAt time.Time `json:"buried_at"`
	ClosedAt time.Time `json:"closed_at"`
	TraceID  string    `json:"trace_id"`
	TraceURL string    `json:"trace_url"`
}

// lastError is the error of the last attempt.
func (l letterAnswer) lastError() string {
	if len(l.Attempts) == 0 {
		return ""
	}
	return l.Attempts[len(l.Attempts)-1].Error
}

var lettersList = Command{
	Name:    "letters list",
	Short:   "List dead letters, newest first",
	Example: "tarn letters list --status open --source lemon",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		f := filters(set, "source", "kind", "entity", "type", "status", "class").between().limited()
		return connected(set, func(ctx context.Context, c *connection, _ []string) error {
			q, err := f.query(c.env.Now())
			if err != nil {
				return err
			}
			return listing[letterAnswer]{
				path: []string{"dead-letters"}, query: q, most: f.limit,
				heads: []string{"GIVEN UP", "ID", "STATUS", "ENTITY", "EVENT", "CLASS", "TRIED", "LAST ERROR"},
				row: func(l letterAnswer) []string {
					return []string{at(l.BuriedAt), l.ID, l.Status, l.Source + "/" + l.Kind + "/" + l.Entity, l.Event, l.Class, fmt.Sprint(len(l.Attempts)), l.lastError()}
				},
				none: "no dead letter",
			}.print(ctx, c)
		})
	},
}

var lettersShow = Command{
	Name: "letters show", Args: "ID",
	Short:   "Show one dead letter with its attempts",
	Example: "tarn letters show dl_9348cf",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		return connected(set, func(ctx context.Context, c *connection, args []string) error {
			var l letterAnswer
			raw, err := c.get(ctx, &l, nil, "dead-letters", args[0])
			if err != nil {
				return err
			}
			c.letter(l, raw)
			return nil
		})
	},
}

// letter prints a dead letter.
func (c *connection) letter(l letterAnswer, raw json.RawMessage) {
	if c.json {
		c.line(raw)
		return
	}
	say := func(format string, args ...any) { c.env.printf("%s\n", printable(fmt.Sprintf(format, args...))) }
	say("%s: %s", l.ID, l.Status)
	say("  %s %s of %s, for event %s %s", l.Kind, l.Entity, l.Source, l.EventType, l.Event)
	for _, a := range l.Attempts {
		say("  %s  %s", at(a.At), a.Error)
	}
	say("  %s  given up (%s)", at(l.BuriedAt), l.Class)
	if !l.ClosedAt.IsZero() {
		say("  %s  %s", at(l.ClosedAt), strings.TrimSpace(l.Status+map[bool]string{true: " by " + l.By}[l.By != ""]+map[bool]string{true: ": " + l.Reason}[l.Reason != ""]))
	}
	if l.TraceID != "" {
		say("  trace %s", cmp.Or(l.TraceURL, l.TraceID))
	}
}

var lettersRedrive = lettersAct("redrive", "Do the work of dead letters again",
	"tarn letters redrive --source lemon --kind order --rate 20 --yes", false)

var lettersDiscard = lettersAct("discard", "Give the work of dead letters up for good",
	"tarn letters discard dl_9348cf --reason 'closed accounts'", true)

// lettersAct is a command that closes dead letters: one by its id, or those that flags
// select.
func lettersAct(act, short, example string, reasoned bool) Command {
	about := ""
	if act == "redrive" {
		about = `
The work is queued again, and the job is done when all of it is. What fails again is open again.`
	}
	return Command{
		Name: "letters " + act, Args: "[ID]",
		Short: short,
		About: `With an id: this one. Without: all open ones that the flags select, by a job whose progress
is shown; without --yes only their number is printed, and nothing is done.` + about,
		Example: example,
		Wrong:   "the job failed for some of them",
		New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
			f := filters(set, "source", "kind", "entity", "type", "class").between()
			all := set.Bool("all", false, "select all open ones; needed if no other flag selects")
			yes := set.Bool("yes", false, "do it; not needed with an id")
			dry := set.Bool("dry-run", false, "say what would be done, and do nothing")
			rate := set.Float64("rate", 0, "at most `N` a second; 0: as fast as it goes")
			noWait := set.Bool("no-wait", false, "do not wait for the job")
			reason := new(string)
			if reasoned {
				reason = set.String("reason", "", "`WHY`, for the next reader. Required")
			}
			return connected(set, func(ctx context.Context, c *connection, args []string) error {
				selected, err := f.given(c.env.Now())
				switch {
				case err != nil:
					return err
				case reasoned && strings.TrimSpace(*reason) == "":
					return misused("--reason is missing: say why, for the next reader")
				case *dry && *yes:
					return misused("give --dry-run or --yes, not both")
				case len(args) == 1 && (len(selected) > 0 || *all):
					return misused("give an id, or flags that select, not both")
				case len(args) == 1 && *dry:
					return c.wouldClose(ctx, act, args[0])
				case len(args) == 1:
					return c.closeOne(ctx, act, args[0], *reason)
				case len(selected) == 0 && !*all:
					return misused("give an id, flags that select, or --all")
				}
				body := map[string]any{"dry_run": !*yes}
				if *all {
					body["all"] = true
				}
				for name, value := range selected {
					body[name] = value
				}
				if *rate != 0 {
					body["rate"] = *rate
				}
				if *reason != "" {
					body["reason"] = *reason
				}
				return c.closeMany(ctx, act, body, *yes, *noWait)
			})
		},
	}
}

func (c *connection) closeOne(ctx context.Context, act, id, reason string) error {
	var body any
	if reason != "" {
		body = map[string]string{"reason": reason}
	}
	var l letterAnswer
	raw, err := c.post(ctx, &l, body, "dead-letters", id, act)
	if err != nil {
		return err
	}
	c.letter(l, raw)
	return nil
}

// wouldClose says what an act on a dead letter would do.
func (c *connection) wouldClose(ctx context.Context, act, id string) error {
	var l letterAnswer
	raw, err := c.get(ctx, &l, nil, "dead-letters", id)
	switch {
	case err != nil:
		return err
	case l.Status != "open":
		return fmt.Errorf("the dead letter %s is %s already", printable(l.ID), printable(l.Status))
	case c.json:
		c.line(raw)
	default:
		c.env.printf("%s would be %s; without --dry-run it is done\n",
			printable(fmt.Sprintf("%s, of %s %s of %s for event %s,", l.ID, l.Kind, l.Entity, l.Source, l.Event)), closed[act])
	}
	return nil
}

// closed says what an act makes of a dead letter.
var closed = map[string]string{"redrive": "redriven", "discard": "discarded"}

func (c *connection) closeMany(ctx context.Context, act string, body map[string]any, yes, noWait bool) error {
	var got struct {
		Count int64
		Job   string
	}
	raw, err := c.post(ctx, &got, body, "dead-letters", act)
	switch {
	case err != nil:
		return err
	case !yes && c.json:
		c.line(raw)
		return nil
	case !yes:
		c.env.printf("%s would be %s; --yes does it\n", count(got.Count, "dead letter", "dead letters"), closed[act])
		return nil
	case noWait:
		return c.oneTask(ctx, jobs, got.Job, false)
	}
	err = c.oneTask(ctx, jobs, got.Job, true)
	if act != "redrive" || c.json || err != nil && !errors.Is(err, errWrong) {
		return err
	}
	return errors.Join(err, c.openAgain(ctx, body, got.Job))
}

// openAgain says how many of the dead letters that were redriven have failed again by now:
// a job that redrives is over when their work is queued.
func (c *connection) openAgain(ctx context.Context, selection map[string]any, job string) error {
	if !loops.Sleep(ctx, pollEvery) { // workers take the first at once
		return ctx.Err()
	}
	var t taskAnswer
	if _, err := c.get(ctx, &t, nil, jobs, job); err != nil {
		return err
	}
	again := maps.Clone(selection)
	delete(again, "rate")
	delete(again, "to") // they are buried later than they were
	again["from"], again["dry_run"] = t.CreatedAt.UTC().Format(time.RFC3339Nano), true
	var got struct{ Count int64 }
	if _, err := c.post(ctx, &got, again, "dead-letters", "redrive"); err != nil {
		return err
	}
	text := "no dead letter that the flags select is open again so far"
	if got.Count > 0 {
		text = count(got.Count, "dead letter that the flags select is open again", "dead letters that the flags select are open again")
	}
	c.env.printf("  %s: tarn letters list --status open has what failed again, tarn parked what is tried again\n", text)
	return nil
}

// count is a number with what it counts.
func count[N int | int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
