package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// batch is a batch of the feed of lemon with items of orders, made at a second.
func batch(first int64, second int, orders ...string) *storage.Batch {
	b := &storage.Batch{
		Source: "lemon", First: first, Len: max(1, int64(len(orders))), Gen: "g1",
		Tag: fmt.Sprintf("tag%d", first), Prev: fmt.Sprintf("before%d", first), At: at(second),
	}
	for i, id := range orders {
		b.Items = append(b.Items, storage.Item{Key: order(id).Key, Version: int64(i + 1)})
	}
	return b
}

func (s *suite) addBatch(b *storage.Batch) {
	s.t.Helper()
	added, err := s.AddBatch(s.ctx, b)
	require.NoError(s.t, err)
	require.True(s.t, added)
}

// firsts are the first positions of the batches from a position on.
func (s *suite) firsts(position int64, limit int) (firsts []int64) {
	s.t.Helper()
	found, err := s.Batches(s.ctx, "lemon", position, limit)
	require.NoError(s.t, err)
	for _, b := range found {
		firsts = append(firsts, b.First)
	}
	return firsts
}

func (s *suite) fed(items ...storage.Item) int {
	s.t.Helper()
	n, err := s.Fed(s.ctx, items)
	require.NoError(s.t, err)
	return n
}

// debts are what the feed lacks of the orders of lemon.
func (s *suite) debts() []storage.Item {
	s.t.Helper()
	items, err := s.Debts(s.ctx, "lemon", "order", "", 100)
	require.NoError(s.t, err)
	return items
}

func item(r event.Ref, version int64) storage.Item { return storage.Item{Key: r.Key, Version: version} }

var feedCases = []testCase{
	{"a change of state raises the version", func(t *testing.T, s *suite) {
		o := order("changes")
		require.Zero(t, s.claim(o).Version, "before it was fetched")
		s.write(write(o, 1, state(1)))
		doc := s.entity(o)
		require.EqualValues(t, 1, doc.Version)
		require.True(t, doc.Owes())

		claimed := s.claim(o)
		require.EqualValues(t, 1, claimed.Version, "a claim answers it")
		require.True(t, claimed.Owes())
		s.write(&storage.Write{Ref: o, Claim: 2, SentAt: at(20)})
		require.EqualValues(t, 1, s.entity(o).Version, "unchanged")

		s.claim(o)
		s.write(&storage.Write{Ref: o, Claim: 3, SentAt: at(30), Raw: []byte(state(2)), Kept: true, DoubtedAt: at(30)})
		require.EqualValues(t, 1, s.entity(o).Version, "an answer that is not taken")

		s.sync(o, state(2))
		require.EqualValues(t, 4, s.entity(o).Version)
	}},
	{"a tombstone and other parents are changes", func(t *testing.T, s *suite) {
		o := order("moves")
		s.sync(o, state(1))
		moved := event.Ref{Key: o.Key, Parents: map[string]string{"account": "cusa_2"}}
		s.claim(o)
		s.write(&storage.Write{Ref: moved, Claim: 2, SentAt: at(20), Moved: true})
		require.EqualValues(t, 2, s.entity(o).Version)
		s.claim(o)
		s.write(&storage.Write{Ref: moved, Claim: 3, SentAt: at(30), Deleted: true})
		require.EqualValues(t, 3, s.entity(o).Version)
		s.claim(o)
		s.write(&storage.Write{Ref: moved, Claim: 4, SentAt: at(40), Deleted: true, DeletedBefore: true})
		require.EqualValues(t, 3, s.entity(o).Version, "it was a tombstone")
		s.claim(o)
		s.write(&storage.Write{Ref: o, Claim: 5, SentAt: at(50), Kept: true, DoubtedAt: at(50), Moved: true})
		require.EqualValues(t, 5, s.entity(o).Version, "moved, by an answer that is not taken otherwise")
	}},
	{"a refused write changes no version", func(t *testing.T, s *suite) {
		o := order("refused")
		s.claim(o)
		s.claim(o)
		done, err := s.Write(s.ctx, write(o, 1, state(1)))
		require.NoError(t, err)
		require.False(t, done.Applied)
		require.Zero(t, s.entity(o).Version)
		require.Empty(t, s.debts())
	}},
	{"a version with open dead letters and without", func(t *testing.T, s *suite) {
		o := order("letters")
		a := arrival("letters", o)
		s.log(a)
		s.claim(o)
		s.bury(letter(a, o, 1))
		s.sync(o, state(1))
		doc := s.entity(o)
		require.EqualValues(t, 2, doc.Version)
		require.Equal(t, 1, doc.OpenLetters)
	}},
	{"what the feed has is no debt", func(t *testing.T, s *suite) {
		a, b, c := order("a"), order("b"), order("c")
		for _, o := range []event.Ref{c, a, b} {
			s.sync(o, state(1))
		}
		s.sync(account("z"), state(1))
		s.claim(order("never"))
		require.ElementsMatch(t, []storage.Item{item(a, 1), item(b, 1), item(c, 1)}, s.debts())
		page, err := s.Debts(s.ctx, "lemon", "order", "a", 1)
		require.NoError(t, err)
		require.Equal(t, []storage.Item{item(b, 1)}, page, "behind an id")
		other, err := s.Debts(s.ctx, "stripe", "order", "", 10)
		require.NoError(t, err)
		require.Empty(t, other)

		require.Equal(t, 2, s.fed(item(a, 1), item(b, 1), item(order("nothing"), 1), item(c, 7)))
		require.Zero(t, s.fed(item(a, 1)), "again")
		require.Equal(t, []storage.Item{item(c, 1)}, s.debts())
		doc := s.entity(a)
		require.EqualValues(t, 1, doc.Fed)
		require.False(t, doc.Owes())
		require.False(t, s.claim(a).Owes())

		of, err := s.DebtsOf(s.ctx, []event.Key{a.Key, c.Key, account("z").Key, order("nothing").Key})
		require.NoError(t, err)
		require.ElementsMatch(t, []storage.Item{item(c, 1), item(account("z"), 1)}, of)
		of, err = s.DebtsOf(s.ctx, nil)
		require.NoError(t, err)
		require.Empty(t, of)
	}},
	{"an older version in the feed does not pay a later one", func(t *testing.T, s *suite) {
		o := order("o")
		s.sync(o, state(1))
		s.sync(o, state(2))
		require.Zero(t, s.fed(item(o, 1)))
		require.Equal(t, []storage.Item{item(o, 2)}, s.debts())
		require.Equal(t, 1, s.fed(item(o, 2)))
		require.Empty(t, s.debts())
		require.Zero(t, s.fed(item(o, 1)), "late")
		require.Empty(t, s.debts())
		require.EqualValues(t, 3, s.sync(o, state(3)))
		require.Equal(t, []storage.Item{item(o, 3)}, s.debts())
	}},
	{"more debts than one call lists", func(t *testing.T, s *suite) {
		var all []storage.Item
		for i := range 25 {
			o := order(fmt.Sprintf("o%02d", i))
			s.sync(o, state(1))
			all = append(all, item(o, 1))
		}
		var listed []storage.Item
		for after := ""; ; {
			page, err := s.Debts(s.ctx, "lemon", "order", after, 10)
			require.NoError(t, err)
			listed = append(listed, page...)
			if len(page) < 10 {
				break
			}
			after = page[len(page)-1].Key.Local()
		}
		require.Equal(t, all, listed)
		require.Equal(t, 25, s.fed(all...))
		require.Empty(t, s.debts())
	}},
	{"a batch comes back as it was added", func(t *testing.T, s *suite) {
		_, err := s.FeedHead(s.ctx, "lemon")
		require.ErrorIs(t, err, storage.ErrNotFound)
		_, err = s.FeedTail(s.ctx, "lemon")
		require.ErrorIs(t, err, storage.ErrNotFound)
		require.Empty(t, s.firsts(1, 10))

		begins := batch(1, 0)
		begins.Reason, begins.Prev = "begun", ""
		s.addBatch(begins)
		next := batch(2, 1, "x", `od"d id`, "z")
		next.Items[2].Key = event.Key{Source: "lemon", Kind: "position", ID: "isin", Under: "cusa_1"}
		s.addBatch(next)
		other := batch(1, 1, "elsewhere")
		other.Source, other.Items[0].Key.Source = "lemons", "lemons"
		s.addBatch(other)

		found, err := s.Batches(s.ctx, "lemon", 1, 10)
		require.NoError(t, err)
		require.Len(t, found, 2)
		require.Empty(t, found[0].Items)
		found[0].Items = nil
		require.Equal(t, begins, found[0])
		require.Equal(t, next, found[1])
		found, err = s.Batches(s.ctx, "lemons", 1, 10)
		require.NoError(t, err)
		require.Equal(t, []*storage.Batch{other}, found)

		head, err := s.FeedHead(s.ctx, "lemon")
		require.NoError(t, err)
		require.EqualValues(t, 4, head.Last())
		require.EqualValues(t, 5, head.Next())
		require.Nil(t, head.Items)
		next.Items = nil
		require.Equal(t, next, head)
		tail, err := s.FeedTail(s.ctx, "lemon")
		require.NoError(t, err)
		require.Equal(t, begins, tail)
	}},
	{"batches are found by any position", func(t *testing.T, s *suite) {
		s.addBatch(batch(1, 0, "a", "b", "c"))
		s.addBatch(batch(4, 0, "d"))
		s.addBatch(batch(5, 0, "e", "f"))
		s.addBatch(batch(9, 0, "i")) // behind a gap, which the store does not mind
		require.Equal(t, []int64{1, 4, 5, 9}, s.firsts(0, 10))
		require.Equal(t, []int64{1, 4, 5, 9}, s.firsts(3, 10))
		require.Equal(t, []int64{1, 4}, s.firsts(1, 2))
		require.Equal(t, []int64{4, 5, 9}, s.firsts(4, 10))
		require.Equal(t, []int64{5, 9}, s.firsts(6, 10))
		require.Equal(t, []int64{9}, s.firsts(7, 10))
		require.Empty(t, s.firsts(10, 10))
	}},
	{"a position exists once", func(t *testing.T, s *suite) {
		s.addBatch(batch(1, 0, "first"))
		second := batch(1, 0, "second")
		second.Tag = "another"
		added, err := s.AddBatch(s.ctx, second)
		require.NoError(t, err)
		require.False(t, added)
		head, err := s.FeedHead(s.ctx, "lemon")
		require.NoError(t, err)
		require.Equal(t, "tag1", head.Tag)

		var winners atomic.Int32
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				b := batch(2, 0, "racer")
				b.Tag = fmt.Sprint(i)
				if added, err := s.AddBatch(s.ctx, b); err != nil {
					t.Error(err)
				} else if added {
					winners.Add(1)
				}
			})
		}
		all.Wait()
		require.EqualValues(t, 1, winners.Load())
	}},
	{"the feed is trimmed from its oldest batch", func(t *testing.T, s *suite) {
		trim := func(second int) int {
			n, err := s.TrimFeed(s.ctx, "lemon", at(second))
			require.NoError(t, err)
			return n
		}
		require.Zero(t, trim(100), "nothing is there")
		for i := range 25 {
			s.addBatch(batch(int64(i+1), i, "x"))
		}
		s.addBatch(batch(26, 3, "y")) // by a clock that is behind
		other := batch(1, 0, "z")
		other.Source = "lemons"
		s.addBatch(other)
		require.Zero(t, trim(0))
		require.Equal(t, 20, trim(20))
		require.Equal(t, []int64{21, 22, 23, 24, 25, 26}, s.firsts(0, 10))
		require.Equal(t, 5, trim(100), "the last one stays")
		require.Equal(t, []int64{26}, s.firsts(0, 10))
		require.Zero(t, trim(100))
		_, err := s.FeedTail(s.ctx, "lemons")
		require.NoError(t, err)
	}},
	{"a walk passes all that was fetched", func(t *testing.T, s *suite) {
		s.sync(account("a"), state(1))
		s.claim(order("b-never"))
		for _, id := range []string{"c", "a", "d"} {
			s.sync(order(id), state(1))
		}
		s.claim(order("d"))
		s.write(&storage.Write{Ref: order("d"), Claim: 2, SentAt: at(20), Deleted: true})
		ids := func(after string, limit int) (ids []string) {
			docs, err := s.Walk(s.ctx, "lemon", "order", after, limit)
			require.NoError(t, err)
			for _, d := range docs {
				ids = append(ids, fmt.Sprintf("%s@%d", d.Key.ID, d.Version))
			}
			return ids
		}
		require.Equal(t, []string{"a@1", "c@1", "d@2"}, ids("", 10))
		require.Equal(t, []string{"a@1", "c@1"}, ids("", 2))
		require.Equal(t, []string{"d@2"}, ids("c", 10))
		require.Empty(t, ids("d", 10))
	}},
}

// PositionViolations inserts two batches of the feed at one position, and returns how many
// too many were inserted: none, unless the guard is off.
func PositionViolations(t *testing.T, store storage.Store) (tooMany int) {
	s := newSuite(t, store)
	for _, tag := range []string{"one", "two"} {
		b := batch(1, 0, "a")
		b.Tag = tag
		added, err := s.AddBatch(s.ctx, b)
		require.NoError(t, err)
		if added {
			tooMany++
		}
	}
	return tooMany - 1
}
