package reconciler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// replica runs tasks as a process of the fleet does.
type replica struct {
	c      *scene
	id     string
	engine *engine
	ran    map[string]int // tasks by how often they were begun
	mu     sync.Mutex
}

var errLost = errors.New("another replica has the task")

func (c *scene) replica(id string) *replica {
	return &replica{
		c: c, id: id, ran: map[string]int{},
		engine: &engine{finders: map[string]*finder{c.finder.name: c.finder}, marks: time.Hour, alarm: func(string, string) {}},
	}
}

// run runs all tasks until ctx ends. Like kill -9, that saves nothing any more.
func (r *replica) run(ctx context.Context) {
	for ctx.Err() == nil {
		page, err := r.c.store.Tasks(r.c.ctx, storage.TaskFilter{
			Kinds:    []string{kindSweep, kindBackfill, kindVerify, kindGaps, kindPartition},
			Statuses: []storage.TaskStatus{storage.TaskWaiting, storage.TaskRunning}, Limit: 200,
		})
		if err != nil {
			r.c.t.Error(err)
			return
		}
		for _, t := range page.Items {
			if ctx.Err() == nil {
				r.try(ctx, t)
			}
		}
		loops.Sleep(ctx, 5*time.Millisecond)
	}
}

func (r *replica) try(ctx context.Context, t *storage.Task) {
	lease, err := r.c.streams.Task(ctx, t.ID, r.id)
	if err != nil {
		return // another replica has it
	}
	defer func() { _ = lease.Release(context.WithoutCancel(ctx)) }()
	if t, err = r.c.store.Task(ctx, t.ID); err != nil || t.Status.Final() {
		return
	}
	r.mu.Lock()
	r.ran[t.ID]++
	r.mu.Unlock()
	save := func(ctx context.Context) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.Epoch, t.UpdatedAt = lease.Epoch(), r.c.clock.now()
		ok, err := r.c.store.SaveTask(ctx, t)
		if err == nil && !ok {
			err = errLost
		}
		return err
	}
	t.Status = storage.TaskRunning
	done := true
	switch t.Kind {
	case "partition":
		err = r.engine.partition(ctx, t, save)
	case "gaps":
		err = r.engine.gaps(ctx, t, save)
	default:
		done, err = r.engine.sweep(ctx, t, save)
	}
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		t.Status, t.Error = storage.TaskFailed, err.Error()
	case done:
		t.Status = storage.TaskDone
	default:
		return
	}
	t.FinishedAt = r.c.clock.now()
	if err := save(ctx); err != nil && ctx.Err() == nil {
		r.c.t.Error(err)
	}
}

// sweepBy has replicas run a sweep to its end.
func (c *scene) sweepBy(m mode, spec storage.SweepSpec, replicas ...*replica) *storage.Task {
	c.t.Helper()
	id := fmt.Sprintf("%s_%d", m, time.Now().UnixNano())
	require.NoError(c.t, c.store.CreateTasks(c.ctx, []*storage.Task{sweepTask(id, m, c.finder.name, "test", spec, c.clock.now())}))
	ctx, stop := context.WithCancel(c.ctx)
	var running sync.WaitGroup
	for _, r := range replicas {
		running.Go(func() { r.run(ctx) })
	}
	t := c.over(id)
	stop()
	running.Wait()
	return t
}

// over waits until a task is over.
func (c *scene) over(id string) *storage.Task {
	c.t.Helper()
	var t *storage.Task
	require.Eventually(c.t, func() bool {
		var err error
		t, err = c.store.Task(c.ctx, id)
		return err == nil && t.Status.Final()
	}, 2*time.Minute, 5*time.Millisecond)
	return t
}

func TestASweepIsDividedAmongReplicas(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(30, 3)
	c.fill()
	c.shop.put("/customers/c7/orders/o7_1", shopOrder("o7_1", 9, "created", "made"))
	c.shop.drop("/customers/c9/orders/o9_2")
	c.shop.put("/customers/c29/orders/new", shopOrder("new", 9, "created"))
	c.shop.calls()
	a, b := c.replica("a"), c.replica("b")
	task := c.sweepBy(modeSweep, storage.SweepSpec{}, a, b)
	require.Equal(t, storage.TaskDone, task.Status, task.Error)
	require.Empty(t, task.Error)
	require.Equal(t, []string{"deleted order/o9_2", "missing order/new", "stale order/o7_1"}, c.recorded())
	require.EqualValues(t, 3, task.Counts["found"])
	require.EqualValues(t, 30+90, task.Counts["entities"])
	require.EqualValues(t, len(c.shop.calls()), task.Counts["api_calls"])
	require.Equal(t, task.Counts["partitions"], task.Counts["done"])
	require.Greater(t, task.Counts["partitions"], int64(5))
	require.NotEmpty(t, a.ran)
	require.NotEmpty(t, b.ran)
	for id, n := range a.ran {
		if strings.Contains(id, "/") {
			require.Equal(t, 1, n+b.ran[id], "one of them did %s", id)
		}
	}
	c.work()
	require.Empty(t, c.differences())
}

// One of two replicas is killed in the middle, again and again: nothing is
// skipped, and only work that was not saved is repeated.
func TestAReplicaThatDies(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(12, 5)
	c.fill()
	for i := range 12 {
		id := fmt.Sprintf("o%d_%d", i, i%5)
		c.shop.put(fmt.Sprintf("/customers/c%d/orders/%s", i, id), shopOrder(id, 9, "created", "made"))
	}
	want := []string{}
	for i := range 12 {
		want = append(want, fmt.Sprintf("stale order/o%d_%d", i, i%5))
	}
	slices.Sort(want)
	c.shop.calls()

	// Every tenth request kills the replica that sent it.
	var asked, deaths atomic.Int64
	var mu sync.Mutex
	var kill context.CancelFunc
	c.shop.interfere(func(http.ResponseWriter, *http.Request) bool {
		if asked.Add(1)%10 == 0 && deaths.Load() < 5 {
			deaths.Add(1)
			mu.Lock()
			kill()
			mu.Unlock()
		}
		return false
	})
	id := "sweep_dying"
	require.NoError(t, c.store.CreateTasks(c.ctx, []*storage.Task{sweepTask(id, modeSweep, "shop", "test", storage.SweepSpec{}, c.clock.now())}))
	for n := 0; ; n++ {
		ctx, cancel := context.WithCancel(c.ctx)
		mu.Lock()
		kill = cancel
		mu.Unlock()
		done := make(chan struct{})
		go func() { defer close(done); c.replica(fmt.Sprintf("r%d", n)).run(ctx) }()
		for over := false; !over; {
			select {
			case <-done:
				over = true
			case <-time.After(5 * time.Millisecond):
				if task, err := c.store.Task(c.ctx, id); err == nil && task.Status.Final() {
					cancel()
					<-done
					over = true
				}
			}
		}
		cancel()
		if task, err := c.store.Task(c.ctx, id); err == nil && task.Status.Final() {
			require.Equal(t, storage.TaskDone, task.Status, task.Error)
			break
		}
	}
	require.EqualValues(t, 5, deaths.Load())
	require.Equal(t, want, c.recorded(), "nothing is skipped, nothing is on record twice")
	c.shop.interfere(nil)
	// 7 pages of customers, 12·3 pages of orders, a second look at 12; at most
	// a partition's first page again for each death, since all else was saved.
	require.Less(t, len(c.shop.calls()), 7+36+12+5*4)
	c.work()
	require.Empty(t, c.differences())
}

// What a list lacks that could not be read whole is left alone, whichever replica
// walked it.
func TestFailedListsArePassedOn(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(3, 3)
	c.fill()
	c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/customers/c1/orders" {
			w.WriteHeader(http.StatusBadRequest)
		}
		return r.URL.Path == "/customers/c1/orders"
	})
	c.shop.calls()
	task := c.sweepBy(modeSweep, storage.SweepSpec{}, c.replica("a"), c.replica("b"))
	require.EqualValues(t, 1, task.Counts["failed_lists"])
	require.Empty(t, c.recorded())
	for _, path := range c.shop.calls() {
		require.NotContains(t, path, "/orders/")
	}
}

// A customer that is deleted after the list of customers showed it has no list of
// orders: the sweep is done, and concludes nothing from that. A list that is not found
// of a customer who is there has failed.
func TestAListOfWhatIsGoneHasNotFailed(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]bool{"deleted": true, "there": false} {
		t.Run(name, func(t *testing.T) {
			c := newScene(t)
			c.shop.stock(3, 3)
			c.fill()
			c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/customers/c1/orders" {
					return false
				}
				if gone {
					c.shop.drop("/customers/c1")
					return false
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusNotFound)
				_, _ = w.Write([]byte(`{"message":"not found"}`))
				return true
			})
			task := c.sweepBy(modeSweep, storage.SweepSpec{}, c.replica("a"))
			require.Equal(t, gone, task.Counts["failed_lists"] == 0, task.Error)
			require.Equal(t, gone, task.Status == storage.TaskDone)
			for _, d := range c.recorded() {
				require.NotContains(t, fmt.Sprint(d), "order", "nothing is concluded about the orders")
			}
		})
	}
}

// checkedTasks looks at partitions as they are made.
type checkedTasks struct {
	storage.Store
	made func(*storage.Task)
}

func (s checkedTasks) CreateTasks(ctx context.Context, tasks []*storage.Task) error {
	for _, t := range tasks {
		s.made(t)
	}
	return s.Store.CreateTasks(ctx, tasks)
}

// A partition that is made again after a crash must be the same one, so what
// it will hold is saved before it is made.
func TestAPartitionIsSavedBeforeItIsMade(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(11, 0)
	spec := partitionSpec{Mode: modeSweep, Begun: c.clock.now(), Root: "customer"}
	root := partitionTask("sweep_x", "customer", "shop", spec, c.clock.now())
	var saved partitionState
	var all []string
	c.finder.store = checkedTasks{c.store, func(made *storage.Task) {
		spec, err := decodeState[partitionSpec](made.Spec)
		require.NoError(t, err)
		require.Equal(t, spec.IDs, saved.Pending[:len(spec.IDs)], made.ID)
		require.Equal(t, fmt.Sprintf("sweep_x/customer/%d", saved.Chunks), made.ID)
		all = append(all, spec.IDs...)
	}}
	p, err := newPartition(c.finder, root, func(context.Context) (err error) {
		saved, err = decodeState[partitionState](root.State)
		return err
	})
	require.NoError(t, err)
	require.NoError(t, p.run(c.ctx))
	require.Len(t, all, 11)
	c.entries()
}

// A partition may be cut off after any save: the next holder counts nothing twice that
// was saved, and puts no id into two partitions.
func TestARootThatIsCutOffDividesOnce(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(35, 0)
	spec := partitionSpec{Mode: modeSweep, Begun: c.clock.now(), Root: "customer"}
	errCut := errors.New("cut off")
	for cut := range 40 {
		made := map[string][]string{}
		steps := 0
		step := func() error {
			if steps++; steps == cut+1 {
				return errCut
			}
			return nil
		}
		c.finder.store = checkedTasks{c.store, func(task *storage.Task) {
			spec, err := decodeState[partitionSpec](task.Spec)
			require.NoError(t, err)
			require.Subset(t, spec.IDs, made[task.ID], "made again, it is the same")
			made[task.ID] = spec.IDs
		}}
		root := partitionTask(fmt.Sprintf("sweep_%d", cut), "customer", "shop", spec, c.clock.now())
		saved := *root
		run := func() error {
			p, err := newPartition(c.finder, root, func(context.Context) error {
				saved = *root
				return step()
			})
			require.NoError(t, err)
			return p.run(c.ctx)
		}
		err := run()
		if err != nil {
			require.ErrorIs(t, err, errCut)
			*root = saved
			require.NoError(t, run())
		}
		var all []string
		for _, ids := range made {
			all = append(all, ids...)
		}
		require.Len(t, all, 35, "cut off at step %d", cut)
		require.EqualValues(t, 35, root.Counts["entities"], "cut off at step %d", cut)
		c.entries()
		if err == nil {
			return // there was no such step
		}
	}
	t.Fatal("more steps than were tried")
}

// The store refuses what a replica saves after it was taken for dead.
func TestAStaleReplicaSavesNothing(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	task := sweepTask("sweep_x", modeSweep, "shop", "test", storage.SweepSpec{}, c.clock.now())
	require.NoError(t, c.store.CreateTasks(c.ctx, []*storage.Task{task}))
	task.Epoch = 2
	ok, err := c.store.SaveTask(c.ctx, task)
	require.NoError(t, err)
	require.True(t, ok)
	task.Epoch, task.State = 1, []byte(`{"old":true}`)
	ok, err = c.store.SaveTask(c.ctx, task)
	require.NoError(t, err)
	require.False(t, ok)
}

func TestABackfillFillsAnEmptyMirror(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(20, 3)
	ctx, stop := context.WithCancel(c.ctx)
	var worker sync.WaitGroup
	worker.Go(func() {
		for ctx.Err() == nil {
			c.work()
			loops.Sleep(ctx, 5*time.Millisecond)
		}
	})
	task := c.sweepBy(modeBackfill, storage.SweepSpec{}, c.replica("a"))
	stop()
	worker.Wait()
	require.Equal(t, storage.TaskDone, task.Status, task.Error)
	require.Empty(t, c.recorded(), "an empty mirror is no discrepancy")
	require.Len(t, c.documents(), 20+20+60)
	require.Empty(t, c.differences())
	require.EqualValues(t, 60, task.Counts["kind.order"])

	c.shop.calls()
	task = c.sweepBy(modeBackfill, storage.SweepSpec{}, c.replica("a"))
	require.Equal(t, storage.TaskDone, task.Status)
	require.Zero(t, task.Counts["signals"], "what is there is not fetched again")
	require.Len(t, c.shop.calls(), 10+20*2)
}

// How far a sweep is shows while it is under way, and its partitions are made
// once, although it is visited again and again.
func TestASweepUnderWayShowsItsProgress(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(30, 1)
	m := c.member("a")
	made := 0
	m.Store = checkedTasks{c.store, func(task *storage.Task) {
		if task.Parent == "sweep_1" {
			made++
		}
	}}
	c.create(&storage.Task{ID: "sweep_1", Kind: kindSweep, Source: "shop"})
	visit := func() { require.ErrorIs(t, m.visit(c.ctx, "sweep_1", nil, once(m.compare)), errLater) }
	visit()
	require.Equal(t, 1, made)
	require.NoError(t, m.visit(c.ctx, "sweep_1/customer", nil, once(m.comparePart)))
	before := made
	c.clock.move(sumEvery)
	for range 3 {
		visit()
	}
	require.Equal(t, before, made)
	counts := c.task("sweep_1").Counts
	require.EqualValues(t, 30, counts["entities"])
	require.EqualValues(t, 1, counts["done"])
}

// Events that cannot be read name no entity to fetch; a warning says so.
func TestABackfillSinceCountsWhatItCannotRead(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.mu.Lock()
	c.shop.events = []string{`7`}
	c.shop.mu.Unlock()
	task := c.sweepBy(modeBackfill, storage.SweepSpec{Since: c.clock.now().Add(-24 * time.Hour)}, c.replica("a"))
	require.Equal(t, storage.TaskDone, task.Status, task.Error)
	require.EqualValues(t, 1, task.Counts["unreadable"])
}

// Only what an event since then names, and has not been looked at since.
func TestABackfillSince(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(2, 3)
	now := c.clock.now()
	c.shop.happen("old", "order.made", now.Add(-48*time.Hour), "customer", "c0", "order", "o0_0")
	c.shop.happen("new", "order.made", now.Add(-2*time.Hour), "customer", "c0", "order", "o0_1")
	c.shop.happen("seen", "order.made", now.Add(-time.Hour), "customer", "c1", "order", "o1_1")
	c.sync(event.Ref{Key: c.key("order", "o1_1"), Parents: map[string]string{"customer": "c1"}})
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		for c.ctx.Err() == nil {
			if n, err := c.finder.backlog(c.ctx); err == nil && n >= 5 {
				break
			}
			loops.Sleep(c.ctx, 5*time.Millisecond)
		}
		c.work()
	}()
	task := c.sweepBy(modeBackfill, storage.SweepSpec{Since: now.Add(-24 * time.Hour)}, c.replica("a"))
	<-worked
	require.Equal(t, storage.TaskDone, task.Status, task.Error)
	require.EqualValues(t, 5, task.Counts["signals"], "order, customer and balance of the one; customer and balance of the other")
	require.Len(t, c.documents(), 6)
}

func TestTasksThatMakeNoSense(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	task := c.sweepBy(modeSweep, storage.SweepSpec{Kinds: []string{"moon"}}, c.replica("a"))
	require.Equal(t, storage.TaskFailed, task.Status)
	require.Contains(t, task.Error, `no kind "moon"`)
	e := c.replica("a").engine
	none := func(context.Context) error { return nil }
	_, err := e.sweep(c.ctx, &storage.Task{ID: "x", Kind: "sweep", Source: "elsewhere"}, none)
	require.ErrorContains(t, err, "elsewhere")
	require.Error(t, e.partition(c.ctx, &storage.Task{ID: "x", Source: "shop", Spec: []byte(`{`)}, none))
	require.ErrorContains(t, e.partition(c.ctx, &storage.Task{ID: "x", Source: "shop", Spec: []byte(`{"root":"moon"}`)}, none), "moon")
	require.Error(t, e.gaps(c.ctx, &storage.Task{ID: "x", Source: "shop", State: []byte(`{`)}, none))
}

// The standing search finds an event within one interval, resumes where its
// predecessor was, and reports what is wrong.
func TestTheStandingSearch(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.finder.settings.Gaps = config.Gaps{Every: 200 * time.Millisecond, Overlap: time.Minute}
	task := &storage.Task{ID: gapsID("shop"), Kind: "gaps", Source: "shop", Status: storage.TaskWaiting, By: "schedule", CreatedAt: c.clock.now()}
	require.NoError(t, c.store.CreateTasks(c.ctx, []*storage.Task{task}))
	for n := range 2 { // the second replica goes on where the first was killed
		ctx, kill := context.WithCancel(c.ctx)
		done := make(chan struct{})
		go func() { defer close(done); c.replica(fmt.Sprintf("r%d", n)).run(ctx) }()
		c.eventually("the first search is over", func() bool {
			saved, err := c.store.Task(c.ctx, task.ID)
			return err == nil && len(saved.State) > 0
		})
		c.shop.happen(fmt.Sprintf("evt_%d", n), "order.made", c.clock.now(), "customer", "c0", "order", "o0_0")
		lost := time.Now()
		require.Eventually(t, func() bool {
			for _, e := range c.work() {
				if e.Signal.CauseID == fmt.Sprintf("evt_%d", n) {
					return true
				}
			}
			return false
		}, time.Minute, 5*time.Millisecond)
		t.Log("found after", time.Since(lost))
		require.Eventually(t, func() bool {
			saved, err := c.store.Task(c.ctx, task.ID)
			return err == nil && saved.Counts["found"] >= int64(n+1) && saved.Counts["api_calls"] > 0
		}, time.Minute, 5*time.Millisecond)
		kill()
		<-done
	}
	require.Len(t, c.recorded(), 2)

	c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/events" {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{}`)
		}
		return r.URL.Path == "/events"
	})
	ctx, kill := context.WithCancel(c.ctx)
	done := make(chan struct{})
	go func() { defer close(done); c.replica("r3").run(ctx) }()
	require.Eventually(t, func() bool {
		saved, err := c.store.Task(c.ctx, task.ID)
		return err == nil && strings.Contains(saved.Error, "HTTP 400")
	}, time.Minute, 5*time.Millisecond)
	c.shop.interfere(nil)
	require.Eventually(t, func() bool {
		saved, err := c.store.Task(c.ctx, task.ID)
		return err == nil && saved.Error == "" && saved.Status == storage.TaskRunning
	}, time.Minute, 5*time.Millisecond)
	kill()
	<-done
}

// A requested search reads the list once, from the requested time.
func TestASearchByHand(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.shop.happen("old", "order.made", c.clock.now().Add(-300*time.Hour), "customer", "c0", "order", "o0_0")
	task := c.sweepBy("gaps", storage.SweepSpec{Since: c.clock.now().Add(-400 * time.Hour)}, c.replica("a"))
	require.Equal(t, storage.TaskDone, task.Status, task.Error)
	require.EqualValues(t, 1, task.Counts["found"])
	require.EqualValues(t, 1, task.Counts["api_calls"])
	require.Len(t, c.work(), 1)
}

// The rate of a sweep holds for all replicas that work on it together.
func TestASweepWithARateOfItsOwn(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(4, 0)
	require.NoError(t, c.finder.noteSwept(c.ctx, c.finder.kinds(), "test")) // it fills nothing
	begun := time.Now()
	c.sweepBy(modeSweep, storage.SweepSpec{Rate: 20}, c.replica("a"), c.replica("b"))
	// 2 pages of customers, 4 empty lists of orders; the first is free.
	require.GreaterOrEqual(t, time.Since(begun), 5*50*time.Millisecond*8/10)
	c.entries()
}

// All replicas together keep the fleet's budget.
func TestABudgetIsKept(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(5, 2)
	c.finder.rate = func() stream.Rate { return stream.Rate{Limit: 50, Per: time.Second} }
	begun := time.Now()
	s := &survey{finder: c.finder, mode: modeVerify, id: "x", begun: c.clock.now(), counts: map[string]int64{}, failed: map[string]bool{}}
	require.NoError(t, s.list(c.ctx, c.def.Kind("customer"), nil, &place{}, func([]provider.Item) error { return nil }))
	for range 40 {
		require.NoError(t, s.list(c.ctx, c.def.Kind("order"), map[string]string{"customer": "c0"}, &place{}, func([]provider.Item) error { return nil }))
	}
	require.EqualValues(t, 43, s.calls)
	require.GreaterOrEqual(t, time.Since(begun), (43-11)*time.Second/50*8/10)
}
