package command

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
)

// taskAnswer is what the commands read of a job or a sweep: long work with progress.
type taskAnswer struct {
	ID, Kind, Mode, Source, Status, By, Error string
	// Of a job: dead letters, events or entities.
	Total, Done, Failed int64
	// Of a sweep. Done counts its parts.
	Partitions, Entities, Events, Found int64
	APICalls                            int64  `json:"api_calls"`
	WaitsFor                            string `json:"waits_for"`
	Warnings                            []string
	FailedLists                         []struct {
		Kind, Error string
		Parents     map[string]string
	} `json:"failed_lists"`
	NotFetched      []struct{ Kind, ID, Reason string } `json:"not_fetched"`
	NotFetchedCount int                                 `json:"not_fetched_count"`
	Unchecked       []struct{ Kind, ID, Reason string }
	UncheckedCount  int       `json:"unchecked_count"`
	CreatedAt       time.Time `json:"created_at"`
	FinishedAt      time.Time `json:"finished_at"`
}

func (t taskAnswer) over() bool {
	return t.Status == "done" || t.Status == "failed" || t.Status == "cancelled"
}

// joined says of a sweep that a request has joined it instead of starting one.
func (t taskAnswer) joined() string {
	text := "joins " + t.ID + ", which is " + t.Status + " already"
	if t.By != "" {
		text += ", by " + t.By
	}
	return text + ", since " + at(t.CreatedAt)
}

// progress says how far it is.
func (t taskAnswer) progress() string {
	switch {
	case t.Mode != "":
	case t.Kind == "redrive":
		return fmt.Sprintf("%d of %d queued again, %d failed", t.Done, t.Total, t.Failed)
	default:
		return fmt.Sprintf("%d of %d, %d failed", t.Done, t.Total, t.Failed)
	}
	text := fmt.Sprintf("%d of %d parts, %d requests", t.Done, t.Partitions, t.APICalls)
	if t.Events > 0 {
		text += fmt.Sprintf(", %d events", t.Events)
	}
	if t.Entities > 0 {
		text += fmt.Sprintf(", %d entities", t.Entities)
	}
	text += fmt.Sprintf(", %d differences", t.Found)
	if t.UncheckedCount > 0 {
		text += fmt.Sprintf(", %d not checked", t.UncheckedCount)
	}
	if t.WaitsFor != "" {
		text += "; waits for " + t.WaitsFor
	}
	return text
}

// share is how much of it is done, from 0 to 1.
func (t taskAnswer) share() float64 {
	whole := max(t.Total, t.Partitions)
	if whole == 0 {
		return 0
	}
	return min(1, float64(t.Done+t.Failed)/float64(whole))
}

// Where the api has long work.
const (
	jobs   = "jobs"
	sweeps = "sweeps"
)

var jobsCommand = tasksCommand(jobs, "List jobs on dead letters, events and what is erased, or show one", "tarn jobs job_hhgjvbozwewj32pl --follow", nil)

var sweepsCommand = tasksCommand(sweeps, "List comparisons with the provider, or show one", "tarn sweeps --mode backfill", []string{"mode"})

// tasksCommand lists long work, or shows one piece of it.
func tasksCommand(path, short, example string, extra []string) Command {
	return Command{
		Name: path, Args: "[ID]",
		Short: short, Example: example,
		Wrong: "the one that was shown failed, wholly or in part",
		New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
			f := filters(set, append([]string{"source", "status"}, extra...)...).limited()
			follow := set.Bool("follow", false, "with an id: show its progress until it is over")
			cancel := set.Bool("cancel", false, "with an id: end it")
			return connected(set, func(ctx context.Context, c *connection, args []string) error {
				if len(args) == 0 {
					if *follow || *cancel {
						return misused("--follow and --cancel need an id")
					}
					q, err := f.query(c.env.Now())
					if err != nil {
						return err
					}
					return c.tasks(ctx, path, q, f.limit)
				}
				if *cancel {
					var t taskAnswer
					if _, err := c.call(ctx, http.MethodDelete, nil, nil, &t, path, args[0]); err != nil {
						return err
					}
				}
				return c.oneTask(ctx, path, args[0], *follow || *cancel)
			})
		},
	}
}

func (c *connection) tasks(ctx context.Context, path string, q url.Values, most int) error {
	return listing[taskAnswer]{
		path: []string{path}, query: q, most: most,
		heads: []string{"CREATED", "ID", "WHAT", "SOURCE", "STATUS", "PROGRESS", "BY", "ERROR"},
		row: func(t taskAnswer) []string {
			return []string{at(t.CreatedAt), t.ID, t.Kind + t.Mode, t.Source, t.Status, t.progress(), t.By, t.Error}
		},
		none: "none",
	}.print(ctx, c)
}

// oneTask shows one piece of long work, with follow once it is over.
func (c *connection) oneTask(ctx context.Context, path, id string, follow bool) error {
	bar := newBar(c.env)
	defer bar.end()
	for {
		var t taskAnswer
		raw, err := c.get(ctx, &t, nil, path, id)
		if err != nil {
			return err
		}
		if !follow || t.over() {
			bar.end()
			return c.outcome(t, raw)
		}
		bar.show(t.share(), t.Status+": "+t.progress())
		if !loops.Sleep(ctx, pollEvery) {
			bar.end()
			_, _ = fmt.Fprintf(c.env.Err, "it goes on; tarn %s %s --follow shows it again, --cancel ends it\n", path, id)
			return ctx.Err()
		}
	}
}

// pairsOf writes parents as kind=id, sorted.
func pairsOf(parents map[string]string) string {
	var all []string
	for _, kind := range slices.Sorted(maps.Keys(parents)) {
		all = append(all, kind+"="+parents[kind])
	}
	return strings.Join(all, ", ")
}

// outcome prints what became of it.
func (c *connection) outcome(t taskAnswer, raw json.RawMessage) error {
	if c.json {
		c.line(raw)
	} else {
		say := func(format string, args ...any) { c.env.printf("%s\n", printable(fmt.Sprintf(format, args...))) }
		say("%s %s: %s, %s", t.Kind+t.Mode, t.ID, t.Status, t.progress())
		for _, w := range t.Warnings {
			say("  warning: %s", w)
		}
		for _, l := range t.FailedLists {
			say("  not read: list of %s %s: %s", l.Kind, pairsOf(l.Parents), l.Error)
		}
		for _, e := range t.NotFetched {
			say("  not fetched: %s %s: %s", e.Kind, e.ID, e.Reason)
		}
		if more := t.NotFetchedCount - len(t.NotFetched); more > 0 {
			say("  and %d more that are not fetched", more)
		}
		for _, e := range t.Unchecked {
			say("  not checked: %s: %s", e.Kind+" "+cmp.Or(e.ID, "(the rest of the kind)"), e.Reason)
		}
		if more := t.UncheckedCount - len(t.Unchecked); more > 0 {
			say("  and %d more that are not checked", more)
		}
		if t.Error != "" {
			say("  %s", t.Error)
		}
	}
	if t.Status == "failed" || t.Failed > 0 {
		return errWrong
	}
	return nil
}
