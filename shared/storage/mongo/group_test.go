package mongo_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	drivevent "go.mongodb.org/mongo-driver/v2/event"
	"golang.org/x/sync/errgroup"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/mongo"
	"github.com/tarn-sync/tarn/shared/storage/mongo/mongotest"
)

// together makes n calls at once: the first goes alone, and the others wait for
// it and go as one group.
func together(t *testing.T, s *mongo.Store, call string, n int, do func(i int) error) []error {
	t.Helper()
	errs := make([]error, n)
	var running sync.WaitGroup
	begin := func(i int) { running.Go(func() { errs[i] = do(i) }) }
	queued := func(busy bool, want int) {
		require.Eventually(t, func() bool {
			is, waiting := s.Queue(call, "lemon", "order")
			return is == busy && waiting == want
		}, time.Minute, time.Millisecond)
	}
	queued(false, 0) // the call before has its answer a moment before the queue rests
	thaw := server.Freeze()
	defer running.Wait()
	defer thaw()
	begin(0)
	queued(true, 0)
	for i := 1; i < n; i++ {
		begin(i)
	}
	queued(true, n-1)
	return errs
}

func requireNone(t *testing.T, errs []error) {
	t.Helper()
	for i, err := range errs {
		require.NoError(t, err, "%d", i)
	}
}

func named(i int) event.Ref { return order(fmt.Sprintf("o%03d", i)) }

func stateOf(i int) []byte { return fmt.Appendf(nil, `{"id":"o%03d","price":1.10}`, i) }

func writeOf(i int, claim int64) *storage.Write {
	return &storage.Write{Ref: named(i), Claim: claim, SentAt: start, Raw: stateOf(i), StateHash: "h", Status: "open"}
}

// claimTogether claims entities at once and requires that each has its claim.
func claimTogether(t *testing.T, s *mongo.Store, n int, want func(i int) int64) {
	t.Helper()
	docs := make([]*storage.Document, n)
	requireNone(t, together(t, s, "claim", n, func(i int) (err error) {
		docs[i], err = s.Claim(t.Context(), named(i))
		return err
	}))
	for i, doc := range docs {
		require.Equal(t, named(i).Key, doc.Key)
		require.Equal(t, named(i).Parents, doc.Parents)
		require.Equal(t, want(i), doc.Claim, "%d", i)
	}
}

// TestCallsAtOnceShareRoundTrips counts the commands of calls made at once: those
// of the first, which went alone, and those of all others together.
func TestCallsAtOnceShareRoundTrips(t *testing.T) {
	const n = mongotest.BulkSize // the first and 49
	var sent counter
	s := open(t, newDatabase(t), mongo.Options{Monitor: sent.monitor(), BulkSize: mongotest.BulkSize})
	_, err := s.Claim(t.Context(), order("first")) // makes the collection's indexes
	require.NoError(t, err)
	for i := range n / 2 {
		_, err = s.Log(t.Context(), []storage.Arrival{arrival(fmt.Sprintf("evt_%d", 2*i), named(2*i)), arrival(fmt.Sprintf("evt_%d", 2*i+1), named(2*i+1))})
		require.NoError(t, err)
	}
	sent.take()

	claimTogether(t, s, n/2, func(int) int64 { return 1 })
	require.Equal(t, []string{"findAndModify", "insert", "find", "insert"}, sent.take(), "none is there")
	claimTogether(t, s, n, func(i int) int64 {
		if i < n/2 {
			return 2
		}
		return 1
	})
	require.Equal(t, []string{"findAndModify", "find", "update", "insert"}, sent.take(), "some are there")
	claimTogether(t, s, n, func(i int) int64 {
		if i < n/2 {
			return 3
		}
		return 2
	})
	require.Equal(t, []string{"findAndModify", "find", "update"}, sent.take(), "all are there")

	requireNone(t, together(t, s, "write", n, func(i int) error {
		claim := int64(2)
		if i < n/2 {
			claim = 3
		}
		done, err := s.Write(t.Context(), writeOf(i, claim))
		require.Equal(t, storage.Written{Applied: true}, done)
		return err
	}))
	require.Equal(t, []string{"update", "update"}, sent.take())
	for i := range n {
		doc, err := s.Entity(t.Context(), named(i).Key)
		require.NoError(t, err)
		require.Equal(t, string(stateOf(i)), string(doc.Raw))
		require.Equal(t, doc.Claim, doc.SyncedClaim)
	}
	sent.take()

	requireNone(t, together(t, s, "settle", n, func(i int) error {
		id := fmt.Sprintf("evt_%d", i)
		return s.Settle(t.Context(), []storage.Settlement{{Source: "lemon", EventID: id, Entity: named(i).Key, Signal: arrival(id).Signal, At: start}})
	}))
	require.Equal(t, []string{"update", "update", "update", "update"}, sent.take())
	page, err := s.Events(t.Context(), storage.EventFilter{Status: storage.Processed, Limit: n})
	require.NoError(t, err)
	require.Len(t, page.Items, n)
}

// TestRoundTripsOfADrain: of many syncs under way at once each costs less than
// two round trips, though each claims a document that is not there yet, writes
// and settles.
func TestRoundTripsOfADrain(t *testing.T) {
	const entities, workers, constant = 200, 100, 20
	var sent counter
	s := open(t, newDatabase(t), mongo.Options{Monitor: sent.monitor(), BulkSize: mongotest.BulkSize})
	_, err := s.Claim(t.Context(), order("first"))
	require.NoError(t, err)
	sent.take()
	var arrivals []storage.Arrival
	for i := range entities {
		arrivals = append(arrivals, arrival(fmt.Sprintf("evt_%d", i), named(i)))
	}
	_, err = s.Log(t.Context(), arrivals)
	require.NoError(t, err)
	var g errgroup.Group
	g.SetLimit(workers)
	for i, a := range arrivals {
		g.Go(func() error {
			doc, err := s.Claim(t.Context(), named(i))
			if err != nil {
				return err
			}
			if _, err := s.Write(t.Context(), writeOf(i, doc.Claim)); err != nil {
				return err
			}
			return s.Settle(t.Context(), []storage.Settlement{{Source: "lemon", EventID: a.Event.ID, Entity: named(i).Key, Signal: a.Signal, At: start}})
		})
	}
	require.NoError(t, g.Wait())
	names := sent.take()
	t.Logf("%d round trips for %d entities", len(names), entities)
	require.LessOrEqual(t, len(names), 2*entities+constant)
}

// TestClaimsAreUnique has two stores claim the same entities at once, in groups
// that meet between their commands. No claim is given to two callers, and those
// of one caller increase.
func TestClaimsAreUnique(t *testing.T) {
	const entities, callers, rounds = 6, 3, 8
	database := newDatabase(t)
	stores := []*mongo.Store{open(t, database, mongo.Options{}), open(t, database, mongo.Options{})}
	var mu sync.Mutex
	given := map[string]bool{}
	var highest [entities]int64
	var g errgroup.Group
	for _, s := range stores {
		for range callers {
			for i := range entities {
				g.Go(func() error {
					last := int64(0)
					for range rounds {
						doc, err := s.Claim(t.Context(), named(i))
						if err != nil {
							return err
						}
						place := fmt.Sprintf("claim %d of %s", doc.Claim, doc.Key)
						mu.Lock()
						twice := given[place]
						given[place] = true
						highest[i] = max(highest[i], doc.Claim)
						mu.Unlock()
						if twice || doc.Claim <= last {
							return fmt.Errorf("%s was given after %d, twice: %v", place, last, twice)
						}
						last = doc.Claim
						if _, err := s.Write(t.Context(), writeOf(i, doc.Claim)); err != nil {
							return err
						}
					}
					return nil
				})
			}
		}
	}
	require.NoError(t, g.Wait())
	for i, claim := range highest {
		doc, err := stores[0].Entity(t.Context(), named(i).Key)
		require.NoError(t, err)
		require.GreaterOrEqual(t, doc.Claim, claim)
	}
}

// before runs a step once before the first command of a name is sent to the
// mirror.
type before struct {
	command string
	armed   atomic.Bool
	step    func()
}

func (b *before) monitor() *drivevent.CommandMonitor {
	return &drivevent.CommandMonitor{Started: func(_ context.Context, e *drivevent.CommandStartedEvent) {
		collection, _ := e.Command.Lookup(e.CommandName).StringValueOK()
		if e.CommandName == b.command && strings.HasPrefix(collection, "mirror_") && b.armed.CompareAndSwap(true, false) {
			b.step()
		}
	}}
}

// grouped makes n calls in one group, and a first one alone. The step of b, if
// there is one, runs within the group.
func (b *before) grouped(t *testing.T, s *mongo.Store, call string, n int, do func(i int) error) []error {
	t.Helper()
	var once sync.Once
	return together(t, s, call, n+1, func(i int) error {
		if i == 0 {
			_, err := s.Claim(t.Context(), order("first"))
			return err
		}
		once.Do(func() { b.armed.Store(true) })
		return do(i)
	})
}

// TestWhatComesBetweenTheCommandsOfAGroup: another store claims, writes or makes
// a document between the reading of a group of claims and their raising.
func TestWhatComesBetweenTheCommandsOfAGroup(t *testing.T) {
	const n = 5
	for name, c := range map[string]struct {
		command string
		step    func(t *testing.T, other *mongo.Store)
		claim   int64 // of the entity that was changed
		raw     string
	}{
		"a claim": {"update", func(t *testing.T, other *mongo.Store) {
			doc, err := other.Claim(t.Context(), named(2))
			require.NoError(t, err)
			require.EqualValues(t, 2, doc.Claim)
		}, 3, ""},
		"a write": {"update", func(t *testing.T, other *mongo.Store) {
			done, err := other.Write(t.Context(), writeOf(2, 1))
			require.NoError(t, err)
			require.True(t, done.Applied)
		}, 2, string(stateOf(2))},
		"a birth": {"insert", func(t *testing.T, other *mongo.Store) {
			doc, err := other.Claim(t.Context(), named(n))
			require.NoError(t, err)
			require.EqualValues(t, 1, doc.Claim)
		}, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			database := newDatabase(t)
			other := open(t, database, mongo.Options{})
			b := before{command: c.command}
			s := open(t, database, mongo.Options{Monitor: b.monitor()})
			b.step = func() { c.step(t, other) }
			_, err := s.Claim(t.Context(), order("first"))
			require.NoError(t, err)
			changed := 2
			known := n
			if name == "a birth" {
				changed, known = n, n-1
			}
			for i := 1; i <= known; i++ {
				_, err := s.Claim(t.Context(), named(i))
				require.NoError(t, err)
			}
			docs := make([]*storage.Document, n+1)
			requireNone(t, b.grouped(t, s, "claim", n, func(i int) (err error) {
				docs[i], err = s.Claim(t.Context(), named(i))
				return err
			}))
			require.False(t, b.armed.Load(), "nothing came between")
			require.Equal(t, c.claim, docs[changed].Claim)
			require.Equal(t, c.raw, string(docs[changed].Raw))
			for i := 1; i <= n; i++ {
				doc, err := s.Entity(t.Context(), named(i).Key)
				require.NoError(t, err)
				require.Equal(t, docs[i].Claim, doc.Claim, "%d: the claim is the newest", i)
			}
		})
	}
}

// TestOneOfAGroupCostsNoOther: each call of a group has its own answer.
func TestOneOfAGroupCostsNoOther(t *testing.T) {
	database := newDatabase(t)
	s := open(t, database, mongo.Options{})
	mirror := owner(t, database).Collection("mirror_lemon_order")
	for i := range 8 {
		_, err := s.Claim(t.Context(), named(i))
		require.NoError(t, err)
	}
	set := func(i int, field string, value any) {
		t.Helper()
		_, err := mirror.UpdateOne(t.Context(), bson.D{{Key: "_id", Value: named(i).Key.ID}}, bson.D{{Key: "$set", Value: bson.D{{Key: field, Value: value}}}})
		require.NoError(t, err)
	}
	class := func(err error) string {
		class, _ := fate.Of(err)
		return class.String()
	}

	set(2, "claim", "many")
	set(3, "verified_at", "once")
	docs := make([]*storage.Document, 10)
	errs := together(t, s, "claim", 10, func(i int) (err error) {
		of := i
		if i >= 8 {
			of = 7 // three claims of one entity
		}
		docs[i], err = s.Claim(t.Context(), named(of))
		return err
	})
	require.Equal(t, fate.Permanent.String(), class(errs[2]), errs[2])
	require.ErrorContains(t, errs[2], named(2).Key.String(), "it is named")
	requireNone(t, slices.Delete(errs, 2, 3))
	require.Equal(t, []string{"verified_at"}, docs[3].Damaged)
	for _, i := range []int{0, 1, 3, 4, 5, 6} {
		require.EqualValues(t, 2, docs[i].Claim, "%d", i)
	}
	claims := []int64{docs[7].Claim, docs[8].Claim, docs[9].Claim}
	slices.Sort(claims)
	require.Equal(t, []int64{2, 3, 4}, claims)

	// 1 has an old claim, 3 dead letters, 4 a field that no update can go into, 5 is
	// in doubt, 7 is written twice.
	set(3, "open_letters", 1)
	set(3, "behind", bson.D{{Key: "since", Value: start}, {Key: "reason", Value: "dead letter"}})
	set(4, "behind", "long")
	done := make([]storage.Written, 9)
	errs = together(t, s, "write", 9, func(i int) (err error) {
		w := writeOf(min(i, 7), 2)
		switch i {
		case 1:
			w.Claim = 1
		case 4, 5:
			w.Kept, w.DoubtedAt = true, start
		case 7, 8:
			w.Claim = 4
		}
		if i == 2 {
			w = writeOf(6, 1)
		}
		done[i], err = s.Write(t.Context(), w)
		return err
	})
	require.Equal(t, fate.Permanent.String(), class(errs[4]), errs[4])
	requireNone(t, slices.Delete(errs, 4, 5))
	yes, no := storage.Written{Applied: true}, storage.Written{}
	require.Equal(t, []storage.Written{yes, no, no, {Applied: true, OpenLetters: true}, no, yes, yes, yes, yes}, done)
	doc, err := s.Entity(t.Context(), named(5).Key)
	require.NoError(t, err)
	require.Equal(t, &storage.Behind{Since: start, Reason: storage.ReasonLagging}, doc.Behind)
	doc, err = s.Entity(t.Context(), named(3).Key)
	require.NoError(t, err)
	require.NotNil(t, doc.Behind, "dead letters are open")
}

// TestAGroupThatIsTooSlowIsNone: documents that cannot be read in time together
// may be one by one. A database that is away is asked no more.
func TestAGroupThatIsTooSlowIsNone(t *testing.T) {
	const n = 4
	database := newDatabase(t)
	var sent counter
	s := open(t, database, mongo.Options{Monitor: sent.monitor()})
	for i := range n {
		_, err := s.Claim(t.Context(), named(i))
		require.NoError(t, err)
	}
	answer := func(code int) (stop func()) {
		return server.Answer(mongotest.Answer{Database: database, Command: "find", Reply: bson.D{
			{Key: "ok", Value: 0}, {Key: "code", Value: code}, {Key: "errmsg", Value: "no"},
		}})
	}
	claim := func(i int) error { _, err := s.Claim(t.Context(), named(i)); return err }

	stop := answer(50) // MaxTimeMSExpired
	sent.take()
	requireNone(t, together(t, s, "claim", n, claim))
	stop()
	require.Equal(t, []string{"findAndModify", "find", "findAndModify", "findAndModify", "findAndModify"}, sent.take())

	stop = answer(8) // UnknownError
	errs := together(t, s, "claim", n, claim)
	stop()
	require.NoError(t, errs[0])
	for _, err := range errs[1:] {
		class, _ := fate.Of(err)
		require.Equal(t, fate.Unavailable.String(), class.String(), err)
	}
	require.Equal(t, []string{"findAndModify", "find"}, sent.take())
}
