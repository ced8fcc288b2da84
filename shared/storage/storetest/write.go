package storetest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

var writeCases = []testCase{
	{"a write shows in the document", func(t *testing.T, s *suite) {
		claim := s.claim(order("o1")).Claim
		w := write(order("o1"), claim, `{"id":"o1","price":1.10}`)
		w.Terminal, w.LastEvent = true, storage.LastEvent{ID: "evt_1", Type: "order.executed", CreatedAt: at(3)}
		s.write(w)
		require.Equal(t, asJSON(t, &storage.Document{
			Key: order("o1").Key, Parents: order("o1").Parents, Raw: []byte(`{"id":"o1","price":1.10}`),
			Status: "open", Terminal: true, Claim: 1, SyncedClaim: 1, StateHash: w.StateHash,
			SyncedAt: w.SentAt, TerminalAt: w.SentAt, VerifiedAt: w.SentAt, LastEvent: w.LastEvent, Version: 1,
		}), asJSON(t, s.entity(order("o1"))))
		require.True(t, s.entity(order("o1")).Known())
	}},
	{"an old claim is refused and changes nothing", func(t *testing.T, s *suite) {
		old := s.claim(order("o1")).Claim
		s.sync(order("o1"), state(2))
		before := asJSON(t, s.entity(order("o1")))
		w := write(order("o1"), old, state(1))
		w.LastEvent = storage.LastEvent{ID: "evt_1", Type: "x", CreatedAt: at(99)}
		for _, change := range []func(*storage.Write){
			func(*storage.Write) {},
			func(w *storage.Write) { w.Raw = nil },
			func(w *storage.Write) { w.Deleted = true },
			func(w *storage.Write) { w.Deleted, w.Kept = false, true },
		} {
			change(w)
			done, err := s.Write(s.ctx, w)
			require.NoError(t, err)
			require.Equal(t, storage.Written{}, done)
		}
		require.Equal(t, before, asJSON(t, s.entity(order("o1"))))
	}},
	{"a claim not taken yet is refused", func(t *testing.T, s *suite) {
		for _, claim := range []int64{0, 1, 2} {
			done, err := s.Write(s.ctx, write(order("o1"), claim, state(1)))
			require.NoError(t, err)
			require.Equal(t, storage.Written{}, done)
		}
		_, err := s.Entity(s.ctx, order("o1").Key)
		require.ErrorIs(t, err, storage.ErrNotFound)
	}},
	{"the same write again is harmless", func(t *testing.T, s *suite) {
		w := write(order("o1"), s.claim(order("o1")).Claim, state(1))
		s.write(w)
		before := asJSON(t, s.entity(order("o1")))
		s.write(w)
		require.Equal(t, before, asJSON(t, s.entity(order("o1"))))
	}},
	{"unchanged moves times and claims only", func(t *testing.T, s *suite) {
		s.sync(order("o1"), state(1))
		before := s.entity(order("o1"))
		w := write(order("o1"), s.claim(order("o1")).Claim, "")
		w.Raw, w.Status, w.StateHash = nil, "ignored", "ignored"
		s.write(w)
		want := *before
		want.Claim, want.SyncedClaim, want.SyncedAt, want.VerifiedAt = 2, 2, w.SentAt, w.SentAt
		require.Equal(t, asJSON(t, &want), asJSON(t, s.entity(order("o1"))))
	}},
	{"a tombstone keeps the last state, a new state raises it", func(t *testing.T, s *suite) {
		s.sync(order("o1"), state(1))
		gone := &storage.Write{Ref: order("o1"), Claim: s.claim(order("o1")).Claim, SentAt: at(30), Deleted: true}
		s.write(gone)
		doc := s.entity(order("o1"))
		require.Equal(t, at(30), doc.DeletedAt)
		require.Equal(t, state(1), string(doc.Raw))
		require.Equal(t, "open", doc.Status)
		require.EqualValues(t, 2, doc.SyncedClaim)

		gone.Claim, gone.SentAt = s.claim(order("o1")).Claim, at(40)
		s.write(gone)
		require.Equal(t, at(30), s.entity(order("o1")).DeletedAt, "it was gone before")

		s.sync(order("o1"), state(2))
		doc = s.entity(order("o1"))
		require.True(t, doc.DeletedAt.IsZero())
		require.Equal(t, state(2), string(doc.Raw))
	}},
	{"an answer with the entity moves it to the parents it was found under", func(t *testing.T, s *suite) {
		s.sync(order("o1"), state(1))
		account := "cusa_1"
		for i, c := range []struct {
			name  string
			moves bool
			write storage.Write
		}{
			{"a state", true, storage.Write{Raw: []byte(state(2))}},
			{"unchanged", true, storage.Write{}},
			{"kept", true, storage.Write{Kept: true, DoubtedAt: at(50)}},
			{"a tombstone", false, storage.Write{Deleted: true}},
		} {
			found := event.Ref{Key: order("o1").Key, Parents: map[string]string{"account": fmt.Sprint("to_", i), "odd.key$": "x"}}
			w := c.write
			w.Ref, w.Claim, w.SentAt = found, s.claim(found).Claim, at(60+i)
			s.write(&w)
			if c.moves {
				account = found.Parents["account"]
				require.Equal(t, found.Parents, s.entity(order("o1")).Parents, c.name)
			}
			require.Equal(t, account, s.entity(order("o1")).Parents["account"], c.name)
		}
		bare := event.Ref{Key: order("o1").Key}
		s.sync(bare, state(3))
		require.Equal(t, account, s.entity(order("o1")).Parents["account"], "none are no others")
	}},
	{"an entity never seen can be a tombstone", func(t *testing.T, s *suite) {
		s.write(&storage.Write{Ref: order("o1"), Claim: s.claim(order("o1")).Claim, SentAt: at(30), Deleted: true})
		doc := s.entity(order("o1"))
		require.True(t, doc.Known())
		require.Nil(t, doc.Raw)
	}},
	{"a state kept is doubted until an answer is taken", func(t *testing.T, s *suite) {
		s.sync(order("o1"), state(1))
		verified := s.entity(order("o1")).VerifiedAt
		kept := &storage.Write{Ref: order("o1"), Claim: s.claim(order("o1")).Claim, SentAt: at(50), Kept: true, DoubtedAt: at(51), Raw: []byte(state(0))}
		s.write(kept)
		doc := s.entity(order("o1"))
		require.Equal(t, state(1), string(doc.Raw))
		require.Equal(t, at(51), doc.DoubtedAt)
		require.Equal(t, &storage.Behind{Since: at(51), Reason: storage.ReasonLagging}, doc.Behind)
		require.Equal(t, verified, doc.VerifiedAt)
		require.EqualValues(t, 2, doc.SyncedClaim)

		kept.Claim, kept.SentAt, kept.DoubtedAt = s.claim(order("o1")).Claim, at(60), at(61)
		s.write(kept)
		doc = s.entity(order("o1"))
		require.Equal(t, at(51), doc.DoubtedAt, "the doubt is older")
		require.Equal(t, at(51), doc.Behind.Since)

		s.write(&storage.Write{Ref: order("o1"), Claim: s.claim(order("o1")).Claim, SentAt: at(70)})
		doc = s.entity(order("o1"))
		require.True(t, doc.DoubtedAt.IsZero())
		require.Nil(t, doc.Behind)
		require.Equal(t, at(70), doc.VerifiedAt)
	}},
	{"a failure recorded late does not make what was fetched since look behind", func(t *testing.T, s *suite) {
		a := arrival("evt_stale_owner", order("o1"))
		s.log(a)
		late := failure(a, order("o1"), at(20))
		late.Claim = s.claim(order("o1")).Claim
		claim := s.sync(order("o1"), state(1))
		s.settle(settlement(a, order("o1"), claim))
		s.fail(late)
		require.Nil(t, s.entity(order("o1")).Behind)
	}},
	{"a write reports dead letters buried since its claim", func(t *testing.T, s *suite) {
		a := arrival("evt_between", order("o1"))
		s.log(a)
		before := s.claim(order("o1")).Claim
		newer := s.claim(order("o1"))
		require.Zero(t, newer.OpenLetters)
		s.bury(letter(a, order("o1"), before))
		done, err := s.Write(s.ctx, write(order("o1"), newer.Claim, state(1)))
		require.NoError(t, err)
		require.Equal(t, storage.Written{Applied: true, OpenLetters: true}, done)
		require.Equal(t, 1, s.supersede(order("o1").Key, newer.Claim))

		done, err = s.Write(s.ctx, write(order("o1"), s.claim(order("o1")).Claim, state(2)))
		require.NoError(t, err)
		require.Equal(t, storage.Written{Applied: true}, done)
	}},
	{"a good write ends being behind", func(t *testing.T, s *suite) {
		a := arrival("evt_late", order("o1"))
		s.log(a)
		s.claim(order("o1"))
		s.fail(failure(a, order("o1"), at(20)))
		require.NotNil(t, s.entity(order("o1")).Behind)
		s.sync(order("o1"), state(1))
		require.Nil(t, s.entity(order("o1")).Behind)
	}},
	{"verified at never goes back", func(t *testing.T, s *suite) {
		w := write(order("o1"), s.claim(order("o1")).Claim, state(1))
		w.SentAt = at(90)
		s.write(w)
		w = write(order("o1"), s.claim(order("o1")).Claim, state(2))
		w.SentAt = at(80)
		s.write(w)
		doc := s.entity(order("o1"))
		require.Equal(t, at(80), doc.SyncedAt)
		require.Equal(t, at(90), doc.VerifiedAt)
	}},
	{"the last event is the newest", func(t *testing.T, s *suite) {
		for _, c := range []struct {
			second int
			id     string
			want   string
		}{{5, "evt_b", "evt_b"}, {3, "evt_a", "evt_b"}, {0, "", "evt_b"}, {9, "evt_c", "evt_c"}} {
			w := write(order("o1"), s.claim(order("o1")).Claim, state(c.second))
			if c.id != "" {
				w.LastEvent = storage.LastEvent{ID: c.id, Type: "t", CreatedAt: at(c.second)}
			}
			s.write(w)
			require.Equal(t, c.want, s.entity(order("o1")).LastEvent.ID)
		}
	}},
	{"a last event of the future is replaced", func(t *testing.T, s *suite) {
		for _, c := range []struct {
			id     string
			second int
			forget bool
			want   string
		}{{"evt_future", 900, false, "evt_future"}, {"evt_b", 5, false, "evt_future"}, {"", 0, true, "evt_future"}, {"evt_c", 6, true, "evt_c"}} {
			w := write(order("o1"), s.claim(order("o1")).Claim, state(c.second))
			w.ForgetLastEvent = c.forget
			if c.id != "" {
				w.LastEvent = storage.LastEvent{ID: c.id, Type: "t", CreatedAt: at(c.second)}
			}
			s.write(w)
			last := s.entity(order("o1")).LastEvent
			require.Equal(t, c.want, last.ID)
			require.True(t, last.ID != "evt_c" || last.CreatedAt.Equal(at(6)) && last.Type == "t")
		}
	}},
	{"sources and kinds are kept apart", func(t *testing.T, s *suite) {
		// Joined with an underscore, the first two would be one.
		for i, k := range []event.Key{
			{Source: "lemon", Kind: "a_order", ID: "1"}, {Source: "lemon_a", Kind: "order", ID: "1"},
			{Source: "lemon", Kind: "order", ID: "1"},
		} {
			s.sync(event.Ref{Key: k}, state(i))
			require.Equal(t, state(i), string(s.entity(event.Ref{Key: k}).Raw))
			require.EqualValues(t, 1, s.entity(event.Ref{Key: k}).Claim)
		}
	}},
}
