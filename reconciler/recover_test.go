package reconciler

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// arrive has an event received, logged and fanned out, and nothing done about it. It
// returns the event with the id of its own entry.
func (c *scene) arrive(id, typ string, ids ...string) (*event.Event, string) {
	c.t.Helper()
	e, err := c.def.Event("shop", nil, []byte(shopEvent(id, typ, time.Now(), ids...)), c.clock.now())
	require.NoError(c.t, err)
	r, err := c.streams.Append(c.ctx, stream.Draft{Signal: event.Own(e, "")})
	require.NoError(c.t, err)
	_, err = c.store.Log(c.ctx, []storage.Arrival{{Event: e, Signal: storage.SignalID{Shard: r.Shard, ID: r.ID}}})
	require.NoError(c.t, err)
	var further []stream.Draft
	for _, ref := range e.Entities {
		if sig := event.Own(e, ""); ref.Key != e.Home() {
			sig.Ref, sig.Body = ref, nil
			further = append(further, stream.Draft{Signal: sig})
		}
	}
	_, err = c.streams.AppendFurther(c.ctx, further)
	require.NoError(c.t, err)
	return e, r.ID
}

// recovery is one round of recovery, as the holder of the lease makes it.
func (c *scene) recovery(m *member, rounds func(context.Context, *recovery)) {
	c.t.Helper()
	require.NoError(c.t, m.ensureTask(c.ctx, nil, "recover/shop", kindRecover, "shop"))
	require.NoError(c.t, m.visit(c.ctx, "recover/shop", nil, func(ctx context.Context, w *work) error {
		state, err := decodeState[recoverState](w.task.State)
		require.NoError(c.t, err)
		rounds(ctx, &recovery{finder: m.finder(m.source("shop"), nil), w: w, state: state})
		return nil
	}))
}

func TestWorkThatRedisLostIsAppendedAgain(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 3)
	m := c.member("a")
	c.start(func(ctx context.Context) { m.keep(ctx, "recover", m.stand(kindRecover, "shop", m.recover)) })
	c.eventually("the generations are known", func() bool {
		task, err := c.store.Task(c.ctx, "recover/shop")
		return err == nil && len(task.State) > 0
	})
	for i := range 3 {
		c.arrive(fmt.Sprintf("evt_%d", i), "order.created", "customer", "c0", "order", fmt.Sprintf("o0_%d", i))
	}
	c.arrive("evt_3", "order.made", "customer", "c0", "order", "o0_0")
	c.redis.FlushAll()
	c.eventually("it is noticed without waiting for the minute", func() bool { return c.task("recover/shop").Counts["losses"] == 1 })
	all := c.entries()
	require.Equal(t, []string{
		"derived balance/c0",
		"event customer/c0", "event customer/c0", "event customer/c0", "event customer/c0",
		"event order/o0_0", "event order/o0_0", "event order/o0_1", "event order/o0_2",
	}, signalled(all))
	var ids []string
	for _, e := range all {
		require.Nil(t, e.Signal.Body, "the row has the payload")
		if e.Signal.Cause == event.CauseEvent {
			require.Equal(t, event.Live, e.Signal.Class)
			require.False(t, e.Signal.CreatedAt.IsZero())
		}
		if e.Signal.Ref.Key.ID == "o0_0" {
			ids = append(ids, e.Signal.CauseID+" "+e.Signal.EventType)
		}
	}
	require.Equal(t, []string{"evt_0 order.created", "evt_3 order.made"}, ids, "in the order they came")

	c.eventually("which entry stands for the work is on record", func() bool {
		rows, err := c.store.EventByID(c.ctx, "shop", "evt_1")
		return err == nil && !slices.ContainsFunc(rows[0].Entities, func(o storage.Outcome) bool { return o.Signal.ID == "" })
	})
}

// Work that is in its stream or parked stays where it is, however often recovery looks.
func TestNothingIsAppendedTwice(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	m := c.member("a")
	c.arrive("evt_queued", "customer.changed", "customer", "c0")
	parked, _ := c.arrive("evt_parked", "customer.changed", "customer", "c1")
	home := parked.Home()
	lease, err := c.streams.Acquire(c.ctx, home.Shard(testShards), "player", []string{"shop"})
	require.NoError(t, err)
	_, err = lease.TakeOver(c.ctx, "shop", event.TierLive, func([]event.Entry) error { return nil })
	require.NoError(t, err)
	read, err := lease.Read(c.ctx, "shop", event.TierLive, stream.Limits{})
	require.NoError(t, err)
	for _, e := range read {
		if e.Signal.Ref.Key == home {
			require.NoError(t, lease.Park(c.ctx, stream.Park{Key: home, Charged: []event.Entry{e}, Attempt: 1, Delay: time.Hour, Earliest: time.Hour}))
		}
	}
	require.NoError(t, lease.Release(c.ctx))

	waiting := func() (n int64) {
		shards, _, err := c.streams.Fleet(c.ctx, []string{"shop"})
		require.NoError(t, err)
		for _, s := range shards {
			n += s.Sources["shop"].Live
		}
		return n
	}
	require.EqualValues(t, 1, waiting())
	c.arrive("evt_of_two", "order.changed", "customer", "c3", "order", "o3")
	require.EqualValues(t, 3, waiting())
	c.recovery(m, func(ctx context.Context, r *recovery) {
		for range 3 {
			require.NoError(t, r.round(ctx, c.clock.now().Add(time.Second), false))
		}
		require.Zero(t, r.lost)
	})
	require.EqualValues(t, 3, waiting())
	for _, o := range c.row("evt_of_two").Entities {
		require.NotEmpty(t, o.Signal.ID, "looked for once, it is known from then on")
	}

	c.arrive("evt_lost", "customer.changed", "customer", "c2")
	c.arrive("evt_two_lost", "order.changed", "customer", "c4", "order", "o4")
	c.entries() // read, acked, and nothing done
	require.EqualValues(t, 1, waiting())
	c.recovery(m, func(ctx context.Context, r *recovery) {
		for range 3 {
			require.NoError(t, r.round(ctx, c.clock.now().Add(time.Second), false))
		}
		require.EqualValues(t, 5, r.lost, "once, and then its new entry stands for it")
		require.EqualValues(t, 5, m.metric("tarn_signals_recovered_total"))
	})
	require.EqualValues(t, 6, waiting())
}

func TestRecoveryLeavesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	m := c.member("a")
	c.arrive("evt_1", "customer.changed", "customer", "c0")
	c.entries()
	var last time.Time
	c.recovery(m, func(ctx context.Context, r *recovery) {
		require.NoError(t, r.lossOrTime(ctx, time.Minute, time.Minute, &last))
		require.Empty(t, c.entries(), "it has come just now")
		c.clock.move(30 * time.Second)
		require.NoError(t, r.lossOrTime(ctx, time.Minute, time.Second, &last))
		require.Empty(t, c.entries(), "it is not time again")
		c.clock.move(31 * time.Second)
		require.NoError(t, r.lossOrTime(ctx, time.Minute, time.Minute, &last))
		require.Equal(t, []string{"event customer/c0"}, signalled(c.entries()))
	})
	require.EqualValues(t, 1, c.task("recover/shop").Counts["appended"])
}

// A history that was fetched right after its event may be from before it, though it
// has the event's status; the second look that this asks for is in Redis alone. So
// it is taken again after a loss, unless the fetch came late enough.
func TestSecondLooksAtHistoriesOutliveALoss(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 2)
	m := c.member("a")
	lag := c.def.Kind("order").ReadLag
	require.Positive(t, lag)
	for i, after := range []time.Duration{lag / 2, 2 * lag} {
		e, id := c.arrive(fmt.Sprintf("evt_%d", i), "order.created", "order", fmt.Sprintf("o0_%d", i))
		var done []storage.Settlement
		for _, ref := range e.Entities {
			done = append(done, storage.Settlement{
				Source: "shop", EventID: e.ID, Entity: ref.Key, Signal: storage.SignalID{Shard: ref.Key.Shard(c.streams.Shards()), ID: id},
				CoveredBy: storage.Covered{Claim: 1, FetchedAt: e.CreatedAt.Add(after), Signal: id}, At: c.clock.now(),
			})
		}
		require.NoError(t, c.store.Settle(c.ctx, done))
	}
	c.entries()
	c.recovery(m, func(ctx context.Context, r *recovery) {
		require.NoError(t, r.afterLoss(ctx, c.clock.now(), time.Minute, time.Minute))
	})
	require.Equal(t, []string{"verify order/o0_0"}, signalled(c.entries()))
}
