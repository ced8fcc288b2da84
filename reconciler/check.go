package reconciler

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/provider"
)

// Entities that no list shows are checked by id, and so is whatever a list
// made suspicious, before it is called different: a list and a GET may disagree
// for a moment, and only the GET is what a worker would write. The reconciler
// asks itself rather than have a worker do so: an entity that is as it should
// be then costs one call and moves verified_at, and the workers, who alone
// write states, hear only of those that are not.

// lookCloser asks for an entity that a list shows differently from the mirror.
func (s *survey) lookCloser(ctx context.Context, item sighting, r *remedies) error {
	return s.check(ctx, item.ref, item.state, r)
}

// check asks for one entity and compares it. listed is how a list showed it, nil
// if none did.
func (s *survey) check(ctx context.Context, ref event.Ref, listed *provider.Snapshot, r *remedies) error {
	seen := sighting{ref: ref}
	state, err := ask(ctx, s.finder, &s.calls, request[*provider.Snapshot]{ref.Key.Kind, s.class(), func(ctx context.Context) (*provider.Snapshot, error) {
		seen.at = s.now()
		return s.api.Fetch(ctx, ref, s.why())
	}})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		seen.state, seen.at = state, state.SentAt
	case !isGone(err):
		s.counts["failed_checks"]++
		s.log.Warn("an entity could not be checked", "source", s.name, "entity", ref.Key.String(), "error", err)
		return nil
	}
	s.counts["checked"]++
	docs, err := s.documents(ctx, []event.Key{ref.Key})
	if err != nil {
		return err
	}
	doc := docs[ref.Key]
	switch verdict, typ := compare(s.def, doc, seen); {
	case verdict == agrees:
		s.verified(doc, seen.at)
		if s.dispute != nil && listed != nil && doc.SyncedAt.Before(listed.SentAt) && s.def.Contradicts(ref.Key.Kind, listed, seen.state) {
			s.dispute(sighting{ref: ref, state: listed, at: listed.SentAt})
		}
	case verdict == unsure, verdict == behind && s.mode != modeTell:
	case s.doubtful(doc, seen, listed):
		s.counts["doubtful"]++
		r.fetch = append(r.fetch, ref)
	default:
		r.found = append(r.found, difference{seen, typ, doc})
	}
	return nil
}

// doubtful reports whether an answer is rather an old one than the truth: it
// says that there is nothing where a list has just shown something, or lacks
// history that the mirror holds, with nothing to back it. Workers know how to
// wait in such a case, so one is asked to look, and nothing is on record yet.
func (s *survey) doubtful(doc *mirror.Document, seen sighting, listed *provider.Snapshot) bool {
	if s.mode == modeTell {
		return false // it looks twice anyway
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

// checkPage is how many documents are read at a time.
const checkPage = 100

// checkKind checks by id what the survey has not seen of a kind, from an id on:
// what complete lists lack, and what is in no list and due. after is kept up to
// date.
func (s *survey) checkKind(ctx context.Context, k *provider.Kind, after *string) error {
	now := s.now()
	due := now.Add(-s.verifyEvery(k.Name))
	f := mirror.DueFilter{
		Source: s.name, Kind: k.Name, VerifiedBefore: due, TerminalBefore: now.Add(-s.settings.Window), Limit: checkPage,
	}
	inLists := s.inLists(k)
	if inLists || s.mode != modeSweep {
		f.VerifiedBefore = s.begun
	}
	for {
		f.After = *after
		var docs []*mirror.Document
		err := s.persist(ctx, "read documents to be checked", func() (err error) {
			docs, err = s.store.DueForVerify(ctx, f)
			return err
		})
		if err != nil {
			return err
		}
		for _, doc := range docs {
			if err := s.checkDue(ctx, doc, inLists, due); err != nil {
				return err
			}
			*after = doc.Key.ID
			if err := s.note(ctx); err != nil {
				return err
			}
		}
		if err := s.flush(ctx); err != nil {
			return err
		}
		if len(docs) < checkPage {
			return nil
		}
	}
}

// checkDue checks one document, unless there is a reason not to.
func (s *survey) checkDue(ctx context.Context, doc *mirror.Document, inLists bool, due time.Time) error {
	if awaited(doc) && s.mode != modeTell {
		return nil // it is being worked on
	}
	if inLists && !doc.VerifiedAt.Before(due) {
		// Its list did not show it. That says nothing if the list did not come
		// whole, and is as it should be if the entity is gone.
		if s.failed[doc.Key.Kind] || s.failed[listName(doc.Key.Kind, doc.Parents)] || !doc.DeletedAt.IsZero() {
			return nil
		}
	}
	if found, err := s.foundAlready(ctx, doc); err != nil || found {
		return err
	}
	var r remedies
	if err := s.check(ctx, event.Ref{Key: doc.Key, Parents: doc.Parents}, nil, &r); err != nil {
		return err
	}
	return s.remedy(ctx, r)
}

// foundAlready reports whether this survey has found the entity different.
func (s *survey) foundAlready(ctx context.Context, doc *mirror.Document) (found bool, err error) {
	if s.mode == modeTell {
		return s.told[doc.Key], nil
	}
	err = s.persist(ctx, "read discrepancies", func() error {
		page, err := s.store.Discrepancies(ctx, mirror.DiscrepancyFilter{Source: s.name, Entity: doc.Key, SweepID: s.id, Limit: 1})
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
