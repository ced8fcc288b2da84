package speed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tarn-sync/tarn/deployments/bench/receiver"
	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/shared/identity"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/open"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// setup says what a lab is made of. Zero values mean the defaults of the settings.
type setup struct {
	// dir is where everything is kept; "": a temporary directory.
	dir string
	// store is the URL of the store; "": a fresh SQLite file, or a fresh database of
	// the MongoDB that mongo is the URI of.
	store, mongo string
	// bulk is how many operations a command of MongoDB has, at most.
	bulk int
	// fsync is Redis' appendfsync.
	fsync string
	// shards is how many there are, sources how many sources of the same provider.
	shards, sources int
	// concurrency is how many requests a worker has under way at once. There is no
	// rate limit.
	concurrency int
	// leaseTTL is that of leases this process takes; workers have the default.
	leaseTTL time.Duration
	// settings are further lines of the settings file.
	settings string
}

// lab is a Redis, a store and a provider, without a worker yet.
type lab struct {
	setup
	programs *fleet.Programs
	redis    *redistest.Process
	client   *redis.Client
	streams  *stream.Streams
	store    storage.Store
	provider *child
	api      string // the provider's address
	file     string // the settings

	cleanups []func() error
}

var quiet = slog.New(slog.DiscardHandler)

// newLab starts what a worker needs. close ends it.
func newLab(ctx context.Context, programs *fleet.Programs, s setup) (_ *lab, err error) {
	l := &lab{setup: s, programs: programs}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	temp, err := os.MkdirTemp(s.dir, "tarn-speed-")
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	l.dir = temp
	l.later(func() error { return os.RemoveAll(temp) })
	for _, step := range []func(context.Context) error{l.startRedis, l.openStore, l.startProvider} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return l, l.writeSettings()
}

func (l *lab) startRedis(ctx context.Context) (err error) {
	l.redis, err = redistest.Launch(ctx, l.dir, redistest.Appendfsync(l.fsync), redistest.Setting("maxmemory-policy", "noeviction"))
	if err != nil {
		return err
	}
	l.later(func() error { l.redis.Kill(); return nil })
	l.client = redis.NewClient(&redis.Options{Addr: l.redis.Addr(), Protocol: 2, DisableIdentity: true})
	l.later(l.client.Close)
	l.streams, err = stream.Open(ctx, stream.Options{URLs: []string{l.redis.URL()}, Shards: l.shards, LeaseTTL: l.leaseTTL, Logger: quiet})
	if err == nil {
		l.later(l.streams.Close)
	}
	return err
}

// openStore opens the store and has it and Redis agree on their fleet, as the first
// process of a fleet does, so that events may come before the worker.
func (l *lab) openStore(ctx context.Context) (err error) {
	switch {
	case l.setup.store != "":
	case l.mongo != "":
		var drop func() error
		if l.setup.store, drop, err = freshDatabase(ctx, l.mongo); err != nil {
			return err
		}
		l.later(drop)
	default:
		l.setup.store = "sqlite://" + filepath.Join(l.dir, "tarn.db")
	}
	if l.store, err = open.Open(ctx, open.Options{URL: l.setup.store, BulkSize: l.bulk, Logger: quiet}); err != nil {
		return err
	}
	l.later(l.store.Close)
	return identity.New(identity.Options{Queue: l.streams, Store: l.store, Logger: quiet}).Start(ctx)
}

func (l *lab) startProvider(ctx context.Context) (err error) {
	if l.api, err = fleet.FreeAddr(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this binary: %w", err)
	}
	l.provider, err = start("provider", filepath.Join(l.dir, "provider.log"), self, nil, ProviderMode, "-addr", l.api)
	if err != nil {
		return err
	}
	l.later(l.provider.stop)
	return l.provider.answers(ctx, "http://"+l.api+comeUp)
}

// names are the sources.
func (l *lab) names() []string {
	all := []string{sourceName}
	for i := 2; i <= l.sources; i++ {
		all = append(all, fmt.Sprintf("%s%d", sourceName, i))
	}
	return all
}

func (l *lab) writeSettings() error {
	text := fmt.Sprintf("redis: {url: %q}\nstore: {url: %q, bulk: %d}\nshards: %d\nlog: {level: warn}\n%s\nsources:\n",
		l.redis.URL(), l.setup.store, cmp.Or(l.bulk, 1000), l.shards, l.settings)
	for _, name := range l.names() {
		text += fmt.Sprintf("  %s:\n    provider: lemon\n    api_url: http://%s/v1\n    api_key: bench-api-key-0123\n"+
			"    webhook_secrets: [%s]\n    rate: {limit: 0, concurrency: %d}\n", name, l.api, receiver.Secret, l.concurrency)
	}
	l.file = filepath.Join(l.dir, "tarn.yaml")
	if err := os.WriteFile(l.file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}

// profiles are files a worker writes when it ends; "": none.
type profiles struct{ cpu, allocs, heap string }

// startWorker starts a worker and waits until it says that it is ready.
func (l *lab) startWorker(ctx context.Context, p profiles) (*child, error) {
	path, args, env := "", []string{"--config", l.file}, []string(nil)
	if p != (profiles{}) {
		var err error
		if path, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("find this binary: %w", err)
		}
		env = []string{envCPU + "=" + p.cpu, envAllocs + "=" + p.allocs, envHeap + "=" + p.heap}
		args = slices.Insert(args, 0, WorkerMode)
	}
	w, _, err := l.startProgram(ctx, "worker", fleet.Worker, path, env, args)
	return w, err
}

// startProgram starts a program of Tarn, from path if it is not "", and waits until it
// is ready. addr is where it listens.
func (l *lab) startProgram(ctx context.Context, name, program, path string, env, args []string) (p *child, addr string, err error) {
	if path == "" {
		if path, err = l.programs.Path(ctx, program, false); err != nil {
			return nil, "", err
		}
	}
	if addr, err = fleet.FreeAddr(); err != nil {
		return nil, "", err
	}
	p, err = start(name, filepath.Join(l.dir, name+".log"), path, append(env, "TARN_HTTP__ADDR="+addr), args...)
	if err != nil {
		return nil, "", err
	}
	if err := p.answers(ctx, "http://"+addr+"/readyz"); err != nil {
		return nil, "", errors.Join(err, p.stop())
	}
	return p, addr, nil
}

// backlog returns how many live entries are not acked, and parked entities. What a
// worker that holds too much moves back to Redis is parked too.
func (l *lab) backlog(ctx context.Context) (n int64, err error) {
	pipe := l.client.Pipeline()
	var counts []*redis.IntCmd
	for shard := range l.shards {
		for _, name := range l.names() { // the keys are those of package stream
			counts = append(counts, pipe.XLen(ctx, fmt.Sprintf("{tarn:%d}:live:%s", shard, name)),
				pipe.ZCard(ctx, fmt.Sprintf("{tarn:%d}:due:%s", shard, name)))
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, fmt.Errorf("count what waits: %w", err)
	}
	for _, c := range counts {
		n += c.Val()
	}
	return n, nil
}

// drained waits until no live entry and no parked entity is left.
func (l *lab) drained(ctx context.Context, w *child, within time.Duration) error {
	var left int64
	empty := 0
	return fleet.WaitFor(ctx, within, func() string { return fmt.Sprintf("%d entries wait", left) }, func() (_ bool, err error) {
		if left, err = l.backlog(ctx); err != nil {
			return false, err
		}
		if left > 0 {
			empty = 0
		} else {
			empty++
		}
		// During one look an event may have left a shard that was looked at late,
		// and its further signals come to one that was looked at early. They lead
		// to nothing further, so a second look finds them.
		return empty == 2, w.died()
	})
}

// settled returns an error if an event of the log is not processed.
func (l *lab) settled(ctx context.Context) error {
	for _, status := range []storage.EventStatus{storage.Pending, storage.Retrying, storage.Dead} {
		page, err := l.store.Events(ctx, storage.EventFilter{Status: status, Limit: 1})
		if err != nil {
			return fmt.Errorf("look for open events: %w", err)
		}
		if len(page.Items) > 0 {
			return fmt.Errorf("nothing waits in Redis, and event %s is %s: %s", page.Items[0].ID, status, page.Items[0].Error)
		}
	}
	return nil
}

func (l *lab) close() error {
	var all []error
	for _, c := range slices.Backward(l.cleanups) {
		all = append(all, c())
	}
	return errors.Join(all...)
}

func (l *lab) later(c func() error) { l.cleanups = append(l.cleanups, c) }
