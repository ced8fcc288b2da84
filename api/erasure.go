package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/storage"
)

// ErasedFacts are what is left of an erased entity. It is exported since the library finds
// embedded structs by that.
type ErasedFacts struct {
	Source   string            `json:"source"`
	Kind     string            `json:"kind"`
	ID       string            `json:"id"`
	Parents  map[string]string `json:"parents,omitempty" doc:"Ids of its parents."`
	ErasedAt moment            `json:"erased_at" doc:"Since when it is erased."`
	By       string            `json:"by,omitempty" doc:"Who erased it: the name of the token."`
	With     string            `json:"with,omitempty" doc:"The entity it was erased with, as source/kind/id. Absent: it was erased by itself." example:"lemon/account/cusa_1"`
	Claim    int64             `json:"claim,omitempty" doc:"Number of the newest fetch that was to begin. Fetches up to it are not written."`
}

func newErasedFacts(d *storage.Document) *ErasedFacts {
	e := &ErasedFacts{
		Source: d.Key.Source, Kind: d.Key.Kind, ID: d.Key.ID, Parents: d.Parents,
		ErasedAt: momentOf(d.Erased.At), By: d.Erased.By, Claim: d.Claim,
	}
	if !d.Erased.With.IsZero() {
		e.With = d.Erased.With.String()
	}
	return e
}

// erasure is the answer to a request that erases.
type erasure struct {
	ErasedFacts
	Children bool   `json:"children,omitempty" doc:"All that is under it is erased too."`
	Job      string `json:"job,omitempty" doc:"Id of the job that erases what is under the entity and looks a second time. Absent if it was erased before."`
}

// enlisted is an act of erasing in a list.
type enlisted struct {
	Entity   string `json:"entity" doc:"What was erased, as source/kind/id." example:"lemon/account/cusa_1"`
	ErasedAt moment `json:"erased_at"`
	By       string `json:"by,omitempty" doc:"Who erased it: the name of the token."`
	With     string `json:"with,omitempty" doc:"The entity it was erased with. Absent: it was erased by itself."`
	Children bool   `json:"children" doc:"All that is under it is erased too, also what appears later."`
}

type enlistedList struct {
	Items      []enlisted `json:"items" nullable:"false"`
	NextCursor string     `json:"next_cursor,omitempty" doc:"Absent on the last page."`
}

// eraser erases a person's data, and restores it.
type eraser struct{ *operator }

func (o *operator) registerErasures(api huma.API) {
	e := eraser{o}
	huma.Register(api, huma.Operation{
		OperationID: "erase-entity", Method: http.MethodDelete, Path: "/v1/entities/{source}/{kind}/{id}",
		Summary: "Erase an entity's data", Tags: []string{"erasure"},
		Description: "Removes what the mirror has of an entity and leaves a marker: its key, its parents, since when it is erased and by " +
			"whom. Events that name it keep their ids; their payloads become `erased`, and so do errors, patches and the attempts of " +
			"dead letters. Later events of it are settled as `erased`, and the provider is not asked for it, until it is restored. " +
			"With `children` all that is under it is erased too, also what appears later: the answer is a 202 with the job.\n\n" +
			"It may be asked for again, and answers with the same marker. An entity that the mirror does not know can be erased " +
			"as well. README.md of the api says what stays where, and why.\n\n" + severalEntities,
		DefaultStatus: http.StatusOK, Responses: alsoAccepted[erasure](api, "The entity is erased, and what is under it is being erased"),
		Security: needs(Operator), Errors: actErrors,
	}, e.erase)
	huma.Register(api, huma.Operation{
		OperationID: "restore-entity", Method: http.MethodPost, Path: "/v1/entities/{source}/{kind}/{id}/restore",
		Summary: "Let an erased entity come back", Tags: []string{"erasure"},
		Description: "Removes the marker and has the entity fetched from the provider. What was erased of events stays erased. " +
			"If it was erased with what is under it, a job restores all of that. One that was erased with another entity is a 409 of type " +
			"`erased-with` as long as that one is erased, and one that is not erased a 409 of type `not-erased`. Until the job that " +
			"erases has looked a second time, about 30 seconds after the first, it is a 409 of type `erasing`.\n\n" + severalEntities,
		DefaultStatus: http.StatusAccepted, Security: needs(Operator), Errors: actErrors,
	}, e.restore)
	huma.Register(api, huma.Operation{
		OperationID: "list-erasures", Method: http.MethodGet, Path: "/v1/erasures",
		Summary: "List what operators have erased, by source, kind and id", Tags: []string{"erasure"},
		Description: "What was erased by itself or with what is under it; of the latter only what has others under it. After a backup " +
			"of an earlier time was restored, erase what this list had and has no more.",
		Security: needs(Viewer), Errors: listErrors,
	}, e.list)
}

type eraseInput struct {
	EntityPath
	Above
	Children bool `query:"children" doc:"Erase all that is under it too."`
}

type eraseOutput struct {
	Status   int
	Location string `header:"Location" doc:"Where the job is."`
	Body     erasure
}

// erase creates the job first: if this process dies, the job does the rest. The job also
// looks a second time, after what other processes may have written meanwhile.
func (e eraser) erase(ctx context.Context, in *eraseInput) (*eraseOutput, error) {
	ref, doc, err := e.erasable(ctx, in.EntityPath, in.Above)
	if err != nil {
		return nil, err
	}
	ctx, cancel := e.acting(ctx)
	defer cancel()
	if err := e.notUnderWay(ctx, ref.Key, taskRestore); err != nil {
		return nil, err
	}
	listed, err := e.listed(ctx, ref.Key)
	if err != nil {
		return nil, err
	}
	out := &eraseOutput{Status: http.StatusOK, Body: erasure{Children: in.Children || listed != nil && listed.Below}}
	if doc != nil && doc.Erased != nil && listed != nil && listed.With.IsZero() && (listed.Below || !in.Children) {
		out.Body.ErasedFacts = *newErasedFacts(doc)
		return out, nil // it was erased before
	}
	now := e.now().UTC()
	task := &storage.Task{
		ID: newID("job_"), Kind: storage.KindErase, Source: ref.Key.Source, Status: storage.TaskWaiting, By: actor(ctx),
		Spec: toJSON(storage.ErasureSpec{Entity: ref, Below: in.Children}), CreatedAt: now, UpdatedAt: now,
	}
	if err := e.store.CreateTasks(ctx, []*storage.Task{task}); err != nil {
		return nil, e.storeProblem(ctx, "start "+task.ID, err)
	}
	did := "erase"
	if in.Children {
		did = "erase with children"
	}
	e.record(ctx, act{source: ref.Key.Source, did: did, to: ref.Key.String(), why: task.ID})
	if doc, err = e.eraseOne(ctx, ref, storage.Erasure{
		Key: ref.Key, Marker: storage.Marker{At: now, By: task.By}, Below: in.Children,
	}); err != nil {
		return nil, e.storeProblem(ctx, "erase "+ref.Key.String()+"; "+task.ID+" does it", err)
	}
	out.Body.ErasedFacts, out.Body.Job, out.Location = *newErasedFacts(doc), task.ID, "/v1/jobs/"+task.ID
	if in.Children {
		out.Status = http.StatusAccepted
	}
	return out, nil
}

// eraseOne puts the erasure into the list, from which workers learn of it, writes the
// marker and clears the records.
func (e eraser) eraseOne(ctx context.Context, ref event.Ref, x storage.Erasure) (*storage.Document, error) {
	if err := e.store.Enlist(ctx, x); err != nil {
		return nil, err
	}
	doc, err := e.store.Erase(ctx, ref, x.Marker)
	for after := ""; err == nil; {
		var done storage.Cleared
		if done, err = e.store.Clear(ctx, ref.Key, after, x.At); done.Next == "" {
			break
		}
		after = done.Next
	}
	if err != nil {
		return nil, err
	}
	if _, err := e.queue.RetryEntities(ctx, []event.Key{ref.Key}); err != nil { // the job tries it again
		e.log.WarnContext(ctx, "what is parked of an erased entity could not be made due", "entity", ref.Key.String(), "error", err)
	}
	return doc, nil
}

// erasable returns the entity that a path names, with the parents it is known to have or,
// if it is not known, those given. doc is nil if there is no document.
func (e eraser) erasable(ctx context.Context, p EntityPath, above Above) (ref event.Ref, doc *storage.Document, err error) {
	key, err := e.key(p)
	if err != nil {
		return ref, nil, err
	}
	src, kind, err := e.kind(p.KindPath)
	if err != nil {
		return ref, nil, err
	}
	parents, err := above.parents()
	if err != nil {
		return ref, nil, err
	}
	if key, err = e.only(ctx, kind, key, parents); err != nil {
		return ref, nil, err
	}
	if r, err := src.Provider.Ref(key, parents); err == nil && parents != nil {
		key = r.Key
	}
	doc, err = e.store.Entity(ctx, key)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return event.Ref{Key: key, Parents: parents}, nil, nil
	case err != nil:
		return ref, nil, e.storeProblem(ctx, "read entity", err)
	}
	return event.Ref{Key: key, Parents: doc.Parents}, doc, nil
}

// listed returns the act of erasing an entity, nil if there is none.
func (e eraser) listed(ctx context.Context, k event.Key) (*storage.Erasure, error) {
	all, err := e.erasures(ctx)
	for i := range all {
		if all[i].Key == k {
			return &all[i], nil
		}
	}
	return nil, err
}

// notUnderWay refuses to go on while a job of some kinds that is about the entity is not
// over.
func (e eraser) notUnderWay(ctx context.Context, k event.Key, kinds ...string) error {
	f := storage.TaskFilter{Kinds: kinds, Source: k.Source, Statuses: []storage.TaskStatus{storage.TaskWaiting, storage.TaskRunning}, Limit: 200}
	for {
		page, err := e.store.Tasks(ctx, f)
		if err != nil {
			return e.storeProblem(ctx, "look for jobs under way", err)
		}
		for _, t := range page.Items {
			var spec storage.ErasureSpec
			if json.Unmarshal(t.Spec, &spec) == nil && spec.Entity.Key == k {
				return problem(http.StatusConflict, problems.Erasing, "%s is not over, which is to %s %s: ask again when it is", t.ID, t.Kind, k)
			}
		}
		if f.Cursor = page.NextCursor; f.Cursor == "" {
			return nil
		}
	}
}

func (e eraser) erasures(ctx context.Context) ([]storage.Erasure, error) {
	all, _, err := e.store.Erasures(ctx, -1)
	if err != nil {
		return nil, e.storeProblem(ctx, "list erasures", err)
	}
	return all, nil
}

type restoreInput struct {
	EntityPath
	Above
}

type restored struct {
	ID     string  `json:"id" doc:"Names the sync, or the job that restores what was erased together."`
	Status string  `json:"status" enum:"queued" doc:"Its sync, or the job, is queued."`
	Signal *signal `json:"signal,omitempty" doc:"Entry of the sync in the queue. Absent if a job restores."`
	Job    string  `json:"job,omitempty" doc:"Id of the job."`
}

type restoreOutput struct {
	Location string `header:"Location" doc:"Where the sync or the job is."`
	Body     restored
}

func (e eraser) restore(ctx context.Context, in *restoreInput) (*restoreOutput, error) {
	ref, doc, err := e.erasable(ctx, in.EntityPath, in.Above)
	if err != nil {
		return nil, err
	}
	if doc == nil || doc.Erased == nil {
		return nil, problem(http.StatusConflict, problems.NotErased, "%s is not erased; a sync fetches it", ref.Key)
	}
	ctx, cancel := e.acting(ctx)
	defer cancel()
	with := doc.Erased.With
	if !with.IsZero() {
		over, err := e.listed(ctx, with)
		if err != nil {
			return nil, err
		}
		if over != nil {
			return nil, problem(http.StatusConflict, problems.ErasedWith, "%s was erased with %s: restore that", ref.Key, with)
		}
	}
	// Its second look would erase again what is restored before.
	if err := e.notUnderWay(ctx, ref.Key, taskErase, taskRestore); err != nil {
		return nil, err
	}
	listed, err := e.listed(ctx, ref.Key)
	if err != nil {
		return nil, err
	}
	if listed != nil && listed.Below {
		return e.startRestore(ctx, ref)
	}
	// First from the list, or its next event would still be logged without its payload.
	if err := e.store.Unlist(ctx, ref.Key); err != nil {
		return nil, e.storeProblem(ctx, "restore "+ref.Key.String(), err)
	}
	if _, err := e.store.Unerase(ctx, ref.Key, with); err != nil {
		return nil, e.storeProblem(ctx, "restore "+ref.Key.String(), err)
	}
	e.record(ctx, act{source: ref.Key.Source, did: "restore", to: ref.Key.String()})
	out, err := e.appendSync(ctx, ref, nil)
	if err != nil {
		return nil, err
	}
	return &restoreOutput{Location: out.Location, Body: restored{ID: out.Body.ID, Status: "queued", Signal: &out.Body.Signal}}, nil
}

func (e eraser) startRestore(ctx context.Context, ref event.Ref) (*restoreOutput, error) {
	now := e.now().UTC()
	task := &storage.Task{
		ID: newID("job_"), Kind: storage.KindRestore, Source: ref.Key.Source, Status: storage.TaskWaiting, By: actor(ctx),
		Spec: toJSON(storage.ErasureSpec{Entity: ref, Below: true}), CreatedAt: now, UpdatedAt: now,
	}
	if err := e.store.CreateTasks(ctx, []*storage.Task{task}); err != nil {
		return nil, e.storeProblem(ctx, "start "+task.ID, err)
	}
	e.record(ctx, act{source: ref.Key.Source, did: "restore with children", to: ref.Key.String(), why: task.ID})
	return &restoreOutput{Location: "/v1/jobs/" + task.ID, Body: restored{ID: task.ID, Status: "queued", Job: task.ID}}, nil
}

type listErasuresInput struct {
	Source string `query:"source" doc:"Only entities of this source."`
	Page
}

type listErasuresOutput struct{ Body enlistedList }

func (e eraser) list(ctx context.Context, in *listErasuresInput) (*listErasuresOutput, error) {
	all, err := e.erasures(ctx)
	if err != nil {
		return nil, err
	}
	if err := e.mustKnow(ctx, among(all), mentions("query", in.Source, "", "", event.Key{})); err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(x storage.Erasure) bool {
		return in.Source != "" && x.Key.Source != in.Source || in.Cursor != "" && x.Key.String() <= in.Cursor
	})
	slices.SortFunc(all, func(a, b storage.Erasure) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	out := &listErasuresOutput{Body: enlistedList{Items: []enlisted{}}}
	for i, x := range all {
		if i == cmp.Or(in.Limit, 50) {
			out.Body.NextCursor = all[i-1].Key.String()
			break
		}
		item := enlisted{Entity: x.Key.String(), ErasedAt: momentOf(x.At), By: x.By, Children: x.Below}
		if !x.With.IsZero() {
			item.With = x.With.String()
		}
		out.Body.Items = append(out.Body.Items, item)
	}
	return out, nil
}

// among looks for a mention of a source among erasures.
func among(all []storage.Erasure) records {
	return func(_ context.Context, m mention) (bool, error) {
		return slices.ContainsFunc(all, func(x storage.Erasure) bool { return x.Key.Source == m.source }), nil
	}
}

// gone is the answer for an erased entity.
func gone(doc *storage.Document) error {
	f, by := newErasedFacts(doc), ""
	if f.By != "" {
		by = " by " + f.By
	}
	p := newProblem(http.StatusGone, problems.Erased, doc.Key.String()+" is erased since "+f.ErasedAt.Text()+by)
	p.Erased = f
	return p
}
