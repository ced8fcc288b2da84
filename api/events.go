package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// loggedEvent is an event of the log as the API shows it.
type loggedEvent struct {
	ID             string            `json:"id"`
	Source         string            `json:"source"`
	Type           string            `json:"type"`
	CreatedAt      moment            `json:"created_at,omitzero" doc:"The provider's time of the event."`
	ReceivedAt     moment            `json:"received_at"`
	ProcessedAt    moment            `json:"processed_at,omitzero" doc:"When its last open entity was settled."`
	Status         string            `json:"status" enum:"pending,retrying,processed,dead,superseded,discarded,erased"`
	Attempts       int               `json:"attempts" doc:"Failed attempts."`
	Error          string            `json:"error,omitempty" doc:"The latest failure, counted as an attempt or not."`
	Duplicates     int64             `json:"duplicates" doc:"How often it was sent again."`
	OutOfOrder     bool              `json:"out_of_order" doc:"It came after a newer event of the same entity."`
	Overtaken      bool              `json:"overtaken" doc:"The entity was already past it."`
	Lagging        bool              `json:"lagging" doc:"The provider's reads did not show it in time."`
	PayloadDiffers bool              `json:"payload_differs,omitempty" doc:"It was sent again with another body; the first was kept."`
	ParentsDiffer  bool              `json:"parents_differ,omitempty" doc:"It names other parents for an entity than those the mirror has, which were used."`
	Unnamed        bool              `json:"unnamed,omitempty" doc:"It does not name the entity its type is about, or names one by an id that several have; only sweeps find what it is about."`
	Undated        bool              `json:"undated,omitempty" doc:"Its own time could not be read as one; created_at is absent."`
	Note           string            `json:"note,omitempty" enum:"names_nothing,unknown_type,require_unmet,unreadable,scope_unusable" doc:"Why it leads to less than others do: it names no entity; the definition does not know its type; it lacks a value that the definition requires; it came among others in one request and cannot be read; or what it has as the id of an account (api.scope) can be none."`
	Entities       []outcome         `json:"entities" nullable:"false" doc:"What became of it for each entity it names, primary first."`
	Payload        json.RawMessage   `json:"payload,omitempty" doc:"The body as received; of a request with several events, this event's part."`
	Given          map[string]string `json:"given,omitempty" doc:"Values read outside the payload, in headers or in the rest of the request, by the place that the definition names."`
	TraceID        string            `json:"trace_id,omitempty"`
	TraceURL       string            `json:"trace_url,omitempty" doc:"Where its trace is shown, by the setting telemetry.trace_url. Absent without one, and the trace need not have been kept."`
}

type outcome struct {
	Kind      string            `json:"kind"`
	ID        string            `json:"id"`
	Parents   map[string]string `json:"parents,omitempty" doc:"Ids of its parents, where its id is unique under these only."`
	Status    string            `json:"status" enum:"pending,retrying,processed,dead,superseded,discarded,erased"`
	LastError string            `json:"last_error,omitempty" doc:"While it is retried: the latest failure, counted as an attempt or not."`
	// NextAttemptAt is absent unless it is retried.
	NextAttemptAt moment     `json:"next_attempt_at,omitzero" doc:"While it is retried: when the next attempt was due at that failure. A later event or a retry may bring it forward: see /v1/parked."`
	Signal        *signal    `json:"signal,omitempty" doc:"Its entry in the queue."`
	CoveredBy     *coveredBy `json:"covered_by,omitempty" doc:"The fetch that settled it."`
}

type signal struct {
	Shard int    `json:"shard"`
	ID    string `json:"id"`
}

type coveredBy = feed.CoveredBy

func newLoggedEvent(row *storage.EventRow, traces telemetry.TraceURL) loggedEvent {
	e := loggedEvent{
		ID: row.ID, Source: row.Source, Type: row.Type,
		CreatedAt: momentOf(feed.Writable(row.CreatedAt)), ReceivedAt: momentOf(row.ReceivedAt), ProcessedAt: momentOf(row.ProcessedAt),
		Status: string(row.Status), Attempts: row.Attempts, Error: row.Error, Duplicates: row.Duplicates,
		OutOfOrder: row.OutOfOrder, Overtaken: row.Overtaken, Lagging: row.Lagging, PayloadDiffers: row.PayloadDiffers,
		ParentsDiffer: row.ParentsDiffer, Unnamed: row.Unnamed, Undated: row.Undated,
		Note: row.Note.String(), Given: row.Given,
		Entities: make([]outcome, len(row.Entities)), Payload: feed.JSONOf(row.Payload), TraceID: row.TraceID, TraceURL: traces.Of(row.TraceID),
	}
	for i, o := range row.Entities {
		e.Entities[i] = newOutcome(o)
		if row.Status == storage.Retrying && o.Status == storage.Pending && !o.FailedAt.IsZero() {
			e.Entities[i].retried(o)
		}
	}
	return e
}

func newOutcome(o storage.Outcome) outcome {
	out := outcome{Kind: o.Ref.Key.Kind, ID: o.Ref.Key.ID, Status: string(o.Status)}
	if o.Ref.Key.Under != "" {
		out.Parents = o.Ref.Parents
	}
	if o.Signal.ID != "" {
		out.Signal = &signal{Shard: o.Signal.Shard, ID: o.Signal.ID}
	}
	if c := o.CoveredBy; c != nil {
		out.CoveredBy = &coveredBy{Claim: c.Claim, FetchedAt: momentOf(c.FetchedAt), Signal: c.Signal}
	}
	return out
}

// retried shows that the work on an entity has failed and is tried again.
func (out *outcome) retried(o storage.Outcome) {
	out.Status, out.LastError, out.NextAttemptAt = string(storage.Retrying), o.Error, momentOf(o.NextAt)
}

type eventList struct {
	Items      []loggedEvent `json:"items" nullable:"false"`
	NextCursor string        `json:"next_cursor,omitempty" doc:"Absent on the last page."`
}

func (r *reader) registerEvents(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "list-entity-events", Method: http.MethodGet, Path: "/v1/entities/{source}/{kind}/{id}/events",
		Summary: "List the events that name an entity, newest first", Tags: []string{"entities", "events"},
		Description: severalEntities,
		Security:    needs(Viewer), Errors: append([]int{http.StatusConflict}, listErrors...),
	}, r.listEntityEvents)
	huma.Register(api, huma.Operation{
		OperationID: "list-events", Method: http.MethodGet, Path: "/v1/events",
		Summary: "List logged events, newest first", Tags: []string{"events"},
		Security: needs(Viewer), Errors: listErrors,
	}, r.listEvents)
	huma.Register(api, huma.Operation{
		OperationID: "get-event", Method: http.MethodGet, Path: "/v1/events/{id}",
		Summary: "Read one logged event", Tags: []string{"events"},
		Description: "Ids are unique per source. If several sources have this one, the answer is a 409 of type " +
			"`ambiguous` until `source` says which.",
		Security: needs(Viewer), Errors: append([]int{http.StatusConflict}, itemErrors...),
	}, r.getEvent)
}

// EventFilter are the filters all lists of events share.
type EventFilter struct {
	Status string `query:"status" enum:"pending,retrying,processed,dead,superseded,discarded,erased" doc:"Only events in this status."`
	Type   string `query:"type" doc:"Only events of this type." example:"order.executed"`
	Between
	Page
}

func (f EventFilter) filter() storage.EventFilter {
	return storage.EventFilter{
		Status: storage.EventStatus(f.Status), Type: f.Type,
		From: f.From, To: f.To, Limit: f.Limit, Cursor: f.Cursor,
	}
}

type listEventsInput struct {
	EventFilter
	Source string `query:"source" doc:"Only events of this source."`
	Kind   string `query:"kind" doc:"Only events that name an entity of this kind."`
	Entity string `query:"entity" doc:"Only events that name this entity, as source/kind/id." example:"lemon/order/bord_1"`
	Note   string `query:"note" enum:"names_nothing,unknown_type,require_unmet,unreadable,scope_unusable" doc:"Only events with this note."`
}

type listEventsOutput struct{ Body eventList }

func (r *reader) listEvents(ctx context.Context, in *listEventsInput) (*listEventsOutput, error) {
	key, err := r.entityKey(ctx, "query.entity", in.Entity)
	if err := errors.Join(err, in.check()); err != nil {
		return nil, err
	}
	if err := r.mustKnow(ctx, r.inEvents, mentions("query", in.Source, in.Kind, in.Type, key)); err != nil {
		return nil, err
	}
	f := in.filter()
	f.Source, f.Kind, f.Entity, f.Note = in.Source, in.Kind, key, event.ParseNote(in.Note)
	return r.events(ctx, f)
}

type listEntityEventsInput struct {
	EntityPath
	Above
	EventFilter
}

func (r *reader) listEntityEvents(ctx context.Context, in *listEntityEventsInput) (*listEventsOutput, error) {
	key, err := r.named(ctx, in.EntityPath, &in.Above)
	if err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	if err := r.mustKnow(ctx, r.inEvents, mentions("query", key.Source, "", in.Type, event.Key{})); err != nil {
		return nil, err
	}
	f := in.filter()
	f.Source, f.Entity = key.Source, key
	return r.events(ctx, f)
}

func (r *reader) events(ctx context.Context, f storage.EventFilter) (*listEventsOutput, error) {
	found, err := r.store.Events(ctx, f)
	if err != nil {
		return nil, r.storeProblem(ctx, "list events", err)
	}
	out := &listEventsOutput{Body: eventList{Items: make([]loggedEvent, len(found.Items)), NextCursor: found.NextCursor}}
	for i, row := range found.Items {
		out.Body.Items[i] = newLoggedEvent(row, r.traces)
	}
	return out, nil
}

type getEventInput struct {
	ID     string `path:"id" maxLength:"765" doc:"The provider's id of the event, percent-escaped where need be."`
	Source string `query:"source" doc:"Which source's event, where several have the id."`
}

type getEventOutput struct{ Body loggedEvent }

func (r *reader) getEvent(ctx context.Context, in *getEventInput) (*getEventOutput, error) {
	id, err := pathID(in.ID)
	if err != nil {
		return nil, err
	}
	if err := r.mustKnow(ctx, r.inEvents, mentions("query", in.Source, "", "", event.Key{})); err != nil {
		return nil, err
	}
	rows, err := r.store.EventByID(ctx, in.Source, id)
	switch {
	case errors.Is(err, storage.ErrNotFound) || err == nil && len(rows) == 0:
		return nil, problem(http.StatusNotFound, "", "no event %q is in the log; one just accepted appears when a worker has read it", id)
	case err != nil:
		return nil, r.storeProblem(ctx, "read event", err)
	case len(rows) > 1:
		return nil, problem(http.StatusConflict, problems.Ambiguous,
			"%d sources have an event %q: say which with ?source= (%s)", len(rows), id, sourcesOf(rows))
	}
	return &getEventOutput{Body: newLoggedEvent(rows[0], r.traces)}, nil
}

func sourcesOf(rows []*storage.EventRow) string {
	names := make([]string, len(rows))
	for i, row := range rows {
		names[i] = fmt.Sprintf("%q", row.Source)
	}
	return strings.Join(names, ", ")
}
