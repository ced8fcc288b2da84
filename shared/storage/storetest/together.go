package storetest

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

var togetherCases = []testCase{
	{"the store answers", func(t *testing.T, s *suite) {
		require.NoError(t, s.Ping(s.ctx))
	}},
	{"a context that has ended is obeyed", func(t *testing.T, s *suite) {
		ctx, cancel := context.WithCancel(s.ctx)
		cancel()
		a := arrival("evt_cancelled", order("o1"))
		for name, call := range map[string]func() error{
			"ping":      func() error { return s.Ping(ctx) },
			"log":       func() error { _, err := s.Log(ctx, []storage.Arrival{a}); return err },
			"settle":    func() error { return s.Settle(ctx, []storage.Settlement{settlement(a, order("o1"), 1)}) },
			"fail":      func() error { return s.Fail(ctx, []storage.Failure{failure(a, order("o1"), at(1))}) },
			"bury":      func() error { _, err := s.Bury(ctx, []storage.Letter{letter(a, order("o1"), 1)}); return err },
			"supersede": func() error { _, err := s.Supersede(ctx, order("o1").Key, 1); return err },
			"claim":     func() error { _, err := s.Claim(ctx, order("o1")); return err },
			"write":     func() error { _, err := s.Write(ctx, write(order("o1"), 1, state(1))); return err },
			"note":      func() error { return s.Note(ctx, []storage.Note{{ID: "n", Kind: "rejected", Count: 1}}) },
			"record":    func() error { return s.Record(ctx, []storage.Discrepancy{{ID: "d"}}) },
			"judge":     func() error { _, err := s.Judge(ctx, []string{"d"}, nil, at(1)); return err },
			"repair":    func() error { return s.Repair(ctx, []string{"d"}, true, at(1)) },
			"redriven":  func() error { _, err := s.Redriven(ctx, []string{"dl"}, "ops", at(1)); return err },
			"discard":   func() error { _, err := s.Discard(ctx, []string{"dl"}, "ops", "no", at(1)); return err },
			"letter":    func() error { _, err := s.LetterByID(ctx, "dl"); return err },
			"letters":   func() error { _, err := s.Letters(ctx, storage.LetterFilter{}); return err },
			"unsettled": func() error { _, _, err := s.Unsettled(ctx, "lemon", at(99), 10, ""); return err },
			"requeued": func() error {
				return s.Requeued(ctx, []storage.Requeue{{Source: "lemon", EventID: "evt_cancelled", Entity: order("o1").Key}})
			},
			"known":     func() error { _, err := s.KnownEvents(ctx, "lemon", []string{"evt_cancelled"}); return err },
			"homes":     func() error { _, err := s.Homes(ctx, "lemon", []string{"evt_cancelled"}); return err },
			"documents": func() error { _, err := s.Documents(ctx, []event.Key{order("o1").Key}); return err },
			"verify": func() error {
				_, err := s.Verify(ctx, []storage.Verified{{Key: order("o1").Key, At: at(1)}})
				return err
			},
			"due": func() error {
				_, _, err := s.DueForVerify(ctx, storage.DueFilter{Source: "lemon", Kind: "order", Limit: 1})
				return err
			},
			"staleness":   func() error { _, err := s.Staleness(ctx, "lemon", []string{"order"}); return err },
			"create task": func() error { return s.CreateTasks(ctx, []*storage.Task{task("sweep_1", 1)}) },
			"save task":   func() error { _, err := s.SaveTask(ctx, task("sweep_1", 1)); return err },
			"cancel task": func() error { _, err := s.CancelTask(ctx, "sweep_1"); return err },
			"tasks":       func() error { _, err := s.Tasks(ctx, storage.TaskFilter{}); return err },
			"forget":      func() error { _, err := s.ForgetTasks(ctx, at(1)); return err },
			"entity":      func() error { _, err := s.Entity(ctx, order("o1").Key); return err },
			"entities": func() error {
				_, err := s.Entities(ctx, storage.EntityFilter{Source: "lemon", Kind: "order"})
				return err
			},
			"event":  func() error { _, err := s.EventByID(ctx, "", "evt_cancelled"); return err },
			"events": func() error { _, err := s.Events(ctx, storage.EventFilter{}); return err },
		} {
			require.ErrorIs(t, call(), context.Canceled, name)
		}
		_, err := s.EventByID(s.ctx, "", "evt_cancelled")
		require.ErrorIs(t, err, storage.ErrNotFound)
	}},
	{"a closed store waits, it does not fail", func(t *testing.T, s *suite) {
		require.NoError(t, s.Close())
		_, err := s.Claim(s.ctx, order("o1"))
		requireClass(t, fate.Unavailable, err)
		_, err = s.Entity(s.ctx, order("o1").Key)
		requireClass(t, fate.Unavailable, err)
	}},
	{"whole syncs of many entities at once", testMixedLoad},
}

// testMixedLoad has every event logged, synced and settled by several
// goroutines that share entities, as workers would after a handover.
func testMixedLoad(t *testing.T, s *suite) {
	const workers, each, entities = 3, 4, 2
	var g errgroup.Group
	for w := range workers {
		g.Go(func() error {
			for i := range each {
				a := arrival(fmt.Sprintf("evt_%d_%d", w, i), order(fmt.Sprintf("o%d", i%entities)), account(fmt.Sprintf("cusa_%d", w)))
				if err := syncEvent(s.ctx, s.Store, a); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	page, err := s.Events(s.ctx, storage.EventFilter{Limit: 200})
	require.NoError(t, err)
	require.Len(t, page.Items, workers*each)
	for _, r := range page.Items {
		require.Equal(t, storage.Processed, r.Status, r.ID)
	}
	for i := range entities {
		doc := s.entity(order(fmt.Sprintf("o%d", i)))
		require.Equal(t, doc.Claim, doc.SyncedClaim, "the newest claim was always written")
		require.Equal(t, state(int(doc.Claim)), string(doc.Raw))
	}
}

// syncEvent takes one event the whole way, claiming again when another fetch
// was begun meanwhile.
func syncEvent(ctx context.Context, store storage.Store, a storage.Arrival) error {
	if _, err := store.Log(ctx, []storage.Arrival{a}); err != nil {
		return err
	}
	for _, ref := range a.Event.Entities {
		claim, err := syncEntity(ctx, store, ref)
		if err != nil {
			return err
		}
		if err := store.Settle(ctx, []storage.Settlement{settlement(a, ref, claim)}); err != nil {
			return err
		}
	}
	return nil
}

func syncEntity(ctx context.Context, store storage.Store, ref event.Ref) (int64, error) {
	for {
		doc, err := store.Claim(ctx, ref)
		if err != nil {
			return 0, err
		}
		done, err := store.Write(ctx, write(ref, doc.Claim, state(int(doc.Claim))))
		if err != nil || done.Applied {
			return doc.Claim, err
		}
	}
}
