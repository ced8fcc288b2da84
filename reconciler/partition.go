package reconciler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// partitionSpec says which part of a sweep a partition is. One of Root, Under, Check
// and Events is set.
type partitionSpec struct {
	Mode mode `json:"mode"`
	// Kinds are the wanted ones. None: all.
	Kinds []string `json:"kinds,omitempty"`
	// Fill are the kinds, lists and entities of a sweep whose differences are
	// fetched and not recorded.
	Fill []string `json:"fill,omitempty"`
	// Rate is the most calls a second of the whole sweep. 0: no limit of its own.
	Rate float64 `json:"rate,omitempty"`
	// Begun is when the sweep began.
	Begun time.Time `json:"begun"`

	// Root is a kind whose list needs no ids.
	Root string `json:"root,omitempty"`
	// Under is a kind with kinds under it: the lists under its IDs are walked.
	Under string   `json:"under,omitempty"`
	IDs   []string `json:"ids,omitempty"`
	// Check is a kind whose entities are checked by id if no list showed them.
	// Failed are its lists that could not be read whole.
	Check  string   `json:"check,omitempty"`
	Failed []string `json:"failed,omitempty"`
	// Events is set for a fill by the events since Since.
	Events bool      `json:"events,omitempty"`
	Since  time.Time `json:"since,omitzero"`
}

// partitionState is how far a partition has come.
type partitionState struct {
	// At is the place among IDs, Child the one among the kinds under it.
	At    int `json:"at,omitempty"`
	Child int `json:"child,omitempty"`
	// List is the place in the list that is being walked.
	List place `json:"list,omitzero"`
	// Listed is set when the list of a root has been walked to its end. What
	// remains is to divide its ids.
	Listed bool `json:"listed,omitempty"`
	// Chunks counts the partitions that a root has made of its ids; Pending are the
	// ids that are in none yet.
	Chunks  int      `json:"chunks,omitempty"`
	Pending []string `json:"pending,omitempty"`
	// Scope is the scope whose events are being read. "": those of none.
	Scope string `json:"scope,omitempty"`
	// After is the id up to which entities were checked.
	After string `json:"after,omitempty"`
	// Failed are the lists that could not be read whole, Lost the first of them
	// with their errors.
	Failed []string             `json:"failed,omitempty"`
	Lost   []storage.FailedList `json:"lost,omitempty"`
	// Unchecked are the first entities that could not be checked.
	Unchecked []storage.Unchecked `json:"unchecked,omitempty"`
	// Met are the keys of entities that the walk came across and of which the mirror had a
	// document, but no state; at most mostMet.
	Met []string `json:"met,omitempty"`
}

// partition is one part of a sweep under way. It saves its progress every few
// seconds, so the next holder repeats no more than that.
type partition struct {
	survey
	task  *storage.Task
	spec  partitionSpec
	state partitionState
	save  saver
	saved time.Time
}

func newPartition(f *finder, t *storage.Task, save saver) (*partition, error) {
	spec, err := decodeState[partitionSpec](t.Spec)
	if err != nil {
		return nil, fmt.Errorf("spec of partition %s: %w", t.ID, err)
	}
	state, err := decodeState[partitionState](t.State)
	if err != nil {
		return nil, err
	}
	p := &partition{task: t, spec: spec, state: state, save: save, saved: f.now()}
	p.survey = survey{
		finder: f.limited(t.Parent, spec.Rate), mode: spec.Mode, id: t.Parent, begun: spec.Begun, kinds: spec.Kinds, fill: spec.Fill,
		counts: maps.Clone(t.Counts), failed: map[string]bool{}, lost: state.Lost, unchecked: state.Unchecked,
		unfetched: map[string]bool{},
	}
	if p.counts == nil {
		p.counts = map[string]int64{}
	}
	for _, name := range slices.Concat(state.Failed, spec.Failed) {
		p.failed[name] = true
	}
	for _, key := range state.Met {
		p.unfetched[key] = true
	}
	p.keep = p.keepNow
	return p, nil
}

// run runs the partition, or what is left of it.
func (p *partition) run(ctx context.Context) error {
	if err := p.walk(ctx); err != nil {
		return err
	}
	if err := p.flush(ctx); err != nil {
		return err
	}
	p.noteDown()
	return nil
}

func (p *partition) walk(ctx context.Context) error {
	switch s := p.spec; {
	case s.Events:
		return p.events(ctx, &p.state.List)
	case s.Root != "":
		k, err := p.kind(s.Root)
		if err != nil {
			return err
		}
		return p.root(ctx, k)
	case s.Under != "":
		k, err := p.kind(s.Under)
		if err != nil {
			return err
		}
		return p.parents(ctx, k)
	default:
		k, err := p.kind(s.Check)
		if err != nil {
			return err
		}
		return p.checkKind(ctx, k, &p.state.After)
	}
}

func (p *partition) kind(name string) (*provider.Kind, error) {
	k := p.def.Kind(name)
	if k == nil {
		return nil, fmt.Errorf("provider %s has no kind %q (any more)", p.def.Name, name)
	}
	return k, nil
}

// root walks the list of a root kind, and makes partitions for what is under its
// entities.
func (p *partition) root(ctx context.Context, k *provider.Kind) error {
	if !p.state.Listed {
		var divided map[uint64]bool
		p.onRestart = func(ctx context.Context) (err error) {
			divided, err = p.divided(ctx)
			return err
		}
		if p.state.List.Restarts > 0 {
			if err := p.onRestart(ctx); err != nil {
				return err
			}
		}
		err := p.listRoot(ctx, k, &p.state.List, func(ids ...string) {
			for _, id := range ids {
				if !divided[xxhash.Sum64String(id)] {
					p.state.Pending = append(p.state.Pending, id)
				}
			}
		})
		if err != nil {
			return err
		}
		p.state.Listed = true
	}
	return p.divide(ctx, true)
}

// divided returns the hashes of the ids that a root has in partitions, or pending. A
// list that is read from its beginning again shows them once more.
func (p *partition) divided(ctx context.Context) (map[uint64]bool, error) {
	all := map[uint64]bool{}
	add := func(ids []string) {
		for _, id := range ids {
			all[xxhash.Sum64String(id)] = true
		}
	}
	add(p.state.Pending)
	err := eachTask(ctx, p.finder, storage.TaskFilter{Parent: p.task.Parent}, func(t *storage.Task) {
		if spec, err := decodeState[partitionSpec](t.Spec); err == nil && spec.Under == p.spec.Root {
			add(spec.IDs)
		}
	})
	return all, err
}

// chunkSize is how many parents the nth partition under a kind has. The first
// are small, so that few parents with much under them are still divided; later
// ones grow, so that many parents make no flood of partitions.
func chunkSize(n int) int { return min(500, 4<<min(n/8, 8)) }

// divide makes partitions of the pending ids. Only at the end of the list it makes
// one that is not full. It saves the pending ids first, so that a partition made again
// after a crash has the same ids.
func (p *partition) divide(ctx context.Context, end bool) error {
	for {
		size := chunkSize(p.state.Chunks)
		if n := len(p.state.Pending); n == 0 || n < size && !end {
			return nil
		}
		if err := p.saveNow(ctx); err != nil {
			return err
		}
		ids := p.state.Pending[:min(size, len(p.state.Pending))]
		spec := p.spec
		spec.Root, spec.Under, spec.IDs, spec.Fill = "", p.spec.Root, ids, fillUnder(p.spec.Fill, ids)
		t := partitionTask(p.task.Parent, fmt.Sprintf("%s/%d", p.spec.Root, p.state.Chunks), p.name, spec, p.now())
		err := p.persist(ctx, "make a partition", func() error { return p.store.CreateTasks(ctx, []*storage.Task{t}) })
		if err != nil {
			return err
		}
		p.state.Chunks++
		p.state.Pending = slices.Clone(p.state.Pending[len(ids):])
	}
}

// parents walks the lists under each of the partition's ids.
func (p *partition) parents(ctx context.Context, k *provider.Kind) error {
	for p.state.At < len(p.spec.IDs) {
		if err := p.below(ctx, k, p.spec.IDs[p.state.At], nil, &p.state.Child, &p.state.List); err != nil {
			return err
		}
		p.state.At, p.state.Child = p.state.At+1, 0
		if err := p.note(ctx); err != nil {
			return err
		}
	}
	return nil
}

func partitionTask(sweep, name, source string, spec partitionSpec, now time.Time) *storage.Task {
	return &storage.Task{
		ID: sweep + "/" + name, Kind: "partition", Parent: sweep, Source: source, Status: storage.TaskWaiting, By: sweep,
		Spec: encodeState(spec), CreatedAt: now.UTC(),
	}
}

// events has workers fetch the entities that an event since Since names and the
// mirror has not verified after the event. The provider's clock may be off by minutes.
func (p *partition) events(ctx context.Context, at *place) error {
	scopes, err := p.knownScopes(ctx)
	if err != nil {
		return err
	}
	for _, scope := range append([]string{""}, scopes...) {
		if scope < p.state.Scope {
			continue // read before
		}
		if scope != p.state.Scope {
			p.state.Scope, *at = scope, place{}
		}
		err := p.eventsOf(ctx, scope, at)
		if refused, asking := p.refusedScope(ctx, scope, err); asking != nil || err != nil && !refused {
			return errors.Join(asking, err)
		}
	}
	return nil
}

// eventsOf is events for the list of one scope, or for that of none.
func (p *partition) eventsOf(ctx context.Context, scope string, at *place) error {
	const skew = 5 * time.Minute
	cursors := provider.Cursors{Max: p.settings.MaxPages}
	for {
		page, err := ask(ctx, p.finder, &p.calls, request[*provider.EventsPage]{"events", p.class(), func(ctx context.Context) (*provider.EventsPage, error) {
			return p.api.EventsPage(ctx, provider.EventsKey{Source: p.name, Scope: scope}, p.spec.Since, at.Cursor, p.why())
		}})
		if ctx.Err() == nil && err != nil && at.mayRestart(err, cursors.Pages() > 1) {
			p.log.Info("a page of the list of events was refused or is too long; it is read from its beginning again", "source", p.name, "error", err)
			p.counts["entities"] -= at.Shown
			*at, cursors = place{Restarts: at.Restarts + 1}, provider.Cursors{Max: p.settings.MaxPages}
			continue
		}
		if err != nil {
			if scope == "" || !fate.Is(err, fate.Refused) {
				p.listBlocked("events", err)
			}
			return err
		}
		if len(page.Unread) > 0 {
			p.log.Warn("events in the provider's list could not be read; the entities they name are not fetched",
				"source", p.name, "events", len(page.Unread), "first", page.Unread[0])
			p.counts["unreadable"] += int64(len(page.Unread))
		}
		moved := map[event.Key]time.Time{}
		var refs []event.Ref
		for _, e := range page.Events {
			for _, ref := range slices.Concat(e.Entities, e.Derived) {
				k := p.def.Kind(ref.Key.Kind)
				if k == nil || !p.wants(k) {
					continue
				}
				if ref, err = p.onlyOne(ctx, k, ref); err != nil {
					return err
				}
				if moved[ref.Key].IsZero() {
					refs = append(refs, ref)
				}
				at := event.OrderTime(e.CreatedAt, page.SentAt)
				if e.Undated {
					at = page.SentAt // it may have happened just now
				}
				if at.After(moved[ref.Key]) {
					moved[ref.Key] = at
				}
			}
		}
		docs, err := p.documents(ctx, slices.Collect(maps.Keys(moved)))
		if err != nil {
			return err
		}
		var r remedies
		for _, ref := range refs {
			doc := docs[ref.Key]
			p.met(doc)
			if p.def.LacksParents(ref) {
				if doc == nil || !doc.Known() {
					continue // no request can name it
				}
				ref.Parents = doc.Parents
			}
			p.counts["entities"]++
			at.Shown++
			p.counts["kind."+ref.Key.Kind]++
			if doc == nil || doc.VerifiedAt.Before(moved[ref.Key].Add(skew)) {
				r.fetch = append(r.fetch, ref)
			}
		}
		if err := p.remedy(ctx, r); err != nil {
			return err
		}
		if page.Next == "" {
			return nil
		}
		if err := p.follow(&cursors, "events", page.Next); err != nil {
			p.listBlocked("events", err)
			return err
		}
		at.Cursor = page.Next
		if err := p.note(ctx); err != nil {
			return err
		}
	}
}

// onlyOne returns the reference to the one entity the mirror knows by an id that
// was named without the parents which qualify it. If there are several or none,
// the reference stays as it is.
func (p *partition) onlyOne(ctx context.Context, k *provider.Kind, ref event.Ref) (event.Ref, error) {
	if !k.Qualified || !p.def.LacksParents(ref) {
		return ref, nil
	}
	var docs []*storage.Document
	err := p.persist(ctx, "look for an entity by its id alone", func() (err error) {
		docs, err = p.store.Namesakes(ctx, p.name, k.Name, ref.Key.ID, 2)
		return err
	})
	if err == nil && len(docs) == 1 {
		ref = event.Ref{Key: docs[0].Key, Parents: docs[0].Parents}
	}
	return ref, err
}

// keepNow saves the progress, every few seconds.
func (p *partition) keepNow(ctx context.Context) error {
	if err := p.divide(ctx, false); err != nil {
		return err
	}
	if p.now().Sub(p.saved) < p.pace.keep {
		return nil
	}
	return p.saveNow(ctx)
}

func (p *partition) saveNow(ctx context.Context) error {
	if err := p.flush(ctx); err != nil {
		return err
	}
	p.noteDown()
	p.saved = p.now()
	return p.save(ctx)
}

// noteDown puts state and counts into the task.
func (p *partition) noteDown() {
	p.counts["api_calls"] += p.calls
	p.calls = 0
	p.state.Failed, p.state.Lost, p.state.Unchecked = p.doubted(), p.lost, p.unchecked
	p.state.Met = slices.Sorted(maps.Keys(p.unfetched))
	p.task.State = encodeState(p.state)
	p.task.Counts = maps.Clone(p.counts)
}
