package api

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/storage"
)

// Two sweeps of the same kinds at once ask the provider twice for the same, so a second
// request joins the first one's sweep. Two requests at the same moment, perhaps at two
// processes, both find none to join. Then the id decides: it is made of what is asked for
// and of the sweep before, so both make the same id, and the store takes an id once.

// mostJoins bounds the tries. Each one fails only if another request has just made a sweep
// that this one cannot join.
const mostJoins = 5

// startOrJoin returns the sweep that a request asks for, and whether the request has made
// it.
func (o *operator) startOrJoin(ctx context.Context, in *startSweepInput) (t *storage.Task, started bool, err error) {
	spec := storage.SweepSpec{Kinds: in.Body.Kinds, Since: in.Body.Since.UTC(), Rate: in.Body.Rate, Request: newID("")}
	for range mostJoins {
		same, newest, err := o.alike(ctx, in)
		if err != nil || same != nil {
			return same, false, err
		}
		if t, err = o.makeSweep(ctx, in, spec, newest); err != nil {
			return nil, false, err
		}
		if isOf(t, spec.Request) {
			return t, true, nil
		}
	}
	return nil, false, away(retryWhenAway, "other requests start sweeps of these kinds at the same time; try again")
}

// alike looks for a sweep to join. newest is the id of the newest sweep of the same mode,
// source and kinds, over or not.
func (o *operator) alike(ctx context.Context, in *startSweepInput) (join *storage.Task, newest string, err error) {
	wanted := kindsOf(in.Body.Kinds)
	for f := (storage.TaskFilter{Kinds: []string{in.Body.Mode}, Source: in.Body.Source, Limit: 200}); ; {
		page, err := o.store.Tasks(ctx, f)
		if err != nil {
			return nil, "", o.storeProblem(ctx, "look for sweeps under way", err)
		}
		for _, t := range page.Items {
			var spec storage.SweepSpec
			if standing(t) || json.Unmarshal(t.Spec, &spec) != nil || kindsOf(spec.Kinds) != wanted {
				continue
			}
			newest = cmp.Or(newest, t.ID)
			if !t.Status.Final() && !t.Cancel && reaches(spec.Since, in.Body.Since) {
				return t, newest, nil
			}
		}
		if f.Cursor = page.NextCursor; f.Cursor == "" {
			return nil, newest, nil
		}
	}
}

// kindsOf is a set of kinds as text.
func kindsOf(kinds []string) string {
	kinds = slices.Sorted(slices.Values(kinds))
	return strings.Join(slices.Compact(kinds), ",")
}

// reaches reports whether work since a time includes work since another. A zero time is as
// far as usual, which is not comparable with a given one.
func reaches(since, asked time.Time) bool {
	return since.IsZero() == asked.IsZero() && !since.After(asked)
}

// makeSweep makes a sweep that follows another, unless another request has made it, and
// returns it.
func (o *operator) makeSweep(ctx context.Context, in *startSweepInput, spec storage.SweepSpec, follows string) (*storage.Task, error) {
	now := o.now().UTC()
	t := &storage.Task{
		ID: sweepID(in.Body.Mode, in.Body.Source, kindsOf(in.Body.Kinds), follows, now.Format(time.DateOnly)), Kind: in.Body.Mode, Source: in.Body.Source,
		Status: storage.TaskWaiting, By: actor(ctx), Spec: toJSON(spec), CreatedAt: now, UpdatedAt: now,
	}
	if err := o.store.CreateTasks(ctx, []*storage.Task{t}); err != nil {
		return nil, o.storeProblem(ctx, "start "+t.ID, err)
	}
	kept, err := o.store.Task(ctx, t.ID)
	if err != nil {
		return nil, o.storeProblem(ctx, "read "+t.ID, err)
	}
	if isOf(kept, spec.Request) {
		what := strings.TrimSpace(fmt.Sprintf("%s %s", t.ID, strings.Join(in.Body.Kinds, ",")))
		o.record(ctx, act{source: t.Source, did: "start " + t.Kind, to: what})
	}
	return kept, nil
}

// isOf reports whether a sweep was made by a request.
func isOf(t *storage.Task, request string) bool {
	var spec storage.SweepSpec
	return json.Unmarshal(t.Spec, &spec) == nil && spec.Request == request
}

// sweepID makes the id of a sweep, of 80 bits of a hash. The sweep before and the day are
// in it, so that no id comes again: sweeps that are over are forgotten after days, what
// they found is kept for longer.
func sweepID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return "sweep_" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:16])
}
