package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// under is a ref to an order whose id is unique under its account only.
func under(account, id string) event.Ref {
	return event.Ref{
		Key:     event.Key{Source: "lemon", Kind: "order", ID: id, Under: event.Under(account)},
		Parents: map[string]string{"account": account},
	}
}

var keyCases = []testCase{
	{"one id under two parents is two entities", func(t *testing.T, s *suite) {
		a, b := under("acc/a", "o1"), under("acc@b", "o1")
		of := map[string]event.Ref{"evt_a": a, "evt_b": b}
		arrivals := map[string]storage.Arrival{}
		for id, ref := range of {
			arrivals[id] = arrival(id, ref, account("x"))
			require.Equal(t, storage.Pending, s.log(arrivals[id])[0].Outcomes[ref.Key], id)
			s.sync(ref, `{"of":"`+id+`"}`)
		}
		s.fail(failure(arrivals["evt_b"], b, at(7)))
		require.Equal(t, "retrying: pending pending", s.statuses(arrivals["evt_b"]))
		require.Equal(t, &storage.Behind{Since: at(7), Reason: storage.ReasonRetrying}, s.entity(b).Behind)
		require.Nil(t, s.entity(a).Behind)
		s.settle(settlement(arrivals["evt_a"], a, 1))
		s.bury(letter(arrivals["evt_b"], b, 1))
		s.fail(failure(arrivals["evt_b"], account("x"), at(9)))
		require.Equal(t, "pending: processed pending", s.statuses(arrivals["evt_a"]))
		require.Equal(t, "retrying: dead pending", s.statuses(arrivals["evt_b"]))
		require.Zero(t, s.entity(a).OpenLetters)
		require.Equal(t, 1, s.entity(b).OpenLetters)
		require.NoError(t, s.Record(s.ctx, []storage.Discrepancy{{ID: "d1", Entity: b.Key, Type: storage.Stale, FoundAt: at(9)}}))

		homes, err := s.Homes(s.ctx, "lemon", []string{"evt_a", "evt_b"})
		require.NoError(t, err)
		for id, ref := range of {
			require.Equal(t, ref.Key, s.entity(ref).Key)
			require.Equal(t, `{"of":"`+id+`"}`, string(s.entity(ref).Raw))
			require.Equal(t, ref, s.row(arrivals[id]).Entities[0].Ref)
			require.Equal(t, ref.Key, homes[id])
			events, err := s.Events(s.ctx, storage.EventFilter{Entity: ref.Key})
			require.NoError(t, err)
			require.Len(t, events.Items, 1)
			require.Equal(t, id, events.Items[0].ID)
			docs, err := s.Documents(s.ctx, []event.Key{ref.Key})
			require.NoError(t, err)
			require.Len(t, docs, 1)
			require.Equal(t, ref.Key, docs[0].Key)
			moved, err := s.Verify(s.ctx, []storage.Verified{{Key: ref.Key, StateHash: docs[0].StateHash, At: at(50)}})
			require.NoError(t, err)
			require.Equal(t, 1, moved)
			letters, err := s.Letters(s.ctx, storage.LetterFilter{Entity: ref.Key})
			require.NoError(t, err)
			found, err := s.Discrepancies(s.ctx, storage.DiscrepancyFilter{Entity: ref.Key})
			require.NoError(t, err)
			if id == "evt_a" {
				require.Empty(t, letters.Items)
				require.Empty(t, found.Items)
				continue
			}
			require.Equal(t, b, letters.Items[0].Ref)
			require.Equal(t, b.Key, found.Items[0].Entity)
		}
		require.Equal(t, 1, s.supersede(b.Key, 2))
		require.Zero(t, s.entity(b).OpenLetters)
	}},
	{"documents with one plain id are found by it, those without qualifiers are not", func(t *testing.T, s *suite) {
		for _, ref := range []event.Ref{under("b", "o1"), under("a", "o1"), under("c", "o1"), under("a", "o10"), under("a", "o"), order("o1"), order("o1 "), order("o1!x")} {
			s.sync(ref, state(1))
		}
		s.claim(under("d", "o1")) // never fetched
		for _, c := range []struct {
			id    string
			limit int
			want  []string
		}{{"o1", 10, []string{"a", "b", "c"}}, {"o1", 2, []string{"a", "b"}}, {"o10", 10, []string{"a"}}, {"o2", 10, nil}, {"o1 ", 10, nil}} {
			docs, err := s.Namesakes(s.ctx, "lemon", "order", c.id, c.limit)
			require.NoError(t, err)
			var got []string
			for _, d := range docs {
				require.Equal(t, c.id, d.Key.ID)
				got = append(got, d.Key.Under)
			}
			require.Equal(t, c.want, got, c.id)
		}
	}},
	{"lists page through ids with their qualifiers", func(t *testing.T, s *suite) {
		want := []event.Ref{under("a", "o1"), under("b", "o1"), under("a", "o2")}
		for _, ref := range want {
			s.sync(ref, state(1))
		}
		var got []event.Key
		for cursor := ""; ; {
			page, err := s.Entities(s.ctx, storage.EntityFilter{Source: "lemon", Kind: "order", Limit: 1, Cursor: cursor})
			require.NoError(t, err)
			got = append(got, page.Items[0].Key)
			if cursor = page.NextCursor; cursor == "" {
				break
			}
		}
		require.Equal(t, []event.Key{want[0].Key, want[1].Key, want[2].Key}, got)
		f := storage.EntityFilter{Source: "lemon", Kind: "order"}
		f.Parent.Kind, f.Parent.ID = "account", "a"
		page, err := s.Entities(s.ctx, f)
		require.NoError(t, err)
		require.Len(t, page.Items, 2)
		got = nil
		for after := ""; ; {
			due, next, err := s.DueForVerify(s.ctx, storage.DueFilter{
				Source: "lemon", Kind: "order", VerifiedBefore: at(1000), TerminalBefore: at(0), After: after, Limit: 1,
			})
			require.NoError(t, err)
			for _, d := range due {
				got = append(got, d.Key)
			}
			if after = next; after == "" {
				break
			}
		}
		require.Equal(t, []event.Key{want[0].Key, want[1].Key, want[2].Key}, got)
	}},
}
