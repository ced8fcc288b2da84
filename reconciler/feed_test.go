package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// sequencing runs the sequencer of a member; stop ends it as SIGTERM does, and waits.
func (c *scene) sequencing(m *member) (stop func()) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.ctx)
	var running sync.WaitGroup
	running.Go(func() { m.keep(ctx, "feed", m.stand(kindFeed, c.finder.name, m.sequence)) })
	stop = func() { cancel(); running.Wait() }
	c.t.Cleanup(stop)
	return stop
}

// change writes a new state of an order and returns its version.
func (c *scene) change(id string) int64 {
	c.t.Helper()
	ref := event.Ref{Key: c.key("order", id)}
	doc, err := c.store.Claim(c.ctx, ref)
	require.NoError(c.t, err)
	done, err := c.store.Write(c.ctx, &storage.Write{
		Ref: ref, Claim: doc.Claim, SentAt: c.clock.now(), Raw: fmt.Appendf(nil, `{"id":%q,"n":%d}`, id, doc.Claim), StateHash: fmt.Sprint(doc.Claim),
	})
	require.NoError(c.t, err)
	require.True(c.t, done.Applied)
	return doc.Claim
}

// hint leaves hints as a worker does, and rings.
func (c *scene) hint(ring bool, hints ...stream.Hint) {
	c.t.Helper()
	for _, h := range hints {
		shard := h.Key.Shard(testShards)
		lease, err := c.streams.Acquire(c.ctx, shard, "player", []string{c.finder.name})
		require.NoError(c.t, err)
		require.NoError(c.t, lease.Ack(c.ctx, c.finder.name, event.TierLive, nil, nil, h))
		require.NoError(c.t, lease.Release(c.ctx))
		if ring {
			require.NoError(c.t, c.streams.Ring(c.ctx, map[string][]int{c.finder.name: {shard}}))
		}
	}
}

func (c *scene) hints() (n int) {
	c.t.Helper()
	var shards []int
	for i := range testShards {
		shards = append(shards, i)
	}
	found, err := c.streams.Hints(c.ctx, c.finder.name, shards, 1000)
	require.NoError(c.t, err)
	for _, at := range found {
		n += len(at.Hints) + len(at.Unreadable)
	}
	return n
}

// log is the log of the feed from its beginning: "entity@version" of each item.
func (c *scene) log() (items []string) {
	c.t.Helper()
	for at := (feed.Cursor{}); ; {
		page, err := feed.Read(c.ctx, c.store, c.finder.name, at, 100)
		require.NoError(c.t, err)
		for _, e := range page.Entries {
			items = append(items, fmt.Sprintf("%s@%d", e.Key.ID, e.Version))
		}
		if at = page.Next; !page.More {
			return items
		}
	}
}

// logged waits until the log has these items and no others. One may be there twice, by a
// hint and by a look through the store.
func (c *scene) logged(want ...string) {
	c.t.Helper()
	slices.Sort(want)
	distinct := func() []string {
		items := c.log()
		slices.Sort(items)
		return slices.Compact(items)
	}
	require.Eventually(c.t, func() bool { return len(distinct()) >= len(want) }, time.Minute, 5*time.Millisecond, "want %v", want)
	require.Equal(c.t, want, distinct())
}

// What hints name is in the log, and paid for; hints are gone then. A ring is enough to
// have it at once.
func TestHintsAreSequenced(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	m := c.member("r1")
	m.pace.look = time.Hour
	c.sequencing(m)
	begun := func() bool { _, err := c.store.FeedHead(c.ctx, c.finder.name); return err == nil }
	require.Eventually(t, begun, time.Minute, time.Millisecond)
	require.Empty(t, c.log(), "the first look is over or finds nothing")

	a, b := c.key("order", "a"), c.key("order", "b")
	c.hint(true, stream.Hint{Key: a, Version: c.change("a")}, stream.Hint{Key: b, Version: c.change("b")})
	c.logged("a@1", "b@1")
	paid := func() bool {
		debts, err := c.store.DebtsOf(c.ctx, []event.Key{a, b})
		return err == nil && len(debts) == 0 && c.hints() == 0
	}
	require.Eventually(t, paid, time.Minute, time.Millisecond)

	c.hint(true, stream.Hint{Key: a, Version: c.change("a")})
	c.logged("a@1", "b@1", "a@2")
	head, err := feed.Head(c.ctx, c.store, c.finder.name)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		told, err := c.streams.FeedHead(c.ctx, c.finder.name)
		return err == nil && feed.Cursor(told) == head
	}, time.Minute, time.Millisecond, "redis is told")
	require.Eventually(t, func() bool { return m.metric("tarn_feed_head") == float64(head.Position) }, time.Minute, time.Millisecond)
	require.GreaterOrEqual(t, m.metric("tarn_feed_items_total"), 3.0)
}

// Several versions of one entity that wait together are one item.
func TestOneEntityIsOneItemOfABatch(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	a := c.key("order", "a")
	for range 3 {
		c.hint(true, stream.Hint{Key: a, Version: c.change("a")})
	}
	require.Equal(t, 3, c.hints())
	c.sequencing(c.member("r1"))
	require.Eventually(t, func() bool { return c.hints() == 0 && len(c.log()) > 0 }, time.Minute, time.Millisecond)
	require.Equal(t, "a@3", c.log()[0])
	for _, item := range c.log() {
		require.Equal(t, "a@3", item, "found by the first look once more at most")
	}
}

// A change whose hint was lost is found in the store.
func TestLostHintsAreFoundInTheStore(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	m := c.member("r1")
	m.pace.look = 50 * time.Millisecond
	for i := range 5 {
		c.change(fmt.Sprintf("before%d", i))
	}
	c.sequencing(m)
	c.logged("before0@1", "before1@1", "before2@1", "before3@1", "before4@1")
	c.change("later")
	c.logged("before0@1", "before1@1", "before2@1", "before3@1", "before4@1", "later@1")
	c.hint(false, stream.Hint{Key: c.key("order", "unrung"), Version: 1}) // there before a look can find the change
	require.EqualValues(t, 1, c.change("unrung"))
	require.Eventually(t, func() bool { return c.hints() == 0 }, time.Minute, time.Millisecond, "a look that finds something has the hints read")
	require.Contains(t, c.log(), "unrung@1")
}

// Hints that were left while no sequencer was there are read at its start, page by
// page, and a text that is no hint goes too.
func TestASequencerReadsAllHintsAtItsStart(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	a := c.key("order", "a")
	shard := a.Shard(testShards)
	require.NoError(t, c.redis.Ask(c.ctx, "ZADD", fmt.Sprintf("{tarn:%d}:feed:%s", shard, c.finder.name), 1, "nonsense"))
	var many []stream.Hint
	for i := range 2500 {
		many = append(many, stream.Hint{Key: a, Version: int64(i + 1)})
	}
	lease, err := c.streams.Acquire(c.ctx, shard, "player", []string{c.finder.name})
	require.NoError(t, err)
	require.NoError(t, lease.Ack(c.ctx, c.finder.name, event.TierLive, nil, nil, many...))
	require.NoError(t, lease.Release(c.ctx))
	oldest, err := c.streams.OldestHint(c.ctx, c.finder.name)
	require.NoError(t, err)
	require.Positive(t, oldest)
	c.sequencing(c.member("r1"))
	require.Eventually(t, func() bool { return c.hints() == 0 }, time.Minute, time.Millisecond)
	require.Contains(t, c.log(), "a@2500")
	oldest, err = c.streams.OldestHint(c.ctx, c.finder.name)
	require.NoError(t, err)
	require.Zero(t, oldest)
}

// A replica goes on where the other ended, with hints whose rings that one had taken.
func TestAnotherReplicaGoesOn(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	stop := c.sequencing(c.member("r1"))
	c.hint(true, stream.Hint{Key: c.key("order", "a"), Version: c.change("a")})
	require.Eventually(t, func() bool { return c.hints() == 0 && len(c.log()) > 0 }, time.Minute, time.Millisecond)
	stop()
	c.hint(false, stream.Hint{Key: c.key("order", "b"), Version: c.change("b")})
	c.sequencing(c.member("r2"))
	require.Eventually(t, func() bool { return c.hints() == 0 }, time.Minute, time.Millisecond)
	require.Contains(t, c.log(), "b@1")
}

// The database is an older copy: Redis was told more than the log has. A generation
// begins, cursors are gone, an alert is raised, and hints of versions that are no more
// are not told.
func TestARestoredDatabaseBeginsAGeneration(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	stop := c.sequencing(c.member("r1"))
	c.hint(true, stream.Hint{Key: c.key("order", "a"), Version: c.change("a")})
	c.logged("a@1")
	before, err := feed.Head(c.ctx, c.store, c.finder.name)
	require.NoError(t, err)
	c.hint(true, stream.Hint{Key: c.key("order", "b"), Version: c.change("b")})
	require.Eventually(t, func() bool {
		told, err := c.streams.FeedHead(c.ctx, c.finder.name)
		return err == nil && told.Position > before.Position && c.hints() == 0
	}, time.Minute, time.Millisecond)
	stop()
	key := c.key("order", "a")
	_, err = c.store.Commands().Ask(c.ctx, &storage.Command{
		ID: storage.CommandID(key.Source, "k"), Source: key.Source, Key: "k", Kind: key.Kind, Op: "cancel", Lane: key, By: "app", At: c.clock.now(),
	})
	require.NoError(t, err)
	lost, err := feed.Head(c.ctx, c.store, c.finder.name)
	require.NoError(t, err)
	require.Positive(t, c.exec("DELETE FROM feed WHERE first > ?1", before.Position))
	c.hint(false, stream.Hint{Key: c.key("order", "b"), Version: 7})

	m := c.member("r2")
	c.sequencing(m)
	require.Eventually(t, func() bool {
		head, err := c.store.FeedHead(c.ctx, c.finder.name)
		return err == nil && head.Reason == feed.Restored && head.Gen != before.Gen && head.Prev == before.Tag
	}, time.Minute, time.Millisecond)
	for _, cursor := range []feed.Cursor{before, lost} {
		_, err = feed.Read(c.ctx, c.store, c.finder.name, cursor, 10)
		var gone *feed.Gone
		require.ErrorAs(t, err, &gone, "%v", cursor)
		require.Equal(t, feed.Restored, gone.Reason)
	}
	require.Eventually(t, func() bool { return c.hints() == 0 }, time.Minute, time.Millisecond)
	require.Eventually(t, func() bool { m.mu.Lock(); defer m.mu.Unlock(); return len(m.alerts) == 1 }, time.Minute, time.Millisecond)
	require.Equal(t, alert.Restored, m.alerts[0].Kind)
	require.Contains(t, m.alerts[0].Reason, "its commands are held until an operator releases them")
	holds, err := c.store.Commands().Holds(c.ctx)
	require.NoError(t, err)
	require.Len(t, holds, 1)
	require.Equal(t, storage.CommandHold{Source: c.finder.name, Since: holds[0].Since, Reason: reasonHeld}, holds[0])
	head, err := feed.Head(c.ctx, c.store, c.finder.name)
	require.NoError(t, err)
	page, err := feed.Read(c.ctx, c.store, c.finder.name, head, 10)
	require.NoError(t, err)
	require.Empty(t, page.Entries, "the version that is no more is not told")
}

// Old batches go, the newest stays.
func TestTheFeedIsTrimmed(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	w := feed.NewWriter(c.store, c.finder.name, func() time.Time { return c.clock.now().Add(-100 * time.Hour) })
	_, err := w.Begun(c.ctx)
	require.NoError(t, err)
	_, err = w.Begin(c.ctx, reasonBegun)
	require.NoError(t, err)
	old, err := feed.Head(c.ctx, c.store, c.finder.name)
	require.NoError(t, err)
	for range 3 {
		_, err := w.Add(c.ctx, []storage.Item{{Key: c.key("order", "a"), Version: 1}})
		require.NoError(t, err)
	}
	c.sequencing(c.member("r1"))
	require.Eventually(t, func() bool {
		tail, err := c.store.FeedTail(c.ctx, c.finder.name)
		return err == nil && tail.First == 4
	}, time.Minute, time.Millisecond)
	_, err = feed.Read(c.ctx, c.store, c.finder.name, old, 10)
	var gone *feed.Gone
	require.True(t, errors.As(err, &gone))
	require.Equal(t, feed.Retention, gone.Reason)
}

// An idle sequencer asks Redis to be woken, and for nothing else but its lease.
func TestAnIdleSequencerAsksForNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("counts the commands of some seconds")
	}
	t.Parallel()
	c := newScene(t)
	c.sequencing(c.member("r1"))
	require.Eventually(t, func() bool {
		told, err := c.streams.FeedHead(c.ctx, c.finder.name)
		return err == nil && told.Position > 0
	}, time.Minute, time.Millisecond)
	var others []string
	for range 5 { // the first may see the end of its start
		stop := redistest.Monitor(t, c.redis)
		time.Sleep(2 * time.Second) // what is counted is a rate
		others = nil
		for _, command := range stop() {
			text := strings.Join(command, " ")
			renewal := command[0] == "evalsha" && command[2] == "1" && strings.HasSuffix(command[3], "}:lease")
			if strings.Contains(text, "feed") && !renewal {
				others = append(others, text)
			}
		}
		if len(others) <= 1 {
			return
		}
	}
	require.Fail(t, "it asks for too much in every window", "%v", others)
}

// A sequencer died after its insert, before it removed the hints: the item comes twice,
// with the same version, and is paid for.
func TestAnInsertWhoseHintsAreLeftComesTwice(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	a := c.key("order", "a")
	w := feed.NewWriter(c.store, c.finder.name, c.clock.now)
	_, err := w.Begun(c.ctx)
	require.NoError(t, err)
	_, err = w.Begin(c.ctx, reasonBegun)
	require.NoError(t, err)
	version := c.change("a")
	c.hint(false, stream.Hint{Key: a, Version: version})
	_, err = w.Add(c.ctx, []storage.Item{{Key: a, Version: version}})
	require.NoError(t, err)

	m := c.member("r1")
	c.sequencing(m)
	require.Eventually(t, func() bool {
		debts, err := c.store.DebtsOf(c.ctx, []event.Key{a})
		return err == nil && len(debts) == 0 && c.hints() == 0
	}, time.Minute, time.Millisecond)
	require.Subset(t, []string{"a@1"}, c.log())
	require.GreaterOrEqual(t, len(c.log()), 2)
	require.Empty(t, m.alerts, "a log that has come further than redis was told is no restore")
}
