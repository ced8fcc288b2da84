package worker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// Workers come and go while events flow: every event is processed once, and
// along the stream of each entity the covering claim never decreases.
func TestOrderAcrossHandovers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var ids []string
	stops := []func(){b.start("w0")}
	for round := range 6 {
		for range 100 {
			ids = append(ids, b.send("widget.sold", "widget", fmt.Sprint("w", rand.IntN(10)), "gadget", fmt.Sprint("g", rand.IntN(5))))
		}
		if round%2 == 0 {
			stops = append(stops, b.start(fmt.Sprint("more", round)))
		} else {
			stops[0]()
			stops = stops[1:]
		}
	}
	b.empty()
	rows := b.rows()
	require.Len(t, rows, len(ids))
	require.Empty(t, inversions(t, rows))
}

// A worker that stops releases its shards at once: a successor need not wait
// for a lease to run out.
func TestStopReleasesLeases(t *testing.T) {
	t.Parallel()
	b := setup(t)
	stop := b.start("w1")
	b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
	stop()
	shards, workers, err := b.streams.Fleet(b.ctx, []string{"acme"})
	require.NoError(t, err)
	require.Empty(t, workers)
	for _, s := range shards {
		require.Empty(t, s.Owner)
	}
	b.start("w2")
	b.row(b.send("widget.sold", "widget", "w2"), storage.Processed)
}

// What was read and not settled by a worker that died is taken over, in order.
func TestPendingIsTakenOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var ids []string
	for i := range 40 {
		ids = append(ids, b.send("widget.sold", "widget", fmt.Sprint("w", i%3)))
	}
	// A worker that reads everything and dies.
	for shard := range 4 {
		lease, err := b.streams.Acquire(b.ctx, shard, "dead", []string{"acme"})
		require.NoError(t, err)
		_, err = lease.TakeOver(b.ctx, "acme", event.TierLive, func([]event.Entry) error { return nil })
		require.NoError(t, err)
		_, err = lease.Read(b.ctx, "acme", event.TierLive, stream.Limits{})
		require.NoError(t, err)
	}
	b.start("w1")
	b.empty()
	rows := b.rows()
	require.Len(t, rows, len(ids))
	require.Empty(t, inversions(t, rows))
}

// The whole way on a Redis cluster: shards are spread over three masters, and
// what fails is parked and comes back.
func TestOnACluster(t *testing.T) {
	t.Parallel()
	b := setupOn(t, redistest.StartCluster(t, 3))
	b.provider.fails("widget", "w3", 1, fate.New(fate.Transient, errBoom))
	b.start("w1")
	b.start("w2")
	for i := range 60 {
		b.send("widget.sold", "widget", fmt.Sprint("w", i%7), "gadget", fmt.Sprint("g", i%3), "shop", "s1")
	}
	b.empty()
	rows := b.rows()
	require.Len(t, rows, 60)
	require.Empty(t, inversions(t, rows))
	require.True(t, b.document("stock", "s1").Known())
}

// Redis that was emptied says that every shard is free. A worker that finds it so
// waits until the former holder, which may not know yet, has ended what it began:
// else the later event is covered by the earlier claim.
func TestOrderThoughRedisIsEmptied(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const ttl = 8 * time.Second
	open := func(url string) *stream.Streams {
		s, err := stream.Open(b.ctx, stream.Options{URLs: []string{url}, Shards: 4, LeaseTTL: ttl, Logger: quiet()})
		require.NoError(t, err)
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	proxy := redistest.NewProxy(t, b.redis)
	gate := &claimGate{watched: b.store, entered: make(chan struct{}), open: make(chan struct{})}
	b.options.LeaseTTL, b.options.Streams, b.options.Store = ttl, open(proxy.URL()), gate
	b.start("w1")
	b.options.Streams, b.options.Store = open(b.redis.URL()), b.store
	b.start("w2")
	var shards []stream.ShardState
	require.True(t, eventually(func() bool {
		var err error
		shards, _, err = b.streams.Fleet(b.ctx, nil)
		return err == nil && ownedBy(shards, "w1") == 2 && ownedBy(shards, "w2") == 2
	}))
	id := 0
	for shards[key("widget", fmt.Sprint(id)).Shard(4)].Owner != "w1" {
		id++
	}
	former := b.send("widget.sold", "widget", fmt.Sprint(id))
	<-gate.entered

	// From here on w1 hears nothing of Redis, as a worker that was just about to ask.
	proxy.Stall("evalsha")
	b.redis.FlushAll()
	later := b.send("widget.sold", "widget", fmt.Sprint(id))
	var first float64
	require.True(t, eventually(func() bool {
		if rows, err := b.store.EventByID(b.ctx, "acme", later); err == nil && rows[0].Status == storage.Processed {
			return true
		}
		// Or w2 has looked at the free shards more than once and taken none.
		beat := b.redis.Client().ZScore(b.ctx, "{tarn}:workers", "w2").Val()
		if first == 0 {
			first = beat
		}
		shards, _, err := b.streams.Fleet(b.ctx, nil)
		return err == nil && beat-first >= float64((ttl/10).Milliseconds()) && shards[key("widget", fmt.Sprint(id)).Shard(4)].Owner == ""
	}))
	close(gate.open)
	b.row(former, storage.Processed)
	b.row(later, storage.Processed)
	require.Empty(t, inversions(t, b.rows()))
	proxy.Stall("nothing any more")
}

// claimGate is a store whose first claim waits until the gate is open.
type claimGate struct {
	*watched
	once          sync.Once
	entered, open chan struct{}
}

func (g *claimGate) Claim(ctx context.Context, ref event.Ref) (*storage.Document, error) {
	g.once.Do(func() {
		close(g.entered)
		<-g.open
	})
	return g.watched.Claim(ctx, ref)
}

// inversions returns where, along an entity's stream, a claim decreases.
func inversions(t *testing.T, rows map[string]*storage.EventRow) []string {
	t.Helper()
	type settled struct {
		signal string
		claim  int64
	}
	byEntity := map[event.Key][]settled{}
	for _, row := range rows {
		require.Equal(t, storage.Processed, row.Status)
		for _, o := range row.Entities {
			byEntity[o.Ref.Key] = append(byEntity[o.Ref.Key], settled{o.Signal.ID, o.CoveredBy.Claim})
		}
	}
	var found []string
	for k, list := range byEntity {
		for i := range list {
			for j := range list {
				if before(list[i].signal, list[j].signal) && list[i].claim > list[j].claim {
					found = append(found, fmt.Sprintf("%s: %v before %v", k, list[i], list[j]))
				}
			}
		}
	}
	return found
}

// before compares two stream ids.
func before(a, b string) bool {
	var ams, aseq, bms, bseq int64
	_, _ = fmt.Sscanf(a, "%d-%d", &ams, &aseq)
	_, _ = fmt.Sscanf(b, "%d-%d", &bms, &bseq)
	return ams < bms || ams == bms && aseq < bseq
}

func contains(s, part string) bool { return strings.Contains(s, part) }

func xadd(key string, values ...string) *redis.XAddArgs {
	return &redis.XAddArgs{Stream: key, Values: values}
}

// event reads a webhook made at the given time; append sends it.
func (b *bundle) event(id, typ string, at time.Time, kind, entity string) *event.Event {
	b.t.Helper()
	body := fmt.Sprintf(`{"id":%q,"type":%q,"created_at":%q,"context":{%q:%q}}`, id, typ, at.UTC().Format(time.RFC3339Nano), kind, entity)
	e, err := b.def.Event("acme", nil, []byte(body), time.Now())
	require.NoError(b.t, err)
	return e
}

func (b *bundle) append(e *event.Event) {
	b.t.Helper()
	_, err := b.streams.Append(b.ctx, stream.Draft{Signal: event.Own(e, "")})
	require.NoError(b.t, err)
}
