package reconciler

import (
	"context"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// single handles the singletons and lists under one entity of a kind, or under
// none. They always exist, so one that the mirror lacks is missing once it is due
// (notDue); until then sweeps have it fetched, and verify counts it. Those the
// mirror has are checked by id when they are due.
func (s *survey) single(ctx context.Context, under *provider.Kind, kinds []*provider.Kind, id string, parents map[string]string) error {
	var refs []event.Ref
	var keys []event.Key
	for _, k := range kinds {
		if k.Shape == provider.ShapeEntity || !s.wants(k) {
			continue
		}
		own := id
		if k.IDKey == "" { // one of the scope
			own = provider.RootID
		}
		ref, err := s.def.Ref(event.Key{Source: s.name, Kind: k.Name, ID: own}, parents)
		if err != nil {
			continue // the parent's id is not valid in a path, so no request can name it
		}
		refs, keys = append(refs, ref), append(keys, ref.Key)
	}
	if len(refs) == 0 {
		return nil
	}
	docs, err := s.documents(ctx, keys)
	if err != nil {
		return err
	}
	var r remedies
	for _, ref := range refs {
		doc := docs[ref.Key]
		s.met(doc)
		early := false
		if doc == nil && s.mode != modeBackfill && s.mode != modeVerify {
			if early, err = s.notDue(ctx, ref, under, id); err != nil {
				return err
			}
		}
		switch {
		case doc != nil && doc.Known():
		case early && s.mode == modeReport:
			s.counts["not_due"]++
		case awaited(doc) && s.mode != modeReport:
		case s.mode == modeVerify || s.mode == modeReport || s.mode == modeSweep && (doc == nil && !early || doc != nil && doc.Behind != nil):
			// No worker tries an entity again that was given up, so it is checked here.
			called := len(r.found) + len(r.fetch)
			if err := s.check(ctx, ref, doc, nil, &r); err != nil {
				return err
			}
			if doc == nil && s.mode == modeSweep && len(r.found)+len(r.fetch) == called {
				r.fetch = append(r.fetch, ref) // the provider refuses it: a worker's attempt leaves a document, so few sweeps try again
			}
		case doc == nil || s.oneOf(ref.Key, 50):
			// Few sweeps try an entity again that could not be fetched: it will
			// mostly be refused again.
			r.fetch = append(r.fetch, ref)
		}
	}
	return s.remedy(ctx, r)
}

// notDue reports whether the mirror is not expected to have a singleton or list yet:
// no sweep of its kind has finished, or its parent is so young that the event or the
// sweep that brings it may be on its way. Sweeps fetch such an entity and verify
// counts it. One that is due and not there is missing. under is the parent's kind,
// nil for none; id is the id that the entity has from its parent.
func (s *survey) notDue(ctx context.Context, ref event.Ref, under *provider.Kind, id string) (bool, error) {
	k := s.def.Kind(ref.Key.Kind)
	if s.fills(ref) || slices.Contains(s.unswept, k.Name) {
		return true, nil
	}
	if under == nil {
		return false, nil
	}
	patience := heldFor(k.Every)
	if !s.def.Refreshes(under, k) {
		patience += 2 * s.settings.Sweep.Every // the first sweep fetches it, the second finds it
	}
	if under.Shape != provider.ShapeEntity {
		id = provider.RootID
	}
	old, err := s.isOlderThan(ctx, under.Ref(s.name, id, ref.Parents).Key, patience)
	return !old, err
}

// isOlderThan reports whether the mirror has known an entity for longer than d: it
// was synced, or an event about it came, before that.
func (s *survey) isOlderThan(ctx context.Context, key event.Key, d time.Duration) (bool, error) {
	docs, err := s.documents(ctx, []event.Key{key})
	doc, before := docs[key], s.now().Add(-d)
	switch {
	case err != nil, doc == nil || !doc.Known():
		return false, err
	case doc.SyncedAt.Before(before):
		return true, nil
	}
	rows, err := s.finder.events(ctx, storage.EventFilter{Source: s.name, Entity: key, To: before, Limit: 1})
	return len(rows) > 0, err
}

// oneOf picks one sweep in n for an entity, at different times for each entity.
func (s *survey) oneOf(k event.Key, n uint64) bool {
	return xxhash.Sum64String(s.id+"\x00"+k.String())%n == 0
}

// wholeIsDue reports whether this sweep asks by id for an entity of which a list
// shows only a part. That is once per verify_every, so that the rest is compared too.
// Each entity has its own turn within verify_every; it is due if its turn came between
// the last time it was verified and now.
func (s *survey) wholeIsDue(doc *storage.Document, now time.Time) bool {
	every := s.verifyEvery(doc.Key.Kind)
	shift := time.Duration(xxhash.Sum64String(doc.Key.String()) % uint64(every))
	turn := func(t time.Time) time.Time { return t.Add(shift).Truncate(every) }
	return !turn(doc.VerifiedAt).Equal(turn(now))
}
