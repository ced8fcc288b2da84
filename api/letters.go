package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// letter is a dead letter as the API shows it.
type letter struct {
	ID        string            `json:"id"`
	Source    string            `json:"source"`
	Event     string            `json:"event" doc:"Id of the event whose work on the entity was given up."`
	EventType string            `json:"event_type,omitempty"`
	Kind      string            `json:"kind"`
	Entity    string            `json:"entity" doc:"Id of the entity."`
	Parents   map[string]string `json:"parents,omitempty" doc:"Ids of the entity's parents."`
	Status    string            `json:"status" enum:"open,redriven,superseded,discarded,erased"`
	Class     string            `json:"class" enum:"transient,throttled,refused,gone,permanent,panic,abandoned" doc:"Class of the last failure, or abandoned: its source was discarded."`
	Attempts  []failedAttempt   `json:"attempts" nullable:"false" doc:"Failed attempts, oldest first."`
	Claim     int64             `json:"claim" doc:"Number of the last attempt's fetch: a later good one supersedes the dead letter."`
	Payload   json.RawMessage   `json:"payload,omitempty" doc:"The event's body as received."`
	TraceID   string            `json:"trace_id,omitempty" doc:"Of its event."`
	TraceURL  string            `json:"trace_url,omitempty" doc:"Where that trace is shown, by the setting telemetry.trace_url. Absent without one, and the trace need not have been kept."`
	BuriedAt  moment            `json:"buried_at" doc:"When the work was given up."`
	ClosedAt  moment            `json:"closed_at,omitzero" doc:"When it was redriven, superseded, discarded or erased."`
	By        string            `json:"by,omitempty" doc:"Who redrove or discarded it."`
	Reason    string            `json:"reason,omitempty" doc:"Why it was discarded."`
}

type failedAttempt struct {
	At    moment `json:"at"`
	Error string `json:"error"`
}

func newLetter(l *storage.LetterRecord, traces telemetry.TraceURL) letter {
	out := letter{
		ID: l.ID(), Source: l.Source, Event: l.EventID, EventType: l.EventType,
		Kind: l.Ref.Key.Kind, Entity: l.Ref.Key.ID, Parents: l.Ref.Parents,
		Status: string(l.Status), Class: l.Class, Attempts: make([]failedAttempt, len(l.Attempts)), Claim: l.Claim,
		Payload: feed.JSONOf(l.Payload), TraceID: l.TraceID, TraceURL: traces.Of(l.TraceID),
		BuriedAt: momentOf(l.At), ClosedAt: momentOf(l.ClosedAt), By: l.By, Reason: l.Reason,
	}
	for i, a := range l.Attempts {
		out.Attempts[i] = failedAttempt{At: momentOf(a.At), Error: a.Error}
	}
	return out
}

type letterList struct {
	Items      []letter `json:"items" nullable:"false"`
	NextCursor string   `json:"next_cursor,omitempty" doc:"Absent on the last page."`
}

func (r *reader) registerLetters(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "list-dead-letters", Method: http.MethodGet, Path: "/v1/dead-letters",
		Summary: "List dead letters, newest first", Tags: []string{"dead letters"},
		Description: "A dead letter is one event's work on one entity that ran out of attempts or failed for good.",
		Security:    needs(Viewer), Errors: listErrors,
	}, r.listLetters)
	huma.Register(api, huma.Operation{
		OperationID: "get-dead-letter", Method: http.MethodGet, Path: "/v1/dead-letters/{id}",
		Summary: "Read one dead letter", Tags: []string{"dead letters"},
		Security: needs(Viewer), Errors: itemErrors,
	}, r.getLetter)
}

func (o *operator) registerLetters(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "redrive-dead-letter", Method: http.MethodPost, Path: "/v1/dead-letters/{id}/redrive",
		Summary: "Redrive one dead letter", Tags: []string{"dead letters"},
		Description: "The work is durable in the queue when this is answered, and is done in the entity's order. Should it " +
			"fail again, the dead letter is open again with the new attempts. One that is not open is a 409 of type `not-open`.",
		DefaultStatus: http.StatusAccepted, Security: needs(Operator), Errors: actErrors,
	}, o.redriveLetter)
	huma.Register(api, huma.Operation{
		OperationID: "discard-dead-letter", Method: http.MethodPost, Path: "/v1/dead-letters/{id}/discard",
		Summary: "Discard one dead letter", Tags: []string{"dead letters"},
		Description: "It is kept, with who discarded it and why. One that is not open is a 409 of type `not-open`.",
		Security:    needs(Operator), Errors: actErrors,
	}, o.discardLetter)
	huma.Register(api, huma.Operation{
		OperationID: "redrive-dead-letters", Method: http.MethodPost, Path: "/v1/dead-letters/redrive",
		Summary: "Redrive the open dead letters that a filter selects", Tags: []string{"dead letters"},
		Description:   ofTheFilter + ofTheJob,
		DefaultStatus: http.StatusAccepted, Responses: alsoOK[selected](api, "How many it would be"),
		Security: needs(Operator), Errors: append([]int{http.StatusBadRequest}, startErrors...),
	}, o.redriveLetters)
	huma.Register(api, huma.Operation{
		OperationID: "discard-dead-letters", Method: http.MethodPost, Path: "/v1/dead-letters/discard",
		Summary: "Discard the open dead letters that a filter selects", Tags: []string{"dead letters"},
		Description:   ofTheFilter + ofTheJob,
		DefaultStatus: http.StatusAccepted, Responses: alsoOK[selected](api, "How many it would be"),
		Security: needs(Operator), Errors: append([]int{http.StatusBadRequest}, startErrors...),
	}, o.discardLetters)
}

const (
	ofTheFilter = "Without a filter and without `all` it is a 400 of type `no-filter`. With `dry_run` the answer is a 200 with the count. " +
		"Else a job is started: "
	ofTheJob = "a 202 that names it; see /v1/jobs/{id}. It covers the dead letters that were buried before it was asked for."
)

type listLettersInput struct {
	Status string `query:"status" enum:"open,redriven,superseded,discarded,erased" doc:"Only dead letters in this status."`
	Type   string `query:"type" doc:"Only dead letters of events of this type." example:"order.executed"`
	Source string `query:"source" doc:"Only dead letters of this source."`
	Kind   string `query:"kind" doc:"Only dead letters about entities of this kind."`
	Entity string `query:"entity" doc:"Only dead letters about this entity, as source/kind/id." example:"lemon/order/bord_1"`
	Class  string `query:"class" enum:"transient,throttled,refused,gone,permanent,panic,abandoned" doc:"Only dead letters whose last failure was of this class, or abandoned: whose source was discarded."`
	Between
	Page
}

type listLettersOutput struct{ Body letterList }

func (r *reader) listLetters(ctx context.Context, in *listLettersInput) (*listLettersOutput, error) {
	key, err := r.entityKey(ctx, "query.entity", in.Entity)
	if err := errors.Join(err, in.check()); err != nil {
		return nil, err
	}
	if err := r.mustKnow(ctx, r.inLetters, mentions("query", in.Source, in.Kind, in.Type, key)); err != nil {
		return nil, err
	}
	found, err := r.store.Letters(ctx, storage.LetterFilter{
		Status: storage.LetterStatus(in.Status), Source: in.Source, Type: in.Type, Kind: in.Kind, Entity: key, Class: in.Class,
		From: in.From, To: in.To, Limit: in.Limit, Cursor: in.Cursor,
	})
	if err != nil {
		return nil, r.storeProblem(ctx, "list dead letters", err)
	}
	out := &listLettersOutput{Body: letterList{Items: make([]letter, len(found.Items)), NextCursor: found.NextCursor}}
	for i, l := range found.Items {
		out.Body.Items[i] = newLetter(l, r.traces)
	}
	return out, nil
}

// LetterPath names a dead letter in a path.
type LetterPath struct {
	ID string `path:"id" maxLength:"255" doc:"Id of the dead letter." example:"dl_0af7651916cd43dd8448eb211c80319c"`
}

type letterOutput struct{ Body letter }

func (r *reader) getLetter(ctx context.Context, in *struct{ LetterPath }) (*letterOutput, error) {
	l, err := r.letter(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &letterOutput{Body: newLetter(l, r.traces)}, nil
}

func (r *reader) letter(ctx context.Context, id string) (*storage.LetterRecord, error) {
	l, err := r.store.LetterByID(ctx, id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, problem(http.StatusNotFound, "", "there is no dead letter %q", id)
	case err != nil:
		return nil, r.storeProblem(ctx, "read dead letter", err)
	}
	return l, nil
}

// openLetter returns a dead letter, or a 409 if it is closed.
func (o *operator) openLetter(ctx context.Context, id string) (*storage.LetterRecord, error) {
	l, err := o.letter(ctx, id)
	if err == nil && l.Status != storage.LetterOpen {
		return nil, notOpen(l)
	}
	return l, err
}

func notOpen(l *storage.LetterRecord) error {
	return problem(http.StatusConflict, problems.NotOpen, "the dead letter %s is %s already", l.ID(), l.Status)
}

// redriveLetter appends the work first and then closes the dead letter. If the api dies
// in between, the dead letter stays open, and its own work supersedes it or buries it
// again. In the reverse order the work would be lost until recovery finds it.
func (o *operator) redriveLetter(ctx context.Context, in *struct{ LetterPath }) (*letterOutput, error) {
	ctx, cancel := o.acting(ctx)
	defer cancel()
	l, err := o.openLetter(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	signal, err := o.again(ctx, l)
	if err != nil {
		return nil, err
	}
	got, err := o.queue.Append(ctx, stream.Draft{Signal: signal})
	if err != nil {
		return nil, o.queueProblem(ctx, "redrive "+in.ID, err)
	}
	// Recorded before anything else can fail: from here on the work is under way,
	// even if the answer is an error.
	o.record(ctx, act{source: l.Source, did: "redrive", to: ofLetter(l), before: statusOf(l.Status), after: statusOf(storage.LetterRedriven)})
	// Zero closed is fine: the work is done already and has superseded the dead letter.
	if _, err := o.store.Redriven(ctx, []string{in.ID}, actor(ctx), o.now().UTC()); err != nil {
		return nil, o.storeProblem(ctx, "close a redriven dead letter", err)
	}
	// Not needed, but it saves recovery a look at the entity.
	if err := o.store.Requeued(ctx, []storage.Requeue{{
		Source: l.Source, EventID: l.EventID, Entity: l.Ref.Key, Signal: storage.SignalID{Shard: got.Shard, ID: got.ID},
	}}); err != nil {
		return nil, o.storeProblem(ctx, "note the entry of a redriven dead letter", err)
	}
	return o.getLetter(ctx, in)
}

// again is the signal for a dead letter's work. It has no payload, which the event's row
// has.
func (o *operator) again(ctx context.Context, l *storage.LetterRecord) (event.Signal, error) {
	s := event.Signal{
		Ref: l.Ref, Cause: event.CauseEvent, CauseID: l.EventID, EventType: l.EventType, Class: event.Redrive,
	}
	rows, err := o.store.EventByID(ctx, l.Source, l.EventID)
	switch {
	case errors.Is(err, storage.ErrNotFound): // the dead letter has all that a fetch needs
	case err != nil:
		return s, o.storeProblem(ctx, "read the event of a dead letter", err)
	case len(rows) > 0:
		s.EventType, s.CreatedAt = rows[0].Type, event.OrderTime(rows[0].CreatedAt, rows[0].ReceivedAt)
	}
	return s, nil
}

type discardInput struct {
	LetterPath
	Body struct {
		Reason string `json:"reason" minLength:"1" maxLength:"1000" pattern:"\\S" patternDescription:"text that is not blank" doc:"Why. Kept with the dead letter."`
	}
}

func (o *operator) discardLetter(ctx context.Context, in *discardInput) (*letterOutput, error) {
	ctx, cancel := o.acting(ctx)
	defer cancel()
	l, err := o.openLetter(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	n, err := o.store.Discard(ctx, []string{in.ID}, actor(ctx), in.Body.Reason, o.now().UTC())
	if err != nil {
		return nil, o.storeProblem(ctx, "discard a dead letter", err)
	}
	if n > 0 {
		o.record(ctx, act{source: l.Source, did: "discard", to: ofLetter(l), why: in.Body.Reason, before: statusOf(l.Status), after: statusOf(storage.LetterDiscarded)})
	}
	now, err := o.letter(ctx, in.ID)
	switch {
	case err != nil:
		return nil, err
	case n == 0: // another operator, or its own work, was quicker
		return nil, notOpen(now)
	}
	return &letterOutput{Body: newLetter(now, o.traces)}, nil
}

// statusOf is what the audit has of a dead letter before and after an act.
func statusOf(s storage.LetterStatus) map[string]string {
	return map[string]string{"status": string(s)}
}

func ofLetter(l *storage.LetterRecord) string { return fmt.Sprintf("%s of %s", l.ID(), l.Ref.Key) }

// LetterSelection selects open dead letters in a body.
type LetterSelection struct {
	Source string    `json:"source,omitempty" doc:"Only dead letters of this source."`
	Type   string    `json:"type,omitempty" doc:"Only dead letters of events of this type."`
	Kind   string    `json:"kind,omitempty" doc:"Only dead letters about entities of this kind."`
	Entity string    `json:"entity,omitempty" doc:"Only dead letters about this entity, as source/kind/id."`
	Class  string    `json:"class,omitempty" enum:"transient,throttled,refused,gone,permanent,panic,abandoned" doc:"Only dead letters whose last failure was of this class, or abandoned: whose source was discarded."`
	From   time.Time `json:"from,omitzero" doc:"Buried not before, RFC 3339."`
	To     time.Time `json:"to,omitzero" doc:"Buried before, RFC 3339."`
	All    bool      `json:"all,omitempty" doc:"Needed where no filter is given: all open dead letters are meant."`
	DryRun bool      `json:"dry_run,omitempty" doc:"Only count."`
	Rate   float64   `json:"rate,omitempty" minimum:"0" maximum:"10000" doc:"Most dead letters a second. 0: no limit but the queue's."`
}

// selects returns the selection without what selects nothing.
func (s LetterSelection) selects() LetterSelection {
	s.All, s.DryRun, s.Rate = false, false, 0
	return s
}

// noFilter is the answer to an act on many things that has no filter: an empty body must
// not mean everything.
func noFilter(act string) error {
	p := newProblem(http.StatusBadRequest, problems.NoFilter, "no filter is given: send one, or set all to true to "+act)
	p.Errors = []*huma.ErrorDetail{{Message: "is not true, and there is no filter", Location: "body.all"}}
	return p
}

type redriveManyInput struct{ Body LetterSelection }

type discardManyInput struct {
	Body struct {
		LetterSelection
		Reason string `json:"reason" minLength:"1" maxLength:"1000" pattern:"\\S" patternDescription:"text that is not blank" doc:"Why. Kept with each dead letter."`
	}
}

type selected struct {
	Count int64  `json:"count" doc:"Open dead letters, or events, that the filter selects."`
	Job   string `json:"job,omitempty" doc:"Id of the job that goes through them. Absent in a dry run."`
}

type selectedOutput struct {
	Status   int
	Location string `header:"Location" doc:"Where the job is."`
	Body     selected
}

func (o *operator) redriveLetters(ctx context.Context, in *redriveManyInput) (*selectedOutput, error) {
	return o.startOnLetters(ctx, taskRedrive, in.Body, "")
}

func (o *operator) discardLetters(ctx context.Context, in *discardManyInput) (*selectedOutput, error) {
	return o.startOnLetters(ctx, taskDiscard, in.Body.LetterSelection, in.Body.Reason)
}

// startOnLetters counts the dead letters selected and, unless it is a dry run, starts a
// job on them.
func (o *operator) startOnLetters(ctx context.Context, kind string, sel LetterSelection, reason string) (*selectedOutput, error) {
	now := o.now().UTC()
	filter, err := sel.filter(ctx, o.reader, now)
	if err != nil {
		return nil, err
	}
	ctx, cancel := o.acting(ctx)
	defer cancel()
	n, err := o.store.CountLetters(ctx, filter)
	if err != nil {
		return nil, o.storeProblem(ctx, "count dead letters", err)
	}
	if sel.DryRun {
		return &selectedOutput{Status: http.StatusOK, Body: selected{Count: n}}, nil
	}
	task := &storage.Task{
		ID: newID("job_"), Kind: kind, Source: sel.Source, Status: storage.TaskWaiting, By: actor(ctx),
		Spec:   toJSON(storage.RedriveSpec{Filter: filter, Rate: sel.Rate, Reason: reason}),
		Counts: map[string]int64{"total": n}, CreatedAt: now, UpdatedAt: now,
	}
	if err := o.start(ctx, task, task.ID+" of "+count(int64(n), "dead letter", "dead letters"), reason); err != nil {
		return nil, err
	}
	return &selectedOutput{Status: http.StatusAccepted, Location: "/v1/jobs/" + task.ID, Body: selected{Count: n, Job: task.ID}}, nil
}

// filter selects open dead letters buried before now.
func (s LetterSelection) filter(ctx context.Context, r *reader, now time.Time) (storage.LetterFilter, error) {
	if s.selects() == (LetterSelection{}) && !s.All {
		return storage.LetterFilter{}, noFilter("act on all open dead letters")
	}
	key, err := r.entityKey(ctx, "body.entity", s.Entity)
	if err != nil {
		return storage.LetterFilter{}, err
	}
	if !s.From.IsZero() && !s.To.IsZero() && !s.From.Before(s.To) {
		return storage.LetterFilter{}, invalid("body.to", s.To.Format(time.RFC3339), "is not after from")
	}
	if s.To.IsZero() || s.To.After(now) {
		s.To = now
	}
	if err := r.mustKnow(ctx, r.inLetters, mentions("body", s.Source, s.Kind, s.Type, key)); err != nil {
		return storage.LetterFilter{}, err
	}
	return storage.LetterFilter{
		Status: storage.LetterOpen, Source: s.Source, Type: s.Type, Kind: s.Kind, Entity: key, Class: s.Class,
		From: s.From.UTC(), To: s.To.UTC(),
	}, nil
}
