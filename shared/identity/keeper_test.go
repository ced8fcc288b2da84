package identity_test

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/identity"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(redistest.Reuse())) }

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func queue(t *testing.T, srv *redistest.Server, prefix string) *stream.Streams {
	t.Helper()
	s, err := stream.Open(t.Context(), stream.Options{URLs: []string{srv.URL()}, Prefix: prefix, Shards: 4, Logger: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func store(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path, sqlite.Options{Logger: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func fresh(t *testing.T) *sqlite.Store { return store(t, filepath.Join(t.TempDir(), "tarn.db")) }

// clock is one that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func start(t *testing.T, q *stream.Streams, s *sqlite.Store, change ...func(*identity.Options)) error {
	t.Helper()
	o := identity.Options{Queue: q, Store: s, Logger: quiet}
	for _, c := range change {
		c(&o)
	}
	return identity.New(o).Start(t.Context())
}

func adopting(o *identity.Options) { o.Adopt = true }
func readOnly(o *identity.Options) { o.ReadOnly = true }

// Processes of a new fleet start in any order, and of one from before as well:
// to them both sides are without an id.
func TestManyStartAtOnce(t *testing.T) {
	t.Parallel()
	srv, path := redistest.Start(t), filepath.Join(t.TempDir(), "tarn.db")
	q := queue(t, srv, "tarn")
	var all sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		s := store(t, path)
		all.Go(func() {
			errs[i] = identity.New(identity.Options{Queue: q, Store: s, ReadOnly: i%3 == 0, Logger: quiet}).Start(t.Context())
		})
	}
	all.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	f, err := store(t, path).Fleet(t.Context())
	require.NoError(t, err)
	id, err := q.Identity(t.Context())
	require.NoError(t, err)
	require.Equal(t, stream.Identity{Fleet: f.ID, Data: f.Data}, id)
	require.NotEmpty(t, f.ID)
	require.Equal(t, "tarn", f.Prefix)
	require.Equal(t, 4, f.Shards)
}

// Two fleets that were set to one Redis and one prefix would share out each
// other's events.
func TestTwoFleetsOnOneRedis(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	q := queue(t, srv, "tarn")
	prod, staging := fresh(t), fresh(t)
	require.NoError(t, start(t, queue(t, srv, "elsewhere"), staging))
	require.NoError(t, start(t, q, prod))
	for _, o := range []func(*identity.Options){adopting, readOnly, func(*identity.Options) {}} {
		err := start(t, q, staging, o)
		if err == nil { // adopting moves the prefix, and is refused for the fleet
			t.Fatal("a process of another fleet was let in")
		}
		require.ErrorIs(t, err, identity.ErrMismatch)
	}
	require.NoError(t, start(t, q, prod))
}

// A database without a fleet beside a Redis that has one is a wrong URL, or was
// lost. Only a person knows.
func TestADatabaseWithoutAFleet(t *testing.T) {
	t.Parallel()
	q := queue(t, redistest.Start(t), "tarn")
	require.NoError(t, start(t, q, fresh(t)))
	lost := fresh(t)
	require.ErrorContains(t, start(t, q, lost), "--adopt")
	require.ErrorIs(t, start(t, q, lost, readOnly), identity.ErrMismatch)
	require.NoError(t, start(t, q, lost, adopting))
	require.NoError(t, start(t, q, lost))
}

// One database and two prefixes are two halves of a fleet.
func TestTwoPrefixesOnOneDatabase(t *testing.T) {
	t.Parallel()
	srv, s := redistest.Start(t), fresh(t)
	require.NoError(t, start(t, queue(t, srv, "one"), s))
	two := queue(t, srv, "two")
	require.ErrorContains(t, start(t, two, s), `works with redis.prefix "one"`)
	c := &clock{now: time.Unix(1000, 0)}
	done := make(chan error, 1)
	go func() {
		k := identity.New(identity.Options{Queue: two, Store: s, Adopt: true, Logger: quiet, Now: c.Now})
		done <- k.Start(t.Context())
	}()
	until(t, c, done)
	require.ErrorContains(t, start(t, queue(t, srv, "one"), s), `works with redis.prefix "two"`, "the fleet has moved")
}

// until lets time pass until a start is over, and requires that it is good.
func until(t *testing.T, c *clock, done <-chan error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			require.NoError(t, err)
			return
		case <-tick.C:
			c.pass(100 * time.Millisecond)
		}
	}
}

// running keeps a process working and returns its result.
type running struct {
	keeper  *identity.Keeper
	working chan bool // true: run was called; false: its context ended
	alerts  chan alert.Alert
	gauge   prometheus.Gauge
	stop    func()
}

func run(t *testing.T, q identity.Queue, s *sqlite.Store) *running {
	t.Helper()
	r := &running{working: make(chan bool, 10), alerts: make(chan alert.Alert, 10), gauge: prometheus.NewGauge(prometheus.GaugeOpts{Name: "mismatch"})}
	r.keeper = identity.New(identity.Options{
		Queue: q, Store: s, Logger: quiet, Alert: func(a alert.Alert) { r.alerts <- a }, Mismatched: r.gauge,
	})
	require.NoError(t, r.keeper.Start(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- r.keeper.Keep(ctx, func(ctx context.Context) error {
			r.working <- true
			<-ctx.Done()
			r.working <- false
			return nil
		})
	}()
	var once sync.Once
	r.stop = func() { once.Do(func() { cancel(); require.NoError(t, <-done) }) }
	t.Cleanup(r.stop)
	require.True(t, <-r.working)
	return r
}

func (r *running) gauged(t *testing.T) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(r.gauge))
	all, err := registry.Gather()
	require.NoError(t, err)
	return all[0].GetMetric()[0].GetGauge().GetValue()
}

func next[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(time.Minute):
		t.Fatal("nothing came")
	}
	return v
}

// A Redis that is emptied, which FLUSHALL does, heals while the fleet works.
func TestAnEmptiedRedisHeals(t *testing.T) {
	t.Parallel()
	srv, s := redistest.Start(t), fresh(t)
	q := queue(t, srv, "tarn")
	r := run(t, q, s)
	was, err := q.Identity(t.Context())
	require.NoError(t, err)
	srv.FlushAll()
	require.Eventually(t, func() bool {
		id, err := q.Identity(t.Context())
		return err == nil && id.Fleet == was.Fleet && id.Data != was.Data
	}, 2*time.Minute, 50*time.Millisecond)
	require.NoError(t, start(t, q, s))
	r.stop()
	require.False(t, <-r.working, "only since it was stopped")
	require.Empty(t, r.alerts)
}

// A worker with a wrong redis.url must not take the fleet away from the others.
func TestAnEmptyRedisBesideTheRightOne(t *testing.T) {
	t.Parallel()
	srv, s := redistest.Start(t), fresh(t)
	r := run(t, queue(t, srv, "tarn"), s)
	other := queue(t, redistest.Start(t), "tarn")
	require.ErrorContains(t, start(t, other, s), "works with another redis")
	id, err := other.Identity(t.Context())
	require.NoError(t, err)
	require.Zero(t, id)
	require.NoError(t, r.keeper.Check(t.Context()))
}

// What came to differ while the process works stops it, and starts it again
// once it is right.
func TestAMismatchStopsAndHeals(t *testing.T) {
	t.Parallel()
	srv, s := redistest.Start(t), fresh(t)
	q := queue(t, srv, "tarn")
	r := run(t, q, s)
	id, err := q.Identity(t.Context())
	require.NoError(t, err)
	require.NoError(t, srv.Client().HSet(t.Context(), "{tarn}:identity", "fleet", "another").Err())
	require.False(t, next(t, r.working))
	require.ErrorIs(t, r.keeper.Check(t.Context()), identity.ErrMismatch)
	a := next(t, r.alerts)
	require.Equal(t, alert.Identity, a.Kind)
	require.Contains(t, a.Reason, "is of fleet another")
	require.EqualValues(t, 1, r.gauged(t))
	require.NoError(t, srv.Client().HSet(t.Context(), "{tarn}:identity", "fleet", id.Fleet).Err())
	require.True(t, next(t, r.working))
	require.NoError(t, r.keeper.Check(t.Context()))
	require.Zero(t, r.gauged(t))
	require.Empty(t, r.alerts)
}

// counted signals each request to Redis.
type counted struct {
	*stream.Streams
	asked chan error
}

func (c counted) Identity(ctx context.Context) (stream.Identity, error) {
	id, err := c.Streams.Identity(ctx)
	select {
	case c.asked <- err:
	default:
	}
	return id, err
}

// A side that does not answer says nothing.
func TestAnOutageIsNoMismatch(t *testing.T) {
	t.Parallel()
	srv, s := redistest.Start(t), fresh(t)
	q := counted{queue(t, srv, "tarn"), make(chan error, 10)}
	r := run(t, q, s)
	srv.Kill()
	for failed := 0; failed < 2; {
		if next(t, q.asked) != nil {
			failed++
		}
	}
	require.NoError(t, r.keeper.Check(t.Context()))
	require.Empty(t, r.working)
	srv.Restart()
	for next(t, q.asked) != nil {
	}
	require.NoError(t, r.keeper.Check(t.Context()))
	require.Empty(t, r.working)
}
