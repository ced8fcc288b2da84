package reconciler

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// mode is what a survey does about what it finds.
type mode string

const (
	// modeSweep records differences and has them repaired.
	modeSweep mode = "sweep"
	// modeBackfill has everything that differs fetched. An empty mirror is no
	// discrepancy, so nothing is recorded.
	modeBackfill mode = "backfill"
	// modeVerify records differences and repairs none.
	modeVerify mode = "verify"
	// modeReport reports differences to its caller and writes nothing but
	// verified_at. It also reports entities of which the mirror knows that it is
	// behind.
	modeReport mode = "tell"
)

const (
	// verifyBatch is how many verified documents are written at once.
	verifyBatch = 500
	// ahead is how many signals may wait in the background streams before a survey
	// stops adding to them: enough to keep workers busy, and few enough to be no
	// load on Redis.
	ahead = 5000
	// mostFailed is how many failed lists are kept by name.
	mostFailed = 1000
)

// survey compares what the provider lists with the mirror. Files in the order
// of the story: what is asked (survey.go, check.go), what an answer means
// (compare.go, patch.go), what is done about it (repair.go).
type survey struct {
	*finder
	mode mode
	// id is the sweep's id, begun when it began: a document verified since then
	// has been seen by it.
	id    string
	begun time.Time
	// kinds are the wanted ones. None: all.
	kinds []string
	// fill are the kinds, lists and entities whose differences are fetched and not
	// recorded, as all are in a backfill.
	fill []string
	// counts are sums for the task; calls counts requests.
	counts map[string]int64
	calls  int64
	// failed are the lists that could not be read whole, as listName writes them,
	// and the kinds of which some list is in doubt.
	failed map[string]bool
	// lost are the first of those lists, with their errors.
	lost []storage.FailedList
	// unchecked are the first entities that could not be checked, with the reasons.
	unchecked []storage.Unchecked
	same      []storage.Verified
	// refusals is how many entities in a row were refused when they were checked.
	refusals int
	// keep saves the progress now and then. Nil: it is not saved.
	keep func(ctx context.Context) error
	// onRestart is called when a list is read from its beginning again. May be nil.
	onRestart func(ctx context.Context) error
	// report receives the differences in modeReport.
	report   func(difference)
	reported map[event.Key]bool
	// dispute receives entities of which a list shows another state than their own
	// GET, while the mirror agrees with the GET. May be nil.
	dispute func(disputed)
	// unfetched are the keys of entities that the walk came across and of which the mirror
	// has a document, but no state. Nil: they are not noted.
	unfetched map[string]bool
	// unswept are kinds of which no sweep has finished, besides fill.
	unswept []string
}

// disputed is an entity of which a list shows another state than its own GET.
type disputed struct {
	ref    event.Ref
	listed *provider.Snapshot
}

// class is the class of a survey's calls in the source's budget.
func (s *survey) class() event.Class {
	if s.mode == modeBackfill {
		return event.Backfill
	}
	return event.Reconcile
}

// why is the justification given to providers that want one.
func (s *survey) why() string { return string(s.mode) + "-" + s.id }

// wants reports whether entities of the kind are looked at.
func (s *survey) wants(k *provider.Kind) bool {
	return len(s.kinds) == 0 || slices.Contains(s.kinds, k.Name)
}

// leads reports whether a kind, or a kind under it, is wanted, so that its list must
// be walked.
func (s *survey) leads(k *provider.Kind) bool {
	return s.wants(k) || slices.ContainsFunc(s.def.Under(k), s.leads)
}

// parentsUnder returns the ids that paths under an entity need.
func parentsUnder(k *provider.Kind, id string, parents map[string]string) map[string]string {
	under := maps.Clone(parents)
	if under == nil {
		under = map[string]string{}
	}
	under[k.UnderKey()] = id
	return under
}

// parentGone reports whether the entity is gone that a list is under: it may have been
// deleted since its own list showed it, and then there is no list to read.
func (s *survey) parentGone(ctx context.Context, k *provider.Kind, parents map[string]string) (bool, error) {
	for _, parent := range s.def.Kinds() {
		id := parents[parent.UnderKey()]
		if id == "" || parent.Shape != provider.ShapeEntity || !slices.Contains(s.def.Under(parent), k) {
			continue
		}
		above, ok := parent.Parents(parents)
		if !ok {
			continue
		}
		seen, err := s.lookAt(ctx, parent.Ref(s.name, id, above))
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err == nil && (seen.state == nil || seen.state.Deleted) {
			return true, nil
		}
	}
	return false, nil
}

// list walks one list from a place on, compares every page, and then calls each with
// its entities. A list that fails is noted and is no error: the survey continues with
// the next.
func (s *survey) list(ctx context.Context, k *provider.Kind, parents map[string]string, at *place, each func([]provider.Item) error) error {
	key := provider.ListKey{Source: s.name, Kind: k.Name, Parents: parents}
	cursors := provider.Cursors{Max: s.settings.MaxPages, Read: at.Pages}
	fresh := false // the cursor is one that was received in this walk
	for {
		page, err := ask(ctx, s.finder, &s.calls, request[*provider.ListPage]{k.Name, s.class(), func(ctx context.Context) (*provider.ListPage, error) {
			return s.api.ListPage(ctx, key, at.Cursor, s.why())
		}})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && at.mayRestart(err, fresh) {
			if err := s.restart(ctx, k, at, err); err != nil {
				return err
			}
			cursors, fresh = provider.Cursors{Max: s.settings.MaxPages}, false
			continue
		}
		if fate.Is(err, fate.Gone) && len(parents) > 0 {
			gone, askErr := s.parentGone(ctx, k, parents)
			if askErr != nil {
				return askErr
			}
			if gone {
				s.doubt(k, parents) // what was under it is not for this list to say
				return nil
			}
		}
		if err != nil {
			refused, askErr := s.refusedScope(ctx, s.def.ScopeOfList(key), err)
			switch {
			case askErr != nil:
				return askErr
			case refused:
				s.counts["refused_scope_lists"]++
				s.doubt(k, parents) // the scope shows nothing of what it has
			default:
				s.listFailed(k, parents, fmt.Errorf("page %d: %w", at.Pages+1, err))
			}
			return nil
		}
		at.Pages, fresh = at.Pages+1, true
		at.Partial = s.unread(k, page.Unread) || at.Partial
		if s.wants(k) {
			shown := s.counts["entities"]
			if err := s.page(ctx, k, page); err != nil {
				return err
			}
			at.Shown += s.counts["entities"] - shown
		}
		if err := each(page.Items); err != nil {
			return err
		}
		if page.Next == "" {
			break
		}
		if err := s.follow(&cursors, k.Name, page.Next); err != nil {
			s.listFailed(k, parents, err)
			return nil
		}
		at.Cursor = page.Next
		if err := s.note(ctx); err != nil {
			return err
		}
	}
	if at.Partial {
		s.listPartial(k, parents)
	}
	return nil
}

// unread counts elements of a list that could not be read, and reports whether there
// are any.
func (s *survey) unread(k *provider.Kind, elements []error) bool {
	if len(elements) == 0 {
		return false
	}
	s.log.Warn("elements of a list could not be read; nothing is concluded from what it lacks",
		"source", s.name, "kind", k.Name, "elements", len(elements), "first", elements[0])
	s.counts["unreadable"] += int64(len(elements))
	return true
}

// elements asks for a root list, or that of a scope, and returns the ids of its elements. A
// list that fails is noted and is no error.
func (s *survey) elements(ctx context.Context, k *provider.Kind, parents map[string]string) ([]string, error) {
	ref := k.Ref(s.name, provider.RootID, parents)
	state, err := ask(ctx, s.finder, &s.calls, request[*provider.Snapshot]{k.Name, s.class(), func(ctx context.Context) (*provider.Snapshot, error) {
		return s.api.Fetch(ctx, ref, s.why())
	}})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		s.listFailed(k, parents, err)
		return nil, nil
	}
	ids, unread := s.def.Elements(k.Name, state.Raw)
	if s.unread(k, unread) {
		s.listPartial(k, parents)
	}
	return ids, nil
}

// under walks the lists under each of some entities.
func (s *survey) under(ctx context.Context, k *provider.Kind, ids []string) error {
	for _, id := range ids {
		if err := s.below(ctx, k, id, nil, new(int), new(place)); err != nil {
			return err
		}
	}
	return nil
}

// below walks the lists under one entity. child and at are the place among the kinds
// under it and in the list of that kind; it keeps them up to date.
func (s *survey) below(ctx context.Context, k *provider.Kind, id string, above map[string]string, child *int, at *place) error {
	kinds := s.def.Under(k)
	parents := parentsUnder(k, id, above)
	if below, err := s.isBelowErased(ctx, k, id, parents); err != nil || below {
		return err
	}
	if *child == 0 && at.Cursor == "" {
		if err := s.single(ctx, k, kinds, id, parents); err != nil {
			return err
		}
		if err := s.belowElements(ctx, kinds, parents); err != nil {
			return err
		}
	}
	for ; *child < len(kinds); *child++ {
		kind := kinds[*child]
		if !kind.Listable() || !s.leads(kind) {
			continue
		}
		deeper := len(s.def.Under(kind)) > 0
		err := s.list(ctx, kind, parents, at, func(items []provider.Item) error {
			if !deeper {
				return nil
			}
			for _, item := range items {
				// Below the first level no place is kept: such lists are short.
				if err := s.below(ctx, kind, item.Ref.Key.ID, parents, new(int), new(place)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		*at = place{}
	}
	return nil
}

// note saves the progress, if it is saved at all.
func (s *survey) note(ctx context.Context) error {
	if s.keep == nil {
		return nil
	}
	return s.keep(ctx)
}

// page compares one page with the mirror.
func (s *survey) page(ctx context.Context, k *provider.Kind, page *provider.ListPage) error {
	seen := make(map[event.Key]bool, len(page.Items))
	var items []observation
	partial := k.PartialElements && (s.mode == modeSweep || s.mode == modeBackfill)
	set, err := s.erasures(ctx)
	if err != nil {
		return err
	}
	for _, item := range page.Items {
		if set.Marker(s.def, item.Ref) != nil {
			s.counts["erased"]++
		} else if !seen[item.Ref.Key] { // some lists show one twice
			seen[item.Ref.Key] = true
			items = append(items, observation{ref: item.Ref, state: item.Snapshot, at: page.SentAt, listed: true, partial: partial, cut: item.Cut})
		}
	}
	s.counts["entities"] += int64(len(items))
	s.counts["kind."+k.Name] += int64(len(items))
	docs, err := s.documents(ctx, slices.Collect(maps.Keys(seen)))
	if err != nil {
		return err
	}
	var r remedies
	for _, item := range items {
		doc := docs[item.ref.Key]
		s.met(doc)
		verdict, typ := compare(s.def, doc, item)
		if item.cut && verdict == agrees {
			verdict, typ = differs, storage.Stale // as far as a list can show
		}
		switch {
		case verdict == agrees && item.partial && s.mode == modeSweep && s.wholeIsDue(doc, item.at):
			if err := s.check(ctx, item.ref, doc, nil, &r); err != nil {
				return err
			}
		case verdict == agrees:
			s.counts[storage.CountWholeElements+k.Name]++
			s.verified(doc, item.at)
		case verdict == unsure, verdict == behind && s.mode != modeReport:
		case s.mode == modeBackfill:
			r.fetch = append(r.fetch, item.ref)
		case typ == storage.Missing && !item.partial && !item.cut:
			r.found = append(r.found, difference{observation: item, typ: typ, doc: doc})
		default:
			if err := s.check(ctx, item.ref, doc, item.state, &r); err != nil {
				return err
			}
		}
	}
	if err := s.remedy(ctx, r); err != nil {
		return err
	}
	return s.flushIfMany(ctx)
}

// mostMet is how many of the entities that a partition came across and that were not
// fetched before it notes.
const mostMet = 1000

// met notes that the walk came across an entity of which the mirror has a document, but no
// state.
func (s *survey) met(doc *storage.Document) {
	if doc != nil && !doc.Known() && s.unfetched != nil && len(s.unfetched) < mostMet {
		s.unfetched[doc.Key.String()] = true
	}
}

// documents reads the mirror's documents, by key.
func (s *survey) documents(ctx context.Context, keys []event.Key) (map[event.Key]*storage.Document, error) {
	var docs []*storage.Document
	err := s.persist(ctx, "read documents", func() (err error) {
		docs, err = s.store.Documents(ctx, keys)
		return err
	})
	byKey := make(map[event.Key]*storage.Document, len(docs))
	for _, d := range docs {
		byKey[d.Key] = d
	}
	return byKey, err
}

// verified notes that a document was true at a time.
func (s *survey) verified(doc *storage.Document, at time.Time) {
	s.counts["same"]++
	s.same = append(s.same, storage.Verified{Key: doc.Key, StateHash: doc.StateHash, Deleted: !doc.DeletedAt.IsZero(), At: at.UTC()})
}

func (s *survey) flushIfMany(ctx context.Context) error {
	if len(s.same) < verifyBatch {
		return nil
	}
	return s.flush(ctx)
}

// flush writes verified_at of the documents noted. It must come before the progress
// that includes them is saved.
func (s *survey) flush(ctx context.Context) error {
	if len(s.same) == 0 {
		return nil
	}
	err := s.persist(ctx, "note verified documents", func() error {
		_, err := s.store.Verify(ctx, s.same)
		return err
	})
	if err == nil {
		s.same = s.same[:0]
	}
	return err
}

// persist runs do until it succeeds, or fails for another reason than an unavailable
// database.
func (f *finder) persist(ctx context.Context, what string, do func() error) error {
	r := f.retry("store", storage.IsAway)
	r.TimedOut = storage.IsTimeout
	r.Alert = func(source, reason string) {
		if f.alert != nil {
			f.alert(alert.Alert{Kind: alert.StoreSlow, Source: source, Reason: reason})
		}
	}
	return r.Do(ctx, loops.Call{What: what, Source: f.name, Health: f.loop}, do)
}

// retry returns the policy for calls of a server that may be away.
func (f *finder) retry(server string, away func(error) bool) loops.Retry {
	return loops.Retry{
		Server: server, Away: away, Pause: f.pace.backoff, Logger: f.sparing,
		Count: f.metrics.CountHeld, Hold: f.metrics.Hold,
	}
}

// append appends signals until Redis has them all. Some may be appended twice, which
// costs a fetch at most.
func (f *finder) append(ctx context.Context, drafts []stream.Draft) error {
	if len(drafts) == 0 {
		return nil
	}
	return f.insist(ctx, "append signals", func() error {
		_, err := f.streams.AppendAll(ctx, drafts)
		return err
	})
}

// insist runs do, which calls Redis, until it succeeds. It returns an error of ctx, or
// one that is fate.Permanent, which no repetition would end.
func (f *finder) insist(ctx context.Context, what string, do func() error) error {
	redis := f.retry("redis", func(err error) bool { return !fate.Is(err, fate.Permanent) })
	return redis.Do(ctx, loops.Call{What: what, Source: f.name, Health: f.loop}, do)
}
