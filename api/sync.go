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

// synced is the answer to a request for a sync.
type synced struct {
	Status string  `json:"status" enum:"queued,synced"`
	ID     string  `json:"id" doc:"Names the request in the audit and in the reason sent to the provider."`
	Signal signal  `json:"signal" doc:"Its entry in the queue."`
	Entity *entity `json:"entity,omitempty" doc:"The entity as a fetch begun since has found it. Absent unless synced."`
}

func (o *operator) registerSync(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "sync-entity", Method: http.MethodPost, Path: "/v1/entities/{source}/{kind}/{id}/sync",
		Summary: "Fetch an entity from the provider now", Tags: []string{"entities"},
		Description: "The request is durable in the queue when the answer is a 202. It is done in the entity's order, at " +
			"the priority of webhooks, since a caller waits for it. With `wait` the answer is a 200 with the entity if a fetch " +
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
		return out, nil // it is in the queue, even if the answer could not be read
	}
	e := newEntity(doc)
	out.Status, out.Body.Status, out.Body.Entity = http.StatusOK, "synced", &e
	return out, nil
}

// target returns the entity with the parents its path needs: those given, or else those
// the mirror has. It also returns the entity's claim now. A sync with a higher claim
// began after this read, and so after the request came; no clocks are compared.
//
// A sync can be requested while the store is away, if only the store's knowledge is not
// needed: workers check parents that a caller gives.
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
		case errors.Is(err, storage.ErrNotFound): // it was never asked for
		case needed:
			return ref, 0, o.storeProblem(ctx, "read entity", err)
		}
	}
	if ref, err = src.Provider.Ref(key, parents); err != nil {
		return ref, 0, invalid("query.parent", "", "%v; name its parent with ?account= or ?parent=kind/id", err)
	}
	if doc != nil && contradicts(kind, doc, ref) {
		return ref, 0, problem(http.StatusConflict, problemParents,
			"the mirror has %s under other parents, and a hint moves nothing: leave them out to have it fetched where it is known to stand", key)
	}
	return ref, claim, nil
}

// lookUp reads the mirror's document. It waits for a short time only if the document is
// not needed.
func (o *operator) lookUp(ctx context.Context, key event.Key, needed bool) (*storage.Document, error) {
	if !needed {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.within)
		defer cancel()
	}
	return o.store.Entity(ctx, key)
}

// contradicts reports whether a reference names other parents than those under which the
// mirror has the living entity.
func contradicts(kind *provider.Kind, doc *storage.Document, ref event.Ref) bool {
	if doc.Raw == nil || !doc.DeletedAt.IsZero() {
		return false
	}
	known, ok := kind.Parents(doc.Parents)
	return ok && !maps.Equal(known, ref.Parents)
}

// appendSync appends the signal of a sync. It has the class of webhooks: a caller waits
// for it, and there is one for each click. A sync in bulk is a sweep.
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
