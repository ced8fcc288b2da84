package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

func (o *operator) registerEvents(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "redrive-events", Method: http.MethodPost, Path: "/v1/events/redrive",
		Summary: "Read events with a note again", Tags: []string{"events"},
		Description: "For events that lead to nothing since a setting of the source or its definition was wrong, once that is " +
			"corrected and the processes are restarted. Each is read again from the log; one whose note is another then is followed. With `dry_run` the answer " +
			"is a 200 with the count. Else a job is started: a 202 that names it; see /v1/jobs/{id}, whose `failed` counts those whose note is the " +
			"same. It covers the events that were received before it was asked for.",
		DefaultStatus: http.StatusAccepted, Responses: alsoOK[selected](api, "How many it would be"),
		Security: needs(Operator), Errors: actErrors,
	}, o.redriveEvents)
}

type redriveEventsInput struct {
	Body struct {
		Source string    `json:"source" doc:"The source, as configured."`
		Note   string    `json:"note" enum:"names_nothing,unknown_type,require_unmet,unreadable,scope_unusable" doc:"Events with this note."`
		Type   string    `json:"type,omitempty" doc:"Only events of this type."`
		From   time.Time `json:"from,omitzero" doc:"Received not before, RFC 3339."`
		To     time.Time `json:"to,omitzero" doc:"Received before, RFC 3339."`
		DryRun bool      `json:"dry_run,omitempty" doc:"Only count."`
		Rate   float64   `json:"rate,omitempty" minimum:"0" maximum:"10000" doc:"Most events a second. 0: no limit but the queue's."`
	}
}

func (o *operator) redriveEvents(ctx context.Context, in *redriveEventsInput) (*selectedOutput, error) {
	b, now := in.Body, o.now().UTC()
	if _, err := o.source(b.Source); err != nil {
		return nil, err
	}
	if !b.From.IsZero() && !b.To.IsZero() && !b.From.Before(b.To) {
		return nil, invalid("body.to", b.To.Format(time.RFC3339), "is not after from")
	}
	if b.To.IsZero() || b.To.After(now) {
		b.To = now
	}
	if err := o.mustKnow(ctx, o.inEvents, mentions("body", b.Source, "", b.Type, event.Key{})); err != nil {
		return nil, err
	}
	ctx, cancel := o.acting(ctx)
	defer cancel()
	n, err := o.store.CountEvents(ctx, storage.EventFilter{Source: b.Source, Type: b.Type, Note: event.ParseNote(b.Note), From: b.From, To: b.To})
	if err != nil {
		return nil, o.storeProblem(ctx, "count events", err)
	}
	if b.DryRun {
		return &selectedOutput{Status: http.StatusOK, Body: selected{Count: n}}, nil
	}
	task := &storage.Task{
		ID: newID("job_"), Kind: taskReread, Source: b.Source, Status: storage.TaskWaiting, By: actor(ctx),
		Spec: toJSON(storage.RedriveSpec{
			Filter: storage.LetterFilter{Source: b.Source, Type: b.Type, From: b.From.UTC(), To: b.To.UTC()}, Note: b.Note, Rate: b.Rate,
		}),
		Counts: map[string]int64{"total": n}, CreatedAt: now, UpdatedAt: now,
	}
	if err := o.start(ctx, task, fmt.Sprintf("%s of %d events noted %s", task.ID, n, b.Note), ""); err != nil {
		return nil, err
	}
	return &selectedOutput{Status: http.StatusAccepted, Location: "/v1/jobs/" + task.ID, Body: selected{Count: n, Job: task.ID}}, nil
}
