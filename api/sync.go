package api

import (
	"context"
	"errors"
	"maps"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// synced is the answer to the wish for a sync.
type synced struct {
	Status string  `json:"status" enum:"queued,synced"`
	ID     string  `json:"id" doc:"Names the wish in the audit and in what the provider is told of the reason."`
	Signal signal  `json:"signal" doc:"Its entry in the queue."`
	Entity *entity `json:"entity,omitempty" doc:"The entity as a fetch begun since has found it. Absent unless synced."`
}

func (o *operator) registerSync(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "sync-entity", Method: http.MethodPost, Path: "/v1/entities/{source}/{kind}/{id}/sync",
		Summary: "Fetch an entity from the provider now", Tags: []string{"entities"},
		Description: "The wish is durable in the queue when this is answered with a 202, and is done in the entity's order, at " +
			"the priority of webhooks: somebody waits for it. With `wait` the answer is a 200 with the entity if a fetch " +
			"begun after the request is in the mirror by then. While the source is paused nothing is fetched.\n\n" +
			"An entity the mirror does not know yet needs the ids of its parents. Of one it has, they are known: others are " +
			"answered with a 409, since a fetch without them finds out whether the entity is still there. One that the " +
			"mirror holds as deleted is asked for under those given as well.\n\n" + severalEntities,
		DefaultStatus: http.StatusAccepted, Responses: alsoOK[synced](api, "The entity has been fetched"),
		Security: needs(Operator), Errors: actErrors,
	}, o.sync)
}

type syncInput struct {
	EntityPath
	Above
	Wait string `query:"wait" doc:"How long to wait for the sync, as a duration up to 30s." example:"5s"`
}

type syncOutput struct {
	Status int
	Body   synced
}

func (o *operator) sync(ctx context.Context, in *syncInput) (*syncOutput, error) {
	key, err := o.key(in.EntityPath)
	if err != nil {
		return nil, err
	}
	wait, err := parseWait(in.Wait)
	if err != nil {
		return nil, err
	}
	ref, claim, err := o.target(ctx, key, in, wait > 0)
	if err != nil {
		return nil, err
	}
	out, err := o.appendSync(ctx, ref)
	if err != nil || wait == 0 {
		return out, err
	}
	doc, err := o.await(ctx, ref.Key, wait, func(d *storage.Document) bool { return d.SyncedClaim > claim })
	if err != nil || doc.SyncedClaim <= claim {
		return out, nil // it is in the queue, whatever became of looking on
	}
	e := newEntity(doc)
	out.Status, out.Body.Status, out.Body.Entity = http.StatusOK, "synced", &e
	return out, nil
}

// target returns the entity with the parents its path needs: those given, else
// those the mirror knows; and the claim it has now. A sync of a higher claim
// began after this was read, so after the request came: clocks are not asked.
//
// A sync can be wished for while the store is away, if nothing that only the
// store knows is needed: workers do not take parents that are given for a fact.
func (o *operator) target(ctx context.Context, key event.Key, in *syncInput, waits bool) (ref event.Ref, claim int64, err error) {
	src, kind, err := o.kind(in.KindPath)
	if err != nil {
		return ref, 0, err
	}
	parents, err := in.parents()
	if err != nil {
		return ref, 0, err
	}
	if key, err = o.only(ctx, kind, key, parents); err != nil {
		return ref, 0, err
	}
	var doc *storage.Document
	if waits || len(kind.ParentKeys) > 0 {
		needed := waits || parents == nil
		doc, err = o.lookUp(ctx, key, needed)
		switch {
		case err == nil:
			claim = doc.Claim
			if parents == nil {
				parents = doc.Parents
			}
		case errors.Is(err, storage.ErrNotFound): // nobody has looked for it yet
		case needed:
			return ref, 0, o.storeProblem(ctx, "read entity", err)
		}
	}
	if ref, err = src.Provider.Ref(key, parents); err != nil {
		return ref, 0, invalid("query.parent", "", "%v; say what it stands under with ?account= or ?parent=kind/id", err)
	}
	if doc != nil && contradicts(kind, doc, ref) {
		return ref, 0, problem(http.StatusConflict, problemParents,
			"the mirror has %s under other parents, and a hint moves nothing: leave them out to have it fetched where it is known to stand", key)
	}
	return ref, claim, nil
}

// lookUp reads the mirror's document; if it can be done without, not for long.
func (o *operator) lookUp(ctx context.Context, key event.Key, needed bool) (*storage.Document, error) {
	if !needed {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.within)
		defer cancel()
	}
	return o.store.Entity(ctx, key)
}

// contradicts reports whether a reference names other parents than those under
// which the mirror has the entity alive: there it was fetched.
func contradicts(kind *provider.Kind, doc *storage.Document, ref event.Ref) bool {
	if doc.Raw == nil || !doc.DeletedAt.IsZero() {
		return false
	}
	known, ok := kind.Parents(doc.Parents)
	return ok && !maps.Equal(known, ref.Parents)
}

// appendSync puts the wish for a sync into the queue. It is of the class of
// webhooks: behind them somebody would wait, and there is one for each click.
// What is wished for in bulk is a sweep.
func (o *operator) appendSync(ctx context.Context, ref event.Ref) (*syncOutput, error) {
	ctx, cancel := o.acting(ctx)
	defer cancel()
	id := newID("sync_")
	got, err := o.queue.Append(ctx, stream.Draft{Signal: event.Signal{
		Ref: ref, Cause: event.CauseOperator, CauseID: id, Class: event.Live,
	}})
	if err != nil {
		return nil, o.queueProblem(ctx, "sync "+ref.Key.String(), err)
	}
	o.record(ctx, act{source: ref.Key.Source, did: "sync", to: ref.Key.String(), why: id})
	return &syncOutput{Status: http.StatusAccepted, Body: synced{
		Status: "queued", ID: id, Signal: signal{Shard: got.Shard, ID: got.ID},
	}}, nil
}
