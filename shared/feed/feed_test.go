package feed_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
)

// memory is a log in memory, of one source. Its calls take a random time before they
// have an effect and after it.
type memory struct {
	mu      sync.Mutex
	batches []*storage.Batch // by position
	// slow is how long a call takes at most on either side.
	slow time.Duration
	// unfenced: a batch whose position is taken replaces the one that is there. fails is
	// the share of inserts whose answer is lost, in percent.
	unfenced bool
	fails    int
}

var errLost = errors.New("no answer")

func (m *memory) pause() {
	if m.slow > 0 {
		time.Sleep(rand.N(m.slow))
	}
}

func (m *memory) end(i func(n int) int) (*storage.Batch, error) {
	m.pause()
	defer m.pause()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.batches) == 0 {
		return nil, storage.ErrNotFound
	}
	b := *m.batches[i(len(m.batches))]
	b.Items = nil
	return &b, nil
}

func (m *memory) FeedHead(context.Context, string) (*storage.Batch, error) {
	return m.end(func(n int) int { return n - 1 })
}

func (m *memory) FeedTail(context.Context, string) (*storage.Batch, error) {
	return m.end(func(int) int { return 0 })
}

func (m *memory) Batches(_ context.Context, _ string, position int64, limit int) (out []*storage.Batch, err error) {
	m.pause()
	defer m.pause()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.batches {
		if b.Next() > position && len(out) < limit {
			out = append(out, b)
		}
	}
	return out, nil
}

func (m *memory) AddBatch(_ context.Context, b *storage.Batch) (bool, error) {
	m.pause()
	defer m.pause()
	m.mu.Lock()
	defer m.mu.Unlock()
	one := *b
	i, taken := slices.BinarySearchFunc(m.batches, b.First, func(o *storage.Batch, first int64) int { return cmp.Compare(o.First, first) })
	switch {
	case taken && !m.unfenced:
		return false, nil
	case taken:
		m.batches[i] = &one
	default:
		m.batches = slices.Insert(m.batches, i, &one)
	}
	if rand.IntN(100) < m.fails {
		return false, errLost
	}
	return true, nil
}

func order(id int) event.Key {
	return event.Key{Source: "lemon", Kind: "order", ID: fmt.Sprint(id)}
}

// follower reads the log from its beginning, and sees to what a consumer is promised.
type follower struct {
	at       feed.Cursor
	position int64
	versions map[event.Key]int64
	resyncs  int
}

// follow reads what is there.
func (f *follower) follow(ctx context.Context, log feed.Log) error {
	for {
		page, err := feed.Read(ctx, log, "lemon", f.at, 7)
		var gone *feed.Gone
		if errors.As(err, &gone) {
			f.resyncs++
			return err
		}
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if e.Cursor.Position <= f.position {
				return fmt.Errorf("position %d comes after %d", e.Cursor.Position, f.position)
			}
			f.position = e.Cursor.Position
			f.versions[e.Key] = max(f.versions[e.Key], e.Version)
		}
		if f.at = page.Next; !page.More {
			return nil
		}
	}
}

// race has writers add versions 1 … n of entities of their own, in batches of random
// sizes, and readers follow. Each reader must have read all in the end.
func race(t *testing.T, log feed.WriteLog, writers, readers, n int) error {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	first := feed.NewWriter(log, "lemon", time.Now)
	begun, err := first.Begun(ctx)
	require.NoError(t, err)
	require.False(t, begun)
	for {
		added, err := first.Begin(ctx, "begun")
		if added {
			break
		}
		if err != nil { // its outcome is unknown
			if begun, _ := first.Begun(ctx); begun {
				break
			}
		}
	}

	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	failed := make(chan error, writers+readers)
	for i := range writers {
		writing.Go(func() {
			w := feed.NewWriter(log, "lemon", time.Now)
			for version := 1; version <= n; {
				var items []storage.Item
				most := 1 + rand.IntN(5)
				for k := 0; k < most && version+k <= n; k++ {
					items = append(items, storage.Item{Key: order(i*n + version + k), Version: int64(version + k)})
				}
				_, err := w.Add(ctx, items)
				if errors.Is(err, errLost) {
					continue // they are added again
				}
				if err != nil {
					failed <- fmt.Errorf("writer %d: %w", i, err)
					return
				}
				version += len(items)
			}
		})
	}
	for i := range readers {
		reading.Go(func() {
			f := &follower{versions: map[event.Key]int64{}}
			for over := false; ; {
				if err := f.follow(ctx, log); err != nil {
					failed <- fmt.Errorf("reader %d: %w", i, err)
					return
				}
				if over {
					break
				}
				select {
				case <-done:
					over = true
				default:
				}
			}
			if len(f.versions) != writers*n {
				failed <- fmt.Errorf("reader %d has %d entities of %d", i, len(f.versions), writers*n)
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	close(failed)
	return <-failed
}

// chained fails if the log has a hole, or a batch that does not name the one before it.
func chained(t *testing.T, log feed.Log) {
	t.Helper()
	last := &storage.Batch{First: 1}
	for position := int64(1); ; {
		found, err := log.Batches(t.Context(), "lemon", position, 50)
		require.NoError(t, err)
		if len(found) == 0 {
			require.Greater(t, last.First, int64(1))
			return
		}
		for _, b := range found {
			require.Equal(t, last.Next(), b.First, "a hole")
			require.Equal(t, last.Tag, b.Prev)
			last = b
		}
		position = last.Next()
	}
}

// Eight sequencers race, as if none of them knew of leases: no reader sees a hole, a
// position twice or a batch out of its order, and none misses an item.
func TestRacingWritersLeaveNoHole(t *testing.T) {
	t.Run("in memory", func(t *testing.T) {
		m := &memory{slow: 200 * time.Microsecond, fails: 5}
		require.NoError(t, race(t, m, 8, 4, 100))
		chained(t, m)
	})
	t.Run("in a file", func(t *testing.T) {
		s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "tarn.db"), sqlite.Options{})
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		require.NoError(t, race(t, s, 8, 4, 40))
		chained(t, s)
	})
}

// Without the unique position items are overwritten: the race shows it.
func TestARaceWithoutAFenceIsSeen(t *testing.T) {
	m := &memory{slow: 200 * time.Microsecond, unfenced: true}
	require.Error(t, race(t, m, 8, 4, 100))
}

func TestCursors(t *testing.T) {
	for _, text := range []string{"0", "ABC.7.XYZ234"} {
		c, err := feed.ParseCursor(text)
		require.NoError(t, err, text)
		require.Equal(t, text, c.String())
	}
	for _, text := range []string{"", "now", "ABC.0.XYZ", "ABC.-1.XYZ", "ABC.7", "abc.7.xyz", "ABC.7.X.Y", "0~order", "ABC.x.XYZ"} {
		_, err := feed.ParseCursor(text)
		require.ErrorIs(t, err, feed.ErrCursor, text)
	}
}

func FuzzParseCursor(f *testing.F) {
	f.Add("ABC.7.XYZ")
	f.Add("0")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := feed.ParseCursor(text)
		if err != nil {
			require.ErrorIs(t, err, feed.ErrCursor)
			return
		}
		again, err := feed.ParseCursor(c.String())
		require.NoError(t, err)
		require.Equal(t, c, again)
	})
}

// built returns a log of batches of the given lengths.
func built(t *testing.T, lengths ...int) (*memory, *feed.Writer) {
	t.Helper()
	m := &memory{}
	w := feed.NewWriter(m, "lemon", time.Now)
	_, err := w.Begun(t.Context())
	require.NoError(t, err)
	_, err = w.Begin(t.Context(), "begun")
	require.NoError(t, err)
	n := 0
	for _, length := range lengths {
		var items []storage.Item
		for range length {
			n++
			items = append(items, storage.Item{Key: order(n), Version: 1})
		}
		_, err := w.Add(t.Context(), items)
		require.NoError(t, err)
	}
	return m, w
}

func goneOf(t *testing.T, log feed.Log, c feed.Cursor) string {
	t.Helper()
	_, err := feed.Read(t.Context(), log, "lemon", c, 100)
	var gone *feed.Gone
	require.ErrorAs(t, err, &gone)
	require.ErrorContains(t, err, c.String())
	return gone.Reason
}

// A cursor goes on from any position, and is good or gone.
func TestACursorIsGoodOrGone(t *testing.T) {
	m, w := built(t, 3, 2)
	whole, err := feed.Read(t.Context(), m, "lemon", feed.Cursor{}, 100)
	require.NoError(t, err)
	require.Len(t, whole.Entries, 5)
	require.False(t, whole.More)
	head, err := feed.Head(t.Context(), m, "lemon")
	require.NoError(t, err)
	require.Equal(t, head, whole.Next)
	for i, e := range whole.Entries {
		rest, err := feed.Read(t.Context(), m, "lemon", e.Cursor, 100)
		require.NoError(t, err)
		require.Equal(t, whole.Entries[i+1:], append([]feed.Entry{}, rest.Entries...))
		one, err := feed.Read(t.Context(), m, "lemon", e.Cursor, 1)
		require.NoError(t, err)
		require.LessOrEqual(t, len(one.Entries), 1)
		require.Equal(t, i < 3, one.More)
	}
	last := whole.Entries[4].Cursor
	for name, c := range map[string]feed.Cursor{
		"another tag":               {Gen: last.Gen, Position: last.Position, Tag: "OTHER"},
		"another tag in the middle": {Gen: last.Gen, Position: 2, Tag: "OTHER"},
		"another generation":        {Gen: "OTHER", Position: last.Position, Tag: last.Tag},
		"beyond the head":           {Gen: last.Gen, Position: 100, Tag: last.Tag},
	} {
		require.Equal(t, feed.Restored, goneOf(t, m, c), name)
	}

	trimmed := &memory{batches: m.batches[2:]}
	require.Equal(t, feed.Retention, goneOf(t, trimmed, whole.Entries[0].Cursor))
	require.Equal(t, feed.Retention, goneOf(t, trimmed, feed.Cursor{}))
	page, err := feed.Read(t.Context(), trimmed, "lemon", whole.Entries[2].Cursor, 100)
	require.NoError(t, err, "its batch was trimmed, and the next one names it")
	require.Len(t, page.Entries, 2)

	hole := &memory{batches: slices.Delete(slices.Clone(m.batches), 1, 2)}
	require.Equal(t, feed.Restored, goneOf(t, hole, feed.At(m.batches[0])))
	restored := &memory{batches: slices.Clone(m.batches[:2])}
	require.Equal(t, feed.Restored, goneOf(t, restored, last))

	added, err := w.Begin(t.Context(), feed.Restored)
	require.NoError(t, err)
	require.True(t, added)
	require.Equal(t, feed.Restored, goneOf(t, m, last), "the next batch is of another generation")
	page, err = feed.Read(t.Context(), m, "lemon", whole.Entries[3].Cursor, 100)
	require.NoError(t, err)
	require.Len(t, page.Entries, 1, "up to the end of its generation")
	require.True(t, page.More)
}

// A Writer notices that the log is an older copy, however far that has come since.
func TestAWriterNoticesARestore(t *testing.T) {
	for name, after := range map[string]int{"behind": 0, "as far": 1, "further": 3} {
		t.Run(name, func(t *testing.T) {
			m, w := built(t, 1, 1)
			m.batches = m.batches[:2]
			other := feed.NewWriter(m, "lemon", time.Now)
			for range after {
				_, err := other.Add(t.Context(), []storage.Item{{Key: order(9), Version: 9}})
				require.NoError(t, err)
			}
			_, err := w.Begun(t.Context())
			require.ErrorIs(t, err, feed.ErrRestored)
			_, err = other.Begun(t.Context())
			require.NoError(t, err, "who knows nothing else notices nothing")
		})
	}
	m, w := built(t, 1, 1, 1)
	m.batches = m.batches[3:]
	begun, err := w.Begun(t.Context())
	require.NoError(t, err, "trimmed")
	require.True(t, begun)
	late := feed.NewWriter(m, "lemon", time.Now)
	late.Know(feed.Cursor{Gen: "G", Position: 2, Tag: "T"})
	_, err = late.Begun(t.Context())
	require.NoError(t, err, "redis was told long ago, and the place is trimmed")
	m.batches = nil
	_, err = w.Begun(t.Context())
	require.ErrorIs(t, err, feed.ErrRestored)
}

// A batch that was inserted where no reader comes does not count as added.
func TestADetachedBatchIsNotAdded(t *testing.T) {
	m, w := built(t, 1)
	full, _ := built(t, 1, 1, 1)
	stale := &swapped{memory: m, then: &memory{batches: full.batches[3:]}}
	frozen := feed.NewWriter(stale, "lemon", time.Now)
	_, err := frozen.Begun(t.Context())
	require.NoError(t, err)
	_, err = frozen.Add(t.Context(), []storage.Item{{Key: order(7), Version: 7}})
	require.ErrorIs(t, err, feed.ErrDetached)
	_, err = w.Add(t.Context(), []storage.Item{{Key: order(7), Version: 7}})
	require.NoError(t, err)
}

// swapped is a log that is another one by the time of an insert, as for a process that
// was stopped for long.
type swapped struct {
	*memory
	then *memory
}

func (s *swapped) AddBatch(ctx context.Context, b *storage.Batch) (bool, error) {
	s.memory = s.then
	return s.memory.AddBatch(ctx, b)
}
