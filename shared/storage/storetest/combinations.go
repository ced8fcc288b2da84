package storetest

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// option is one filter of a list.
type option[F any] struct {
	name string
	set  func(*F)
}

// combine reads a list by each of its filters, by each pair, and by all together, an item
// a page: what a combination selects is what each of its filters selects. The stores'
// own tests see the commands, and find those that no index bounds.
func combine[F any](t *testing.T, options []option[F], read func(f F, cursor string) (ids []string, next string)) {
	t.Helper()
	list := func(chosen ...option[F]) (ids []string) {
		t.Helper()
		var f F
		for _, o := range chosen {
			o.set(&f)
		}
		for cursor, pages := "", 0; ; pages++ {
			require.Less(t, pages, 20, "the list does not end")
			some, next := read(f, cursor)
			ids = append(ids, some...)
			if next == "" {
				return ids
			}
			cursor = next
		}
	}
	all := list()
	require.Greater(t, len(all), 2)
	alone := make([][]string, len(options))
	for i, o := range options {
		alone[i] = list(o)
		require.NotEmpty(t, alone[i], o.name)
		require.Less(t, len(alone[i]), len(all), "%s leaves something out", o.name)
	}
	both := func(of ...int) {
		t.Helper()
		var chosen []option[F]
		var names []string
		want := slices.Clone(all)
		for _, i := range of {
			chosen, names = append(chosen, options[i]), append(names, options[i].name)
			want = slices.DeleteFunc(want, func(id string) bool { return !slices.Contains(alone[i], id) })
		}
		require.Equal(t, strings.Join(want, " "), strings.Join(list(chosen...), " "), strings.Join(names, " and "))
	}
	whole := make([]int, len(options))
	for i := range options {
		whole[i] = i
		for j := range i {
			both(j, i)
		}
	}
	both(whole...)
}

// pageIDs are the ids of a page.
func pageIDs[T any](t *testing.T, p storage.Page[T], err error, id func(T) string) (ids []string, next string) {
	t.Helper()
	require.NoError(t, err)
	for _, item := range p.Items {
		ids = append(ids, id(item))
	}
	return ids, p.NextCursor
}

var combinationCases = []testCase{
	{"events by any filters", testEventCombinations},
	{"entities by any filters", testEntityCombinations},
	{"dead letters by any filters", testLetterCombinations},
	{"discrepancies by any filters", testDiscrepancyCombinations},
	{"tasks by any filters", testTaskCombinations},
	{"acts of operators by any filters", testActCombinations},
}

func testEventCombinations(t *testing.T, s *suite) {
	for i, e := range []struct {
		source, kind, id string
		note             event.Note
	}{
		{"lemon", "order.executed", "o1", 0}, {"lemon", "order.executed", "o1", event.UnknownType}, {"lemon", "order.created", "o2", 0},
		{"stripe", "order.executed", "o1", event.UnknownType}, {"lemon", "order.executed", "o1", event.UnknownType}, {"lemon", "order.executed", "", event.NamesNothing},
	} {
		var refs []event.Ref
		if e.id != "" {
			refs = append(refs, event.Ref{Key: event.Key{Source: e.source, Kind: "order", ID: e.id}})
		}
		a := arrival("evt_"+string(rune('a'+i)), refs...)
		a.Event.Source, a.Event.Type, a.Event.ReceivedAt, a.Event.Note = e.source, e.kind, at(i), e.note
		s.log(a)
		if i%2 == 1 && e.source == "lemon" {
			for _, r := range refs {
				s.settle(settlement(a, r, 1))
			}
		}
	}
	for _, status := range []storage.EventStatus{storage.Pending, storage.Processed} {
		combine(t, []option[storage.EventFilter]{
			{"status", func(f *storage.EventFilter) { f.Status = status }},
			{"type", func(f *storage.EventFilter) { f.Type = "order.executed" }},
			{"source", func(f *storage.EventFilter) { f.Source = "lemon" }},
			{"kind", func(f *storage.EventFilter) { f.Kind = "order" }},
			{"entity", func(f *storage.EventFilter) { f.Entity = order("o1").Key }},
			{"note", func(f *storage.EventFilter) { f.Note = event.UnknownType }},
			{"from", func(f *storage.EventFilter) { f.From = at(1) }},
			{"to", func(f *storage.EventFilter) { f.To = at(5) }},
		}, func(f storage.EventFilter, cursor string) ([]string, string) {
			f.Limit, f.Cursor = 1, cursor
			p, err := s.Events(s.ctx, f)
			return pageIDs(t, p, err, func(r *storage.EventRow) string { return r.ID })
		})
	}
}

func testEntityCombinations(t *testing.T, s *suite) {
	for i, e := range []struct{ id, status, account string }{
		{"o1", "executed", "cusa_1"}, {"o2", "created", "cusa_1"}, {"o3", "executed", "cusa_2"}, {"o4", "executed", "cusa_1"}, {"o5", "executed", "cusa_1"},
	} {
		ref := order(e.id)
		ref.Parents = map[string]string{"account": e.account}
		w := write(ref, s.claim(ref).Claim, state(i))
		w.Status, w.SentAt = e.status, at(i)
		s.write(w)
	}
	combine(t, []option[storage.EntityFilter]{
		{"status", func(f *storage.EntityFilter) { f.Status = "executed" }},
		{"parent", func(f *storage.EntityFilter) { f.Parent.Kind, f.Parent.ID = "account", "cusa_1" }},
		{"from", func(f *storage.EntityFilter) { f.From = at(1) }},
		{"to", func(f *storage.EntityFilter) { f.To = at(4) }},
	}, func(f storage.EntityFilter, cursor string) ([]string, string) {
		f.Source, f.Kind, f.Limit, f.Cursor = "lemon", "order", 1, cursor
		p, err := s.Entities(s.ctx, f)
		return pageIDs(t, p, err, func(d *storage.Document) string { return d.Key.ID })
	})
}

func testLetterCombinations(t *testing.T, s *suite) {
	for i, l := range []struct{ id, kind, class, of string }{
		{"evt_a", "order.executed", "permanent", "o1"}, {"evt_b", "order.executed", "permanent", "o1"}, {"evt_c", "order.created", "permanent", "o1"},
		{"evt_d", "order.executed", "gone", "o1"}, {"evt_e", "order.executed", "permanent", "o2"}, {"evt_f", "order.executed", "permanent", "o1"}, {"evt_g", "order.executed", "permanent", ""},
		{"evt_h", "order.executed", "permanent", "other"},
	} {
		ref := order(l.of)
		if l.of == "" {
			ref = account("cusa_1")
		}
		if l.of == "other" {
			ref.Key.Source = "stripe"
		}
		a := arrival(l.id, ref)
		a.Event.Source, a.Event.Type, a.Event.ReceivedAt = ref.Key.Source, l.kind, at(i)
		s.log(a)
		given := letter(a, ref, s.claim(ref).Claim)
		given.Class, given.At = l.class, at(i)
		s.bury(given)
		if l.id == "evt_b" {
			require.Equal(t, 1, s.discard(given))
		}
	}
	combine(t, []option[storage.LetterFilter]{
		{"status", func(f *storage.LetterFilter) { f.Status = storage.LetterOpen }},
		{"source", func(f *storage.LetterFilter) { f.Source = "lemon" }},
		{"type", func(f *storage.LetterFilter) { f.Type = "order.executed" }},
		{"kind", func(f *storage.LetterFilter) { f.Kind = "order" }},
		{"entity", func(f *storage.LetterFilter) { f.Entity = order("o1").Key }},
		{"class", func(f *storage.LetterFilter) { f.Class = "permanent" }},
		{"from", func(f *storage.LetterFilter) { f.From = at(1) }},
		{"to", func(f *storage.LetterFilter) { f.To = at(7) }},
	}, func(f storage.LetterFilter, cursor string) ([]string, string) {
		f.Limit, f.Cursor = 1, cursor
		p, err := s.Letters(s.ctx, f)
		return pageIDs(t, p, err, func(l *storage.LetterRecord) string { return l.Letter.ID() })
	})
}

func testDiscrepancyCombinations(t *testing.T, s *suite) {
	add := func(id string, found int, change func(*storage.Discrepancy)) {
		d := discrepancy(id, storage.Stale, found)
		d.Entity, d.SweepID = order("o1").Key, "sweep_1"
		change(&d)
		s.record(d)
	}
	add("d0", 0, func(*storage.Discrepancy) {})
	add("d1", 1, func(*storage.Discrepancy) {})
	add("d2", 2, func(d *storage.Discrepancy) { d.Type = storage.Missing })
	add("d3", 3, func(d *storage.Discrepancy) { d.Entity = account("cusa_1").Key })
	add("d4", 4, func(d *storage.Discrepancy) { d.SweepID = "sweep_2" })
	add("d5", 5, func(d *storage.Discrepancy) {
		d.Source, d.Entity = "stripe", event.Key{Source: "stripe", Kind: "charge", ID: "o1"}
	})
	add("d6", 6, func(d *storage.Discrepancy) { d.Status = storage.Repaired })
	add("d7", 7, func(*storage.Discrepancy) {})
	combine(t, []option[storage.DiscrepancyFilter]{
		{"status", func(f *storage.DiscrepancyFilter) { f.Status = storage.Suspected }},
		{"type", func(f *storage.DiscrepancyFilter) { f.Type = storage.Stale }},
		{"source", func(f *storage.DiscrepancyFilter) { f.Source = "lemon" }},
		{"kind", func(f *storage.DiscrepancyFilter) { f.Kind = "order" }},
		{"entity", func(f *storage.DiscrepancyFilter) { f.Entity = order("o1").Key }},
		{"sweep", func(f *storage.DiscrepancyFilter) { f.SweepID = "sweep_1" }},
		{"from", func(f *storage.DiscrepancyFilter) { f.From = at(1) }},
		{"to", func(f *storage.DiscrepancyFilter) { f.To = at(7) }},
	}, func(f storage.DiscrepancyFilter, cursor string) ([]string, string) {
		f.Limit, f.Cursor = 1, cursor
		p, err := s.Discrepancies(s.ctx, f)
		return pageIDs(t, p, err, func(d *storage.Discrepancy) string { return d.ID })
	})
}

func testTaskCombinations(t *testing.T, s *suite) {
	add := func(id string, created int, change func(*storage.Task)) {
		k := task(id, created)
		k.Kind, k.Source, k.Parent = "redrive", "lemon", "whole"
		change(k)
		require.NoError(t, s.CreateTasks(s.ctx, []*storage.Task{k}))
	}
	add("t0", 0, func(*storage.Task) {})
	add("t1", 1, func(k *storage.Task) { k.Kind = "reread" })
	add("t2", 2, func(k *storage.Task) { k.Source = "stripe" })
	add("t3", 3, func(k *storage.Task) { k.Parent = "" })
	add("t4", 4, func(k *storage.Task) { k.Status = storage.TaskDone })
	add("t5", 5, func(*storage.Task) {})
	combine(t, []option[storage.TaskFilter]{
		{"kind", func(f *storage.TaskFilter) { f.Kinds = []string{"redrive", "discard"} }},
		{"status", func(f *storage.TaskFilter) { f.Statuses = []storage.TaskStatus{storage.TaskWaiting} }},
		{"source", func(f *storage.TaskFilter) { f.Source = "lemon" }},
		{"parent", func(f *storage.TaskFilter) { f.Parent = "whole" }},
	}, func(f storage.TaskFilter, cursor string) ([]string, string) {
		f.Limit, f.Cursor = 1, cursor
		p, err := s.Tasks(s.ctx, f)
		return pageIDs(t, p, err, func(k *storage.Task) string { return k.ID })
	})
}

func testActCombinations(t *testing.T, s *suite) {
	for i, n := range []storage.Note{
		{ID: "a0", Source: "lemon", By: "ops"}, {ID: "a1", Source: "lemon", By: "ops"}, {ID: "a2", Source: "stripe", By: "ops"},
		{ID: "a3", Source: "lemon", By: "night"}, {ID: "a4", Source: "lemon", By: "ops"},
	} {
		n.At, n.Kind, n.Reason, n.Count = at(i), storage.NoteOperator, "text", 1
		require.NoError(t, s.Note(s.ctx, []storage.Note{n}))
	}
	combine(t, []option[storage.NoteFilter]{
		{"source", func(f *storage.NoteFilter) { f.Source = "lemon" }},
		{"by", func(f *storage.NoteFilter) { f.By = "ops" }},
		{"from", func(f *storage.NoteFilter) { f.From = at(1) }},
		{"to", func(f *storage.NoteFilter) { f.To = at(4) }},
	}, func(f storage.NoteFilter, cursor string) ([]string, string) {
		f.Limit, f.Cursor = 1, cursor
		p, err := s.Acts(s.ctx, f)
		return pageIDs(t, p, err, func(n *storage.Note) string { return n.ID })
	})
}
