package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

var logCases = []testCase{
	{"a new event has a row with all it came with", func(t *testing.T, s *suite) {
		a := arrival("evt_new", order("o1"), account("cusa_1"))
		got := s.log(a)[0]
		require.Equal(t, storage.Logged{Inserted: true, Outcomes: map[event.Key]storage.EventStatus{
			order("o1").Key: storage.Pending, account("cusa_1").Key: storage.Pending,
		}}, got)
		require.Equal(t, asJSON(t, &storage.EventRow{
			ID: "evt_new", Source: "lemon", Type: "order.executed", CreatedAt: at(0), ReceivedAt: at(1),
			Status: storage.Pending, Payload: []byte(`{"id":"evt_new"}`), TraceID: "trace-evt_new",
			Entities: []storage.Outcome{
				{Ref: order("o1"), Status: storage.Pending, Signal: a.Signal},
				{Ref: account("cusa_1"), Status: storage.Pending},
			},
		}), asJSON(t, s.row(a)))
	}},
	{"what an event lacks is on its row", func(t *testing.T, s *suite) {
		a := arrival("evt_silent")
		a.Event.Unnamed, a.Event.Undated, a.Event.CreatedAt = true, true, time.Time{}
		s.log(a)
		row := s.row(a)
		require.True(t, row.Unnamed && row.Undated)
		require.True(t, row.CreatedAt.IsZero())
		b := arrival("evt_telling", order("o1"))
		s.log(b)
		require.False(t, s.row(b).Unnamed || s.row(b).Undated)
	}},
	{"what was read outside the payload, and its note, are on its row", func(t *testing.T, s *suite) {
		a := arrival("evt_given", order("o1"))
		a.Event.Given = map[string]string{"header:X-Git.Hub": "issues", "$x": "€%2E", "": "\n"}
		s.log(a)
		require.Equal(t, a.Event.Given, s.row(a).Given)
		require.Zero(t, s.row(a).Note)
		kept := s.row(a).Kept()
		require.Equal(t, a.Event.Payload, kept.Payload)
		require.Equal(t, a.Event.Given, kept.Given)
		require.Equal(t, []any{"lemon", "evt_given", a.Event.ReceivedAt}, []any{kept.Source, kept.ID, kept.ReceivedAt})
		for _, note := range event.Notes() {
			b := arrival("evt_" + note.String())
			b.Event.Note = note
			s.log(b)
			require.Equal(t, note, s.row(b).Note)
			require.Nil(t, s.row(b).Given)
			require.Equal(t, storage.Processed, s.row(b).Status)
			page, err := s.Events(s.ctx, storage.EventFilter{Source: "lemon", Note: note})
			require.NoError(t, err)
			require.Len(t, page.Items, 1)
			require.Equal(t, b.Event.ID, page.Items[0].ID)
			n, err := s.CountEvents(s.ctx, storage.EventFilter{Source: "lemon", Note: note, Type: b.Event.Type, From: b.Event.ReceivedAt})
			require.NoError(t, err)
			require.EqualValues(t, 1, n)
			n, err = s.CountEvents(s.ctx, storage.EventFilter{Source: "lemon", Note: note, To: b.Event.ReceivedAt})
			require.NoError(t, err)
			require.Zero(t, n)
		}
	}},
	{"an event that is read again and names more is taken up", func(t *testing.T, s *suite) {
		a := arrival("evt_reread")
		a.Event.Note = event.RequireUnmet
		s.log(a)
		b := arrival("evt_reread", order("o1"), account("cusa_1"))
		b.Signal = entry(1, "2-0")
		got := s.log(b)[0]
		require.Equal(t, storage.Logged{Outcomes: map[event.Key]storage.EventStatus{
			order("o1").Key: storage.Pending, account("cusa_1").Key: storage.Pending,
		}}, got)
		require.Equal(t, "pending: pending pending", s.statuses(a))
		row := s.row(a)
		require.Zero(t, row.Note)
		require.Zero(t, row.Duplicates, "the provider did not send it again")
		require.True(t, row.ProcessedAt.IsZero())
		require.Equal(t, b.Signal, row.Entities[0].Signal)
		require.Equal(t, got, s.log(b)[0], "saying it twice is harmless")
		require.Zero(t, s.row(a).Duplicates)
		s.settle(settlement(b, order("o1"), 1), settlement(b, account("cusa_1"), 1))
		require.Equal(t, "processed: processed processed", s.statuses(a))

		c := arrival("evt_reread")
		c.Event.Note, c.Signal = event.RequireUnmet, entry(1, "3-0")
		s.log(c)
		require.Zero(t, s.row(a).Note, "a row that was taken up stays so")
	}},
	{"an event that is read again with another note has that one", func(t *testing.T, s *suite) {
		a := arrival("evt_renoted")
		a.Event.Note = event.UnknownType
		s.log(a)
		b := a
		e := *a.Event
		e.Note, e.Unnamed = event.NamesNothing, true
		b.Event, b.Signal = &e, entry(1, "2-0")
		s.log(b)
		require.Equal(t, event.NamesNothing, s.row(a).Note)
		require.True(t, s.row(a).Unnamed)
		require.Equal(t, storage.Processed, s.row(a).Status)
		require.False(t, s.row(a).ProcessedAt.IsZero())
	}},
	{"an event without entities is processed at once", func(t *testing.T, s *suite) {
		a := arrival("evt_none")
		got := s.log(a)[0]
		require.True(t, got.Inserted)
		require.Empty(t, got.Outcomes)
		require.Equal(t, storage.Processed, s.row(a).Status)
		require.Equal(t, a.Event.ReceivedAt, s.row(a).ProcessedAt)
		require.False(t, s.log(a)[0].Inserted)
		require.Equal(t, storage.Processed, s.row(a).Status)
	}},
	{"an empty batch is nothing", func(t *testing.T, s *suite) {
		require.Empty(t, s.log())
	}},
	{"an entity named twice has one outcome", func(t *testing.T, s *suite) {
		a := arrival("evt_twice", order("o1"), order("o1"))
		s.log(a)
		require.Equal(t, "pending: pending", s.statuses(a))
		s.settle(settlement(a, order("o1"), 1))
		require.Equal(t, "processed: processed", s.statuses(a))
	}},
	{"the same entry again changes nothing", func(t *testing.T, s *suite) {
		a := arrival("evt_again", order("o1"))
		s.log(a)
		before := asJSON(t, s.row(a))
		got := s.log(a)[0]
		require.Equal(t, storage.Logged{Outcomes: map[event.Key]storage.EventStatus{order("o1").Key: storage.Pending}}, got)
		require.Equal(t, before, asJSON(t, s.row(a)))
	}},
	{"another entry is a duplicate, once", func(t *testing.T, s *suite) {
		a := arrival("evt_dup", order("o1"))
		s.log(a)
		b := a
		b.Signal = entry(1, "2-0")
		require.True(t, s.log(b)[0].Redelivered)
		require.EqualValues(t, 1, s.row(a).Duplicates)
		require.False(t, s.log(b)[0].Redelivered, "the row forgot the second entry")
		require.False(t, s.log(a)[0].Redelivered, "the row forgot the first entry")
		b.Signal = entry(2, "2-0")
		require.True(t, s.log(b)[0].Redelivered, "the same id on another shard is another entry")
		require.EqualValues(t, 2, s.row(a).Duplicates)
	}},
	{"duplicates within a batch count as if in two calls", func(t *testing.T, s *suite) {
		a := arrival("evt_batch", order("o1"))
		b, other := a, arrival("evt_other", order("o2"))
		b.Signal = entry(1, "9-0")
		got := s.log(a, other, a, b, b)
		require.True(t, got[0].Inserted)
		require.True(t, got[1].Inserted)
		require.False(t, got[2].Inserted)
		require.False(t, got[2].Redelivered)
		require.True(t, got[3].Redelivered)
		require.False(t, got[4].Redelivered)
		for _, g := range []int{0, 2, 3, 4} {
			require.Equal(t, map[event.Key]storage.EventStatus{order("o1").Key: storage.Pending}, got[g].Outcomes)
		}
		require.EqualValues(t, 1, s.row(a).Duplicates)
	}},
	{"another entry opens what was dead, and only that", func(t *testing.T, s *suite) {
		a := arrival("evt_dead", order("o1"), account("cusa_1"))
		s.log(a)
		s.settle(settlement(a, account("cusa_1"), 1))
		s.bury(letter(a, order("o1"), 1))
		require.Equal(t, "dead: dead processed", s.statuses(a))
		require.False(t, s.row(a).ProcessedAt.IsZero())

		s.log(a)
		require.Equal(t, "dead: dead processed", s.statuses(a), "the entry it came with opened it")

		b := a
		b.Signal = entry(1, "2-0")
		got := s.log(b)[0]
		require.True(t, got.Redelivered)
		require.Equal(t, storage.Pending, got.Outcomes[order("o1").Key])
		require.Equal(t, storage.Processed, got.Outcomes[account("cusa_1").Key])
		require.Equal(t, "pending: pending processed", s.statuses(a))
		require.True(t, s.row(a).ProcessedAt.IsZero(), "an open row is not processed yet")

		s.settle(settlement(b, order("o1"), 2))
		require.Equal(t, "processed: processed processed", s.statuses(a))
	}},
	{"another entry leaves a processed event alone", func(t *testing.T, s *suite) {
		a := arrival("evt_done", order("o1"))
		s.log(a)
		s.settle(settlement(a, order("o1"), 1))
		b := a
		b.Signal = entry(1, "2-0")
		require.Equal(t, storage.Processed, s.log(b)[0].Outcomes[order("o1").Key])
		require.Equal(t, "processed: processed", s.statuses(a))
		require.Equal(t, at(6), s.row(a).ProcessedAt)
	}},
	{"another body is refused but its entities are taken up", func(t *testing.T, s *suite) {
		a := arrival("evt_differs", order("o1"))
		s.log(a)
		s.settle(settlement(a, order("o1"), 1))
		b := arrival("evt_differs", order("o1"), account("cusa_1"))
		b.Signal, b.Event.Payload = entry(1, "2-0"), []byte(`{"id":"evt_differs","other":true}`)
		got := s.log(b)[0]
		require.True(t, got.PayloadDiffers)
		require.True(t, got.Redelivered)
		require.Equal(t, storage.Pending, got.Outcomes[account("cusa_1").Key])
		row := s.row(a)
		require.True(t, row.PayloadDiffers)
		require.Equal(t, a.Event.Payload, row.Payload)
		require.Equal(t, "pending: processed pending", s.statuses(a))
		s.log(b)
		require.Equal(t, "pending: processed pending", s.statuses(a), "saying it twice is harmless")
		s.settle(settlement(b, account("cusa_1"), 1))
		require.Equal(t, "processed: processed processed", s.statuses(a))
	}},
	{"the same id at two sources is two events", func(t *testing.T, s *suite) {
		a, b := arrival("evt_both", order("o1")), arrival("evt_both")
		b.Event.Source = "stripe"
		require.True(t, s.log(a)[0].Inserted)
		require.True(t, s.log(b)[0].Inserted)
		rows, err := s.EventByID(s.ctx, "", "evt_both")
		require.NoError(t, err)
		require.Len(t, rows, 2)
		_, err = s.EventByID(s.ctx, "other", "evt_both")
		require.ErrorIs(t, err, storage.ErrNotFound)
	}},
	{"an event the provider gave no time has none", func(t *testing.T, s *suite) {
		a := arrival("evt_timeless", order("o1"))
		a.Event.CreatedAt = time.Time{}
		s.log(a)
		require.True(t, s.row(a).CreatedAt.IsZero())
	}},
	{"noted duplicates are counted once", func(t *testing.T, s *suite) {
		a := arrival("evt_noted", order("o1"))
		s.log(a)
		notes := []storage.Note{
			{ID: "n1", At: at(2), Source: "lemon", Kind: storage.NoteDuplicate, EventID: "evt_noted", Count: 1},
			{ID: "n2", At: at(2), Source: "lemon", Kind: storage.NoteDuplicate, EventID: "evt_noted", Count: 3},
			{ID: "n3", At: at(2), Source: "lemon", Kind: "rejected", Reason: "mismatch", Count: 7},
			{ID: "n4", At: at(2), Source: "lemon", Kind: storage.NoteDuplicate, EventID: "evt_unknown"},
		}
		require.NoError(t, s.Note(s.ctx, notes))
		require.NoError(t, s.Note(s.ctx, append(notes, storage.Note{
			ID: "n5", At: at(3), Source: "lemon", Kind: storage.NoteDuplicate, EventID: "evt_noted", Count: 1,
		})))
		require.NoError(t, s.Note(s.ctx, nil))
		require.EqualValues(t, 5, s.row(a).Duplicates)
	}},
}
