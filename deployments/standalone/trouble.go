package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/loops"
)

// editAfter is how long the silent edit comes after the last event of its entity. An
// event explains a difference that is found within about half a minute of it, and
// nothing is to explain this one.
const editAfter = 45 * time.Second

// editAgain is how long after the edit another one is made if it was not found: a fetch
// for another reason may have taken it into the mirror before a sweep saw it.
const editAgain = 75 * time.Second

// lookEvery is the pause between two looks at the api.
const lookEvery = 200 * time.Millisecond

// tour makes a few things go wrong at the simulated provider and prints each once the
// api shows it, so that every page of the console has something true to show.
type tour struct {
	options   options
	base      string // of the api
	provider  string // its address, without the path of its API
	simulator *simulator.Simulator
	out       io.Writer
	began     time.Time // of the run
}

// run returns nil when ctx ends, whatever was found until then.
func (t *tour) run(ctx context.Context) error {
	made, err := t.prepare(ctx)
	if err == nil {
		made, err = t.simulator.MakeTrouble(made)
	}
	if err == nil {
		err = t.show(ctx, made)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// prepare creates the entities, and waits until the mirror has them and a first
// sweep is over: what a first sweep finds is no difference, but the filling of an
// empty mirror.
func (t *tour) prepare(ctx context.Context) (simulator.Troubles, error) {
	made, ok, err := t.simulator.NewTroubles()
	for ; !ok && err == nil; made, ok, err = t.simulator.NewTroubles() {
		if !loops.Sleep(ctx, lookEvery) {
			return made, ctx.Err()
		}
	}
	if err != nil {
		return made, err
	}
	for _, id := range []string{made.Refused, made.Failing, made.Unsent, made.Edited} {
		if err := t.await(ctx, func() bool { return t.finds(ctx, t.entity(made.Kind, id), new(any)) }); err != nil {
			return made, err
		}
	}
	return made, t.await(ctx, func() bool { return t.swept(ctx) })
}

// swept reports whether a sweep has ended.
func (t *tour) swept(ctx context.Context) bool {
	var sweeps struct {
		Items []struct {
			Mode, Status string
		}
	}
	if !t.finds(ctx, t.base+"/v1/sweeps?source="+t.options.provider, &sweeps) {
		return false
	}
	for _, s := range sweeps.Items {
		if s.Mode != "gaps" && (s.Status == "done" || s.Status == "failed") {
			return true
		}
	}
	return false
}

const silentEdit = "silent edit"

// finding is one thing that went wrong and how the api shows it.
type finding struct {
	what, entity string
	// at is the list of the api that has it.
	at string
	// says tells more of it, of an element of the list.
	says func(finding item) string
	// then is what a newcomer may do about it, "" for nothing.
	then func(finding item) string
}

// item has the fields of elements of lists that are looked at.
type item struct {
	ID            string
	NextAttemptAt time.Time `json:"next_attempt_at"`
	Sweep         string
}

// show prints each finding once the api has it, and in the end how to repair what
// stays wrong.
func (t *tour) show(ctx context.Context, made simulator.Troubles) error {
	open, edit := t.findings(made), time.Now().Add(editAfter)
	var repairs []string
	for len(open) > 0 {
		if !time.Now().Before(edit) && slices.ContainsFunc(open, func(f finding) bool { return f.what == silentEdit }) {
			if err := t.simulator.EditSilently(made); err != nil {
				return err
			}
			edit = time.Now().Add(editAgain)
		}
		var left []finding
		for _, f := range open {
			found, ok := t.first(ctx, f.at)
			if !ok {
				left = append(left, f)
				continue
			}
			t.printf("  %5.1f s  %-12s  %s/%s  %s\n", time.Since(t.began).Seconds(), f.what, made.Kind, f.entity, f.says(found))
			if f.then != nil {
				repairs = append(repairs, f.then(found))
			}
		}
		if open = left; !loops.Sleep(ctx, lookEvery) {
			return ctx.Err()
		}
	}
	t.printf(`
The last two are repaired already. For the first two, repair the provider, then have
the work done again, here or in the console:

  curl -s -X DELETE %s/_sim/troubles
%s
`, t.provider, strings.Join(repairs, ""))
	return nil
}

func (t *tour) findings(made simulator.Troubles) []finding {
	key := func(id string) string {
		return url.QueryEscape(t.options.provider + "/" + made.Kind + "/" + id)
	}
	return []finding{
		{
			what: "dead letter", entity: made.Refused, at: "/v1/dead-letters?status=open&entity=" + key(made.Refused),
			says: func(item) string { return "the provider refuses it (422)" },
			then: func(i item) string {
				return fmt.Sprintf("  curl -s -X POST %s/v1/dead-letters/%s/redrive\n", t.base, i.ID)
			},
		},
		{
			what: "parked", entity: made.Failing, at: "/v1/parked?entity=" + key(made.Failing),
			says: func(i item) string {
				return "the provider fails (503), next try at " + i.NextAttemptAt.Local().Format(time.TimeOnly)
			},
			then: func(item) string {
				return fmt.Sprintf("  curl -s -X POST %s/v1/parked/retry -H 'Content-Type: application/json' -d '{\"entity\":\"%s/%s/%s\"}'\n",
					t.base, t.options.provider, made.Kind, made.Failing)
			},
		},
		{
			what: "lost webhook", entity: made.Unsent, at: "/v1/discrepancies?type=event_missed&entity=" + key(made.Unsent),
			says: func(item) string {
				return made.LostEvent + " was never sent, and was found in the provider's list of events"
			},
		},
		{
			what: silentEdit, entity: made.Edited, at: "/v1/discrepancies?type=stale&entity=" + key(made.Edited),
			says: func(i item) string { return "changed without an event, and was found by " + i.Sweep },
		},
	}
}

func (t *tour) printf(format string, args ...any) { _, _ = fmt.Fprintf(t.out, format, args...) }

func (t *tour) entity(kind, id string) string {
	return t.base + "/v1/entities/" + t.options.provider + "/" + kind + "/" + id
}

// first returns the first element of a list of the api.
func (t *tour) first(ctx context.Context, list string) (item, bool) {
	var page struct{ Items []item }
	if !t.finds(ctx, t.base+list, &page) || len(page.Items) == 0 {
		return item{}, false
	}
	return page.Items[0], true
}

// finds reads an address of the api into v and reports whether it was there.
func (t *tour) finds(ctx context.Context, address string, v any) bool {
	code, err := get(ctx, address, v)
	return err == nil && code == http.StatusOK
}

// await looks until there is something, or returns ctx.Err().
func (t *tour) await(ctx context.Context, there func() bool) error {
	for !there() {
		if !loops.Sleep(ctx, lookEvery) {
			return ctx.Err()
		}
	}
	return nil
}
