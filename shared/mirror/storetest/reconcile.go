package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/mirror"
)

func discrepancy(id string, kind mirror.DiscrepancyType, found int) mirror.Discrepancy {
	return mirror.Discrepancy{
		ID: id, Source: "lemon", Entity: order("o1").Key, Type: kind, Status: mirror.Suspected,
		SweepID: "sweep_1", Patch: []byte(`[{"op":"replace","path":"/a","value":1.10}]`), FoundAt: at(found),
		StateHash: "ab12", SyncedClaim: 3, SyncedAt: at(0),
	}
}

func (s *suite) record(found ...mirror.Discrepancy) {
	s.t.Helper()
	require.NoError(s.t, s.Record(s.ctx, found))
}

func (s *suite) discrepancies(f mirror.DiscrepancyFilter) (out []*mirror.Discrepancy) {
	s.t.Helper()
	p, err := s.Discrepancies(s.ctx, f)
	require.NoError(s.t, err)
	return p.Items
}

// stale is the staleness of some kinds of lemon.
func (s *suite) stale(kinds ...string) []mirror.Staleness {
	s.t.Helper()
	stale, err := s.Staleness(s.ctx, "lemon", kinds)
	require.NoError(s.t, err)
	return stale
}

var discrepancyCases = []testCase{
	{"one recorded twice is one, as it was first", func(t *testing.T, s *suite) {
		d := discrepancy("d1", mirror.Stale, 1)
		s.record(d)
		again := d
		again.FoundAt, again.Status = at(50), mirror.Confirmed
		s.record(again)
		require.NoError(t, s.Record(s.ctx, nil))
		got := s.discrepancies(mirror.DiscrepancyFilter{})
		require.Len(t, got, 1)
		require.Equal(t, asJSON(t, &d), asJSON(t, got[0]))
	}},
	{"a dropped one that is found again is open again", func(t *testing.T, s *suite) {
		d := discrepancy("d1", mirror.Stale, 1)
		s.record(d)
		_, err := s.Judge(s.ctx, nil, []string{"d1"}, at(5))
		require.NoError(t, err)
		s.record(d)
		require.Equal(t, mirror.Dropped, s.discrepancies(mirror.DiscrepancyFilter{})[0].Status, "told twice of one finding")
		again := discrepancy("d1", mirror.Stale, 9)
		again.SweepID, again.Patch = "sweep_later", []byte(`[{"op":"remove","path":"/later"}]`)
		again.StateHash, again.SyncedClaim, again.SyncedAt = "cd34", 4, at(8)
		for range 2 {
			s.record(again)
			got := s.discrepancies(mirror.DiscrepancyFilter{})
			require.Len(t, got, 1)
			require.Equal(t, asJSON(t, &again), asJSON(t, got[0]))
		}
		judged, err := s.Judge(s.ctx, []string{"d1"}, nil, at(12))
		require.NoError(t, err)
		require.Len(t, judged, 1)
		s.record(discrepancy("d1", mirror.Stale, 20))
		require.Equal(t, at(9), s.discrepancies(mirror.DiscrepancyFilter{})[0].FoundAt, "a confirmed one stands")
	}},
	{"a status and a source stand for themselves when not given", func(t *testing.T, s *suite) {
		s.record(mirror.Discrepancy{ID: "d1", Entity: order("o1").Key, Type: mirror.Missing, FoundAt: at(1)})
		got := s.discrepancies(mirror.DiscrepancyFilter{Source: "lemon", Status: mirror.Suspected})
		require.Len(t, got, 1)
		require.Nil(t, got[0].Patch)
	}},
	{"judged once, and told when", func(t *testing.T, s *suite) {
		s.record(discrepancy("d1", mirror.Stale, 1), discrepancy("d2", mirror.Stale, 2), discrepancy("d3", mirror.Stale, 3))
		judged, err := s.Judge(s.ctx, []string{"d1", "d_unknown"}, []string{"d2"}, at(60))
		require.NoError(t, err)
		require.Len(t, judged, 2)
		again, err := s.Judge(s.ctx, []string{"d2"}, []string{"d1"}, at(70))
		require.NoError(t, err)
		require.Empty(t, again)
		byID := map[string]*mirror.Discrepancy{}
		for _, d := range s.discrepancies(mirror.DiscrepancyFilter{}) {
			byID[d.ID] = d
		}
		require.Equal(t, mirror.Confirmed, byID["d1"].Status)
		require.Equal(t, at(60), byID["d1"].JudgedAt)
		require.Equal(t, mirror.Dropped, byID["d2"].Status)
		require.Equal(t, mirror.Suspected, byID["d3"].Status)
		none, err := s.Judge(s.ctx, nil, nil, at(80))
		require.NoError(t, err)
		require.Empty(t, none)
	}},
	{"a repair before the judgement counts with it", func(t *testing.T, s *suite) {
		s.record(discrepancy("good", mirror.Stale, 1), discrepancy("bad", mirror.Stale, 2), discrepancy("late", mirror.Stale, 3))
		require.NoError(t, s.Repair(s.ctx, []string{"good", "unknown"}, true, at(10)))
		require.NoError(t, s.Repair(s.ctx, []string{"bad"}, false, at(11)))
		require.Len(t, s.discrepancies(mirror.DiscrepancyFilter{Status: mirror.Suspected}), 3)

		judged, err := s.Judge(s.ctx, []string{"good", "bad", "late"}, nil, at(60))
		require.NoError(t, err)
		got := map[string]mirror.DiscrepancyStatus{}
		for _, d := range judged {
			got[d.ID] = d.Status
		}
		require.Equal(t, map[string]mirror.DiscrepancyStatus{"good": mirror.Repaired, "bad": mirror.Failed, "late": mirror.Confirmed}, got)

		require.NoError(t, s.Repair(s.ctx, []string{"late", "bad"}, true, at(70)))
		require.NoError(t, s.Repair(s.ctx, []string{"good"}, false, at(71)))
		require.NoError(t, s.Repair(s.ctx, nil, true, at(71)))
		for _, d := range s.discrepancies(mirror.DiscrepancyFilter{}) {
			require.Equal(t, mirror.Repaired, d.Status, d.ID)
			require.Less(t, d.RepairedAt.Unix(), at(71).Unix(), "what is repaired cannot fail any more")
		}
	}},
	{"what was dropped is left, what is judged at once keeps its times", func(t *testing.T, s *suite) {
		at1 := discrepancy("d_judged", mirror.Rewritten, 1)
		at1.Status, at1.JudgedAt, at1.RepairedAt = mirror.Repaired, at(2), at(3)
		s.record(at1, discrepancy("d_dropped", mirror.Stale, 2))
		_, err := s.Judge(s.ctx, nil, []string{"d_dropped", "d_judged"}, at(60))
		require.NoError(t, err)
		for _, ok := range []bool{false, true} {
			require.NoError(t, s.Repair(s.ctx, []string{"d_judged", "d_dropped"}, ok, at(70)))
		}
		got := s.discrepancies(mirror.DiscrepancyFilter{})
		require.Equal(t, mirror.Dropped, got[0].Status)
		require.True(t, got[0].RepairedAt.IsZero())
		require.Equal(t, asJSON(t, at1), asJSON(t, got[1]))
	}},
	{"judged and repaired at once, each is judged by one and ends repaired", func(t *testing.T, s *suite) {
		const n = 45
		var ids []string
		var found []mirror.Discrepancy
		for i := range n {
			d := discrepancy(fmt.Sprintf("d%02d", i), mirror.Stale, i)
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
		require.Len(t, s.discrepancies(mirror.DiscrepancyFilter{Status: mirror.Repaired, Limit: 200}), n)
	}},
	{"listed newest first, by any filter, and counted", func(t *testing.T, s *suite) {
		s.record(discrepancy("d1", mirror.Stale, 1), discrepancy("d2", mirror.Deleted, 2), discrepancy("d3", mirror.Stale, 2))
		other := mirror.Discrepancy{
			ID: "d4", Source: "lemon", Entity: event.Key{Source: "lemon"}, Type: mirror.EventMissed, EventID: "evt_1", FoundAt: at(3),
		}
		s.record(other)
		var got []string
		f := mirror.DiscrepancyFilter{Limit: 3}
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
		for name, f := range map[string]mirror.DiscrepancyFilter{
			"type": {Type: mirror.Stale}, "entity": {Entity: order("o1").Key, Type: mirror.Stale},
			"sweep": {SweepID: "sweep_1", Type: mirror.Stale}, "kind": {Kind: "order", Type: mirror.Stale}, "time": {From: at(1), To: at(3), Type: mirror.Stale},
		} {
			require.Len(t, s.discrepancies(f), 2, name)
		}
		require.Equal(t, "evt_1", s.discrepancies(mirror.DiscrepancyFilter{Type: mirror.EventMissed})[0].EventID)
		_, err := s.Discrepancies(s.ctx, mirror.DiscrepancyFilter{Cursor: "x"})
		require.ErrorIs(t, err, mirror.ErrCursor)
	}},
}

var verifyCases = []testCase{
	{"documents by their keys", func(t *testing.T, s *suite) {
		s.sync(order("o1"), state(1))
		s.claim(order("o2"))
		s.sync(account("o1"), state(2))
		docs, err := s.Documents(s.ctx, []event.Key{order("o1").Key, order("o2").Key, order("o3").Key, account("o1").Key})
		require.NoError(t, err)
		var got []string
		for _, d := range docs {
			got = append(got, d.Key.Kind+"/"+d.Key.ID)
		}
		require.ElementsMatch(t, []string{"order/o1", "order/o2", "account/o1"}, got)
		docs, err = s.Documents(s.ctx, nil)
		require.NoError(t, err)
		require.Empty(t, docs)
	}},
	{"verifying moves verified_at, and nothing else, and only of that state", func(t *testing.T, s *suite) {
		s.sync(order("o1"), state(1))
		s.sync(order("o2"), state(1))
		before := s.entity(order("o1"))
		n, err := s.Verify(s.ctx, []mirror.Verified{
			{Key: order("o1").Key, StateHash: before.StateHash, At: at(100)},
			{Key: order("o2").Key, StateHash: "another", At: at(100)},
			{Key: order("o3").Key, StateHash: "", At: at(100)},
		})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		after := s.entity(order("o1"))
		require.Equal(t, at(100), after.VerifiedAt)
		after.VerifiedAt = before.VerifiedAt
		require.Equal(t, asJSON(t, before), asJSON(t, after))
		require.Equal(t, at(11), s.entity(order("o2")).VerifiedAt)
		_, err = s.Entity(s.ctx, order("o3").Key)
		require.ErrorIs(t, err, mirror.ErrNotFound)

		n, err = s.Verify(s.ctx, []mirror.Verified{{Key: order("o1").Key, StateHash: before.StateHash, At: at(90)}})
		require.NoError(t, err)
		require.Zero(t, n)
		require.Equal(t, at(100), s.entity(order("o1")).VerifiedAt, "never back")
		n, err = s.Verify(s.ctx, nil)
		require.NoError(t, err)
		require.Zero(t, n)
	}},
	{"a tombstone is verified as one", func(t *testing.T, s *suite) {
		s.sync(order("o1"), state(1))
		hash := s.entity(order("o1")).StateHash
		verify := func(deleted bool, when int) int {
			n, err := s.Verify(s.ctx, []mirror.Verified{{Key: order("o1").Key, StateHash: hash, Deleted: deleted, At: at(when)}})
			require.NoError(t, err)
			return n
		}
		require.Zero(t, verify(true, 20), "it lives")
		require.Equal(t, 1, verify(false, 20))
		s.write(&mirror.Write{Ref: order("o1"), Claim: s.claim(order("o1")).Claim, SentAt: at(30), Deleted: true})
		require.Zero(t, verify(false, 40), "it has been deleted since")
		require.Equal(t, 1, verify(true, 40))
		require.Equal(t, at(40), s.entity(order("o1")).VerifiedAt)
		require.Equal(t, at(30), s.entity(order("o1")).DeletedAt)
	}},
	{"many are verified at once", func(t *testing.T, s *suite) {
		var same []mirror.Verified
		for i := range 45 {
			r := order(fmt.Sprintf("o%02d", i))
			if i%2 == 0 {
				r = account(fmt.Sprintf("a%02d", i))
			}
			s.sync(r, state(1))
			same = append(same, mirror.Verified{Key: r.Key, StateHash: "hash of " + state(1), At: at(100 + i)})
		}
		n, err := s.Verify(s.ctx, same)
		require.NoError(t, err)
		require.Equal(t, 45, n)
		n, err = s.Verify(s.ctx, same)
		require.NoError(t, err)
		require.Zero(t, n)
		require.Equal(t, []mirror.Staleness{{Kind: "account", Oldest: at(100)}, {Kind: "order", Oldest: at(101)}}, s.stale("account", "order"))
		require.Equal(t, []mirror.Staleness{{Kind: "order", Oldest: at(101)}}, s.stale("order", "nothing"))
	}},
	{"what was fetched and never believed is due", func(t *testing.T, s *suite) {
		s.write(&mirror.Write{Ref: order("o1"), Claim: s.claim(order("o1")).Claim, SentAt: at(50), Kept: true, DoubtedAt: at(50)})
		docs, _, err := s.DueForVerify(s.ctx, mirror.DueFilter{Source: "lemon", Kind: "order", VerifiedBefore: at(10), TerminalBefore: at(5), Limit: 10})
		require.NoError(t, err)
		require.Len(t, docs, 1)
		require.True(t, s.stale("order")[0].Oldest.IsZero())
	}},
	{"what was asked for and never had is counted", func(t *testing.T, s *suite) {
		s.sync(order("o1"), state(1))
		s.claim(order("o2"))
		s.claim(order("o3"))
		s.claim(account("a1"))
		count := func(source string, kinds ...string) int64 {
			n, err := s.Unfetched(s.ctx, source, kinds)
			require.NoError(t, err)
			return n
		}
		require.EqualValues(t, 2, count("lemon", "order"))
		require.EqualValues(t, 3, count("lemon", "order", "account", "nothing"))
		require.Zero(t, count("elsewhere", "order"))
		require.Zero(t, count("lemon"))

		named := func(kind string, limit int) (ids []string) {
			docs, err := s.FirstUnfetched(s.ctx, "lemon", kind, limit)
			require.NoError(t, err)
			for _, d := range docs {
				require.False(t, d.Known())
				require.NotEmpty(t, d.Parents)
				ids = append(ids, d.Key.ID)
			}
			return ids
		}
		require.ElementsMatch(t, []string{"o2", "o3"}, named("order", 10))
		require.Len(t, named("order", 1), 1)
		require.Empty(t, named("nothing", 1))
	}},
	{"a kind of which nothing lives is left out", func(t *testing.T, s *suite) {
		w := write(order("o1"), s.claim(order("o1")).Claim, state(1))
		w.Terminal = true
		s.write(w)
		s.claim(account("cusa_1"))
		require.Empty(t, s.stale("order", "account"))
		stale, err := s.Staleness(s.ctx, "elsewhere", []string{"order"})
		require.NoError(t, err)
		require.Empty(t, stale)
	}},
	{"what has been terminal for long is not looked at again", func(t *testing.T, s *suite) {
		sync := func(id string, sent int, terminal, deleted bool) {
			w := write(order(id), s.claim(order(id)).Claim, state(1))
			w.SentAt, w.Terminal = at(sent), terminal
			s.write(w)
			if deleted {
				w = write(order(id), s.claim(order(id)).Claim, state(1))
				w.SentAt, w.Deleted = at(sent), true
				s.write(w)
			}
		}
		sync("alive", 10, false, false)
		sync("ended_long_ago", 10, true, false)
		sync("ended_lately", 50, true, false)
		sync("deleted_long_ago", 10, false, true)
		sync("verified", 200, false, false)
		s.claim(order("unknown"))

		due := func(after string, limit int) (ids []string) {
			f := mirror.DueFilter{Source: "lemon", Kind: "order", VerifiedBefore: at(100), TerminalBefore: at(30), After: after, Limit: limit}
			for more := true; more; more = f.After != "" {
				docs, next, err := s.DueForVerify(s.ctx, f)
				require.True(t, err == nil && (next == "" || next > f.After), "a scan goes on: %v", err)
				for _, d := range docs {
					ids = append(ids, d.Key.ID)
				}
				f.After = next
			}
			return ids
		}
		require.Equal(t, []string{"alive", "ended_lately"}, due("", 10))
		require.Equal(t, []string{"alive", "ended_lately"}, due("", 1))
		require.Equal(t, []string{"ended_lately"}, due("alive", 10))

		require.Equal(t, []mirror.Staleness{{Kind: "order", Oldest: at(10)}}, s.stale("order"))
		_, err := s.Verify(s.ctx, []mirror.Verified{{Key: order("alive").Key, StateHash: s.entity(order("alive")).StateHash, At: at(150)}})
		require.NoError(t, err)
		require.Equal(t, []mirror.Staleness{{Kind: "order", Oldest: at(150)}}, s.stale("order"), "what is over does not count")
	}},
	{"terminal since the first time, until it opens again", func(t *testing.T, s *suite) {
		sync := func(sent int, terminal bool) *mirror.Document {
			w := write(order("o1"), s.claim(order("o1")).Claim, state(sent))
			w.SentAt, w.Terminal = at(sent), terminal
			s.write(w)
			return s.entity(order("o1"))
		}
		require.True(t, sync(10, false).TerminalAt.IsZero())
		require.Equal(t, at(11), sync(11, true).TerminalAt)
		require.Equal(t, at(11), sync(12, true).TerminalAt)
		require.True(t, sync(13, false).TerminalAt.IsZero())
		require.Equal(t, at(14), sync(14, true).TerminalAt)
	}},
}

func task(id string, created int) *mirror.Task {
	return &mirror.Task{
		ID: id, Kind: "sweep", Source: "lemon", Status: mirror.TaskWaiting, By: "schedule",
		Spec: []byte(`{"kinds":["order"]}`), Counts: map[string]int64{"total": 3}, CreatedAt: at(created),
	}
}

func (s *suite) task(id string) *mirror.Task {
	s.t.Helper()
	k, err := s.Task(s.ctx, id)
	require.NoError(s.t, err)
	return k
}

func (s *suite) save(k *mirror.Task) bool {
	s.t.Helper()
	saved, err := s.SaveTask(s.ctx, k)
	require.NoError(s.t, err)
	return saved
}

var taskCases = []testCase{
	{"a task is created once and read whole", func(t *testing.T, s *suite) {
		k := task("sweep_1", 1)
		require.NoError(t, s.CreateTasks(s.ctx, []*mirror.Task{k}))
		again := task("sweep_1", 9)
		again.By = "somebody else"
		require.NoError(t, s.CreateTasks(s.ctx, []*mirror.Task{again}))
		require.Equal(t, asJSON(t, k), asJSON(t, s.task("sweep_1")))
		_, err := s.Task(s.ctx, "sweep_2")
		require.ErrorIs(t, err, mirror.ErrNotFound)
		require.NoError(t, s.CreateTasks(s.ctx, nil))
	}},
	{"only the latest lease saves", func(t *testing.T, s *suite) {
		require.NoError(t, s.CreateTasks(s.ctx, []*mirror.Task{task("sweep_1", 1)}))
		first := s.task("sweep_1")
		first.Status, first.Epoch, first.State, first.StartedAt = mirror.TaskRunning, 7, []byte(`{"page":1}`), at(2)
		require.True(t, s.save(first))
		second := s.task("sweep_1")
		require.Equal(t, asJSON(t, first), asJSON(t, second))
		second.Epoch, second.State, second.Counts["done"] = 8, []byte(`{"page":2}`), 2
		require.True(t, s.save(second))
		first.State = []byte(`{"page":99}`)
		require.False(t, s.save(first))
		require.Equal(t, `{"page":2}`, string(s.task("sweep_1").State))

		second.Status, second.FinishedAt, second.Error = mirror.TaskDone, at(9), "one page failed"
		require.True(t, s.save(second))
		require.Equal(t, asJSON(t, second), asJSON(t, s.task("sweep_1")))
		second.Status = mirror.TaskRunning
		require.False(t, s.save(second), "what is over stays so")
	}},
	{"the end of a task may be told twice, by whoever ended it", func(t *testing.T, s *suite) {
		require.NoError(t, s.CreateTasks(s.ctx, []*mirror.Task{task("sweep_1", 1)}))
		k := s.task("sweep_1")
		require.False(t, s.save(task("sweep_unknown", 1)))
		k.Status, k.Epoch, k.FinishedAt = mirror.TaskDone, 4, at(9)
		require.True(t, s.save(k))
		require.True(t, s.save(k), "the answer was lost")
		other := *k
		other.Epoch = 5
		require.False(t, s.save(&other), "it was not this lease that ended it")
		other.Epoch, other.Status = 4, mirror.TaskFailed
		require.False(t, s.save(&other), "nor so")
		other.Status = mirror.TaskRunning
		require.False(t, s.save(&other))
		require.Equal(t, asJSON(t, k), asJSON(t, s.task("sweep_1")))
	}},
	{"a task may lose what it had", func(t *testing.T, s *suite) {
		k := task("sweep_1", 1)
		k.State, k.Error, k.StartedAt, k.Counts = []byte(`{}`), "no", at(2), map[string]int64{"a.b": 1, "$c": 2, "": 3}
		require.NoError(t, s.CreateTasks(s.ctx, []*mirror.Task{k}))
		require.Equal(t, asJSON(t, k), asJSON(t, s.task("sweep_1")))
		k.State, k.Error, k.StartedAt, k.Counts = nil, "", time.Time{}, nil
		require.True(t, s.save(k))
		require.Equal(t, asJSON(t, k), asJSON(t, s.task("sweep_1")))
	}},
	{"cancelling a waiting task ends it, a running one learns of it", func(t *testing.T, s *suite) {
		require.NoError(t, s.CreateTasks(s.ctx, []*mirror.Task{task("job_waiting", 1), task("job_running", 2)}))
		running := s.task("job_running")
		running.Status, running.Epoch = mirror.TaskRunning, 1
		require.True(t, s.save(running))
		for id, status := range map[string]mirror.TaskStatus{"job_waiting": mirror.TaskCancelled, "job_running": mirror.TaskRunning} {
			ok, err := s.CancelTask(s.ctx, id)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, status, s.task(id).Status)
		}
		require.False(t, running.Cancel)
		require.True(t, s.save(running))
		require.True(t, running.Cancel)
		running.Status = mirror.TaskCancelled
		require.True(t, s.save(running))
		ok, err := s.CancelTask(s.ctx, "job_running")
		require.NoError(t, err)
		require.False(t, ok)
		_, err = s.CancelTask(s.ctx, "job_unknown")
		require.ErrorIs(t, err, mirror.ErrNotFound)
	}},
	{"tasks are listed newest first, by any filter", func(t *testing.T, s *suite) {
		all := []*mirror.Task{task("a", 1), task("b", 2), task("c", 3), task("d", 3)}
		all[1].Kind, all[2].Parent, all[3].Status = "redrive", "a", mirror.TaskRunning
		require.NoError(t, s.CreateTasks(s.ctx, all))
		ids := func(f mirror.TaskFilter) (got []string) {
			for {
				p, err := s.Tasks(s.ctx, f)
				require.NoError(t, err)
				for _, k := range p.Items {
					got = append(got, k.ID)
				}
				if f.Cursor = p.NextCursor; f.Cursor == "" {
					return got
				}
			}
		}
		require.Equal(t, []string{"d", "c", "b", "a"}, ids(mirror.TaskFilter{Limit: 3}))
		require.Equal(t, []string{"b"}, ids(mirror.TaskFilter{Kinds: []string{"redrive", "backfill"}}))
		require.Equal(t, []string{"c"}, ids(mirror.TaskFilter{Parent: "a"}))
		require.Equal(t, []string{"d"}, ids(mirror.TaskFilter{Statuses: []mirror.TaskStatus{mirror.TaskRunning}, Source: "lemon"}))
		require.Empty(t, ids(mirror.TaskFilter{Source: "stripe"}))
		_, err := s.Tasks(s.ctx, mirror.TaskFilter{Cursor: "x"})
		require.ErrorIs(t, err, mirror.ErrCursor)
	}},
	{"what finished long ago is forgotten, partitions too", func(t *testing.T, s *suite) {
		finished := func(id string, when time.Time) *mirror.Task {
			k := task(id, 1)
			k.Status, k.FinishedAt = mirror.TaskDone, when
			return k
		}
		part, other := finished("old/1", at(1)), finished("new/1", at(1))
		part.Parent, other.Parent = "old", "new"
		require.NoError(t, s.CreateTasks(s.ctx, []*mirror.Task{
			finished("old", at(10)), part, finished("new", at(90)), other, task("waiting", 1), finished("timeless", time.Time{}),
		}))
		n, err := s.ForgetTasks(s.ctx, at(50))
		require.NoError(t, err)
		require.Equal(t, 2, n)
		p, err := s.Tasks(s.ctx, mirror.TaskFilter{})
		require.NoError(t, err)
		require.Len(t, p.Items, 4)
	}},
}
