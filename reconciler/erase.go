package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/erased"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

const (
	// erasePage is how many entities under another are erased between two saves.
	erasePage = 50
	// usualSecondLook is how long after the first look the job looks again. It is longer
	// than erased.Bound, so that every worker knows of the erasure by then, and longer
	// than what processes had read before should take to be written.
	usualSecondLook = 30 * time.Second
)

// eraseState is how far a job has come that erases or restores.
type eraseState struct {
	// Again: the first look is over.
	Again bool `json:"again,omitempty"`
	// Under are the entities whose children are looked for, the job's own first. Kind and
	// After say how far that is with the first of them.
	Under []event.Ref `json:"under,omitempty"`
	Kind  int         `json:"kind,omitempty"`
	After string      `json:"after,omitempty"`
	// Begun: a job that restores has removed the erasure from the list.
	Begun bool `json:"begun,omitempty"`
}

// eraseJob erases an entity, or an entity with all that is under it.
//
// It looks twice. The first look writes the markers and clears the records. The second
// comes usualSecondLook later and does the same. It finds children of which workers took
// a claim before they knew that the parent is erased, and records that processes wrote late
// which had read a document before it was erased: a dead letter, a patch, a failure. A job
// that is cut off goes on where it has saved its place. Whatever it does may be done twice.
type eraseJob struct {
	r     *Reconciler
	w     *work
	base  *finder
	spec  storage.ErasureSpec
	def   *provider.Definition // nil of a source that is not configured
	state eraseState
}

func (r *Reconciler) newEraseJob(w *work) (*eraseJob, error) {
	spec, err := decodeState[storage.ErasureSpec](w.task.Spec)
	if err != nil {
		return nil, fmt.Errorf("spec of job %s: %w", w.task.ID, err)
	}
	state, err := decodeState[eraseState](w.task.State)
	if err != nil {
		return nil, err
	}
	j := &eraseJob{r: r, w: w, base: r.waiting(w.loop), spec: spec, state: state}
	if s := r.source(w.task.Source); s != nil {
		j.def = s.Definition
	} else if spec.Below {
		return nil, fmt.Errorf("source %s is not configured: what is under an entity is known by its definition", w.task.Source)
	}
	if w.task.Counts == nil {
		w.task.Counts = map[string]int64{}
	}
	return j, nil
}

// erase runs a job of kind "erase".
func (r *Reconciler) erase(ctx context.Context, w *work) error {
	j, err := r.newEraseJob(w)
	if err != nil {
		return err
	}
	if !j.state.Again {
		if err := j.look(ctx, j.eraseOne); err != nil {
			return err
		}
		j.state = eraseState{Again: true}
		if err := j.save(ctx); err != nil {
			return err
		}
	}
	if err := w.rest(ctx, r.pace.secondLook); err != nil {
		return err
	}
	return j.look(ctx, j.eraseOne)
}

// look does something with the job's entity and, if it is to, with all that is under it.
func (j *eraseJob) look(ctx context.Context, do func(context.Context, event.Ref) error) error {
	if j.state.Under == nil {
		if err := do(ctx, j.spec.Entity); err != nil {
			return err
		}
		j.state.Under = []event.Ref{j.spec.Entity}
	}
	for j.spec.Below && len(j.state.Under) > 0 {
		if err := j.under(ctx, j.state.Under[0], do); err != nil {
			return err
		}
		j.state.Under, j.state.Kind, j.state.After = j.state.Under[1:], 0, ""
		if err := j.save(ctx); err != nil {
			return err
		}
	}
	return nil
}

// under does something with all that is under one entity, and adds to the state what has
// children itself.
func (j *eraseJob) under(ctx context.Context, over event.Ref, do func(context.Context, event.Ref) error) error {
	kind := j.def.Kind(over.Key.Kind)
	parented, lent := j.def.Beneath(kind)
	if j.state.Kind == 0 && j.state.After == "" {
		if err := j.lent(ctx, lent, over, do); err != nil {
			return err
		}
	}
	for ; j.state.Kind < len(parented); j.state.Kind, j.state.After = j.state.Kind+1, "" {
		for {
			var docs []*storage.Document
			err := j.base.persist(ctx, "list what is under an erased entity", func() (err error) {
				docs, err = j.r.Store.Below(ctx, storage.BelowFilter{
					Source: over.Key.Source, Kind: parented[j.state.Kind].Name, Parent: kind.IDKey, ID: over.Key.ID,
					After: j.state.After, Limit: erasePage,
				})
				return err
			})
			if err != nil {
				return err
			}
			if err := j.page(ctx, docs, over, do); err != nil {
				return err
			}
			if len(docs) < erasePage {
				break
			}
			j.state.After = docs[len(docs)-1].Key.Local()
			if err := j.save(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// lent handles the singletons and lists of an entity, whose id is its own.
func (j *eraseJob) lent(ctx context.Context, kinds []*provider.Kind, over event.Ref, do func(context.Context, event.Ref) error) error {
	var keys []event.Key
	for _, k := range kinds {
		keys = append(keys, k.Ref(over.Key.Source, over.Key.ID, over.Parents).Key)
	}
	if len(keys) == 0 {
		return nil
	}
	var docs []*storage.Document
	err := j.base.persist(ctx, "read what is under an erased entity", func() (err error) {
		docs, err = j.r.Store.Documents(ctx, keys)
		return err
	})
	if err != nil {
		return err
	}
	return j.page(ctx, docs, over, do)
}

// page does something with documents that are under an entity. One that has the same parent
// id and is under a namesake of it, in another scope, is left out.
func (j *eraseJob) page(ctx context.Context, docs []*storage.Document, over event.Ref, do func(context.Context, event.Ref) error) error {
	for _, doc := range docs {
		ref := event.Ref{Key: doc.Key, Parents: doc.Parents}
		if !j.isUnder(ref, over.Key) {
			continue
		}
		if err := do(ctx, ref); err != nil {
			return err
		}
		if parented, lent := j.def.Beneath(j.def.Kind(ref.Key.Kind)); len(parented)+len(lent) > 0 {
			j.state.Under = append(j.state.Under, ref)
		}
	}
	return nil
}

func (j *eraseJob) isUnder(ref event.Ref, over event.Key) bool {
	return slices.Contains(j.def.Above(ref), over)
}

// eraseOne erases one entity. The list comes first: from then on workers know of it.
func (j *eraseJob) eraseOne(ctx context.Context, ref event.Ref) error {
	own := ref.Key == j.spec.Entity.Key
	m := storage.Marker{At: j.w.task.CreatedAt, By: j.w.task.By}
	if !own {
		m.With = j.spec.Entity.Key
	}
	return j.base.persist(ctx, "erase an entity", func() error {
		if own || j.hasBeneath(ref.Key) {
			if err := j.r.Store.Enlist(ctx, storage.Erasure{Key: ref.Key, Marker: m, Below: j.spec.Below}); err != nil {
				return err
			}
		}
		fault.Point("after-enlist")
		if _, err := j.r.Store.Erase(ctx, ref, m); err != nil {
			return err
		}
		fault.Point("after-marker")
		n, err := clearAll(ctx, j.r.Store, ref.Key, j.r.Now().UTC())
		if err != nil {
			return err
		}
		j.w.task.Counts["events"] += int64(n)
		if !j.state.Again || n > 0 {
			j.w.task.Counts["done"]++
			j.w.task.Counts["total"] = max(j.w.task.Counts["total"], j.w.task.Counts["done"])
		}
		// What is parked of it is settled now, and its errors leave Redis with it.
		if _, err := j.r.Streams.RetryEntities(ctx, []event.Key{ref.Key}); err != nil {
			j.r.Logger.Warn("what is parked of an erased entity could not be made due; it is settled when its time comes", "entity", ref.Key.String(), "error", err)
		}
		return nil
	})
}

func (j *eraseJob) hasBeneath(k event.Key) bool {
	if j.def == nil {
		return false
	}
	parented, lent := j.def.Beneath(j.def.Kind(k.Kind))
	return len(parented)+len(lent) > 0
}

// clearAll clears the records of an entity and returns how many events had content.
func clearAll(ctx context.Context, store storage.Erasing, k event.Key, at time.Time) (n int, err error) {
	for after := ""; ; {
		done, err := store.Clear(ctx, k, after, at)
		n += done.Events
		if err != nil || done.Next == "" {
			return n, err
		}
		after = done.Next
	}
}

func (j *eraseJob) save(ctx context.Context) error {
	j.w.task.State = encodeState(j.state)
	return j.w.save(ctx)
}

// restore runs a job of kind "restore": it removes the markers that a job of kind "erase"
// has written, and has the entities fetched. The erasure leaves the list first. Workers may
// know of it for a while yet, and would erase again what is restored, so the job waits.
func (r *Reconciler) restore(ctx context.Context, w *work) error {
	j, err := r.newEraseJob(w)
	if err != nil {
		return err
	}
	if !j.state.Begun {
		if err := j.base.persist(ctx, "take an erasure from the list", func() error {
			return r.Store.Unlist(ctx, j.spec.Entity.Key)
		}); err != nil {
			return err
		}
		j.state.Begun = true
		if err := j.save(ctx); err != nil {
			return err
		}
	}
	if j.state.Under == nil {
		if err := w.rest(ctx, min(r.pace.secondLook, 2*erased.Bound)); err != nil {
			return err
		}
	}
	return j.look(ctx, j.restoreOne)
}

// restoreOne restores one entity, if it was erased by the erasure that ends.
func (j *eraseJob) restoreOne(ctx context.Context, ref event.Ref) error {
	var with event.Key
	class := event.Redrive // the one that was asked for
	if ref.Key != j.spec.Entity.Key {
		with, class = j.spec.Entity.Key, event.Backfill
	}
	return j.base.persist(ctx, "restore an entity", func() error {
		done, err := j.r.Store.Unerase(ctx, ref.Key, with)
		if err == nil && !done {
			done, err = j.neverFetched(ctx, ref.Key)
		}
		if err != nil || !done {
			return err
		}
		fault.Point("after-unerase")
		j.w.task.Counts["done"]++
		j.w.task.Counts["total"] = max(j.w.task.Counts["total"], j.w.task.Counts["done"])
		return j.base.insist(ctx, "append the sync of a restored entity", func() error {
			_, err := j.r.Streams.AppendAll(ctx, []stream.Draft{{Signal: event.Signal{
				Ref: ref, Cause: event.CauseSweep, CauseID: j.w.task.ID, Class: class,
			}}})
			return err
		})
	})
}

// neverFetched reports whether an entity without a marker waits for its first fetch. That
// of a restored one may have been cut off before it was appended.
func (j *eraseJob) neverFetched(ctx context.Context, k event.Key) (bool, error) {
	doc, err := j.r.Store.Entity(ctx, k)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil && doc.Erased == nil && doc.SyncedClaim == 0, err
}

// erasures returns the list of what was erased.
func (f *finder) erasures(ctx context.Context) (set *erased.Set, err error) {
	if f.erased == nil || fault.Off("markers") {
		return &erased.Set{}, nil
	}
	err = f.persist(ctx, "read the list of what was erased", func() (err error) {
		set, err = f.erased.Now(ctx)
		return err
	})
	return set, err
}

// withoutErased leaves out what is erased: it is neither recorded nor fetched.
func (s *survey) withoutErased(ctx context.Context, r remedies) (remedies, error) {
	set, err := s.erasures(ctx)
	if err != nil || set.Empty() {
		return r, err
	}
	n := len(r.found) + len(r.fetch)
	r.found = slices.DeleteFunc(r.found, func(d difference) bool { return set.Marker(s.def, d.ref) != nil })
	r.fetch = slices.DeleteFunc(r.fetch, func(ref event.Ref) bool { return set.Marker(s.def, ref) != nil })
	s.counts["erased"] += int64(n - len(r.found) - len(r.fetch))
	return r, nil
}

// isBelowErased reports whether what is under an entity is erased with it, so that the
// lists under it are not asked for.
func (s *survey) isBelowErased(ctx context.Context, k *provider.Kind, id string, parents map[string]string) (bool, error) {
	set, err := s.erasures(ctx)
	if err != nil || set.Empty() {
		return false, err
	}
	parented, lent := s.def.Beneath(k)
	for _, under := range append(parented, lent...) {
		return set.Over(s.def, under.Ref(s.name, id, parents)) != nil, nil // any of them will do
	}
	return false, nil
}
