package worker

import (
	"context"
	"slices"

	"github.com/tarn-sync/tarn/shared/erased"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/worker/entity"
)

// An erased entity has a marker, which the claim shows: its work is settled as erased and
// the provider is not asked. The list of what was erased, of which this process has a copy
// (see package erased), is for what a claim cannot show.

// watchErased keeps the copy of the list up to date until ctx ends.
func (w *Worker) watchErased(ctx context.Context) {
	loop := w.Health.Loop("erased")
	defer loop.Done()
	for warned := false; ; {
		loop.Turn()
		err := w.erased.Refresh(ctx)
		if err != nil && !warned && ctx.Err() == nil {
			w.Logger.Warn("the list of what was erased could not be read; trying again", "error", err)
		}
		warned = err != nil
		loop.Waiting("the list of what was erased")
		if !loops.Tick(ctx, erased.Every) {
			return
		}
	}
}

// emptyErased replaces the payloads of events that name an erased entity, before they are
// logged. Another entity that such an event names loses nothing: it is fetched as always.
func (s eventLog) emptyErased(src *source, batch []event.Entry) {
	set := s.w.erased.Last()
	if set.Empty() || fault.Off("markers") {
		return
	}
	is := func(ref event.Ref) bool { return set.Marker(src.Definition, ref) != nil }
	for i := range batch {
		body := batch[i].Signal.Body
		if body == nil || !slices.ContainsFunc(body.Entities, is) {
			continue
		}
		emptied := *body
		emptied.Payload, emptied.Given = []byte(storage.ErasedText), nil
		emptied.Derived = slices.DeleteFunc(slices.Clone(body.Derived), is)
		batch[i].Signal.Body = &emptied
	}
}

// markErased returns the document of a claim, with a marker if the entity is erased. One
// that has none yet gets it now: it was never heard of before it was erased, with what it
// is under.
func markErased(ctx context.Context, r *run, e entity.Claim, doc *storage.Document) (*storage.Document, error) {
	if fault.Off("markers") {
		doc.Erased = nil
		return doc, nil
	}
	if doc.Erased != nil {
		return doc, nil
	}
	w := r.s.w
	set, err := w.erased.Now(ctx) // after the claim: see package erased
	if err != nil {
		return nil, fromStore(err)
	}
	ref, marker := markerFor(set, r.src.Definition, e, doc)
	if marker == nil {
		return doc, nil
	}
	if doc, err = eraseNow(ctx, w, r.src.Definition, ref, *marker); err != nil {
		return nil, fromStore(err)
	}
	return doc, nil
}

// markerFor returns the marker that an entity without one is to have by the list, nil for
// none. Parents are facts once the entity was fetched. Until then they are what signals say,
// and the entity is erased if all of these name one that was erased with what is under it.
func markerFor(set *erased.Set, d *provider.Definition, e entity.Claim, doc *storage.Document) (ref event.Ref, m *storage.Marker) {
	if set.Empty() {
		return ref, nil
	}
	ref = event.Ref{Key: doc.Key, Parents: doc.Parents}
	if doc.Raw != nil {
		return ref, set.Over(d, ref)
	}
	named := []map[string]string{e.Ref.Parents}
	for i := range e.Batch {
		if p := e.Batch[i].Signal.Ref.Parents; len(p) > 0 {
			named = append(named, p)
		}
	}
	if len(e.Ref.Parents) == 0 && (len(named) > 1 || len(doc.Parents) > 0) {
		named = named[1:]
	}
	if len(doc.Parents) > 0 {
		named = append(named, doc.Parents)
	}
	for _, parents := range named {
		if m = set.Over(d, event.Ref{Key: doc.Key, Parents: parents}); m == nil {
			return ref, nil
		}
		ref.Parents = parents
	}
	return ref, m
}

// eraseNow erases an entity that is erased by the list and has no marker. What may be under
// it gets into the list too.
func eraseNow(ctx context.Context, w *Worker, d *provider.Definition, ref event.Ref, m storage.Marker) (*storage.Document, error) {
	if parented, lent := d.Beneath(d.Kind(ref.Key.Kind)); len(parented)+len(lent) > 0 && !m.With.IsZero() {
		if err := w.Store.Enlist(ctx, storage.Erasure{Key: ref.Key, Marker: m, Below: true}); err != nil {
			return nil, err
		}
	}
	doc, err := w.Store.Erase(ctx, ref, m)
	for after := ""; err == nil; {
		var done storage.Cleared
		if done, err = w.Store.Clear(ctx, ref.Key, after, w.Now().UTC()); done.Next == "" {
			break
		}
		after = done.Next
	}
	return doc, err
}

// underErased returns an error of class Gone for an entity that is to be asked for under an
// erased one: nothing is, and the other parents that its signals name are asked.
func underErased(w *Worker, src *source, ref event.Ref) error {
	if fault.Off("markers") || w.erased.Last().Over(src.Definition, ref) == nil {
		return nil
	}
	return fate.Errorf(fate.Gone, "fetch %s: it is named under an entity that is erased with all that is under it", ref.Key)
}
