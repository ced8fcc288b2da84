package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/waiting"
)

// longestWait is the most a client may wait for a newer sync.
const longestWait = 30 * time.Second

// entity is a mirrored entity as the API shows it.
type entity struct {
	feed.Entity
	Ref    string  `json:"ref,omitempty" doc:"The name that an application has for it: see /v1/commands. Absent in lists."`
	Behind *behind `json:"behind,omitempty" doc:"Present while the mirror knows that it is behind the provider."`
	// Discarded is set by getEntity.
	Discarded *discardedWork `json:"discarded,omitempty" doc:"The newest work on it that an operator has discarded, while no later fetch has made up for it: the state may lack that event. A sync fetches it. Absent in lists, and once the dead letter is forgotten."`
}

// discardedWork is an event's work on an entity that an operator gave up.
type discardedWork struct {
	At     moment `json:"at" doc:"When it was discarded."`
	Letter string `json:"letter" doc:"Id of the dead letter."`
	Event  string `json:"event" doc:"Id of the event."`
}

type behind struct {
	feed.Behind
	Parked *Waits `json:"parked,omitempty" doc:"Why it waits, and until when. Absent in lists, and where nothing waits."`
}

func newEntity(d *storage.Document) entity {
	e := entity{Entity: feed.EntityOf(d)}
	if b := e.Entity.Behind; b != nil {
		e.Behind = &behind{Behind: *b}
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
		Description: "An entity never fetched is a 404 of type `not-yet`. A deleted one is a 200 with `deleted_at`. " +
			"An erased one is a 410 of type `erased` that says since when and by whom. One with `discarded` may lack an event " +
			"whose work an operator gave up.\n\n" +
			"`fresh_after` is a condition: the answer is a 200 only if `verified_at` is not before it. " +
			"With `wait` the request waits up to that long for the condition; if it is still not met, the answer " +
			"is a 504 of type `not-fresh` (or 404 `not-yet`), never an older state passed off as a fresh one. " +
			"To take whatever there is, leave `fresh_after` out.\n\n" + severalEntities,
		Security: needs(Viewer), Errors: append([]int{http.StatusConflict, http.StatusGone, http.StatusGatewayTimeout}, itemErrors...),
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
	if err := r.knownStatus(ctx, in.Source, kind, in.Status); err != nil {
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
	wait, err := parseWait(in.Wait, longestWait)
	if err != nil {
		return nil, err
	}
	key, err := r.named(ctx, in.EntityPath, &in.Above)
	if err != nil {
		return nil, err
	}
	fresh := func(d *storage.Document) bool { return d.Erased != nil || !d.VerifiedAt.Before(in.FreshAfter) }
	doc, err := r.await(ctx, key, wait, fresh)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, r.notYet(ctx, key)
	case err != nil:
		return nil, r.storeProblem(ctx, "read entity", err)
	case doc.Erased != nil:
		return nil, gone(doc)
	case !fresh(doc):
		return nil, problem(http.StatusGatewayTimeout, problems.NotFresh,
			"%s was last verified at %s, before fresh_after", key, momentOf(doc.VerifiedAt).Text())
	}
	e := newEntity(doc)
	if e.Ref, err = r.refOf(ctx, key); err != nil {
		return nil, err
	}
	if e.Behind != nil || doc.Claim > doc.SyncedClaim { // a fetch has begun that has brought nothing yet
		e.waits(r.waits(ctx, key))
	}
	if e.Discarded, err = r.discarded(ctx, doc); err != nil {
		return nil, err
	}
	return &getEntityOutput{Body: e}, nil
}

// waits adds what the entity waits for. One that waits after a failure is behind, also if
// the failure was of a sync by hand, which no event records.
func (e *entity) waits(w *Waits) {
	if w != nil && e.Behind == nil && w.Reason != waiting.Backlog {
		e.Behind = &behind{Behind: feed.Behind{Since: w.FailedAt, Reason: storage.ReasonRetrying}}
	}
	if e.Behind != nil {
		e.Behind.Parked = w
	}
}

// discarded returns the newest discarded work on an entity that no later fetch has made up
// for, nil if there is none. A discarded dead letter has the claim of a fetch that failed, so
// an entity whose last claim has brought its state has none, and no dead letter is read.
func (r *reader) discarded(ctx context.Context, doc *storage.Document) (*discardedWork, error) {
	if doc.Claim <= doc.SyncedClaim {
		return nil, nil
	}
	page, err := r.store.Letters(ctx, storage.LetterFilter{Entity: doc.Key, Status: storage.LetterDiscarded, Limit: 1})
	if err != nil {
		return nil, r.storeProblem(ctx, "read the dead letters of an entity", err)
	}
	if len(page.Items) == 0 || page.Items[0].Claim <= doc.SyncedClaim {
		return nil, nil
	}
	l := page.Items[0]
	return &discardedWork{At: momentOf(l.ClosedAt), Letter: l.ID(), Event: l.EventID}, nil
}

// notYet is the answer for an entity that was never fetched. It says what it waits for.
func (r *reader) notYet(ctx context.Context, key event.Key) error {
	p := newProblem(http.StatusNotFound, problems.NotYet, fmt.Sprintf("%s has not been fetched yet, or does not exist at the provider", key))
	if w := r.waits(ctx, key); w != nil {
		p.Parked = w
		p.Detail = fmt.Sprintf("%s has not been fetched yet: it waits (%s) until %s", key, w.Reason, w.NextAttemptAt.Text())
	}
	return p
}

// parseWait reads how long a client waits, at most so long.
func parseWait(s string, most time.Duration) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > most {
		return 0, invalid("query.wait", s, "want a duration from 0s to %s, like 5s", most)
	}
	return d, nil
}
