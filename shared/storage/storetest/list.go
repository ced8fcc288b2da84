package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

var listCases = []testCase{
	{"what is not there is not found", func(t *testing.T, s *suite) {
		_, err := s.Entity(s.ctx, order("o1").Key)
		require.ErrorIs(t, err, storage.ErrNotFound)
		_, err = s.EventByID(s.ctx, "", "evt_1")
		require.ErrorIs(t, err, storage.ErrNotFound)
		docs, err := s.Entities(s.ctx, storage.EntityFilter{Source: "lemon", Kind: "order"})
		require.NoError(t, err)
		require.Empty(t, docs.Items)
		rows, err := s.Events(s.ctx, storage.EventFilter{})
		require.NoError(t, err)
		require.Empty(t, rows.Items)
	}},
	{"events are filtered", testEventFilters},
	{"events turn pages while new ones arrive", testEventPages},
	{"the newest events say how they have fared", testPassages},
	{"entities are filtered", testEntityFilters},
	{"entities turn pages by id", testEntityPages},
	{"the children of a parent turn pages by id", testChildrenPages},
	{"a page has 50 items by default, and 200 at most", testPageSize},
	{"what operators did turns pages, among other notes", testActs},
	{"a foreign cursor is refused", func(t *testing.T, s *suite) {
		s.log(arrival("evt_a", order("o1")), arrival("evt_b", order("o1")))
		s.sync(order("o1"), state(1))
		s.sync(order("o2"), state(1))
		events, err := s.Events(s.ctx, storage.EventFilter{Limit: 1})
		require.NoError(t, err)
		entities, err := s.Entities(s.ctx, storage.EntityFilter{Source: "lemon", Kind: "order", Limit: 1})
		require.NoError(t, err)
		require.NotEmpty(t, events.NextCursor)
		require.NotEmpty(t, entities.NextCursor)
		for _, cursor := range []string{"x", "!", "e30", "bnVsbA", entities.NextCursor} {
			_, err := s.Events(s.ctx, storage.EventFilter{Cursor: cursor})
			require.ErrorIs(t, err, storage.ErrCursor)
		}
		_, err = s.Entities(s.ctx, storage.EntityFilter{Source: "lemon", Kind: "order", Cursor: events.NextCursor})
		require.ErrorIs(t, err, storage.ErrCursor)
	}},
}

func testEventFilters(t *testing.T, s *suite) {
	log := func(id string, received int, refs ...event.Ref) storage.Arrival {
		a := arrival(id, refs...)
		a.Event.ReceivedAt = at(received)
		s.log(a)
		return a
	}
	a := log("evt_a", 1, order("o1"), account("cusa_1"))
	log("evt_b", 2, order("o2"))
	log("evt_c", 3, account("cusa_1"))
	other := arrival("evt_d", event.Ref{Key: event.Key{Source: "stripe", Kind: "charge", ID: "o1"}})
	other.Event.Source, other.Event.Type, other.Event.ReceivedAt = "stripe", "charge.succeeded", at(4)
	s.log(other)
	s.settle(settlement(a, order("o1"), 1), settlement(a, account("cusa_1"), 1))

	for _, c := range []struct {
		name string
		f    storage.EventFilter
		want []string
	}{
		{"all, newest first", storage.EventFilter{}, []string{"evt_d", "evt_c", "evt_b", "evt_a"}},
		{"status", storage.EventFilter{Status: storage.Processed}, []string{"evt_a"}},
		{"open status", storage.EventFilter{Status: storage.Pending}, []string{"evt_d", "evt_c", "evt_b"}},
		{"type", storage.EventFilter{Type: "charge.succeeded"}, []string{"evt_d"}},
		{"source", storage.EventFilter{Source: "lemon"}, []string{"evt_c", "evt_b", "evt_a"}},
		{"kind", storage.EventFilter{Kind: "order"}, []string{"evt_b", "evt_a"}},
		{"entity", storage.EventFilter{Entity: account("cusa_1").Key}, []string{"evt_c", "evt_a"}},
		{"entity of another source", storage.EventFilter{Entity: event.Key{Source: "stripe", Kind: "order", ID: "o1"}}, nil},
		{"from is included", storage.EventFilter{From: at(3)}, []string{"evt_d", "evt_c"}},
		{"to is not", storage.EventFilter{To: at(3)}, []string{"evt_b", "evt_a"}},
		{"all at once", storage.EventFilter{
			Status: storage.Pending, Type: "order.executed", Source: "lemon", Kind: "order", Entity: order("o2").Key,
			From: at(1), To: at(3),
		}, []string{"evt_b"}},
	} {
		page, err := s.Events(s.ctx, c.f)
		require.NoError(t, err, c.name)
		var ids []string
		for _, r := range page.Items {
			ids = append(ids, r.ID)
		}
		require.Equal(t, c.want, ids, c.name)
		require.Empty(t, page.NextCursor, c.name)
	}
}

func testPassages(t *testing.T, s *suite) {
	none, err := s.Passages(s.ctx, 3)
	require.NoError(t, err)
	require.Empty(t, none)
	var logged []storage.Arrival
	for i := range 4 {
		a := arrival(fmt.Sprintf("evt_%d", i), order("o1"), account("cusa_1"))
		a.Event.ReceivedAt = at(i)
		s.log(a)
		logged = append(logged, a)
	}
	s.settle(settlement(logged[2], order("o1"), 1), settlement(logged[3], order("o1"), 1), settlement(logged[3], account("cusa_1"), 1))
	got, err := s.Passages(s.ctx, 3)
	require.NoError(t, err)
	require.Equal(t, []storage.Passage{
		{Source: "lemon", Status: storage.Processed, ReceivedAt: at(3), ProcessedAt: s.row(logged[3]).ProcessedAt},
		{Source: "lemon", Status: storage.Pending, ReceivedAt: at(2)},
		{Source: "lemon", Status: storage.Pending, ReceivedAt: at(1)},
	}, got, "the oldest is left out; one with an open outcome is not done")
	require.False(t, got[0].ProcessedAt.IsZero())
}

func testEventPages(t *testing.T, s *suite) {
	for i := range 9 {
		a := arrival(fmt.Sprintf("evt_%d", i), order("o1"))
		a.Event.ReceivedAt = at(i / 3) // three at the same time
		s.log(a)
	}
	var got []string
	f := storage.EventFilter{Limit: 2}
	for i := 0; ; i++ {
		page, err := s.Events(s.ctx, f)
		require.NoError(t, err)
		for _, r := range page.Items {
			got = append(got, r.ID)
		}
		if page.NextCursor == "" {
			break
		}
		f.Cursor = page.NextCursor
		a := arrival(fmt.Sprintf("evt_new_%d", i), order("o1"))
		a.Event.ReceivedAt = at(100 + i)
		s.log(a)
	}
	require.Equal(t, []string{"evt_8", "evt_7", "evt_6", "evt_5", "evt_4", "evt_3", "evt_2", "evt_1", "evt_0"}, got)
}

func testEntityFilters(t *testing.T, s *suite) {
	for i, c := range []struct{ id, account, status string }{
		{"o1", "cusa_1", "open"}, {"o2", "cusa_1", "executed"}, {"o3", "cusa_2", "open"},
	} {
		ref := event.Ref{Key: order(c.id).Key, Parents: map[string]string{"account": c.account}}
		w := write(ref, s.claim(ref).Claim, state(i))
		w.Status, w.SentAt = c.status, at(i)
		s.write(w)
	}
	s.claim(order("o0-never-fetched"))
	s.sync(account("o9"), state(1))

	parent := func(f storage.EntityFilter, kind, id string) storage.EntityFilter {
		f.Parent.Kind, f.Parent.ID = kind, id
		return f
	}
	for _, c := range []struct {
		name string
		f    storage.EntityFilter
		want []string
	}{
		{"all, by id", storage.EntityFilter{}, []string{"o1", "o2", "o3"}},
		{"status", storage.EntityFilter{Status: "open"}, []string{"o1", "o3"}},
		{"parent", parent(storage.EntityFilter{}, "account", "cusa_1"), []string{"o1", "o2"}},
		{"no such parent", parent(storage.EntityFilter{}, "person", "cusa_1"), nil},
		{"from is included", storage.EntityFilter{From: at(1)}, []string{"o2", "o3"}},
		{"to is not", storage.EntityFilter{To: at(1)}, []string{"o1"}},
		{"all at once", parent(storage.EntityFilter{Status: "open", From: at(0), To: at(9)}, "account", "cusa_2"), []string{"o3"}},
	} {
		c.f.Source, c.f.Kind = "lemon", "order"
		page, err := s.Entities(s.ctx, c.f)
		require.NoError(t, err, c.name)
		var ids []string
		for _, d := range page.Items {
			ids = append(ids, d.Key.ID)
		}
		require.Equal(t, c.want, ids, c.name)
	}
}

func testEntityPages(t *testing.T, s *suite) {
	for _, id := range []string{"d", "b", "a", "e", "c"} {
		s.sync(order(id), state(1))
	}
	var got []string
	f := storage.EntityFilter{Source: "lemon", Kind: "order", Limit: 2}
	for {
		page, err := s.Entities(s.ctx, f)
		require.NoError(t, err)
		for _, d := range page.Items {
			got = append(got, d.Key.ID)
		}
		if page.NextCursor == "" {
			break
		}
		f.Cursor = page.NextCursor
		s.sync(order("aa"), state(1)) // before the place: it is not met any more
	}
	require.Equal(t, []string{"a", "b", "c", "d", "e"}, got)
}

// testChildrenPages lists by parent while entities come and move away.
func testChildrenPages(t *testing.T, s *suite) {
	under := func(id, account string) event.Ref {
		return event.Ref{Key: order(id).Key, Parents: map[string]string{"account": account}}
	}
	for _, id := range []string{"d", "b", "a", "e", "c"} {
		s.sync(under(id, "cusa_1"), state(1))
		s.sync(under("x"+id, "cusa_2"), state(1))
	}
	children := func(account string) (got []string) {
		f := storage.EntityFilter{Source: "lemon", Kind: "order", Limit: 2}
		f.Parent.Kind, f.Parent.ID = "account", account
		for {
			page, err := s.Entities(s.ctx, f)
			require.NoError(t, err)
			for _, d := range page.Items {
				got = append(got, d.Key.ID)
			}
			if f.Cursor = page.NextCursor; f.Cursor == "" {
				return got
			}
		}
	}
	require.Equal(t, []string{"a", "b", "c", "d", "e"}, children("cusa_1"))
	s.sync(under("c", "cusa_2"), state(2))
	require.Equal(t, []string{"a", "b", "d", "e"}, children("cusa_1"))
	require.Equal(t, []string{"c", "xa", "xb", "xc", "xd", "xe"}, children("cusa_2"))
}

func testPageSize(t *testing.T, s *suite) {
	var arrivals []storage.Arrival
	for i := range 201 {
		a := arrival(fmt.Sprintf("evt_%03d", i))
		a.Event.ReceivedAt = start.Add(time.Duration(i) * time.Millisecond)
		arrivals = append(arrivals, a)
	}
	s.log(arrivals...)
	for limit, want := range map[int]int{0: 50, -1: 50, 7: 7, 200: 200, 1000: 200} {
		page, err := s.Events(s.ctx, storage.EventFilter{Limit: limit})
		require.NoError(t, err)
		require.Len(t, page.Items, want)
		require.Equal(t, "evt_200", page.Items[0].ID)
		require.NotEmpty(t, page.NextCursor)
	}
}

func testActs(t *testing.T, s *suite) {
	var notes []storage.Note
	for i := range 5 {
		notes = append(notes,
			storage.Note{
				ID: fmt.Sprintf("operator/%d", i), At: at(i / 2), Source: "lemon", Kind: storage.NoteOperator, Reason: "ops: pause lemon", Count: 1,
				By: []string{"ops", "night"}[i%2], Did: "pause", To: "lemon", Why: "maintenance", Before: `{"paused":false}`, After: `{"paused":true}`,
			},
			storage.Note{ID: fmt.Sprintf("rejected/%d", i), At: at(i), Source: "lemon", Kind: "rejected", Reason: "signature", Count: 3})
	}
	require.NoError(t, s.Note(s.ctx, notes))
	acts := func(f storage.NoteFilter) (ids []string) {
		t.Helper()
		for range 10 {
			page, err := s.Acts(s.ctx, f)
			require.NoError(t, err)
			for _, n := range page.Items {
				ids = append(ids, n.ID)
			}
			if page.NextCursor == "" {
				return ids
			}
			f.Cursor = page.NextCursor
		}
		t.Fatal("the list does not end")
		return nil
	}
	all := []string{"operator/4", "operator/3", "operator/2", "operator/1", "operator/0"}
	require.Equal(t, all, acts(storage.NoteFilter{}))
	require.Equal(t, all, acts(storage.NoteFilter{Source: "lemon", Limit: 1}))
	require.Equal(t, []string{"operator/3", "operator/1"}, acts(storage.NoteFilter{By: "night", Limit: 1}))
	require.Equal(t, []string{"operator/3", "operator/2"}, acts(storage.NoteFilter{From: at(1), To: at(2)}))
	require.Empty(t, acts(storage.NoteFilter{Source: "other"}))

	page, err := s.Acts(s.ctx, storage.NoteFilter{Limit: 1})
	require.NoError(t, err)
	require.Equal(t, &notes[8], page.Items[0])
	one, err := s.NoteByID(s.ctx, "rejected/3")
	require.NoError(t, err)
	require.Equal(t, &notes[7], one)
	_, err = s.NoteByID(s.ctx, "operator/9")
	require.ErrorIs(t, err, storage.ErrNotFound)
	_, err = s.Acts(s.ctx, storage.NoteFilter{Cursor: "x"})
	require.ErrorIs(t, err, storage.ErrCursor)
}
