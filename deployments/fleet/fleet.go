package fleet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/open"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// startWithin is how long a program may take until it is ready.
const startWithin = time.Minute

// Fleet is Tarn and its surroundings, running.
type Fleet struct {
	// Redis is the server, and Link the proxy through which the members reach it. Both are
	// nil if the plan names a Redis that is there.
	Redis *redistest.Process
	Link  *redistest.Proxy
	// Database is the store from outside, Store a store of our own on it.
	Database Database
	Store    storage.Store
	// Streams is a client of our own, without the link.
	Streams *stream.Streams
	// Simulator is the provider.
	Simulator *Simulator

	plan     Plan
	programs *Programs
	settings string
	// redisURLs are the addresses of Redis that members get, ownURLs those for our own client.
	redisURLs, ownURLs []string
	balancer           *balancer
	ours               bool // the directory goes with the fleet

	mu      sync.Mutex // of what follows, and of the plan's faults
	members []*Member
	named   map[string]int // how many members of a program were named

	watch    sync.WaitGroup
	unwatch  context.CancelFunc
	cleanups []func()
}

// Start starts all of a plan and waits until every member is ready. Close ends it.
func Start(ctx context.Context, programs *Programs, plan Plan) (_ *Fleet, err error) {
	f := &Fleet{plan: plan.withDefaults(), programs: programs, unwatch: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if f.plan.Dir == "" {
		if f.plan.Dir, err = os.MkdirTemp("", "tarn-fleet-"); err != nil {
			return nil, fmt.Errorf("make a directory for the fleet: %w", err)
		}
		f.ours = true
	}
	for _, step := range []func(context.Context) error{f.startRedis, f.startDatabase, f.startSimulator, f.startMembers} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f.unwatch = cancel
	f.watch.Go(func() { f.watchMetrics(watching) })
	return f, nil
}

func (f *Fleet) startRedis(ctx context.Context) error {
	f.redisURLs, f.ownURLs = f.plan.RedisURLs, f.plan.RedisOwn
	if len(f.ownURLs) == 0 {
		f.ownURLs = f.redisURLs
	}
	if len(f.redisURLs) == 0 {
		if err := f.launchRedis(ctx); err != nil {
			return err
		}
		f.redisURLs, f.ownURLs = []string{f.Link.URL()}, []string{f.Redis.URL()}
	}
	return f.openStreams(ctx)
}

func (f *Fleet) openStreams(ctx context.Context) error {
	s, err := stream.Open(ctx, stream.Options{URLs: f.ownURLs, Prefix: f.plan.Prefix, Shards: f.plan.Shards, Logger: quiet})
	if err != nil {
		return err
	}
	f.Streams = s
	f.later(func() { _ = s.Close() })
	return nil
}

// launchRedis starts a server and a link before it.
func (f *Fleet) launchRedis(ctx context.Context) error {
	dir := filepath.Join(f.plan.Dir, "redis")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of redis: %w", err)
	}
	var err error
	f.Redis, err = redistest.Launch(ctx, dir, redistest.Appendfsync(f.plan.Fsync), redistest.Setting(f.plan.Redis...))
	if err != nil {
		return err
	}
	f.later(f.Redis.Kill)
	if f.Link, err = redistest.Before(f.Redis.Addr()); err != nil {
		return err
	}
	f.later(f.Link.Close)
	return nil
}

var quiet = slog.New(slog.DiscardHandler)

func (f *Fleet) startDatabase(ctx context.Context) error {
	if f.plan.MongoDB {
		m, err := startMongo(ctx, f.plan.Dir, f.plan.Journal)
		if err != nil {
			return err
		}
		f.Database = m
	} else {
		f.Database = &sqliteFile{filepath.Join(f.plan.Dir, "tarn.db"), f.plan.Journal}
	}
	f.later(f.Database.close)
	var err error
	f.Store, err = open.Open(ctx, open.Options{URL: f.Database.URL(), BulkSize: f.plan.bulk(), Logger: quiet})
	if err != nil {
		return err
	}
	f.later(func() { _ = f.Store.Close() })
	return f.Database.opened(ctx)
}

func (f *Fleet) startSimulator(ctx context.Context) error {
	balancer, hooks, err := newBalancer()
	if err != nil {
		return err
	}
	f.balancer = balancer
	f.later(balancer.close)
	f.Simulator, err = startSimulator(ctx, f.programs, f.plan, "http://"+hooks+"/webhooks/"+Source)
	if err != nil {
		return err
	}
	f.later(f.Simulator.process.kill)
	if f.plan.Hurried {
		if f.plan.Definition, err = f.plan.hurry(ctx); err != nil {
			return err
		}
	}
	return f.writeSettings()
}

func (f *Fleet) writeSettings() error {
	redis, store, provider, err := f.seen()
	if err != nil {
		return err
	}
	f.settings, err = f.plan.writeSettings(redis, store, provider)
	return err
}

func (f *Fleet) startMembers(ctx context.Context) error {
	for _, of := range []struct {
		program string
		n       int
	}{{API, f.plan.APIs}, {Worker, f.plan.Workers}, {Reconciler, f.plan.Reconcilers}} {
		for range of.n {
			if _, err := f.Add(ctx, of.program); err != nil {
				return err
			}
		}
	}
	for _, m := range f.Members("") {
		if err := m.WaitReady(ctx, startWithin); err != nil {
			return err
		}
	}
	return nil
}

// Add starts one more member of a program. It does not wait for it.
func (f *Fleet) Add(ctx context.Context, program string) (*Member, error) {
	m, err := f.newMember(ctx, program, f.nextName(program))
	if err != nil {
		return nil, err
	}
	if err := m.Start(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.members = append(f.members, m)
	f.mu.Unlock()
	if program == API {
		f.balancer.add(m.Addr)
	}
	return m, nil
}

// Use has members that are added from now on run other programs.
func (f *Fleet) Use(p *Programs) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.programs = p
}

// Remove stops a member, to which no webhooks are sent any more.
func (f *Fleet) Remove(m *Member) error {
	f.balancer.remove(m.Addr)
	return m.Stop()
}

// nextName returns the name of a program's next member. It is not used again, also if
// that member cannot be started.
func (f *Fleet) nextName(program string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.named == nil {
		f.named = map[string]int{}
	}
	f.named[program]++
	return fmt.Sprintf("%s %d", strings.TrimSuffix(program, "/cmd"), f.named[program])
}

// SetFaults changes TARN_FAULT of a program for members that are added from now
// on. "" is the ordinary build.
func (f *Fleet) SetFaults(program, faults string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[string]string{}
	for p, v := range f.plan.Faults {
		all[p] = v
	}
	all[program] = faults
	f.plan.Faults = all
}

// Members returns the members of a program in the order they were added, ""
// for all, whether they run or not.
func (f *Fleet) Members(program string) []*Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.members), func(m *Member) bool { return program != "" && m.Program != program })
}

// Died returns an error if a member ended by itself.
func (f *Fleet) Died() error {
	var all []error
	for _, m := range f.Members("") {
		all = append(all, m.Died())
	}
	return errors.Join(all...)
}

// Dir is where everything is kept.
func (f *Fleet) Dir() string { return f.plan.Dir }

// LeaseTTL is that of the fleet.
func (f *Fleet) LeaseTTL() time.Duration { return f.plan.LeaseTTL }

// Close ends everything at once. A directory of its own is removed.
func (f *Fleet) Close() error {
	f.unwatch()
	f.watch.Wait()
	for _, m := range f.Members("") {
		m.Kill()
	}
	for _, c := range slices.Backward(f.cleanups) {
		c()
	}
	if f.ours {
		return os.RemoveAll(f.plan.Dir)
	}
	return nil
}

func (f *Fleet) later(c func()) { f.cleanups = append(f.cleanups, c) }

// eachLine gives the lines of a file to f; none if it cannot be read.
func eachLine(path string, f func([]byte)) {
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer func() { _ = file.Close() }() // read only
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		f(lines.Bytes())
	}
}
