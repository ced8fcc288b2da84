package api

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/waiting"
)

// synced is the answer to a request for a sync.
type synced struct {
	Status string  `json:"status" enum:"queued,retrying,synced,failed" doc:"retrying: a fetch has failed, and is tried again. failed: it was given up."`
	ID     string  `json:"id" doc:"Names the request in the audit and in the reason sent to the provider."`
	Signal signal  `json:"signal" doc:"Its entry in the queue."`
	Entity *entity `json:"entity,omitempty" doc:"The entity as a fetch begun since has found it. Absent unless synced."`
	Parked *Waits  `json:"parked,omitempty" doc:"Why it is retried, and when."`
	Error  string  `json:"error,omitempty" doc:"Why it failed. Absent unless failed."`
}

// asked is what the audit keeps of a sync, to say later what became of it.
type asked struct {
	// Claim is the entity's when it was asked for. Nil: not known.
	Claim  *int64 `json:"claim,omitempty"`
	Signal signal `json:"signal"`
}

// followed is what became of a sync.
type followed struct {
	ID     string `json:"id"`
	Status string `json:"status" enum:"queued,retrying,synced,failed,erased" doc:"synced: a fetch that began later is in the mirror. failed: it was given up. erased: the entity is erased, and nothing is fetched."`
	Source string `json:"source"`
	Kind   string `json:"kind"`
	Entity string `json:"entity" doc:"Id of the entity."`
	By     string `json:"by" doc:"Who asked for it."`
	At     moment `json:"at" doc:"When it was asked for."`
	Signal signal `json:"signal" doc:"Its entry in the queue."`
	Error  string `json:"error,omitempty" doc:"Why it failed."`
	Parked *Waits `json:"parked,omitempty" doc:"Why it is retried, and when."`
}

func (o *operator) registerSync(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "sync-entity", Method: http.MethodPost, Path: "/v1/entities/{source}/{kind}/{id}/sync",
		Summary: "Fetch an entity from the provider now", Tags: []string{"entities"},
		Description: "The request is durable in the queue when the answer is a 202. It is done in the entity's order, at " +
			"the priority of webhooks, since a caller waits for it. With `wait` the answer is a 200 as soon as it is over: `synced` with the " +
			"entity when a fetch begun after the request is in the mirror, `failed` with the error when workers have given the sync up. " +
			"One that is not over by then is a 202, and /v1/syncs/{id} says what becomes of it. While the source is paused nothing is fetched.\n\n" +
			"An entity the mirror does not know yet needs the ids of its parents. Of one it has, they are known: others are " +
			"answered with a 409, since a fetch without them finds out whether the entity is still there. One that the " +
			"mirror holds as deleted is asked for under those given as well.\n\n" + severalEntities,
		DefaultStatus: http.StatusAccepted, Responses: alsoOK[synced](api, "It is over: the entity has been fetched, or the sync was given up"),
		Security: needs(Operator), Errors: append([]int{http.StatusGone}, actErrors...),
	}, o.sync)
}

type syncInput struct {
	EntityPath
	Above
	Wait string `query:"wait" doc:"How long to wait for the sync, as a duration up to 30s." example:"5s"`
}

type syncOutput struct {
	Status   int
	Location string `header:"Location" doc:"Where its outcome is."`
	Body     synced
}

func (o *operator) sync(ctx context.Context, in *syncInput) (*syncOutput, error) {
	key, err := o.key(in.EntityPath)
	if err != nil {
		return nil, err
	}
	wait, err := parseWait(in.Wait, longestWait)
	if err != nil {
		return nil, err
	}
	ref, claim, err := o.target(ctx, key, in, wait > 0)
	if err != nil {
		return nil, err
	}
	out, err := o.appendSync(ctx, ref, claim)
	if err != nil || wait == 0 {
		return out, err
	}
	return o.syncAnswer(ctx, ref.Key, out, o.awaitSync(ctx, ref.Key, *claim, out.Body.ID, wait))
}

// syncEnd is how a sync ended. Without either it is not known to have.
type syncEnd struct {
	// doc is the entity as a fetch begun since has found it, or erased.
	doc *storage.Document
	// givenUp is the note that workers gave the sync up.
	givenUp *storage.Note
}

func (e syncEnd) over() bool { return e.doc != nil || e.givenUp != nil }

// givenUpLooks is the time between two looks whether a sync was given up. Most syncs are
// over before the first.
const givenUpLooks = 250 * time.Millisecond

// awaitSync waits until a sync is over or the time is up. What cannot be read leaves it
// open: the sync is in the queue anyway.
func (o *operator) awaitSync(ctx context.Context, key event.Key, claim int64, id string, wait time.Duration) syncEnd {
	next := time.Now().Add(givenUpLooks)
	end, _ := await(ctx, o.reader, wait, func(ctx context.Context) (syncEnd, error) {
		end, err := o.fetchedSince(ctx, key, claim)
		if end.over() || err != nil || time.Now().Before(next) {
			return end, err
		}
		next = time.Now().Add(givenUpLooks)
		return o.givenUp(ctx, id)
	}, func(end syncEnd, err error) bool { return end.over() || err != nil })
	if !end.over() && ctx.Err() == nil {
		end, _ = o.givenUp(ctx, id) // perhaps since the last look for it
	}
	return end
}

// fetchedSince looks for a fetch with a claim above another.
func (o *operator) fetchedSince(ctx context.Context, key event.Key, claim int64) (syncEnd, error) {
	doc, err := o.known(ctx, key)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return syncEnd{}, nil
	case err != nil:
		return syncEnd{}, err
	case doc.Erased != nil || doc.SyncedClaim > claim:
		return syncEnd{doc: doc}, nil
	}
	return syncEnd{}, nil
}

// givenUp looks for the note that workers gave a sync up.
func (r *reader) givenUp(ctx context.Context, id string) (syncEnd, error) {
	note, err := r.store.NoteByID(ctx, storage.GivenUpID(id))
	if errors.Is(err, storage.ErrNotFound) {
		return syncEnd{}, nil
	}
	return syncEnd{givenUp: note}, err
}

// syncAnswer adds to the answer to a sync how it ended.
func (o *operator) syncAnswer(ctx context.Context, key event.Key, out *syncOutput, end syncEnd) (*syncOutput, error) {
	switch {
	case end.doc != nil && end.doc.Erased != nil:
		return nil, gone(end.doc)
	case end.doc != nil:
		e := newEntity(end.doc)
		out.Status, out.Body.Status, out.Body.Entity = http.StatusOK, "synced", &e
	case end.givenUp != nil:
		out.Status, out.Body.Status, out.Body.Error = http.StatusOK, "failed", end.givenUp.Reason
	default:
		if w := o.waits(ctx, key); w != nil && w.Reason != waiting.Backlog {
			out.Body.Status, out.Body.Parked = "retrying", w
		}
	}
	return out, nil
}

// target returns the entity with the parents its path needs: those given, or else those
// the mirror has. It also returns the entity's claim now, nil if it is not known. A sync
// with a higher claim began after this read, and so after the request came; no clocks are
// compared.
//
// A sync can be requested while the store is away, if only the store's knowledge is not
// needed: workers check parents that a caller gives.
func (o *operator) target(ctx context.Context, key event.Key, in *syncInput, waits bool) (ref event.Ref, claim *int64, err error) {
	src, kind, err := o.kind(in.KindPath)
	if err != nil {
		return ref, nil, err
	}
	parents, err := in.parents()
	if err != nil {
		return ref, nil, err
	}
	if key, err = o.only(ctx, kind, key, parents); err != nil {
		return ref, nil, err
	}
	var doc *storage.Document
	needed := waits || parents == nil && len(kind.ParentKeys) > 0
	doc, err = o.lookUp(ctx, key, needed)
	switch {
	case err == nil && doc.Erased != nil:
		return ref, nil, gone(doc)
	case err == nil:
		claim = &doc.Claim
		if parents == nil {
			parents = doc.Parents
		}
	case errors.Is(err, storage.ErrNotFound): // it was never asked for
		claim = new(int64)
	case needed:
		return ref, nil, o.storeProblem(ctx, "read entity", err)
	}
	if ref, err = src.Provider.Ref(key, parents); err != nil {
		return ref, nil, invalid("query.parent", "", "%v; name its parent with ?account= or ?parent=kind/id", err)
	}
	if doc != nil && contradicts(kind, doc, ref) {
		return ref, nil, problem(http.StatusConflict, problems.Parents,
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
func (o *operator) appendSync(ctx context.Context, ref event.Ref, claim *int64) (*syncOutput, error) {
	ctx, cancel := o.acting(ctx)
	defer cancel()
	id := newID("sync_")
	got, err := o.queue.Append(ctx, stream.Draft{Signal: event.Signal{
		Ref: ref, Cause: event.CauseOperator, CauseID: id, Class: event.Live,
	}})
	if err != nil {
		return nil, o.queueProblem(ctx, "sync "+ref.Key.String(), err)
	}
	entry := signal{Shard: got.Shard, ID: got.ID}
	o.record(ctx, act{id: id, source: ref.Key.Source, did: didSync, to: ref.Key.String(), why: id, after: asked{Claim: claim, Signal: entry}})
	return &syncOutput{Status: http.StatusAccepted, Location: "/v1/syncs/" + id, Body: synced{Status: "queued", ID: id, Signal: entry}}, nil
}

func (r *reader) registerSyncs(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "get-sync", Method: http.MethodGet, Path: "/v1/syncs/{id}",
		Summary: "Read what became of a sync", Tags: []string{"entities"},
		Description: "By the id that its request was answered with, as long as the audit keeps it.",
		Security:    needs(Viewer), Errors: itemErrors,
	}, r.getSync)
}

type followedOutput struct{ Body followed }

func (r *reader) getSync(ctx context.Context, in *struct {
	ID string `path:"id" maxLength:"255" doc:"Id of the sync." example:"sync_3csxs6xbaegakcsr"`
},
) (*followedOutput, error) {
	note, err := r.store.NoteByID(ctx, storage.ActID(in.ID))
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, r.storeProblem(ctx, "read sync", err)
	}
	var was asked
	var key event.Key
	if err == nil {
		if err = json.Unmarshal([]byte(note.After), &was); err == nil {
			key, err = event.ParseKey(note.To)
		}
	}
	if err != nil || note.Did != didSync {
		return nil, problem(http.StatusNotFound, "", "no sync %q is in the audit; one of a time when the database was away is not", in.ID)
	}
	out := &followedOutput{Body: followed{
		ID: in.ID, Status: "queued", Source: key.Source, Kind: key.Kind, Entity: key.ID, By: note.By, At: momentOf(note.At), Signal: was.Signal,
	}}
	return out, r.follow(ctx, key, was, &out.Body)
}

// follow finds out what became of a sync: what it asked for is in the mirror, was given
// up, is parked, or still queued.
func (r *reader) follow(ctx context.Context, key event.Key, was asked, f *followed) error {
	doc, err := r.store.Entity(ctx, key)
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case err != nil:
		return r.storeProblem(ctx, "read entity", err)
	case doc.Erased != nil:
		f.Status = "erased"
		return nil
	case was.Claim != nil && doc.SyncedClaim > *was.Claim, was.Claim == nil && doc.SyncedAt.After(f.At.Time):
		f.Status = "synced"
		return nil
	}
	end, err := r.givenUp(ctx, f.ID)
	switch {
	case err != nil:
		return r.storeProblem(ctx, "read sync", err)
	case end.givenUp != nil:
		f.Status, f.Error = "failed", end.givenUp.Reason
		return nil
	}
	if w := r.waits(ctx, key); w != nil && w.Reason != waiting.Backlog {
		f.Status, f.Parked = "retrying", w
	}
	return nil
}

// didSync is what the audit calls a sync.
const didSync = "sync"
