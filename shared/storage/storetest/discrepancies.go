package storetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

func discrepancy(id string, kind storage.DiscrepancyType, found int) storage.Discrepancy {
	return storage.Discrepancy{
		ID: id, Source: "lemon", Entity: order("o1").Key, Type: kind, Status: storage.Suspected,
		SweepID: "sweep_1", Patch: []byte(`[{"op":"replace","path":"/a","value":1.10}]`), FoundAt: at(found),
		StateHash: "ab12", SyncedClaim: 3, SyncedAt: at(0),
	}
}

func (s *suite) record(found ...storage.Discrepancy) {
	s.t.Helper()
	require.NoError(s.t, s.Record(s.ctx, found))
}

func (s *suite) discrepancies(f storage.DiscrepancyFilter) (out []*storage.Discrepancy) {
	s.t.Helper()
	p, err := s.Discrepancies(s.ctx, f)
	require.NoError(s.t, err)
	return p.Items
}

var discrepancyCases = []testCase{
	{"one recorded twice is one, as it was first", func(t *testing.T, s *suite) {
		d := discrepancy("d1", storage.Stale, 1)
		s.record(d)
		again := d
		again.FoundAt, again.Status = at(50), storage.Confirmed
		s.record(again)
		require.NoError(t, s.Record(s.ctx, nil))
		got := s.discrepancies(storage.DiscrepancyFilter{})
		require.Len(t, got, 1)
		require.Equal(t, asJSON(t, &d), asJSON(t, got[0]))
	}},
	{"a dropped one that is found again is open again", func(t *testing.T, s *suite) {
		d := discrepancy("d1", storage.Stale, 1)
		s.record(d)
		_, err := s.Judge(s.ctx, nil, []string{"d1"}, at(5))
		require.NoError(t, err)
		s.record(d)
		require.Equal(t, storage.Dropped, s.discrepancies(storage.DiscrepancyFilter{})[0].Status, "found twice, once on record")
		again := discrepancy("d1", storage.Stale, 9)
		again.SweepID, again.Patch = "sweep_later", []byte(`[{"op":"remove","path":"/later"}]`)
		again.StateHash, again.SyncedClaim, again.SyncedAt = "cd34", 4, at(8)
		for range 2 {
			s.record(again)
			got := s.discrepancies(storage.DiscrepancyFilter{})
			require.Len(t, got, 1)
			require.Equal(t, asJSON(t, &again), asJSON(t, got[0]))
		}
		judged, err := s.Judge(s.ctx, []string{"d1"}, nil, at(12))
		require.NoError(t, err)
		require.Len(t, judged, 1)
		s.record(discrepancy("d1", storage.Stale, 20))
		require.Equal(t, at(9), s.discrepancies(storage.DiscrepancyFilter{})[0].FoundAt, "a confirmed one stays")
	}},
	{"a status and a source default to any", func(t *testing.T, s *suite) {
		s.record(storage.Discrepancy{ID: "d1", Entity: order("o1").Key, Type: storage.Missing, FoundAt: at(1)})
		got := s.discrepancies(storage.DiscrepancyFilter{Source: "lemon", Status: storage.Suspected})
		require.Len(t, got, 1)
		require.Nil(t, got[0].Patch)
	}},
	{"judged once, with the time", func(t *testing.T, s *suite) {
		s.record(discrepancy("d1", storage.Stale, 1), discrepancy("d2", storage.Stale, 2), discrepancy("d3", storage.Stale, 3))
		judged, err := s.Judge(s.ctx, []string{"d1", "d_unknown"}, []string{"d2"}, at(60))
		require.NoError(t, err)
		require.Len(t, judged, 2)
		again, err := s.Judge(s.ctx, []string{"d2"}, []string{"d1"}, at(70))
		require.NoError(t, err)
		require.Empty(t, again)
		byID := map[string]*storage.Discrepancy{}
		for _, d := range s.discrepancies(storage.DiscrepancyFilter{}) {
			byID[d.ID] = d
		}
		require.Equal(t, storage.Confirmed, byID["d1"].Status)
		require.Equal(t, at(60), byID["d1"].JudgedAt)
		require.Equal(t, storage.Dropped, byID["d2"].Status)
		require.Equal(t, storage.Suspected, byID["d3"].Status)
		none, err := s.Judge(s.ctx, nil, nil, at(80))
		require.NoError(t, err)
		require.Empty(t, none)
	}},
	{"a repair before the judgement counts with it", func(t *testing.T, s *suite) {
		s.record(discrepancy("good", storage.Stale, 1), discrepancy("bad", storage.Stale, 2), discrepancy("late", storage.Stale, 3))
		require.NoError(t, s.Repair(s.ctx, []string{"good", "unknown"}, true, at(10)))
		require.NoError(t, s.Repair(s.ctx, []string{"bad"}, false, at(11)))
		require.Len(t, s.discrepancies(storage.DiscrepancyFilter{Status: storage.Suspected}), 3)

		judged, err := s.Judge(s.ctx, []string{"good", "bad", "late"}, nil, at(60))
		require.NoError(t, err)
		got := map[string]storage.DiscrepancyStatus{}
		for _, d := range judged {
			got[d.ID] = d.Status
		}
		require.Equal(t, map[string]storage.DiscrepancyStatus{"good": storage.Repaired, "bad": storage.Failed, "late": storage.Confirmed}, got)

		require.NoError(t, s.Repair(s.ctx, []string{"late", "bad"}, true, at(70)))
		require.NoError(t, s.Repair(s.ctx, []string{"good"}, false, at(71)))
		require.NoError(t, s.Repair(s.ctx, nil, true, at(71)))
		for _, d := range s.discrepancies(storage.DiscrepancyFilter{}) {
			require.Equal(t, storage.Repaired, d.Status, d.ID)
			require.Less(t, d.RepairedAt.Unix(), at(71).Unix(), "what is repaired cannot fail any more")
		}
	}},
	{"what was dropped is left, what is judged at once keeps its times", func(t *testing.T, s *suite) {
		at1 := discrepancy("d_judged", storage.Rewritten, 1)
		at1.Status, at1.JudgedAt, at1.RepairedAt = storage.Repaired, at(2), at(3)
		s.record(at1, discrepancy("d_dropped", storage.Stale, 2))
		_, err := s.Judge(s.ctx, nil, []string{"d_dropped", "d_judged"}, at(60))
		require.NoError(t, err)
		for _, ok := range []bool{false, true} {
			require.NoError(t, s.Repair(s.ctx, []string{"d_judged", "d_dropped"}, ok, at(70)))
		}
		got := s.discrepancies(storage.DiscrepancyFilter{})
		require.Equal(t, storage.Dropped, got[0].Status)
		require.True(t, got[0].RepairedAt.IsZero())
		require.Equal(t, asJSON(t, at1), asJSON(t, got[1]))
	}},
	{"judged and repaired at once, each is judged by one and ends repaired", func(t *testing.T, s *suite) {
		const n = 45
		var ids []string
		var found []storage.Discrepancy
		for i := range n {
			d := discrepancy(fmt.Sprintf("d%02d", i), storage.Stale, i)
			found, ids = append(found, d), append(ids, d.ID)
		}
		s.record(found...)
		var judged [2]int
		var g errgroup.Group
		for i := range judged {
			g.Go(func() error {
				got, err := s.Judge(s.ctx, ids, nil, at(60))
				judged[i] = len(got)
				return err
			})
		}
		for part := range slices.Chunk(ids, 15) {
			g.Go(func() error { return s.Repair(s.ctx, part, true, at(61)) })
		}
		require.NoError(t, g.Wait())
		require.Equal(t, n, judged[0]+judged[1])
		require.Len(t, s.discrepancies(storage.DiscrepancyFilter{Status: storage.Repaired, Limit: 200}), n)
	}},
	{"listed newest first, by any filter, and counted", func(t *testing.T, s *suite) {
		s.record(discrepancy("d1", storage.Stale, 1), discrepancy("d2", storage.Deleted, 2), discrepancy("d3", storage.Stale, 2))
		other := storage.Discrepancy{
			ID: "d4", Source: "lemon", Entity: event.Key{Source: "lemon"}, Type: storage.EventMissed, EventID: "evt_1", FoundAt: at(3),
		}
		s.record(other)
		var got []string
		f := storage.DiscrepancyFilter{Limit: 3}
		for {
			p, err := s.Discrepancies(s.ctx, f)
			require.NoError(t, err)
			for _, d := range p.Items {
				got = append(got, d.ID)
			}
			if f.Cursor = p.NextCursor; f.Cursor == "" {
				break
			}
		}
		require.Equal(t, []string{"d4", "d3", "d2", "d1"}, got)
		for name, f := range map[string]storage.DiscrepancyFilter{
			"type": {Type: storage.Stale}, "entity": {Entity: order("o1").Key, Type: storage.Stale},
			"sweep": {SweepID: "sweep_1", Type: storage.Stale}, "kind": {Kind: "order", Type: storage.Stale}, "time": {From: at(1), To: at(3), Type: storage.Stale},
		} {
			require.Len(t, s.discrepancies(f), 2, name)
		}
		require.Equal(t, "evt_1", s.discrepancies(storage.DiscrepancyFilter{Type: storage.EventMissed})[0].EventID)
		_, err := s.Discrepancies(s.ctx, storage.DiscrepancyFilter{Cursor: "x"})
		require.ErrorIs(t, err, storage.ErrCursor)
	}},
}
