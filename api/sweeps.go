package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Modes of a sweep, which are the kinds of its tasks.
const (
	modeSweep    = "sweep"
	modeBackfill = "backfill"
	modeVerify   = "verify"
	modeGaps     = "gaps"
)

var sweepKinds = []string{modeSweep, modeBackfill, modeVerify, modeGaps}

// sweep is a comparison with the provider as the API shows it.
type sweep struct {
	ID         string   `json:"id"`
	Source     string   `json:"source"`
	Kinds      []string `json:"kinds,omitempty" doc:"Kinds looked at; absent: all that can be found."`
	Mode       string   `json:"mode" enum:"sweep,backfill,verify,gaps"`
	Status     string   `json:"status" enum:"waiting,running,done,failed,cancelled" doc:"done: all that was asked for was compared or fetched, but for the entities that unchecked_count counts, which the next sweep asks for again; failed: some of it was not; its other findings are valid. A verify with unchecked entities has failed."`
	Cancelling bool     `json:"cancelling,omitempty" doc:"It was asked to end and has not yet."`
	By         string   `json:"by,omitempty" doc:"Who or what started it."`
	Partitions int64    `json:"partitions" doc:"Parts it was divided into."`
	Done       int64    `json:"done" doc:"Parts that are over."`
	Entities   int64    `json:"entities,omitempty" doc:"Entities seen at the provider."`
	Events     int64    `json:"events,omitempty" doc:"Events seen at the provider, of a search for gaps."`
	Found      int64    `json:"found" doc:"Differences found."`
	APICalls   int64    `json:"api_calls" doc:"Requests made to the provider."`
	Error      string   `json:"error,omitempty" doc:"The last thing that went wrong."`
	WaitsFor   string   `json:"waits_for,omitempty" doc:"What it waits for: a reconciler, a paused source, workers, or entities they have not fetched. Absent while it is at work, and in a list of sweeps."`
	Warnings   []string `json:"warnings,omitempty" doc:"Findings that a setting would fix. No failure."`

	FailedListCount int64        `json:"failed_list_count,omitempty" doc:"Lists of the provider's that were not read whole. Nothing is concluded from what they lack."`
	FailedLists     []failedList `json:"failed_lists,omitempty" maxItems:"100" doc:"The first of them. Absent in a list of sweeps."`
	NotFetchedCount int64        `json:"not_fetched_count,omitempty" doc:"Entities that this sweep has asked workers to fetch and that they have not got; while it runs, so far."`
	NotFetched      []notFetched `json:"not_fetched,omitempty" maxItems:"100" doc:"The first of them, with the reasons. Absent in a list of sweeps."`
	UncheckedCount  int64        `json:"unchecked_count,omitempty" doc:"Entities asked for by id that the provider did not answer for, so whether the mirror has their state is not known; the rest of a kind that the key may not read counts as one. While it runs, so far."`
	Unchecked       []unchecked  `json:"unchecked,omitempty" maxItems:"100" doc:"The first of them, with the reasons, once it is over. Absent in a list of sweeps."`

	CreatedAt  moment `json:"created_at"`
	StartedAt  moment `json:"started_at,omitzero"`
	FinishedAt moment `json:"finished_at,omitzero"`
}

// failedList is a list that a sweep could not read whole.
type failedList struct {
	Kind    string            `json:"kind"`
	Parents map[string]string `json:"parents,omitempty" doc:"Ids of the list's parents."`
	Error   string            `json:"error"`
	Times   int               `json:"times,omitempty" doc:"In how many sweeps of the same kinds in a row it failed. Alerts are raised at 2, 4, 8 …"`
}

// notFetched is an entity that workers did not get in the end.
type notFetched struct {
	Kind    string            `json:"kind"`
	ID      string            `json:"id"`
	Parents map[string]string `json:"parents,omitempty"`
	Reason  string            `json:"reason"`
}

// unchecked is an entity that a sweep could not compare with the mirror.
type unchecked struct {
	Kind    string            `json:"kind"`
	ID      string            `json:"id,omitempty" doc:"Absent for the rest of a kind that the key may not read."`
	Parents map[string]string `json:"parents,omitempty"`
	Reason  string            `json:"reason"`
}

func newSweep(t *storage.Task) sweep {
	s := sweep{
		ID: shownID(t.ID), Source: t.Source, Mode: t.Kind, Status: string(t.Status), Cancelling: cancelling(t), By: shownID(t.By),
		Partitions: t.Counts["partitions"], Done: t.Counts["done"],
		Entities: t.Counts["entities"], Events: t.Counts["events"], Found: t.Counts["found"], APICalls: t.Counts["api_calls"],
		FailedListCount: t.Counts["failed_lists"] + t.Counts["partial_lists"], NotFetchedCount: t.Counts["not_fetched"], UncheckedCount: t.Counts["failed_checks"],
		Error: t.Error, Warnings: t.Warnings(), CreatedAt: momentOf(t.CreatedAt), StartedAt: momentOf(t.StartedAt), FinishedAt: momentOf(t.FinishedAt),
	}
	var spec storage.SweepSpec
	if err := json.Unmarshal(t.Spec, &spec); err == nil { // a standing task has none
		s.Kinds = spec.Kinds
	}
	return s
}

// whole adds to a sweep what it did not get.
func (s sweep) whole(t *storage.Task) sweep {
	var outcome storage.SweepOutcome
	if json.Unmarshal(t.State, &outcome) != nil {
		return s // it has not begun
	}
	for _, l := range outcome.FailedLists {
		s.FailedLists = append(s.FailedLists, failedList(l))
	}
	for _, e := range outcome.NotFetched {
		s.NotFetched = append(s.NotFetched, notFetched(e))
	}
	for _, e := range outcome.Unchecked {
		s.Unchecked = append(s.Unchecked, unchecked(e))
	}
	return s
}

type sweepList struct {
	Items      []sweep `json:"items" nullable:"false"`
	NextCursor string  `json:"next_cursor,omitempty" doc:"Absent on the last page."`
}

func (r *reader) registerSweeps(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "list-sweeps", Method: http.MethodGet, Path: "/v1/sweeps",
		Summary: "List sweeps, newest first", Tags: []string{"sweeps"},
		Description: "Those the schedule starts are among them, and the standing search for missed events of each source. " +
			"Sweeps that are over are forgotten after a while.",
		Security: needs(Viewer), Errors: listErrors,
	}, r.listSweeps)
	huma.Register(api, huma.Operation{
		OperationID: "get-sweep", Method: http.MethodGet, Path: "/v1/sweeps/{id}",
		Summary: "Read a sweep's progress", Tags: []string{"sweeps"},
		Security: needs(Viewer), Errors: itemErrors,
	}, r.getSweep)
}

func (o *operator) registerSweeps(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "start-sweep", Method: http.MethodPost, Path: "/v1/sweeps",
		Summary: "Start a sweep", Tags: []string{"sweeps"},
		Description: "`sweep` compares the provider's lists with the mirror and repairs; `backfill` does so at the lowest " +
			"priority, for a mirror that is mostly empty; `verify` compares and repairs nothing; `gaps` looks for events that never came. " +
			"A `verify` that could not compare every entity has failed, since it cannot say that the mirror is right.\n\n" +
			"While one of the same mode, source and kinds waits or runs that reaches as far back, no second is made: the answer is a 200 with that one. " +
			"One that is being cancelled is not joined.",
		DefaultStatus: http.StatusAccepted, Responses: alsoOK[sweep](api, "Such a sweep is under way already"),
		Security: needs(Operator), Errors: append([]int{http.StatusBadRequest}, startErrors...),
	}, o.startSweep)
	huma.Register(api, huma.Operation{
		OperationID: "cancel-sweep", Method: http.MethodDelete, Path: "/v1/sweeps/{id}",
		Summary: "End a sweep", Tags: []string{"sweeps"},
		Description: "One that runs ends within seconds: until then it is `cancelling`. One that is over is a 409 of type " +
			"`over`, a standing one a 409 of type `standing`.",
		DefaultStatus: http.StatusAccepted, Security: needs(Operator), Errors: actErrors,
	}, o.cancelSweep)
}

type listSweepsInput struct {
	Mode string `query:"mode" enum:"sweep,backfill,verify,gaps" doc:"Only sweeps of this mode."`
	TaskPage
}

type listSweepsOutput struct{ Body sweepList }

func (r *reader) listSweeps(ctx context.Context, in *listSweepsInput) (*listSweepsOutput, error) {
	if err := r.mustKnow(ctx, r.inTasks(sweepKinds), mentions("query", in.Source, "", "", event.Key{})); err != nil {
		return nil, err
	}
	found, err := r.store.Tasks(ctx, in.filter(sweepKinds, in.Mode))
	if err != nil {
		return nil, r.storeProblem(ctx, "list sweeps", err)
	}
	out := &listSweepsOutput{Body: sweepList{Items: make([]sweep, len(found.Items)), NextCursor: found.NextCursor}}
	for i, t := range found.Items {
		out.Body.Items[i] = newSweep(t)
	}
	return out, nil
}

type sweepOutput struct{ Body sweep }

func (r *reader) getSweep(ctx context.Context, in *struct{ TaskPath }) (*sweepOutput, error) {
	t, err := r.task(ctx, in.TaskPath, "sweep", sweepKinds)
	if err != nil {
		return nil, err
	}
	out := &sweepOutput{Body: newSweep(t).whole(t)}
	out.Body.WaitsFor = r.sweepWaits(ctx, t)
	return out, nil
}

func (o *operator) cancelSweep(ctx context.Context, in *struct{ TaskPath }) (*sweepOutput, error) {
	t, err := o.cancel(ctx, in.TaskPath, "sweep", sweepKinds)
	if err != nil {
		return nil, err
	}
	return &sweepOutput{Body: newSweep(t)}, nil
}

type startSweepInput struct {
	Body struct {
		Source string    `json:"source" minLength:"1" doc:"Name of the source, as configured." example:"lemon"`
		Kinds  []string  `json:"kinds,omitempty" maxItems:"100" uniqueItems:"true" doc:"Kinds looked at; none: all that can be found. Not for gaps."`
		Mode   string    `json:"mode,omitempty" default:"sweep" enum:"sweep,backfill,verify,gaps"`
		Since  time.Time `json:"since,omitzero" doc:"How far back, RFC 3339; absent: as far as usual. For gaps and backfill."`
		Rate   float64   `json:"rate,omitempty" minimum:"0" maximum:"10000" doc:"Most requests to the provider a second, within the source's budget. 0: no limit of its own."`
	}
}

type startSweepOutput struct {
	Status   int
	Location string `header:"Location" doc:"Where the sweep is."`
	Body     sweep
}

func (o *operator) startSweep(ctx context.Context, in *startSweepInput) (*startSweepOutput, error) {
	if err := o.checkSweep(in); err != nil {
		return nil, err
	}
	ctx, cancel := o.acting(ctx)
	defer cancel()
	t, started, err := o.startOrJoin(ctx, in)
	if err != nil {
		return nil, err
	}
	out := &startSweepOutput{Status: http.StatusOK, Location: "/v1/sweeps/" + t.ID, Body: newSweep(t)}
	if started {
		out.Status = http.StatusAccepted
	}
	return out, nil
}

// checkSweep refuses a sweep that could only fail later, where the caller does not see
// it.
func (o *operator) checkSweep(in *startSweepInput) error {
	b := in.Body
	src := o.sources.get(b.Source)
	if src == nil {
		return unknownValue("body.source", "source", b.Source, o.sources.names())
	}
	for i, kind := range b.Kinds {
		if src.Provider.Kind(kind) == nil {
			known, _ := o.sources.knownBeside(mention{source: b.Source, kind: kind})
			return unknownValue(fmt.Sprintf("body.kinds[%d]", i), "kind", kind, known)
		}
	}
	switch {
	case b.Mode == modeGaps && len(b.Kinds) > 0:
		return invalid("body.kinds", strings.Join(b.Kinds, ","), "gaps are searched for among all events: leave kinds out")
	case b.Mode == modeGaps && !src.Provider.EventList().Kept:
		return invalid("body.mode", b.Mode, "the provider of source %q does not list its events", b.Source)
	case !b.Since.IsZero() && b.Mode != modeGaps && b.Mode != modeBackfill:
		return invalid("body.since", b.Since.Format(time.RFC3339), "is for gaps and backfill only")
	case b.Since.After(o.now()):
		return invalid("body.since", b.Since.Format(time.RFC3339), "is in the future")
	}
	return nil
}
