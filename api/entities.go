package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/waiting"
)

// longestWait is the most a client may wait for a newer sync.
const longestWait = 30 * time.Second

// entity is a mirrored entity as the API shows it.
type entity struct {
	Source     string            `json:"source"`
	Kind       string            `json:"kind"`
	ID         string            `json:"id"`
	Parents    map[string]string `json:"parents,omitempty" doc:"Ids of its parents."`
	State      json.RawMessage   `json:"state,omitempty" doc:"The provider's JSON, every value as the provider wrote it (1.10 stays 1.10), without secret fields."`
	Status     string            `json:"status,omitempty" doc:"Current status; absent for kinds without one."`
	Terminal   bool              `json:"terminal" doc:"Whether the status is one the entity never leaves."`
	DeletedAt  time.Time         `json:"deleted_at,omitzero" doc:"When the provider was found to have it no longer; state is then the last one known."`
	SyncedAt   time.Time         `json:"synced_at" doc:"When the fetch behind this state was sent."`
	VerifiedAt time.Time         `json:"verified_at" doc:"Latest time this is known to have been the provider's state."`
	LastEvent  *lastEvent        `json:"last_event,omitempty" doc:"Newest event a sync has covered."`
	Behind     *behind           `json:"behind,omitempty" doc:"Present while the mirror knows that it is behind the provider."`
}

type lastEvent struct {
	ID        string    `json:"id"`
	Type      string    `json:"type"`
	CreatedAt time.Time `json:"created_at,omitzero" doc:"The provider's time of the event; when it was received, if that was earlier."`
}

type behind struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason" example:"retrying"`
	Parked *Waits    `json:"parked,omitempty" doc:"Why it waits, and until when. Absent in lists, and where nothing waits."`
}

func newEntity(d *storage.Document) entity {
	e := entity{
		Source: d.Key.Source, Kind: d.Key.Kind, ID: d.Key.ID, Parents: d.Parents,
		State: payloadJSON(d.Raw), Status: d.Status, Terminal: d.Terminal,
		DeletedAt: d.DeletedAt.UTC(), SyncedAt: d.SyncedAt.UTC(), VerifiedAt: d.VerifiedAt.UTC(),
	}
	if l := d.LastEvent; l.ID != "" {
		e.LastEvent = &lastEvent{ID: l.ID, Type: l.Type, CreatedAt: writable(l.CreatedAt)}
	}
	if b := d.Behind; b != nil {
		e.Behind = &behind{Since: b.Since.UTC(), Reason: b.Reason}
	}
	return e
}

type entityList struct {
	Items      []entity `json:"items" nullable:"false"`
	NextCursor string   `json:"next_cursor,omitempty" doc:"Absent on the last page."`
}

func (r *reader) registerEntities(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "list-entities", Method: http.MethodGet, Path: "/v1/entities/{source}/{kind}",
		Summary: "List mirrored entities of one kind, by id", Tags: []string{"entities"},
		Description: "Entities never fetched are left out; deleted ones are listed with deleted_at.",
		Security:    needs(Viewer), Errors: listErrors,
	}, r.listEntities)
	huma.Register(api, huma.Operation{
		OperationID: "get-entity", Method: http.MethodGet, Path: "/v1/entities/{source}/{kind}/{id}",
		Summary: "Read one mirrored entity", Tags: []string{"entities"},
		Description: "An entity never fetched is a 404 of type `not-yet`. A deleted one is a 200 with `deleted_at`.\n\n" +
			"`fresh_after` is a condition: the answer is a 200 only if `verified_at` is not before it. " +
			"With `wait` the request waits up to that long for the condition; if it is still not met, the answer " +
			"is a 504 of type `not-fresh` (or 404 `not-yet`), never an older state passed off as a fresh one. " +
			"To take whatever there is, leave `fresh_after` out.\n\n" + severalEntities,
		Security: needs(Viewer), Errors: append([]int{http.StatusConflict, http.StatusGatewayTimeout}, itemErrors...),
	}, r.getEntity)
}

// severalEntities describes routes that read one entity.
const severalEntities = "Ids of some kinds are unique under their parents only. If several entities have the id, the answer is a 409 of " +
	"type `ambiguous` with the `candidates` until `account` or `parent` says which."

type listEntitiesInput struct {
	KindPath
	Status  string `query:"status" doc:"Only entities in this status."`
	Account string `query:"account" doc:"Only entities under this account: short for parent=account/…"`
	Parent  string `query:"parent" doc:"Only entities under this one, as kind/id." example:"person/cusp_1"`
	Between
	Page
}

// parent returns the requested parent, "" if none. It refuses a parent that no entity of
// the kind has, which would look like an empty mirror.
func (in *listEntitiesInput) parent(k *provider.Kind) (kind, id string, err error) {
	location, text := "query.parent", in.Parent
	switch {
	case in.Account == "" && in.Parent == "":
		return "", "", nil
	case in.Account != "" && in.Parent != "":
		return "", "", invalid(location, text, "give one parent, account or parent")
	case in.Account != "":
		location, text = "query.account", in.Account
		kind, id = accountKind, in.Account
	default:
		if kind, id, err = parseParent(in.Parent); err != nil {
			return "", "", err
		}
	}
	if err := hasParent(k, location, text, kind); err != nil {
		return "", "", err
	}
	return kind, id, nil
}

// hasParent returns an error unless entities of the kind have the parent.
func hasParent(k *provider.Kind, location, text, parent string) error {
	if k.HasParent(parent) {
		return nil
	}
	return invalid(location, text, "a %s is under %s", k.Name, cmp.Or(strings.Join(k.ParentKeys, ", "), "nothing"))
}

// accountKind is the parent that has a parameter of its own.
const accountKind = "account"

// parseParent reads a parent named as kind/id.
func parseParent(text string) (kind, id string, err error) {
	kind, id, ok := strings.Cut(text, "/")
	if !ok || kind == "" || event.CheckID(id) != nil {
		return "", "", invalid("query.parent", text, "want kind/id, like person/cusp_1")
	}
	return kind, id, nil
}

type listEntitiesOutput struct{ Body entityList }

func (r *reader) listEntities(ctx context.Context, in *listEntitiesInput) (*listEntitiesOutput, error) {
	_, kind, err := r.kind(in.KindPath)
	if err := errors.Join(err, in.check()); err != nil {
		return nil, err
	}
	f := storage.EntityFilter{
		Source: in.Source, Kind: in.Kind, Status: in.Status,
		From: in.From, To: in.To, Limit: in.Limit, Cursor: in.Cursor,
	}
	if f.Parent.Kind, f.Parent.ID, err = in.parent(kind); err != nil {
		return nil, err
	}
	found, err := r.store.Entities(ctx, f)
	if err != nil {
		return nil, r.storeProblem(ctx, "list entities", err)
	}
	out := &listEntitiesOutput{Body: entityList{Items: make([]entity, len(found.Items)), NextCursor: found.NextCursor}}
	for i, d := range found.Items {
		out.Body.Items[i] = newEntity(d)
	}
	return out, nil
}

type getEntityInput struct {
	EntityPath
	Above
	FreshAfter time.Time `query:"fresh_after" doc:"Answer only with a state known to have been the provider's at this time or later, RFC 3339."`
	Wait       string    `query:"wait" doc:"How long to wait for that, as a duration up to 30s." example:"5s"`
}

type getEntityOutput struct{ Body entity }

func (r *reader) getEntity(ctx context.Context, in *getEntityInput) (*getEntityOutput, error) {
	wait, err := parseWait(in.Wait)
	if err != nil {
		return nil, err
	}
	key, err := r.named(ctx, in.EntityPath, &in.Above)
	if err != nil {
		return nil, err
	}
	fresh := func(d *storage.Document) bool { return !d.VerifiedAt.Before(in.FreshAfter) }
	doc, err := r.await(ctx, key, wait, fresh)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, r.notYet(ctx, key)
	case err != nil:
		return nil, r.storeProblem(ctx, "read entity", err)
	case !fresh(doc):
		return nil, problem(http.StatusGatewayTimeout, problemNotFresh,
			"%s was last verified at %s, before fresh_after", key, doc.VerifiedAt.UTC().Format(time.RFC3339Nano))
	}
	e := newEntity(doc)
	if e.Behind != nil || doc.Claim > doc.SyncedClaim { // a fetch has begun that has brought nothing yet
		e.waits(r.waits(ctx, key))
	}
	return &getEntityOutput{Body: e}, nil
}

// waits adds what the entity waits for. One that waits after a failure is behind, also if
// the failure was of a sync by hand, which no event records.
func (e *entity) waits(w *Waits) {
	if w != nil && e.Behind == nil && w.Reason != waiting.Backlog {
		e.Behind = &behind{Since: w.FailedAt, Reason: storage.ReasonRetrying}
	}
	if e.Behind != nil {
		e.Behind.Parked = w
	}
}

// notYet is the answer for an entity that was never fetched. It says what it waits for.
func (r *reader) notYet(ctx context.Context, key event.Key) error {
	p := newProblem(http.StatusNotFound, problemNotYet, fmt.Sprintf("%s has not been fetched yet, or does not exist at the provider", key))
	if w := r.waits(ctx, key); w != nil {
		p.Parked = w
		p.Detail = fmt.Sprintf("%s has not been fetched yet: it waits (%s) until %s", key, w.Reason, w.NextAttemptAt.Format(time.RFC3339))
	}
	return p
}

func parseWait(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > longestWait {
		return 0, invalid("query.wait", s, "want a duration from 0s to %s, like 5s", longestWait)
	}
	return d, nil
}
