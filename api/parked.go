package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/waiting"
)

// Waits says why a parked entity waits, and until when.
type Waits struct {
	Reason        waiting.Reason  `json:"reason" enum:"failed,not_found,never_seen,throttled,undefined,refused,unsettled,backlog" doc:"Why it waits: failed: an attempt failed; not_found: the provider says it has no such entity, which the mirror has; never_seen: the provider says so, and no answer has ever shown the entity; throttled: this entity alone is answered 429; undefined: the definition has no such kind; refused: our key may not read the kind; unsettled: the store refuses to settle its events; backlog: it has not failed and waits for its turn."`
	Class         string          `json:"class,omitempty" enum:"transient,throttled,unavailable,refused,gone,permanent,panic,undefined" doc:"Class of the latest failure. Absent if none is known."`
	Error         string          `json:"error,omitempty" doc:"The latest failure, counted as an attempt or not."`
	FailedAt      moment          `json:"failed_at,omitzero" doc:"When that was."`
	Attempts      []failedAttempt `json:"attempts,omitempty" doc:"Failed attempts that were counted, oldest first, at most the last 50."`
	NextAttemptAt moment          `json:"next_attempt_at" doc:"When it is tried again; in the past if it is due and waits for its turn. A new event, or a retry, may bring this forward."`
	Waiting       int             `json:"waiting" minimum:"1" doc:"How many events, syncs and other signals wait for it."`
}

// parkedEntity is an entity that waits, as the API shows it.
type parkedEntity struct {
	Source  string            `json:"source"`
	Kind    string            `json:"kind"`
	Entity  string            `json:"entity" doc:"Id of the entity."`
	Parents map[string]string `json:"parents,omitempty" doc:"Ids of the entity's parents, where its id is unique under these only."`
	Waits
}

type parkedList struct {
	Items      []parkedEntity `json:"items" nullable:"false"`
	NextCursor string         `json:"next_cursor,omitempty" doc:"Absent on the last page. A page of a filter may have fewer items than the limit, or none, and still a next one."`
}

// newWaits shows what is known of a parked entity. A record that cannot be read shows
// that it waits.
func newWaits(w *stream.Waiting) Waits {
	out := Waits{Reason: waiting.Backlog, NextAttemptAt: momentOf(w.Due), Waiting: w.Len}
	if w.Spilled {
		return out
	}
	record, _ := waiting.Decode(w.State)
	why := record.Latest()
	out.Reason, out.Class, out.Error, out.FailedAt = why.Reason, why.Class, why.Error, momentOf(why.At)
	for _, a := range record.Attempts {
		out.Attempts = append(out.Attempts, failedAttempt{At: momentOf(a.At), Error: a.Error})
	}
	return out
}

func (r *reader) newParked(w *stream.Waiting) parkedEntity {
	return parkedEntity{
		Source: w.Key.Source, Kind: w.Key.Kind, Entity: w.Key.ID, Parents: r.parentsIn(w.Key), Waits: newWaits(w),
	}
}

func (r *reader) registerParked(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "list-parked", Method: http.MethodGet, Path: "/v1/parked",
		Summary: "List the entities that wait, with the reason and the next attempt", Tags: []string{"parked"},
		Description: "Those that are tried first come first. An entity whose time changes between two pages may be on both or on neither.",
		Security:    needs(Viewer), Errors: listErrors,
	}, r.listParked)
}

func (o *operator) registerParked(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "retry-parked", Method: http.MethodPost, Path: "/v1/parked/retry",
		Summary: "Make entities that wait due now, one or by filter", Tags: []string{"parked"},
		Description: "Attempts are counted as usual. A source that is paused stays so. Without a filter and without `all` it is a 400 of type `no-filter`.",
		Security:    needs(Operator), Errors: listErrors,
	}, o.retryParked)
}

// ParkedSelection selects entities that wait.
type ParkedSelection struct {
	Source string `query:"source" json:"source,omitempty" doc:"Only entities of this source."`
	Kind   string `query:"kind" json:"kind,omitempty" doc:"Only entities of this kind."`
	Entity string `query:"entity" json:"entity,omitempty" doc:"Only this entity, as source/kind/id." example:"lemon/order/bord_1"`
	Reason string `query:"reason" json:"reason,omitempty" enum:"failed,not_found,never_seen,throttled,undefined,refused,unsettled,backlog" doc:"Only entities that wait for this reason."`
	Class  string `query:"class" json:"class,omitempty" enum:"transient,throttled,unavailable,refused,gone,permanent,panic,undefined" doc:"Only entities whose latest failure is of this class."`
}

// wants reports whether the selection takes an entity, as far as that is for Redis to say.
func (s ParkedSelection) wants(w *stream.Waiting) bool {
	if s.Kind != "" && s.Kind != w.Key.Kind {
		return false
	}
	if s.Reason == "" && s.Class == "" {
		return true
	}
	shown := newWaits(w)
	return (s.Reason == "" || s.Reason == string(shown.Reason)) && (s.Class == "" || s.Class == shown.Class)
}

// filter returns the selection as one of the queue. of is where its fields stand in the
// request.
func (s ParkedSelection) filter(ctx context.Context, r *reader, of string) (stream.WaitingFilter, error) {
	f := stream.WaitingFilter{Sources: r.sources.names(), Kind: s.Kind}
	if s.Source != "" {
		if _, err := r.source(s.Source); err != nil {
			return f, err
		}
		f.Sources = []string{s.Source}
	}
	named, _ := event.ParseKey(s.Entity) // what is no key is refused where it is read
	if err := r.mustKnow(ctx, r.inParked, mentions(of, s.Source, s.Kind, "", named)); err != nil {
		return f, err
	}
	if s.Reason != "" || s.Class != "" {
		f.Want = s.wants
	}
	return f, nil
}

type listParkedInput struct {
	ParkedSelection
	Page
}

type listParkedOutput struct{ Body parkedList }

func (r *reader) listParked(ctx context.Context, in *listParkedInput) (*listParkedOutput, error) {
	f, err := in.filter(ctx, r, "query")
	if err != nil {
		return nil, err
	}
	f.Limit, f.Cursor = in.Limit, in.Cursor
	page, err := r.parkedPage(ctx, in.ParkedSelection, "query.entity", f)
	if err != nil {
		return nil, err
	}
	out := &listParkedOutput{Body: parkedList{Items: make([]parkedEntity, len(page.Items)), NextCursor: page.NextCursor}}
	for i := range page.Items {
		out.Body.Items[i] = r.newParked(&page.Items[i])
	}
	return out, nil
}

// parkedPage reads a page of what a selection takes. One entity needs no list.
func (r *reader) parkedPage(ctx context.Context, s ParkedSelection, location string, f stream.WaitingFilter) (page stream.WaitingPage, err error) {
	if s.Entity == "" {
		page, err = r.queue.Waiting(ctx, f)
		return page, r.parkedProblem(ctx, err)
	}
	key, err := r.entityKey(ctx, location, s.Entity)
	if err != nil {
		return page, err
	}
	if s.Source != "" && s.Source != key.Source {
		return page, nil
	}
	w, err := r.queue.WaitingOf(ctx, key)
	if err == nil && w != nil && s.wants(w) {
		page.Items = []stream.Waiting{*w}
	}
	return page, r.parkedProblem(ctx, err)
}

func (r *reader) parkedProblem(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, stream.ErrCursor):
		return problem(http.StatusBadRequest, "", "%v", stream.ErrCursor)
	}
	return r.queueProblem(ctx, "look at what is parked", err)
}

type retryParkedInput struct {
	Body struct {
		ParkedSelection
		All bool `json:"all,omitempty" doc:"Needed where no filter is given: everything that waits is retried."`
	}
}

type retryParkedOutput struct {
	Body struct {
		Entities int `json:"entities" doc:"How many waited and are due now."`
	}
}

func (o *operator) retryParked(ctx context.Context, in *retryParkedInput) (*retryParkedOutput, error) {
	selection := in.Body.ParkedSelection
	if selection == (ParkedSelection{}) && !in.Body.All {
		return nil, noFilter("retry all that waits")
	}
	f, err := selection.filter(ctx, o.reader, "body")
	if err != nil {
		return nil, err
	}
	ctx, cancel := o.acting(ctx)
	defer cancel()
	n, err := o.retrySelected(ctx, selection, f)
	if n > 0 || err == nil { // some may be due although an error followed
		o.record(ctx, act{source: selection.Source, did: "retry", to: count(int64(n), "parked entity", "parked entities"), why: selection.words()})
	}
	if err != nil {
		return nil, err
	}
	out := &retryParkedOutput{}
	out.Body.Entities = n
	return out, nil
}

// retrySelected makes what a selection takes due, page by page. What is due already is at
// the beginning of the list and stays there, so no page has it again.
func (o *operator) retrySelected(ctx context.Context, s ParkedSelection, f stream.WaitingFilter) (n int, err error) {
	f.Limit = retriedAtOnce
	for {
		page, err := o.parkedPage(ctx, s, "body.entity", f)
		if err != nil {
			return n, err
		}
		keys := make([]event.Key, len(page.Items))
		for i, w := range page.Items {
			keys[i] = w.Key
		}
		retried, err := o.queue.RetryEntities(ctx, keys)
		n += retried
		if err != nil {
			return n, o.queueProblem(ctx, "retry what is parked", err)
		}
		if page.NextCursor == "" {
			return n, nil
		}
		f.Cursor = page.NextCursor
	}
}

// retriedAtOnce is how many entities one step of a retry takes.
const retriedAtOnce = 500

// words is the selection as the audit has it, "" if it takes everything.
func (s ParkedSelection) words() string {
	var text string
	for _, part := range [][2]string{{"source", s.Source}, {"kind", s.Kind}, {"entity", s.Entity}, {"reason", s.Reason}, {"class", s.Class}} {
		if part[1] != "" {
			text += " " + part[0] + "=" + part[1]
		}
	}
	if text == "" {
		return ""
	}
	return text[1:]
}

// waitingWithin bounds the question whether an entity waits, of which the answer about
// the entity itself does not depend.
const waitingWithin = 250 * time.Millisecond

// waits returns why an entity waits. Nil if it does not, or if Redis does not answer.
func (r *reader) waits(ctx context.Context, key event.Key) *Waits {
	ctx, cancel := context.WithTimeout(ctx, waitingWithin)
	defer cancel()
	w, err := r.queue.WaitingOf(ctx, key)
	if err != nil {
		r.log.WarnContext(ctx, "cannot say whether an entity waits", "entity", key.String(), "error", err)
		return nil
	}
	if w == nil {
		return nil
	}
	shown := newWaits(w)
	return &shown
}
