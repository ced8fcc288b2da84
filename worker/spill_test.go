package worker_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/worker"
)

// hold keeps every fetch waiting until the function it returns is called.
func (b *bundle) hold(kind string, ids ...string) (goOn func(), waiting *atomic.Int32) {
	gate := make(chan struct{})
	waiting = &atomic.Int32{}
	for _, id := range ids {
		b.provider.on(kind, id, func(ctx context.Context, _ int) (string, error) {
			waiting.Add(1)
			defer waiting.Add(-1)
			select {
			case <-gate:
				return ok, nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		})
	}
	return func() { close(gate) }, waiting
}

// few is a worker that may have twenty entries in flight, in four shards.
func few(o *worker.Options) { o.InFlight, o.Sources[0].Concurrency = 20, 4 }

// occupy has four fetches begin, as many as few allows at once, and wait until
// the function it returns is called.
func (b *bundle) occupy() (goOn func(), waiting *atomic.Int32) {
	b.t.Helper()
	goOn, waiting = b.hold("widget", "b0", "b1", "b2", "b3")
	for i := range 4 {
		b.send("widget.sold", "widget", fmt.Sprint("b", i))
	}
	return goOn, waiting
}

// Where requests are limited, a backlog twenty times the in-flight limit is read to
// its end, and each entity is fetched once for all of it: what its events name
// further, too.
func TestABacklogBeyondTheInFlightBoundIsFetchedOnce(t *testing.T) {
	t.Parallel()
	const events, widgets, gadgets = 400, 40, 4
	b := setup(t, few, func(o *worker.Options) { o.Sources[0].Rate = stream.Rate{Limit: 10_000, Per: time.Second} })
	var names []string
	for i := range widgets {
		names = append(names, fmt.Sprint("w", i))
	}
	goOn, waiting := b.hold("widget", names...)
	newest := map[string]string{}
	for i := range events {
		w := names[i%widgets]
		newest[w] = b.send("widget.sold", "widget", w, "gadget", fmt.Sprint("g", i%gadgets))
	}
	b.start("w1")
	require.True(t, eventually(func() bool { return waiting.Load() == 4 }), "all that may run do")
	// What is in those four lanes, and up to the in-flight limit, is left in the
	// streams; all else is logged and waits for its turn, in Redis, as the backlog
	// it is.
	require.True(t, eventually(func() bool { return b.unread() <= 4*events/widgets+20 }), "left: %d", b.unread())
	require.Positive(t, b.metric("tarn_spilled_entries_total", "acme"))
	require.GreaterOrEqual(t, b.backlog(), int64(events))
	shards, _, err := b.streams.Fleet(b.ctx, []string{"acme"})
	require.NoError(t, err)
	for _, s := range shards {
		require.Zero(t, s.Sources["acme"].Parked)
		require.Positive(t, s.Sources["acme"].Oldest)
	}
	goOn()

	b.empty()
	rows := b.rows()
	require.Len(t, rows, events)
	for _, row := range rows {
		require.Equal(t, storage.Processed, row.Status)
		require.Zero(t, row.Attempts, "waiting is free")
	}
	require.Empty(t, inversions(t, rows))
	again := 0
	for _, w := range names {
		n := b.provider.fetches("widget", w)
		require.LessOrEqual(t, n, 2)
		again += n - 1
		require.Equal(t, newest[w], b.document("widget", w).LastEvent.ID)
	}
	require.LessOrEqual(t, again, 4, "only what was being fetched before all was read")
	for i := range gadgets {
		require.LessOrEqual(t, b.provider.fetches("gadget", fmt.Sprint("g", i)), 2, "a second look is one of them")
	}
	b.counted(events, "tarn_event_to_mirror_seconds", "acme") // each is measured, wherever it waited
}

// An entity that was spilled and then fails is charged for what waited, keeps
// its order, and is buried as a whole once its attempts are spent.
func TestSpilledWorkIsChargedLikeAllOther(t *testing.T) {
	t.Parallel()
	b := setup(t, few)
	goOn, waiting := b.occupy()
	b.provider.fails("widget", "ill", 1, fate.New(fate.Transient, errBoom))
	b.provider.fails("widget", "dead", -1, fate.New(fate.Transient, errBoom))
	b.start("w1")
	require.True(t, eventually(func() bool { return waiting.Load() == 4 }))
	var ill, dead []string
	for range 20 {
		ill = append(ill, b.send("widget.sold", "widget", "ill"))
		dead = append(dead, b.send("widget.sold", "widget", "dead"))
	}
	require.True(t, eventually(func() bool { return b.unread() == 4 }), "all of it is spilled")
	require.Zero(t, b.provider.fetches("widget", "ill"))
	goOn()

	for _, id := range ill {
		require.Equal(t, 1, b.row(id, storage.Processed).Attempts)
	}
	for _, id := range dead {
		b.row(id, storage.Dead)
	}
	page, err := b.store.Letters(b.ctx, storage.LetterFilter{Status: storage.LetterOpen, Limit: 200})
	require.NoError(t, err)
	require.Len(t, page.Items, len(dead))
	for _, l := range page.Items {
		require.Len(t, l.Attempts, 3)
	}
	require.Equal(t, 2, b.provider.fetches("widget", "ill"))
	require.Equal(t, 3, b.provider.fetches("widget", "dead"))
	b.empty()
}

// A lane longer than a page is spilled as a whole, in order, and covered by one
// fetch.
func TestALongLaneIsSpilledAsAWhole(t *testing.T) {
	t.Parallel()
	const events = 2500
	b := setup(t, few, func(o *worker.Options) { o.InFlight = 1500 })
	goOn, waiting := b.occupy()
	b.start("w1")
	require.True(t, eventually(func() bool { return waiting.Load() == 4 }))
	for range events {
		b.send("widget.sold", "widget", "w1")
	}
	require.True(t, eventually(func() bool { return b.unread() == 4 }))
	goOn()
	b.empty()
	rows := b.rows()
	require.Len(t, rows, events+4)
	require.Equal(t, 1, b.provider.fetches("widget", "w1"))
}

// A sweep's signals are not spilled: they would come before live ones, which come
// next. They stop being read instead, until there is room.
func TestWhatASweepWantsStaysInFlight(t *testing.T) {
	t.Parallel()
	b := setup(t, few)
	goOn, waiting := b.occupy()
	b.start("w1")
	require.True(t, eventually(func() bool { return waiting.Load() == 4 }))
	b.appendMany(100)
	require.True(t, eventually(func() bool { return b.metric("tarn_leases_held") == 4 }))
	var live []string
	for range 20 {
		live = append(live, b.send("widget.sold", "widget", "live"))
	}
	for _, id := range live {
		b.row(id, storage.Pending) // logged, so read
	}
	require.True(t, eventually(func() bool { return slices.Contains(b.parked(), "acme/widget/live") }))
	require.True(t, eventually(func() bool { return b.unread() == 4 }), "all of it is spilled")
	require.Len(t, b.parked(), 1, "the sweep's are in their streams")
	goOn()
	b.empty()
	require.Equal(t, 1, b.provider.fetches("widget", "live"))
}

// unread is how many live entries are in the streams.
func (b *bundle) unread() (n int64) {
	b.t.Helper()
	for shard := range b.streams.Shards() {
		n += b.redis.Client().XLen(b.ctx, fmt.Sprintf("{tarn:%d}:live:acme", shard)).Val()
	}
	return n
}

// parked are all parked entities, the spilled ones too.
func (b *bundle) parked() (entities []string) {
	b.t.Helper()
	for shard := range b.streams.Shards() {
		entities = append(entities, b.redis.Client().ZRange(b.ctx, fmt.Sprintf("{tarn:%d}:due:acme", shard), 0, -1).Val()...)
	}
	return entities
}

// What comes after a head that is covered and not settled stays where it is:
// should the worker die now, the head is synced again, and must not come later
// than what was spilled.
func TestATailIsNotSpilledBeforeItsHeadIsSettled(t *testing.T) {
	t.Parallel()
	b := setup(t, few)
	settle := make(chan struct{})
	b.store.held = map[string]chan struct{}{"settle": settle}
	goOn, waiting := b.hold("widget", "b0", "b1", "b2", "b3")
	b.start("w1")
	b.send("widget.sold", "widget", "w1")
	require.True(t, eventually(func() bool { return b.store.count("settle") == 1 }), "its head is covered")
	for i := range 4 {
		b.send("widget.sold", "widget", fmt.Sprint("b", i))
	}
	require.True(t, eventually(func() bool { return waiting.Load() == 4 }))
	neighbour := "w2"
	for i := 3; key("widget", neighbour).Shard(4) != key("widget", "w1").Shard(4); i++ {
		neighbour = fmt.Sprint("w", i)
	}
	for range 10 { // too few to reach the in-flight limit
		b.row(b.send("widget.sold", "widget", "w1"), storage.Pending)
	}
	for range 30 {
		b.send("widget.sold", "widget", neighbour)
	}
	require.True(t, eventually(func() bool { return slices.Contains(b.parked(), "acme/widget/"+neighbour) }))
	require.NotContains(t, b.parked(), "acme/widget/w1")
	close(settle)
	goOn()
	b.empty()
	require.Empty(t, inversions(t, b.rows()))
}

// Nor is it parked for a failure of its own before that.
func TestATailIsNotParkedBeforeItsHeadIsSettled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	settle := make(chan struct{})
	b.store.held = map[string]chan struct{}{"settle": settle}
	b.provider.on("widget", "w1", func(_ context.Context, n int) (string, error) {
		if n == 2 {
			return "", fate.New(fate.Transient, errBoom)
		}
		return ok, nil
	})
	b.provider.fails("widget", "w2", 1, fate.New(fate.Transient, errBoom))
	b.start("w1")
	b.send("widget.sold", "widget", "w1")
	require.True(t, eventually(func() bool { return b.store.count("settle") == 1 }), "its head is covered")
	b.send("widget.sold", "widget", "w1")
	require.True(t, eventually(func() bool { return b.provider.fetches("widget", "w1") == 2 }), "its tail has failed")
	b.send("widget.sold", "widget", "w2")
	require.True(t, eventually(func() bool { return slices.Contains(b.parked(), "acme/widget/w2") }), "which failed later")
	require.NotContains(t, b.parked(), "acme/widget/w1")
	close(settle)
	b.empty()
	require.Empty(t, inversions(t, b.rows()))
}

// A retry of a class below live does not keep live ones from being begun.
func TestLowerRetriesLeaveRoomForLive(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Sources[0].Concurrency = 150 }) // more than may be begun in four shards
	const lower = 400
	var ids []string
	for i := range lower {
		ids = append(ids, parkedID(i))
	}
	b.parkMany(lower)
	goOn, waiting := b.hold("widget", ids...)
	b.start("w1")
	_, err := b.streams.RetryParked(b.ctx, "acme")
	require.NoError(t, err)
	require.True(t, eventually(func() bool { return waiting.Load() >= 64 }), "as many as may be are begun in all shards")
	b.provider.fails("widget", "live", 1, fate.New(fate.Transient, errBoom))
	b.row(b.send("widget.sold", "widget", "live"), storage.Processed)
	require.Equal(t, 2, b.provider.fetches("widget", "live"), "it failed and was begun again")
	goOn()
	b.empty()
}

// A worker that hands over a shard leaves the retries it has not begun due at once.
func TestASuccessorNeedNotWaitForRetries(t *testing.T) {
	t.Parallel()
	b := setup(t, few, func(o *worker.Options) { o.LeaseTTL = time.Minute; o.Grace = 100 * time.Millisecond })
	_, waiting := b.occupy()
	stop := b.start("w1")
	require.True(t, eventually(func() bool { return waiting.Load() == 4 }))
	for i := range 60 {
		b.send("widget.sold", "widget", fmt.Sprint("w", i%6))
	}
	require.True(t, eventually(func() bool { return len(b.parked()) > 0 && b.due() == 0 }), "what is spilled is begun, and waits for a slot")
	stop()
	require.NotEmpty(t, b.parked())
	require.Len(t, b.parked(), int(b.due()))
}

// due is how many parked entities are due now.
func (b *bundle) due() (n int64) {
	b.t.Helper()
	now, err := b.streams.Now(b.ctx)
	require.NoError(b.t, err)
	for shard := range b.streams.Shards() {
		n += b.redis.Client().ZCount(b.ctx, fmt.Sprintf("{tarn:%d}:due:acme", shard), "-inf", fmt.Sprint(now.UnixMilli())).Val()
	}
	return n
}

// What a fetch has to show is said by all that waits for it, not only by what
// is settled first; and so is which event was the newest.
func TestAVerdictKnowsAllThatWaits(t *testing.T) {
	t.Parallel()
	const more = 1500 // over a page of what is parked
	b := setup(t)
	failing, fail := make(chan struct{}), make(chan struct{})
	b.provider.on("widget", "w1", func(_ context.Context, n int) (string, error) {
		switch n {
		case 1:
			close(failing)
			<-fail
			return "", fate.New(fate.Transient, errBoom)
		case 2:
			return made, nil // behind what the last event says
		}
		return ok, nil
	})
	b.start("w1")
	first := b.send("widget.made", "widget", "w1")
	<-failing
	for range more {
		b.send("widget.made", "widget", "w1")
	}
	last := b.send("widget.sold", "widget", "w1")
	b.row(last, storage.Pending)
	close(fail)
	b.row(last, storage.Processed)
	b.empty()
	require.Equal(t, 3, b.provider.fetches("widget", "w1"), "failed, behind, good")
	require.Equal(t, last, b.document("widget", "w1").LastEvent.ID)
	require.Equal(t, "sold", b.document("widget", "w1").Status)
	rows := b.rows()
	require.Equal(t, rows[first].Entities[0].CoveredBy.Claim, rows[last].Entities[0].CoveredBy.Claim)
	for _, row := range rows {
		require.False(t, row.OutOfOrder, row.ID)
	}
}

// The sync of a spilled entity is the events' first attempt: it is in the
// trace of the first, and the others have spans that link to it.
func TestATraceGoesOnThroughASpill(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)))
	defer otel.SetTracerProvider(before)
	b := setup(t, few)
	goOn, waiting := b.occupy()
	stop := b.start("w1")
	require.True(t, eventually(func() bool { return waiting.Load() == 4 }))
	traces := []string{"0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c"}
	for _, id := range traces {
		b.traced("00-"+id+"-b7ad6b7169203331-01", "widget.sold", "widget", "w1")
	}
	for range 20 {
		b.send("widget.sold", "widget", "w1")
	}
	require.True(t, eventually(func() bool { return slices.Contains(b.parked(), "acme/widget/w1") }))
	goOn()
	b.empty()
	stop()

	var first, second []tracetest.SpanStub
	for _, s := range spans.GetSpans().Snapshots() {
		stub := tracetest.SpanStubFromReadOnlySpan(s)
		switch id := stub.SpanContext.TraceID().String(); {
		case id == traces[0]:
			first = append(first, stub)
		case id == traces[1]:
			second = append(second, stub)
		}
	}
	process := first[slices.IndexFunc(first, func(s tracetest.SpanStub) bool { return s.Name == "process" })]
	require.Equal(t, "b7ad6b7169203331", process.Parent.SpanID().String())
	require.Greater(t, len(first), 1, "the steps of the sync are in it")
	require.Len(t, second, 1)
	require.Equal(t, process.SpanContext.SpanID(), second[0].Links[0].SpanContext.SpanID())
}
