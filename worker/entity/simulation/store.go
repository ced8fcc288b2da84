package simulation

import (
	"cmp"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// store does what a storage.Store does.
type store struct {
	w       *world
	docs    map[event.Key]*document
	rows    map[string]*row
	order   []*row
	letters map[work]*letter
	// settled counts outcomes of events.
	settled int
}

// work is one event's work on one entity.
type work struct {
	event string
	key   event.Key
}

type document struct {
	storage.Document
	// begun is when each claim was taken, from 1.
	begun []time.Duration
	// fetched is when the fetch of the current state was sent.
	fetched time.Duration
	// covered are the live entries settled so far, by id, with their claims.
	covered []covering
	// failed are the claims under which the provider has failed.
	failed []int64
	// written is the newest claim whose fetch was written or found the state unchanged.
	written int64
	// erasedBy is the claim of the newest erasure, marked are the claims that have shown
	// a marker.
	erasedBy int64
	marked   []int64
}

type covering struct {
	id    string
	claim int64
}

type row struct {
	event    *event.Event
	first    string
	seen     map[string]bool
	outcomes map[event.Key]*outcome
}

type outcome struct {
	status storage.EventStatus
	signal string
	failed []time.Time // when, of each failure counted
}

type letter struct {
	storage.Letter
	status storage.LetterStatus
}

func newStore(w *world) *store {
	return &store{w: w, docs: map[event.Key]*document{}, rows: map[string]*row{}, letters: map[work]*letter{}}
}

func (s *store) doc(k event.Key) *document {
	d := s.docs[k]
	if d == nil {
		d = &document{Document: storage.Document{Key: k}}
		s.docs[k] = d
	}
	return d
}

func (s *store) claim(ref event.Ref) (*storage.Document, error) {
	d := s.doc(ref.Key)
	if d.Claim == 0 {
		d.Parents = ref.Parents
	}
	s.raise(d)
	out := d.Document
	switch {
	case s.w.plan.Off == Markers:
		out.Erased = nil
	case d.Erased != nil:
		d.marked = append(d.marked, d.Claim)
	}
	if s.w.plan.Off == FeedFed {
		out.Fed = out.Version
	}
	return &out, nil
}

// raise raises the claim.
func (s *store) raise(d *document) {
	d.Claim++
	d.begun = append(d.begun, s.w.now)
}

// claimedAt is when a claim was taken.
func (d *document) claimedAt(claim int64) time.Duration { return d.begun[claim-1] }

// write is storage.Store.Write. sent is when the request was, by the one clock.
func (s *store) write(x *storage.Write, sent time.Duration) (storage.Written, error) {
	d := s.doc(x.Ref.Key)
	current := d.Claim == x.Claim && (d.SyncedClaim < x.Claim || !d.SyncedAt.After(x.SentAt))
	if !current && s.w.plan.Off != Claims {
		return storage.Written{}, nil
	}
	if d.Erased != nil && s.w.plan.Off != Markers {
		return storage.Written{}, nil
	}
	s.w.replaces(d, x, sent)
	if x.Changes() {
		d.Version = x.Claim
	}
	d.SyncedClaim, d.SyncedAt, d.written = d.Claim, x.SentAt, d.Claim
	defer s.w.stays(d)
	if x.ForgetLastEvent || x.LastEvent.CreatedAt.After(d.LastEvent.CreatedAt) ||
		x.LastEvent.CreatedAt.Equal(d.LastEvent.CreatedAt) && x.LastEvent.ID > d.LastEvent.ID {
		if !x.LastEvent.CreatedAt.IsZero() {
			d.LastEvent = x.LastEvent
		}
	}
	if !x.Deleted && len(x.Ref.Parents) > 0 {
		d.Parents = x.Ref.Parents
	}
	if x.Kept {
		if d.DoubtedAt.IsZero() {
			d.DoubtedAt = x.DoubtedAt
		}
		return storage.Written{Applied: true}, nil
	}
	d.DoubtedAt, d.fetched = time.Time{}, sent
	switch {
	case x.Deleted:
		if d.DeletedAt.IsZero() {
			d.DeletedAt = x.SentAt
		}
	case x.Raw != nil:
		d.Raw, d.StateHash, d.Status, d.Terminal, d.DeletedAt = x.Raw, x.StateHash, x.Status, x.Terminal, time.Time{}
	}
	return storage.Written{Applied: true, OpenLetters: d.OpenLetters > 0}, nil
}

func (s *store) supersede(k event.Key, claim int64) {
	for of, l := range s.letters {
		if of.key == k && l.status == storage.LetterOpen && l.Claim < claim {
			l.status = storage.LetterSuperseded
			s.doc(k).OpenLetters--
			if o := s.rows[of.event].outcomes[k]; o.status == storage.Dead {
				o.status = storage.Superseded
			}
		}
	}
}

// logged is storage.Logged.
type logged map[event.Key]storage.EventStatus

func (s *store) log(entries []event.Entry) ([]logged, error) {
	var out []logged
	for _, e := range entries {
		b := e.Signal.Body
		if b == nil {
			out = append(out, nil)
			continue
		}
		r := s.rows[b.ID]
		if r == nil {
			r = &row{event: b, first: e.ID, seen: map[string]bool{}, outcomes: map[event.Key]*outcome{}}
			s.rows[b.ID] = r
			s.order = append(s.order, r)
			for i, ref := range b.Entities {
				o := &outcome{status: storage.Pending}
				if i == 0 {
					o.signal = e.ID
				}
				r.outcomes[ref.Key] = o
			}
		} else if e.ID != r.first && !r.seen[e.ID] {
			r.seen[e.ID] = true
			for _, o := range r.outcomes {
				if o.status == storage.Dead {
					o.status = storage.Pending
				}
			}
			if o := r.outcomes[b.Entities[0].Key]; o.status == storage.Pending {
				o.signal = e.ID
			}
		}
		now := logged{}
		for k, o := range r.outcomes {
			now[k] = o.status
		}
		out = append(out, now)
	}
	return out, nil
}

func (s *store) settle(list []storage.Settlement) {
	for i := range list {
		d := &list[i]
		r := s.rows[d.EventID]
		if r == nil {
			s.w.fail("order", "event %s is settled without a row", d.EventID)
			return
		}
		o := r.outcomes[d.Entity]
		if o.status != storage.Pending {
			continue
		}
		o.status, o.signal = storage.Processed, d.Signal.ID
		if d.Erased {
			o.status = storage.Erased
		}
		s.settled++
		s.w.covers(s.doc(d.Entity), d)
	}
}

func (s *store) count(list []storage.Failure) {
	for i := range list {
		f := &list[i]
		if r := s.rows[f.EventID]; r != nil {
			if o := r.outcomes[f.Entity]; o.status == storage.Pending && !slices.ContainsFunc(o.failed, f.At.Equal) {
				o.failed, o.signal = append(o.failed, f.At), f.Signal.ID
				if !f.Uncharged {
					s.w.charges(s.doc(f.Entity), f)
				}
			}
		}
	}
}

func (s *store) bury(letters []storage.Letter) {
	for i := range letters {
		l := &letters[i]
		of := work{l.EventID, l.Ref.Key}
		o, d := s.rows[l.EventID].outcomes[l.Ref.Key], s.doc(l.Ref.Key)
		was := s.letters[of]
		if was != nil && o.status.Final() && o.status != storage.Dead {
			continue
		}
		s.w.buries(d, l)
		merged := *l
		if was != nil {
			merged.Claim = max(merged.Claim, was.Claim)
			if was.status == storage.LetterOpen {
				d.OpenLetters--
			}
		}
		status, out := storage.LetterOpen, storage.Dead
		switch {
		case d.Erased != nil:
			status, out = storage.LetterErased, storage.Erased
		case d.SyncedClaim > merged.Claim:
			status, out = storage.LetterSuperseded, storage.Superseded
		default:
			d.OpenLetters++
		}
		s.letters[of] = &letter{merged, status}
		if o.status == storage.Pending || o.status == storage.Dead {
			o.status = out
			s.settled++
		}
	}
}

// debtsOf is storage.Store.DebtsOf.
func (s *store) debtsOf(entries []event.Entry) (debts []storage.Item) {
	seen := map[event.Key]bool{}
	for _, e := range entries {
		if k := e.Signal.Ref.Key; !seen[k] && s.doc(k).Owes() {
			seen[k] = true
			debts = append(debts, storage.Item{Key: k, Version: s.doc(k).Version})
		}
	}
	return debts
}

// debts are all there are.
func (s *store) debts() (debts []storage.Item) {
	for _, d := range s.docs {
		if d.Owes() {
			debts = append(debts, storage.Item{Key: d.Key, Version: d.Version})
		}
	}
	slices.SortFunc(debts, func(a, b storage.Item) int { return compareKeys(a.Key, b.Key) })
	return debts
}

// fed is storage.Store.Fed.
func (s *store) fed(items []storage.Item) {
	for _, i := range items {
		if d := s.doc(i.Key); d.Version == i.Version {
			d.Fed = i.Version
		}
	}
}

// unsettled returns the work that is open of events received before a time, in
// the order of their rows.
func (s *store) unsettled(before time.Time) (open []work, known []string) {
	for _, r := range s.order {
		if r.event.ReceivedAt.After(before) {
			continue
		}
		for _, ref := range r.event.Entities {
			if o := r.outcomes[ref.Key]; o.status == storage.Pending {
				open, known = append(open, work{r.event.ID, ref.Key}), append(known, o.signal)
			}
		}
	}
	return open, known
}

func (s *store) open() []work {
	var dead []work
	for of, l := range s.letters {
		if l.status == storage.LetterOpen {
			dead = append(dead, of)
		}
	}
	slices.SortFunc(dead, func(a, b work) int { return cmp.Or(cmp.Compare(a.event, b.event), compareKeys(a.key, b.key)) })
	return dead
}

func (s *store) redriven(of work) {
	if l := s.letters[of]; l.status == storage.LetterOpen {
		l.status = storage.LetterRedriven
		s.doc(of.key).OpenLetters--
		if o := s.rows[of.event].outcomes[of.key]; o.status == storage.Dead {
			o.status = storage.Pending
		}
	}
}
