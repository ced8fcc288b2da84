package reconciler

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Entities that no list shows are checked by id. So is an entity that differs in a
// list, before it counts as different: a list and a GET may disagree for a moment, and
// a worker would write what the GET shows. The reconciler makes these calls itself: an
// entity that agrees costs one call and gets its verified_at, and workers, which alone
// write states, are signalled only for those that differ.

// check asks for one entity and compares it. before is its document as read before the
// call, nil for none; listed is how a list showed it, nil if none did.
func (s *survey) check(ctx context.Context, ref event.Ref, before *storage.Document, listed *provider.Snapshot, r *remedies) error {
	if set, err := s.erasures(ctx); err != nil || set.Marker(s.def, ref) != nil {
		return err
	}
	seen, err := s.lookAt(ctx, ref)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		s.failedCheck(ref, err)
		return nil
	}
	s.counts["checked"]++
	return s.weigh(ctx, seen, before, listed, r)
}

// lookAt asks for one entity. It returns no error for an entity that is gone.
func (s *survey) lookAt(ctx context.Context, ref event.Ref) (observation, error) {
	seen := observation{ref: ref}
	scope := s.def.ScopeOf(ref)
	if err := s.scopes.Recent(scope); err != nil {
		return seen, err
	}
	state, err := ask(ctx, s.finder, &s.calls, request[*provider.Snapshot]{ref.Key.Kind, s.class(), func(ctx context.Context) (*provider.Snapshot, error) {
		seen.at = s.now()
		return s.api.Fetch(ctx, ref, s.why())
	}})
	refused, asking := s.refusedScope(ctx, scope, err)
	switch {
	case asking != nil:
		return seen, asking
	case fate.Is(err, fate.Refused) && !refused:
		s.refusals++
	default:
		s.refusals = 0
	}
	if err == nil {
		seen.state, seen.at = state, state.SentAt
	} else if fate.Is(err, fate.Gone) {
		err = nil
	}
	return seen, err
}

// failedCheck notes that an entity could not be checked.
func (s *survey) failedCheck(ref event.Ref, err error) {
	if s.scopes.Recent(s.def.ScopeOf(ref)) != nil {
		s.counts["refused_scope_checks"]++ // an alert has been raised
		return
	}
	s.missCheck(storage.Unchecked{Kind: ref.Key.Kind, ID: ref.Key.ID, Parents: ref.Parents}, err)
	s.log.Info("an entity could not be checked; the next sweep asks again", "source", s.name, "entity", ref.Key.String(), "error", err)
}

// missCheck counts what could not be checked, and names it if it is among the first.
func (s *survey) missCheck(of storage.Unchecked, err error) {
	s.counts["failed_checks"]++
	if len(s.unchecked) < storage.MostNamed {
		of.Reason = fate.Short(err.Error(), longestCause)
		s.unchecked = append(s.unchecked, of)
	}
}

// weigh compares the answer to a GET; before and listed are as in check.
func (s *survey) weigh(ctx context.Context, seen observation, before *storage.Document, listed *provider.Snapshot, r *remedies) error {
	docs, err := s.documents(ctx, []event.Key{seen.ref.Key})
	if err != nil {
		return err
	}
	doc := docs[seen.ref.Key]
	switch verdict, typ := compare(s.def, doc, seen); {
	case syncedSince(before, doc):
		// The worker may have asked later than this survey did.
	case verdict == agrees:
		s.verified(doc, seen.at)
		s.compareWithList(seen, doc, listed)
	case verdict == unsure:
		s.compareWithList(seen, doc, listed)
	case verdict == behind && s.mode != modeReport:
	case verdict == elsewhere, typ == storage.Stale && !sameParents(s.def, doc, seen.ref):
		return s.lookWhereKnown(ctx, seen, typ, doc, r)
	case s.doubtful(doc, seen, listed):
		s.counts["doubtful"]++
		r.fetch = append(r.fetch, seen.ref)
	default:
		r.found = append(r.found, difference{observation: seen, typ: typ, doc: doc})
	}
	return nil
}

// compareWithList compares the answer to a GET, which the mirror does not contradict,
// with how a list showed the entity before. listed is nil if none did.
func (s *survey) compareWithList(seen observation, doc *storage.Document, listed *provider.Snapshot) {
	kind := seen.ref.Key.Kind
	switch {
	case listed == nil || doc != nil && !doc.SyncedAt.Before(listed.SentAt):
	case !seen.exists() && !listed.Deleted, s.def.Contradicts(kind, listed, seen.state):
		if s.dispute != nil {
			s.dispute(disputed{seen.ref, listed})
		}
	case s.def.Shows(kind, listed, seen.state):
		s.counts[storage.CountPartialElements+kind]++
	}
}

// lookWhereKnown asks for an entity that was seen under other parents than the mirror
// has. It asks under the parents that the mirror has. If the entity is there too, the
// mirror keeps it: lists may show one entity under several parents. If it has another
// state there, these are two entities with one id, which the definition rules out (see
// provider.Kind.Ref): a shared id is recorded. If it is not there, it has moved. typ is
// the type of the difference seen.
func (s *survey) lookWhereKnown(ctx context.Context, seen observation, typ storage.DiscrepancyType, doc *storage.Document, r *remedies) error {
	known, err := s.lookAt(ctx, event.Ref{Key: doc.Key, Parents: doc.Parents})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && !fate.Is(err, fate.Refused):
		s.failedCheck(known.ref, err)
	case err == nil && known.exists():
		if known.hash() != seen.hash() {
			r.found = append(r.found, difference{observation: seen, typ: storage.SharedID, doc: doc})
		}
		return s.weigh(ctx, known, doc, nil, r)
	default:
		r.found = append(r.found, difference{observation: seen, typ: typ, doc: doc})
	}
	return nil
}

// doubtful reports whether an answer is probably stale: it finds nothing where a list
// has just shown the entity, or it lacks history that the mirror has and the list does
// not agree with it. A worker, which waits for such an answer to catch up, is signalled
// then, and nothing is recorded.
func (s *survey) doubtful(doc *storage.Document, seen observation, listed *provider.Snapshot) bool {
	if s.mode == modeReport {
		return false // the command checks a difference twice anyway
	}
	if seen.state == nil {
		return listed != nil
	}
	if doc == nil || listed != nil && listed.Hash == seen.state.Hash {
		return false
	}
	prev, err := s.def.Read(doc.Key.Kind, doc.Raw)
	return err == nil && seen.state.Lacks(prev)
}

// After mostRefusals refused entities in a row a kind's list is asked. A kind without a
// list counts as refused after mostUnlistedRefusals.
const mostRefusals, mostUnlistedRefusals = 3, 10

// leftOut reports whether the rest of a kind is left out of the survey, after some
// entities in a row were refused: the provider accepts our key and refuses the kind's
// list too, or there is no list to be asked, so that the key may not read the kind. What
// is under parents may be refused for one parent alone, so nothing of such a kind is
// left out.
func (s *survey) leftOut(ctx context.Context, k *provider.Kind) (bool, error) {
	var err error
	switch {
	case k.ListableUnder(nil):
		_, err = ask(ctx, s.finder, &s.calls, request[*provider.ListPage]{k.Name, s.class(), func(ctx context.Context) (*provider.ListPage, error) {
			return s.api.ListPage(ctx, provider.ListKey{Source: s.name, Kind: k.Name}, "", s.why())
		}})
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if !fate.Is(err, fate.Refused) {
			s.refusals = 0
			return false, nil
		}
		s.missCheck(storage.Unchecked{Kind: k.Name}, err)
	case len(k.ParentKeys) > 0:
		s.refusals = 0
		return false, nil
	case s.refusals < mostUnlistedRefusals:
		return false, nil
	}
	s.log.Warn("the provider accepts our key and refuses a kind; the rest of it is not checked", "source", s.name, "kind", k.Name, "error", err)
	return true, s.flush(ctx)
}

// checkPage is how many documents are read at once.
const checkPage = 100

// checkKind checks by id the entities of a kind that the survey has not seen, from an
// id on: those that complete lists lack, and those that are in no list and due. It keeps
// after up to date.
func (s *survey) checkKind(ctx context.Context, k *provider.Kind, after *string) error {
	now := s.now()
	due := now.Add(-s.verifyEvery(k.Name))
	f := storage.DueFilter{
		Source: s.name, Kind: k.Name, VerifiedBefore: due, TerminalBefore: now.Add(-s.settings.Window), Limit: checkPage,
	}
	s.refusals = 0 // those before were of another kind
	inLists := s.inLists(k)
	if inLists || s.mode != modeSweep {
		f.VerifiedBefore = s.begun
	}
	for {
		f.After = *after
		var docs []*storage.Document
		var next string
		err := s.persist(ctx, "read documents to be checked", func() (err error) {
			docs, next, err = s.store.DueForVerify(ctx, f)
			return err
		})
		if err != nil {
			return err
		}
		s.loop.Turn()
		for _, doc := range docs {
			if s.refusals >= mostRefusals {
				left, err := s.leftOut(ctx, k)
				if err != nil || left {
					return err
				}
			}
			if err := s.checkDue(ctx, doc, inLists, due); err != nil {
				return err
			}
			*after = doc.Key.Local()
			if err := s.note(ctx); err != nil {
				return err
			}
		}
		if err := s.flush(ctx); err != nil {
			return err
		}
		if next == "" {
			return nil
		}
		*after = next
	}
}

// checkDue checks one document, unless there is a reason not to.
func (s *survey) checkDue(ctx context.Context, doc *storage.Document, inLists bool, due time.Time) error {
	if awaited(doc) && s.mode != modeReport {
		return nil // a worker will look at it
	}
	if inLists && !doc.VerifiedAt.Before(due) {
		// Its list did not show it. That says nothing if the list was not read
		// whole, and is right if the entity is gone.
		if s.failed[doc.Key.Kind] || s.failed[listName(doc.Key.Kind, doc.Parents)] || !doc.DeletedAt.IsZero() {
			return nil
		}
	}
	if found, err := s.foundAlready(ctx, doc); err != nil || found {
		return err
	}
	var r remedies
	if err := s.check(ctx, event.Ref{Key: doc.Key, Parents: doc.Parents}, doc, nil, &r); err != nil {
		return err
	}
	return s.remedy(ctx, r)
}

// foundAlready reports whether this survey has already found the entity different.
func (s *survey) foundAlready(ctx context.Context, doc *storage.Document) (found bool, err error) {
	if s.mode == modeReport {
		return s.reported[doc.Key], nil
	}
	err = s.persist(ctx, "read discrepancies", func() error {
		page, err := s.store.Discrepancies(ctx, storage.DiscrepancyFilter{Source: s.name, Entity: doc.Key, SweepID: s.id, Limit: 1})
		found = len(page.Items) > 0
		return err
	})
	return found, err
}

// inLists reports whether a complete walk shows every entity of the kind.
func (s *survey) inLists(k *provider.Kind) bool {
	return k.Listable() && reachable(s.def, s.def.Roots(), k)
}

func reachable(d *provider.Definition, from []*provider.Kind, k *provider.Kind) bool {
	for _, f := range from {
		if f == k || reachable(d, d.Under(f), k) {
			return true
		}
	}
	return false
}

// listName names a list among those that failed.
func listName(kind string, parents map[string]string) string {
	var b strings.Builder
	b.WriteString(kind)
	for _, name := range slices.Sorted(maps.Keys(parents)) {
		b.WriteString("|" + parents[name])
	}
	if len(parents) == 0 {
		b.WriteString("|")
	}
	return b.String()
}
