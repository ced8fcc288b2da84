package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

var byOps = storage.Marker{At: at(50), By: "ops"}

func (s *suite) erase(r event.Ref, m storage.Marker) *storage.Document {
	s.t.Helper()
	doc, err := s.Erase(s.ctx, r, m)
	require.NoError(s.t, err)
	return doc
}

// clear clears all pages and returns how many events had content.
func (s *suite) clear(r event.Ref) (n int) {
	s.t.Helper()
	for after := ""; ; {
		done, err := s.Clear(s.ctx, r.Key, after, at(51))
		require.NoError(s.t, err)
		n += done.Events
		if done.Next == "" {
			return n
		}
		after = done.Next
	}
}

func (s *suite) unerase(k, with event.Key) bool {
	s.t.Helper()
	done, err := s.Unerase(s.ctx, k, with)
	require.NoError(s.t, err)
	return done
}

func erasedSettlement(a storage.Arrival, r event.Ref) storage.Settlement {
	d := settlement(a, r, 9)
	d.Erased, d.CoveredBy = true, storage.Covered{Claim: 9, Signal: a.Signal.ID}
	return d
}

// noContent fails if a word is in anything that the store returns about events, letters,
// discrepancies and documents.
func (s *suite) noContent(word string) {
	s.t.Helper()
	events, err := s.Events(s.ctx, storage.EventFilter{Limit: 200})
	require.NoError(s.t, err)
	for _, e := range events.Items {
		require.NotContains(s.t, string(e.Payload), word)
		require.NotContains(s.t, asJSON(s.t, e), word)
	}
	letters, err := s.Letters(s.ctx, storage.LetterFilter{Limit: 200})
	require.NoError(s.t, err)
	for _, l := range letters.Items {
		require.NotContains(s.t, string(l.Payload), word)
		require.NotContains(s.t, asJSON(s.t, l), word)
	}
	found, err := s.Discrepancies(s.ctx, storage.DiscrepancyFilter{Limit: 200})
	require.NoError(s.t, err)
	for _, d := range found.Items {
		require.NotContains(s.t, string(d.Patch), word)
	}
}

// secret is what must not be found any more.
const secret = "Erika Mustermann"

// about is an event that holds the secret and names the given entities.
func about(id string, refs ...event.Ref) storage.Arrival {
	a := arrival(id, refs...)
	a.Event.Payload = []byte(`{"id":"` + id + `","name":"` + secret + `"}`)
	a.Event.Given = map[string]string{"header:X-Name": secret}
	return a
}

func failing(a storage.Arrival, r event.Ref) storage.Failure {
	f := failure(a, r, at(4))
	f.Error = "GET: 422 " + secret
	return f
}

func letterOf(a storage.Arrival, r event.Ref, claim int64) storage.Letter {
	l := letter(a, r, claim)
	l.Attempts[0].Error = "GET: 422 " + secret
	return l
}

var erasureCases = []testCase{
	{"a marker leaves the key, the parents and a claim that is raised", func(t *testing.T, s *suite) {
		w := write(order("o1"), s.claim(order("o1")).Claim, `{"id":"o1","name":"`+secret+`"}`)
		w.Terminal, w.LastEvent = true, storage.LastEvent{ID: "evt_1", Type: "order.executed", CreatedAt: at(3)}
		s.write(w)
		want := asJSON(t, &storage.Document{
			Key: order("o1").Key, Parents: order("o1").Parents, Claim: 2, Version: 2, SyncedClaim: storage.ErasedClaim, Erased: &byOps,
		})
		require.Equal(t, want, asJSON(t, s.erase(order("o1"), byOps)))
		require.Equal(t, want, asJSON(t, s.entity(order("o1"))))
		require.False(t, s.entity(order("o1")).Known())
		require.False(t, s.entity(order("o1")).Alive())

		again := s.erase(order("o1"), storage.Marker{At: at(70), By: "another"})
		require.Equal(t, want, asJSON(t, again), "the marker stays what it is")
	}},
	{"the feed is told that an entity was erased", func(t *testing.T, s *suite) {
		s.sync(order("o1"), state(1))
		s.fed(s.debts()...)
		require.Empty(t, s.debts())
		for _, id := range []string{"o1", "never-seen"} {
			s.erase(order(id), byOps)
			require.Equal(t, []storage.Item{item(order(id), s.entity(order(id)).Version)}, s.debts(), id)
			s.fed(s.debts()...)
			require.LessOrEqual(t, s.entity(order(id)).Version, s.entity(order(id)).Claim)
			s.erase(order(id), byOps)
			require.Empty(t, s.debts(), "it is erased already")
		}
	}},
	{"an entity that was never seen can be erased", func(t *testing.T, s *suite) {
		doc := s.erase(order("o1"), byOps)
		require.Equal(t, &byOps, doc.Erased)
		doc = s.claim(order("o1"))
		require.Equal(t, &byOps, doc.Erased)
		require.Equal(t, order("o1").Parents, doc.Parents)
		require.EqualValues(t, 2, doc.Claim)
	}},
	{"a fetch that is under way when its entity is erased is not written", func(t *testing.T, s *suite) {
		s.sync(order("o1"), state(1))
		claim := s.claim(order("o1")).Claim
		s.erase(order("o1"), byOps)
		before := asJSON(t, s.entity(order("o1")))
		for name, w := range writesOf(order("o1"), claim) {
			done, err := s.Write(s.ctx, w)
			require.NoError(t, err)
			require.Equal(t, storage.Written{}, done, name)
		}
		require.Equal(t, before, asJSON(t, s.entity(order("o1"))))
	}},
	{"nothing is written under the claim of a marker or a later one", func(t *testing.T, s *suite) {
		s.sync(order("o1"), state(1))
		doc := s.erase(order("o1"), byOps)
		for _, claim := range []int64{doc.Claim, s.claim(order("o1")).Claim} {
			for name, w := range writesOf(order("o1"), claim) {
				done, err := s.Write(s.ctx, w)
				require.NoError(t, err)
				require.Equal(t, storage.Written{}, done, "%s under claim %d", name, claim)
			}
		}
		require.Nil(t, s.entity(order("o1")).Raw)
		require.Equal(t, &byOps, s.entity(order("o1")).Erased)
	}},
	{"no list has a marker, and it can be found by its parent", func(t *testing.T, s *suite) {
		for _, id := range []string{"o1", "o2", "o3"} {
			s.sync(order(id), state(1))
		}
		s.claim(order("o4")) // never fetched
		s.erase(order("o2"), byOps)
		page, err := s.Entities(s.ctx, storage.EntityFilter{Source: "lemon", Kind: "order"})
		require.NoError(t, err)
		require.Equal(t, "o1 o3", idsOfDocuments(page.Items))
		living, err := s.Living(s.ctx, "lemon", "order", 9)
		require.NoError(t, err)
		require.Len(t, living, 2)
		due := storage.DueFilter{Source: "lemon", Kind: "order", VerifiedBefore: at(999), Limit: 9}
		var found []*storage.Document
		for next := "-"; next != ""; due.After = next {
			docs, after, err := s.DueForVerify(s.ctx, due)
			require.NoError(t, err)
			found, next = append(found, docs...), after
		}
		require.Equal(t, "o1 o3", idsOfDocuments(found))
		unfetched, err := s.Unfetched(s.ctx, "lemon", []string{"order"})
		require.NoError(t, err)
		require.EqualValues(t, 1, unfetched)
		first, err := s.FirstUnfetched(s.ctx, "lemon", "order", 9)
		require.NoError(t, err)
		require.Equal(t, "o4", idsOfDocuments(first))

		f := storage.BelowFilter{Source: "lemon", Kind: "order", Parent: "account", ID: "cusa_1", Limit: 3}
		below, err := s.Below(s.ctx, f)
		require.NoError(t, err)
		require.Equal(t, "o1 o2 o3", idsOfDocuments(below))
		require.Equal(t, &byOps, below[1].Erased)
		f.After = "o3"
		below, err = s.Below(s.ctx, f)
		require.NoError(t, err)
		require.Equal(t, "o4", idsOfDocuments(below))
		f.ID, f.After = "cusa_2", ""
		below, err = s.Below(s.ctx, f)
		require.NoError(t, err)
		require.Empty(t, below)
	}},
	{"an erased entity is found by its plain id", func(t *testing.T, s *suite) {
		r := order("o1")
		r.Key.Under = event.Under("cusa_1")
		s.erase(r, byOps)
		docs, err := s.Namesakes(s.ctx, "lemon", "order", "o1", 9)
		require.NoError(t, err)
		require.Len(t, docs, 1)
		require.Equal(t, r.Key, docs[0].Key)
	}},
	{"a restored entity is one that was never fetched", func(t *testing.T, s *suite) {
		s.sync(order("o1"), state(1))
		s.erase(order("o1"), byOps)
		require.True(t, s.unerase(order("o1").Key, event.Key{}))
		require.False(t, s.unerase(order("o1").Key, event.Key{}), "it is no marker any more")
		require.Equal(t, asJSON(t, &storage.Document{Key: order("o1").Key, Parents: order("o1").Parents, Claim: 3, Version: 2}), asJSON(t, s.entity(order("o1"))))
		s.sync(order("o1"), state(2))
		require.Equal(t, state(2), string(s.entity(order("o1")).Raw))
		require.False(t, s.unerase(order("o9").Key, event.Key{}))
	}},
	{"what was erased with an account comes back with it alone", func(t *testing.T, s *suite) {
		with := byOps
		with.With = account("cusa_1").Key
		s.erase(order("o1"), with)
		require.Equal(t, &with, s.entity(order("o1")).Erased)
		require.False(t, s.unerase(order("o1").Key, event.Key{}))
		require.False(t, s.unerase(order("o1").Key, account("cusa_2").Key))
		require.True(t, s.unerase(order("o1").Key, with.With))
	}},
	{"what was erased with an account and then by itself stays when the account comes back", func(t *testing.T, s *suite) {
		with := byOps
		with.With = account("cusa_1").Key
		s.erase(order("o1"), with)
		own := storage.Marker{At: at(60), By: "dpo"}
		require.Equal(t, &own, s.erase(order("o1"), own).Erased)
		require.Equal(t, &own, s.erase(order("o1"), with).Erased, "and not the other way round")
		require.False(t, s.unerase(order("o1").Key, with.With))
		require.True(t, s.unerase(order("o1").Key, event.Key{}))
	}},
	{"clearing leaves ids and outcomes of events and none of their content", func(t *testing.T, s *suite) {
		done, open, dead, mixed, other := about("evt_done", order("o1")), about("evt_open", order("o1")), about("evt_dead", order("o1")),
			about("evt_mixed", order("o1"), order("o2")), about("evt_other", order("o2"))
		s.log(done, open, dead, mixed, other)
		s.fail(failing(done, order("o1")), failing(mixed, order("o1")))
		s.settle(settlement(done, order("o1"), 3), settlement(mixed, order("o2"), 3))
		s.bury(letterOf(dead, order("o1"), 1))
		s.erase(order("o1"), byOps)

		require.Equal(t, 4, s.clear(order("o1")))
		require.Zero(t, s.clear(order("o1")), "nothing is left to clear")
		for _, a := range []storage.Arrival{done, open, dead, mixed} {
			row := s.row(a)
			require.Equal(t, storage.ErasedText, string(row.Payload), a.Event.ID)
			require.Empty(t, row.Given)
			require.NotContains(t, asJSON(t, row), secret)
			require.Equal(t, a.Event.Entities[0].Key, row.Entities[0].Ref.Key)
		}
		require.Equal(t, other.Event.Payload, s.row(other).Payload)
		require.Equal(t, "processed: processed", s.statuses(done), "what was done stays done")
		require.Equal(t, "erased: erased", s.statuses(open))
		require.Equal(t, "erased: erased", s.statuses(dead))
		require.Equal(t, "processed: erased processed", s.statuses(mixed), "the other entity decides")
		require.Equal(t, storage.ErasedText, s.row(done).Error)
		require.EqualValues(t, 3, s.row(done).Entities[0].CoveredBy.Claim)
		require.Empty(t, s.row(done).Entities[0].CoveredBy.StateHash)

		l := s.letter(letterOf(dead, order("o1"), 1))
		require.Equal(t, storage.LetterErased, l.Status)
		require.Equal(t, []storage.Attempt{{At: at(7), Error: storage.ErasedText}}, l.Attempts)
		require.Equal(t, at(51), l.ClosedAt)
		require.Zero(t, s.redriven(letterOf(dead, order("o1"), 1)), "it cannot be redriven")
		rows, _, err := s.Unsettled(s.ctx, "lemon", at(999), 9, "")
		require.NoError(t, err)
		require.Len(t, rows, 1, "recovery finds none of the erased work")
		require.Equal(t, "evt_other", rows[0].ID)
		page, err := s.Events(s.ctx, storage.EventFilter{Status: storage.Erased})
		require.NoError(t, err)
		require.Len(t, page.Items, 2)
	}},
	{"clearing is of one source", func(t *testing.T, s *suite) {
		a := about("evt_1", order("o1"))
		foreign := about("evt_1", order("o1"))
		e := *foreign.Event
		r := order("o1")
		r.Key.Source = "other"
		e.Source, e.Entities = "other", []event.Ref{r}
		foreign.Event = &e
		s.log(a, foreign)
		s.clear(order("o1"))
		require.Equal(t, foreign.Event.Payload, s.row(foreign).Payload)
		require.Equal(t, "pending: pending", s.statuses(foreign))
	}},
	{"clearing goes through more events than one page has", func(t *testing.T, s *suite) {
		var all []storage.Arrival
		for i := range 103 {
			all = append(all, about(fmt.Sprintf("evt_%03d", i), order("o1")))
		}
		for part := range slices.Chunk(all, 40) {
			s.log(part...)
		}
		done, err := s.Clear(s.ctx, order("o1").Key, "", at(51))
		require.NoError(t, err)
		require.NotEmpty(t, done.Next)
		require.Equal(t, 103-done.Events, s.clear(order("o1")))
		s.noContent(secret)
	}},
	{"clearing reaches other bodies, patches and why a sync was given up", func(t *testing.T, s *suite) {
		a := about("evt_1", order("o1"))
		s.log(a)
		require.NoError(t, s.Note(s.ctx, []storage.Note{
			{ID: "differing/1/" + a.Signal.ID, At: at(2), Source: "lemon", Kind: storage.NoteDiffering, EventID: "evt_1", Reason: secret, Count: 1},
			{ID: "refused/1/" + a.Signal.ID, At: at(2), Source: "lemon", Kind: storage.NoteRefused, EventID: "evt_1", Reason: secret, Count: 1},
			{ID: storage.ActID("sync_1"), At: at(2), Source: "lemon", Kind: storage.NoteOperator, Did: "sync", To: order("o1").Key.String(), Reason: "ops: sync", By: "ops", Count: 1},
			{ID: storage.GivenUpID("sync_1"), At: at(2), Source: "lemon", Kind: storage.NoteGivenUp, EventID: "sync_1", Reason: secret, Count: 1},
			{ID: "note/7-0", At: at(2), Source: "lemon", Kind: "rejected", Reason: "signature", Count: 1},
		}))
		d := storage.Discrepancy{
			ID: "dis_1", Source: "lemon", Entity: order("o1").Key, Type: storage.Stale, Patch: []byte(`[{"value":"` + secret + `"}]`),
			FoundAt: at(3), StateHash: "hash",
		}
		kept := d
		kept.ID, kept.Entity = "dis_2", order("o2").Key
		require.NoError(t, s.Record(s.ctx, []storage.Discrepancy{d, kept}))
		s.clear(order("o1"))
		for id, want := range map[string]string{
			"differing/1/" + a.Signal.ID: storage.ErasedText, "refused/1/" + a.Signal.ID: storage.ErasedText,
			storage.GivenUpID("sync_1"): storage.ErasedText, storage.ActID("sync_1"): "ops: sync", "note/7-0": "signature",
		} {
			n, err := s.NoteByID(s.ctx, id)
			require.NoError(t, err)
			require.Equal(t, want, n.Reason, id)
		}
		found, err := s.Discrepancies(s.ctx, storage.DiscrepancyFilter{Entity: order("o1").Key})
		require.NoError(t, err)
		require.Len(t, found.Items, 1)
		require.Equal(t, storage.ErasedText, string(found.Items[0].Patch))
		require.Empty(t, found.Items[0].StateHash)
		require.Equal(t, storage.Dropped, found.Items[0].Status)
		found, err = s.Discrepancies(s.ctx, storage.DiscrepancyFilter{Entity: order("o2").Key})
		require.NoError(t, err)
		require.Equal(t, kept.Patch, found.Items[0].Patch)
	}},
	{"what is settled as erased loses its content", func(t *testing.T, s *suite) {
		one, both := about("evt_one", order("o1")), about("evt_both", order("o1"), order("o2"))
		last := about("evt_last", order("o2"), order("o1"))
		s.log(one, both, last)
		s.settle(erasedSettlement(one, order("o1")), erasedSettlement(both, order("o1")), settlement(last, order("o2"), 3))
		require.Equal(t, "erased: erased", s.statuses(one))
		require.Equal(t, at(6), s.row(one).ProcessedAt)
		require.EqualValues(t, 9, s.row(one).Entities[0].CoveredBy.Claim)
		require.Equal(t, "pending: erased pending", s.statuses(both))
		s.settle(settlement(both, order("o2"), 3), erasedSettlement(last, order("o1")))
		require.Equal(t, "processed: erased processed", s.statuses(both))
		require.Equal(t, "processed: processed erased", s.statuses(last))
		s.settle(erasedSettlement(one, order("o1")))
		s.noContent(secret)
	}},
	{"an event that comes again does not bring its body back", func(t *testing.T, s *suite) {
		a := about("evt_1", order("o1"))
		s.log(a)
		s.settle(erasedSettlement(a, order("o1")))
		again := a
		again.Signal = entry(1, "9-0")
		out := s.log(again)[0]
		require.True(t, out.Redelivered)
		require.False(t, out.PayloadDiffers)
		require.Equal(t, "erased: erased", s.statuses(a))
		require.Equal(t, map[event.Key]storage.EventStatus{order("o1").Key: storage.Erased}, out.Outcomes)
		s.noContent(secret)

		b := about("evt_2", order("o1"))
		s.log(b)
		emptied := *b.Event
		emptied.Payload = []byte(storage.ErasedText)
		out = s.log(storage.Arrival{Event: &emptied, Signal: entry(1, "10-0")})[0]
		require.False(t, out.PayloadDiffers, "it was erased between the two")
	}},
	{"work that is buried after its entity was erased leaves no error", func(t *testing.T, s *suite) {
		a, b := about("evt_1", order("o1")), about("evt_2", order("o1"))
		s.log(a, b)
		s.bury(letterOf(b, order("o1"), 1)) // opened again by hand below
		s.erase(order("o1"), byOps)
		require.Equal(t, []bool{true}, s.bury(letterOf(a, order("o1"), 1)))
		l := s.letter(letterOf(a, order("o1"), 1))
		require.Equal(t, storage.LetterErased, l.Status)
		require.Equal(t, storage.ErasedText, l.Attempts[0].Error)
		require.Equal(t, "erased: erased", s.statuses(a))
		s.clear(order("o1"))
		require.Zero(t, s.entity(order("o1")).OpenLetters)
		require.Nil(t, s.entity(order("o1")).Behind)
		require.Equal(t, []bool{false}, s.bury(letterOf(b, order("o1"), 2))[:1], "it was buried before")
		s.noContent(secret)
	}},
	{"a difference of an erased entity is not recorded", func(t *testing.T, s *suite) {
		s.erase(order("o1"), byOps)
		require.NoError(t, s.Record(s.ctx, []storage.Discrepancy{
			{ID: "dis_1", Source: "lemon", Entity: order("o1").Key, Type: storage.Stale, Patch: []byte(secret), FoundAt: at(3)},
			{ID: "dis_2", Source: "lemon", Entity: order("o2").Key, Type: storage.Missing, FoundAt: at(3)},
			{ID: "dis_3", Source: "lemon", Type: storage.SubscriptionGap, FoundAt: at(3)},
		}))
		found, err := s.Discrepancies(s.ctx, storage.DiscrepancyFilter{})
		require.NoError(t, err)
		require.Len(t, found.Items, 2)
	}},
	{"a failure under an old claim does not mark a marker behind", func(t *testing.T, s *suite) {
		a := about("evt_1", order("o1"))
		s.log(a)
		claim := s.claim(order("o1")).Claim
		s.erase(order("o1"), byOps)
		f := failing(a, order("o1"))
		f.Claim = claim
		require.NoError(t, s.Fail(s.ctx, []storage.Failure{f}))
		require.Nil(t, s.entity(order("o1")).Behind)
		s.settle(erasedSettlement(a, order("o1")))
		s.noContent(secret)
	}},
	{"the list of erasures has a version", func(t *testing.T, s *suite) {
		read := func(seen int64) ([]storage.Erasure, int64) {
			list, version, err := s.Erasures(s.ctx, seen)
			require.NoError(t, err)
			slices.SortFunc(list, func(a, b storage.Erasure) int { return strings.Compare(a.Key.String(), b.Key.String()) })
			return list, version
		}
		list, v0 := read(-1)
		require.Empty(t, list)
		require.NoError(t, s.Enlist(s.ctx, storage.Erasure{Key: account("cusa_1").Key, Marker: byOps, Below: true}))
		list, v1 := read(v0)
		require.Equal(t, []storage.Erasure{{Key: account("cusa_1").Key, Marker: byOps, Below: true}}, list)
		require.Greater(t, v1, v0)
		list, same := read(v1)
		require.Nil(t, list)
		require.Equal(t, v1, same)

		later := storage.Marker{At: at(80), By: "dpo"}
		require.NoError(t, s.Enlist(s.ctx, storage.Erasure{Key: account("cusa_1").Key, Marker: later}))
		list, v2 := read(v1)
		require.Equal(t, []storage.Erasure{{Key: account("cusa_1").Key, Marker: byOps, Below: true}}, list, "the first one stays, with all that is under it")
		require.Greater(t, v2, v1)

		with := byOps
		with.With = account("cusa_1").Key
		require.NoError(t, s.Enlist(s.ctx, storage.Erasure{Key: order("o1").Key, Marker: with, Below: true}))
		require.NoError(t, s.Enlist(s.ctx, storage.Erasure{Key: order("o2").Key, Marker: with, Below: true}))
		require.NoError(t, s.Enlist(s.ctx, storage.Erasure{Key: order("o2").Key, Marker: byOps}))
		require.NoError(t, s.Enlist(s.ctx, storage.Erasure{Key: account("cusa_2").Key, Marker: byOps}))
		list, _ = read(v2)
		require.Len(t, list, 4)
		require.NoError(t, s.Unlist(s.ctx, account("cusa_1").Key))
		list, v3 := read(v2)
		require.Greater(t, v3, v2)
		var left []string
		for _, e := range list {
			left = append(left, e.Key.String())
		}
		require.Equal(t, []string{account("cusa_2").Key.String(), order("o2").Key.String()}, left, "what was erased by itself stays")
		require.NoError(t, s.Unlist(s.ctx, account("cusa_1").Key))
	}},
	{"syncs that are made while an entity is erased do not bring it back", func(t *testing.T, s *suite) {
		s.sync(order("o1"), state(1))
		var g errgroup.Group
		for range 4 {
			g.Go(func() error {
				for i := range 5 {
					doc, err := s.Claim(s.ctx, order("o1"))
					if err != nil {
						return err
					}
					if doc.Erased == nil { // as a worker does
						if _, err = s.Write(s.ctx, write(order("o1"), doc.Claim, state(i))); err != nil {
							return err
						}
					}
				}
				return nil
			})
		}
		g.Go(func() error {
			_, err := s.Erase(s.ctx, order("o1"), byOps)
			return err
		})
		require.NoError(t, g.Wait())
		doc := s.entity(order("o1"))
		require.Equal(t, &byOps, doc.Erased)
		require.Nil(t, doc.Raw)
	}},
}

// writesOf are writes of every kind.
func writesOf(r event.Ref, claim int64) map[string]*storage.Write {
	all := map[string]*storage.Write{}
	for name, change := range map[string]func(*storage.Write){
		"a state":     func(*storage.Write) {},
		"no change":   func(w *storage.Write) { w.Raw = nil },
		"a tombstone": func(w *storage.Write) { w.Deleted = true },
		"kept":        func(w *storage.Write) { w.Kept, w.DoubtedAt = true, at(9) },
	} {
		w := write(r, claim, state(7))
		w.SentAt = at(1000)
		change(w)
		all[name] = w
	}
	return all
}

func idsOfDocuments(docs []*storage.Document) string {
	var ids []string
	for _, d := range docs {
		ids = append(ids, d.Key.ID)
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

// MarkerViolations writes on an erased entity under each claim it may have, and returns the
// names of the writes that were applied: none, unless the guard is off.
func MarkerViolations(t *testing.T, store storage.Store) (applied []string) {
	s := newSuite(t, store)
	s.sync(order("o1"), state(1))
	doc := s.erase(order("o1"), byOps)
	for name, w := range writesOf(order("o1"), doc.Claim) {
		done, err := s.Write(s.ctx, w)
		require.NoError(t, err)
		if done.Applied {
			applied = append(applied, name)
		}
	}
	return applied
}
