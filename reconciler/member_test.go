package reconciler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
	"github.com/tarn-sync/tarn/shared/telemetry"
	"github.com/tarn-sync/tarn/shared/telemetry/telemetrytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(redistest.Reuse())) }

// quickTTL is a lease's time in tests that wait for one to run out.
const quickTTL = 6 * time.Second

// member is a replica with a connection of its own, so that it can be cut off.
type member struct {
	*Reconciler
	streams  *stream.Streams
	registry *prometheus.Registry
	mu       sync.Mutex
	alerts   []alert.Alert
}

// metric is the sum of a metric over its labels.
func (m *member) metric(name string) (sum float64) {
	families, err := m.registry.Gather()
	if err != nil {
		return -1
	}
	for _, f := range families {
		for _, one := range f.GetMetric() {
			if f.GetName() == name {
				sum += one.GetCounter().GetValue() + one.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func (c *scene) member(id string) *member {
	c.t.Helper()
	m := &member{registry: prometheus.NewRegistry()}
	c.t.Cleanup(func() { telemetrytest.Check(c.t, m.registry, telemetry.Reconciler) })
	var err error
	m.streams, err = stream.Open(c.ctx, stream.Options{
		URLs: []string{c.redis.URL()}, Shards: testShards, LeaseTTL: quickTTL, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = m.streams.Close() })
	settings := c.finder.settings
	settings.Sweep = config.Sweep{}
	settings.Recover = config.Recover{Every: 20 * time.Millisecond, After: time.Minute}
	m.Reconciler, err = New(Options{
		ID: id, Streams: m.streams, Store: c.store, LeaseTTL: quickTTL, Poll: 20 * time.Millisecond,
		Sources: []Source{{Name: c.finder.name, Definition: c.def, Client: c.client, Settings: settings}},
		Metrics: telemetry.NewMetrics(m.registry), Health: telemetry.NewHealth(c.clock.now),
		Logger: slog.New(slog.DiscardHandler), Now: c.clock.now,
		Alert: func(a alert.Alert) { m.mu.Lock(); defer m.mu.Unlock(); m.alerts = append(m.alerts, a) },
	})
	require.NoError(c.t, err)
	m.pace = c.finder.pace
	m.base = m.finder(&source{}, nil)
	return m
}

// start runs a loop until stop.
func (c *scene) start(run func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(c.ctx)
	done := make(chan struct{})
	go func() { defer close(done); run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	c.t.Cleanup(stop)
	return stop
}

// eventually waits until something is so.
func (c *scene) eventually(what string, is func() bool) {
	c.t.Helper()
	require.Eventually(c.t, is, 2*time.Minute, 10*time.Millisecond, what)
}

func (c *scene) task(id string) *storage.Task {
	c.t.Helper()
	t, err := c.store.Task(c.ctx, id)
	require.NoError(c.t, err)
	return t
}

func (c *scene) create(t *storage.Task) {
	c.t.Helper()
	t.Status, t.CreatedAt = storage.TaskWaiting, c.clock.now().UTC()
	require.NoError(c.t, c.store.CreateTasks(c.ctx, []*storage.Task{t}))
}

// Two replicas sweep, and one is cut off from Redis in the middle, as if it had been
// killed: the other continues, nothing is skipped and little is done twice.
func TestAReplicaDiesInTheMiddle(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(16, 2)
	c.fill()
	for i := range 16 {
		c.shop.put(fmt.Sprintf("/customers/c%d/orders/o%d_1", i, i), shopOrder(fmt.Sprintf("o%d_1", i), 9, "created", "made"))
	}
	a, b := c.member("a"), c.member("b")
	var asked int
	var mu sync.Mutex
	half := make(chan struct{})
	c.shop.calls()
	c.shop.interfere(func(http.ResponseWriter, *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if asked++; asked == 25 {
			close(half)
		}
		return false
	})
	c.create(&storage.Task{ID: "sweep_1", Kind: kindSweep, Source: "shop"})
	stopA := c.start(a.Run)
	c.start(b.Run)
	<-half
	require.NoError(t, a.streams.Close()) // neither renews nor releases
	stopA()
	c.eventually("the sweep is over", func() bool { return c.task("sweep_1").Status == storage.TaskDone })
	sweep := c.task("sweep_1")
	require.Empty(t, sweep.Error)
	require.EqualValues(t, 16, sweep.Counts["found"])
	require.Len(t, c.recorded(), 16)
	c.shop.interfere(nil)
	var lists int
	for _, path := range c.shop.calls() {
		if strings.HasSuffix(path, "/orders") || path == "/customers" {
			lists++
		}
	}
	// 8 pages of customers, one of orders each: what a had may have been
	// repeated from where it was last noted.
	require.LessOrEqual(t, lists, 8+16+8+16)
}

// A save of a replica that was stopped for longer than its lease changes nothing, and
// the replica gets errLostLease.
func TestWhatAStaleHolderSavesIsRefused(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	a, b := c.member("a"), c.member("b")
	c.create(&storage.Task{ID: "job_1", Kind: kindRedrive, Source: "shop"})
	hold := func(m *member, run runner) error { return m.visit(c.ctx, "job_1", nil, once(run)) }

	var second error
	err := hold(a, func(ctx context.Context, w *work) error {
		w.task.Counts = map[string]int64{"done": 1}
		require.NoError(t, w.save(ctx))
		// The lease changes hands while a does not look.
		require.NoError(t, w.lease.Release(ctx))
		second = hold(b, func(ctx context.Context, w *work) error {
			require.EqualValues(t, 1, w.task.Counts["done"], "it goes on where a was")
			w.task.Counts["done"] = 5
			return w.save(ctx)
		})
		w.task.Counts["done"] = 2
		return w.save(ctx)
	})
	require.NoError(t, second)
	require.ErrorIs(t, err, errLostLease)
	require.EqualValues(t, 5, c.task("job_1").Counts["done"])
	require.Equal(t, storage.TaskDone, c.task("job_1").Status)
}

func TestALeaseThatIsLostEndsTheWork(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	a := c.member("a")
	c.create(&storage.Task{ID: "job_1", Kind: kindRedrive})
	err := a.visit(c.ctx, "job_1", nil, once(func(ctx context.Context, w *work) error {
		c.redis.FlushAll()
		<-ctx.Done()
		return ctx.Err()
	}))
	require.ErrorIs(t, err, errLostLease)
	require.Equal(t, storage.TaskRunning, c.task("job_1").Status, "any replica continues it")
	require.NoError(t, c.member("b").visit(c.ctx, "job_1", nil, once(func(context.Context, *work) error { return nil })))
}

func TestWhatBecomesOfATask(t *testing.T) {
	t.Parallel()
	boom := func(context.Context, *work) error { panic("boom") }
	for name, tc := range map[string]struct {
		run    runner
		status storage.TaskStatus
		err    string
	}{
		"done":      {func(context.Context, *work) error { return nil }, storage.TaskDone, ""},
		"failed":    {func(context.Context, *work) error { return errors.New("no luck") }, storage.TaskFailed, "no luck"},
		"panic":     {boom, storage.TaskFailed, "panic: boom"},
		"later":     {func(context.Context, *work) error { return errLater }, storage.TaskRunning, ""},
		"cancelled": {func(ctx context.Context, w *work) error { return fmt.Errorf("wrapped: %w", errCancelled) }, storage.TaskCancelled, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newScene(t)
			m := c.member("a")
			c.create(&storage.Task{ID: "sweep_1", Kind: kindSweep, Source: "shop"})
			c.create(&storage.Task{ID: "sweep_1/1", Kind: kindPartition, Parent: "sweep_1", Source: "shop"})
			err := m.visit(c.ctx, "sweep_1", nil, once(tc.run))
			if name == "later" {
				require.ErrorIs(t, err, errLater)
			} else {
				require.NoError(t, err)
			}
			done := c.task("sweep_1")
			require.Equal(t, tc.status, done.Status)
			require.Equal(t, tc.err, done.Error, "one line, without a stack")
			require.Equal(t, tc.status.Final(), !done.FinishedAt.IsZero())
			require.False(t, done.StartedAt.IsZero())
			partition := c.task("sweep_1/1").Status
			require.Equal(t, tc.status == storage.TaskFailed || tc.status == storage.TaskCancelled, partition == storage.TaskCancelled)
			again, err := m.streams.Task(c.ctx, "sweep_1", "b")
			require.NoError(t, err, "the lease is free at once")
			require.NoError(t, again.Release(c.ctx))
		})
	}
}

func TestASweepThatIsCancelledEndsWithItsPartitions(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(8, 1)
	c.fill()
	m := c.member("a")
	hold, arrived := make(chan struct{}), make(chan struct{})
	var first sync.Once
	c.shop.interfere(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/orders") {
			first.Do(func() { close(arrived) })
			<-hold
		}
		return false
	})
	t.Cleanup(sync.OnceFunc(func() { c.shop.interfere(nil) }))
	c.create(&storage.Task{ID: "sweep_1", Kind: kindSweep, Source: "shop"})
	c.start(m.Run)
	<-arrived
	ends, err := c.store.CancelTask(c.ctx, "sweep_1")
	require.NoError(t, err)
	require.True(t, ends)
	c.eventually("the sweep is cancelled", func() bool { return c.task("sweep_1").Status == storage.TaskCancelled })
	close(hold)
	c.eventually("its partitions are too", func() bool {
		page, err := c.store.Tasks(c.ctx, storage.TaskFilter{Parent: "sweep_1", Statuses: []storage.TaskStatus{storage.TaskWaiting, storage.TaskRunning}})
		require.NoError(t, err)
		return len(page.Items) == 0
	})
}

// More sweeps than places: a sweep that waits for its partitions takes no place from
// them.
func TestSweepsDoNotBlockTheirPartitions(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(3, 1)
	c.fill()
	m := c.member("a")
	m.Parallel = 1
	for i := range 3 {
		c.create(&storage.Task{ID: fmt.Sprintf("sweep_%d", i), Kind: kindSweep, Source: "shop"})
	}
	c.start(m.Run)
	c.eventually("all are over", func() bool {
		for i := range 3 {
			if c.task(fmt.Sprintf("sweep_%d", i)).Status != storage.TaskDone {
				return false
			}
		}
		return true
	})
}

// One replica has each standing task. When it stops, another continues at once; when it
// dies, another continues once its lease has run out.
func TestStandingTasksGoOver(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	a, b := c.member("a"), c.member("b")
	var mu sync.Mutex
	running := map[string]int{}
	run := func(id string) runner {
		return func(ctx context.Context, _ *work) error {
			mu.Lock()
			running[id]++
			require.Len(t, running, 1, "one at a time")
			mu.Unlock()
			<-ctx.Done()
			mu.Lock()
			delete(running, id)
			mu.Unlock()
			return ctx.Err()
		}
	}
	has := func(id string) func() bool {
		return func() bool { mu.Lock(); defer mu.Unlock(); return running[id] > 0 }
	}
	keep := func(m *member) func(context.Context) {
		return func(ctx context.Context) { m.keep(ctx, "test", m.stand(kindJudge, "shop", run(m.ID))) }
	}
	stopA := c.start(keep(a))
	c.eventually("a has it", has("a"))
	stopB := c.start(keep(b))
	stopA()
	c.eventually("b has it", has("b"))
	require.Equal(t, storage.TaskRunning, c.task("judge/shop").Status)
	c.redis.FlushAll()
	c.eventually("b has it again after a loss", has("b"))
	stopB()
}

func TestALoopThatDiesIsStartedAgain(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	m := c.member("a")
	lives := 0
	alive := make(chan struct{})
	stop := c.start(func(ctx context.Context) {
		m.keep(ctx, "test", func(ctx context.Context, _ *telemetry.Loop) error {
			switch lives++; lives {
			case 1:
				panic("boom")
			case 2:
				return errors.New("no luck")
			}
			close(alive)
			<-ctx.Done()
			return ctx.Err()
		})
	})
	<-alive
	stop()
	require.InDelta(t, 2, m.metric("tarn_loop_restarts_total"), 0)
}

// away is a store that can be taken away from those who look for work.
type away struct {
	storage.Store
	gone  atomic.Bool
	asked atomic.Int64
}

func (s *away) there() error {
	if !s.gone.Load() {
		return nil
	}
	s.asked.Add(1)
	return fate.New(fate.Unavailable, errors.New("no primary"))
}

func (s *away) CreateTasks(ctx context.Context, tasks []*storage.Task) error {
	if err := s.there(); err != nil {
		return err
	}
	return s.Store.CreateTasks(ctx, tasks)
}

func (s *away) Task(ctx context.Context, id string) (*storage.Task, error) {
	if err := s.there(); err != nil {
		return nil, err
	}
	return s.Store.Task(ctx, id)
}

func (s *away) Tasks(ctx context.Context, f storage.TaskFilter) (storage.Page[*storage.Task], error) {
	if err := s.there(); err != nil {
		return storage.Page[*storage.Task]{}, err
	}
	return s.Store.Tasks(ctx, f)
}

func (s *away) SaveTask(ctx context.Context, t *storage.Task) (bool, error) {
	if err := s.there(); err != nil {
		return false, err
	}
	return s.Store.SaveTask(ctx, t)
}

// The store is away for longer than a loop may stand still. Waiting for it is a
// turn, in the replica that works as in the one that waits for its lease.
func TestStoreAwayForLong(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	db := &away{Store: c.store.Store}
	c.store.Store = db
	a, b := c.member("a"), c.member("b")
	c.start(a.Run)
	c.start(b.Run)
	c.eventually("they are at work", func() bool {
		task, err := c.store.Task(c.ctx, "recover/shop")
		return err == nil && len(task.State) > 0
	})
	report := "" // of the last one asked
	healthy := func(m *member) bool {
		answer := httptest.NewRecorder()
		m.Health.Healthz().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/healthz?verbose", nil))
		report = answer.Body.String()
		return answer.Code == http.StatusOK
	}
	db.gone.Store(true)
	for range 3 {
		asked := db.asked.Load()
		c.eventually("it is asked again and again", func() bool { return db.asked.Load() > asked+50 })
		c.clock.move(2 * telemetry.StuckAfter)
		for _, m := range []*member{a, b} {
			for end := time.Now().Add(time.Minute); !healthy(m); loops.Sleep(c.ctx, 10*time.Millisecond) {
				require.True(t, time.Now().Before(end), "replica %s: %s", m.ID, report)
			}
		}
	}
	db.gone.Store(false)
	require.Zero(t, a.metric("tarn_loop_restarts_total")+b.metric("tarn_loop_restarts_total"))
}
