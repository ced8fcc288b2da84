package speed

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/open"
	"github.com/tarn-sync/tarn/shared/stream"
)

// Steps measures each step of an event's way by itself, in batches and with as many at
// once as a worker has, and what the machine takes at least.
func Steps(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("steps", flag.ContinueOnError)
	events := flags.Int("events", 5000, "events, each of one entity of its own")
	looks := flags.Int("looks", 200, "times what the machine takes at least is measured")
	var s setup
	s.flags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	s.leaseTTL = time.Hour // nothing renews them
	return withPrograms(ctx, func(programs *fleet.Programs) (err error) {
		s.write(out)
		l, err := newLab(ctx, programs, s)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.close()) }()
		w, err := newWay(l, *events)
		if err != nil {
			return err
		}
		defer w.client.Close()
		if err := w.measure(ctx, out); err != nil {
			return err
		}
		return floor(ctx, out, l, *looks)
	})
}

// way is the way of some events, step by step.
type way struct {
	*lab
	n      int
	client *provider.Client

	leases  []*stream.Lease
	entries []event.Entry
	shards  []int // of the entries
	claims  []int64
	states  []*provider.Snapshot
}

func newWay(l *lab, n int) (*way, error) {
	lemon, err := provider.Builtin("lemon")
	if err != nil {
		return nil, err
	}
	client, err := provider.NewClient(lemon, provider.ClientOptions{
		BaseURL: "http://" + l.api + "/v1", Key: "bench-api-key-0123", Concurrency: l.concurrency,
	})
	return &way{lab: l, n: n, client: client, claims: make([]int64, n), states: make([]*provider.Snapshot, n)}, err
}

// batch is how many events a step takes at once where it takes batches.
const batch = 500

// stepsOf are the steps in order. What has no name is not measured.
var stepsOf = []struct {
	name string
	do   func(w *way, ctx context.Context) error
}{
	{"append", (*way).append},
	{"", (*way).acquire},
	{"read", (*way).read},
	{"log", (*way).log},
	{"lock", (*way).lock},
	{"claim", (*way).claim},
	{"fetch", (*way).fetch},
	{"write", (*way).write},
	{"settle", (*way).settle},
	{"ack", (*way).ack},
}

// spent is what one step has cost.
type spent struct {
	wall, cpu time.Duration
	redis     redisUse
	disk      int64 // bytes this process had written
}

// measure does the steps one after the other and writes what an event costs in each.
func (w *way) measure(ctx context.Context, out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "step\twall µs\tCPU µs\tRedis' CPU µs\tRedis reads\tbytes to Redis\tfrom Redis\tto disk\t")
	line := func(name string, s spent) {
		n := float64(w.n)
		fmt.Fprintf(table, "%s\t%.1f\t%.1f\t%.1f\t%.3f\t%.0f\t%.0f\t%.0f\t\n", name, float64(s.wall.Nanoseconds())/1e3/n, float64(s.cpu.Nanoseconds())/1e3/n,
			float64(s.redis.cpu.Nanoseconds())/1e3/n, float64(s.redis.reads)/n, float64(s.redis.bytesIn)/n, float64(s.redis.bytesOut)/n, float64(s.disk)/n)
	}
	var all spent
	for _, step := range stepsOf {
		s, err := w.step(ctx, step.do)
		if err != nil {
			return fmt.Errorf("step %s: %w", step.name, err)
		}
		if step.name == "" {
			continue
		}
		line(step.name, s)
		all.wall, all.cpu, all.disk = all.wall+s.wall, all.cpu+s.cpu, all.disk+s.disk
		all.redis.cpu, all.redis.reads = all.redis.cpu+s.redis.cpu, all.redis.reads+s.redis.reads
		all.redis.bytesIn, all.redis.bytesOut = all.redis.bytesIn+s.redis.bytesIn, all.redis.bytesOut+s.redis.bytesOut
	}
	line("all", all)
	return table.Flush()
}

func (w *way) step(ctx context.Context, do func(*way, context.Context) error) (s spent, err error) {
	used, err := redisUsed(ctx, w.lab.client)
	if err != nil {
		return s, err
	}
	cpu, disk, err := selfUsed()
	if err != nil {
		return s, err
	}
	began := time.Now()
	if err := do(w, ctx); err != nil {
		return s, err
	}
	s.wall = time.Since(began)
	nowCPU, nowDisk, err := selfUsed()
	if err != nil {
		return s, err
	}
	s.cpu, s.disk = nowCPU-cpu, nowDisk-disk
	now, err := redisUsed(ctx, w.lab.client)
	s.redis = now.since(used)
	return s, err
}

// selfUsed returns the CPU time of this process and the bytes it had written to disk.
func selfUsed() (cpu time.Duration, disk int64, err error) {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0, 0, fmt.Errorf("read the CPU time of this process: %w", err)
	}
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, 0, fmt.Errorf("read what this process has written: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "write_bytes:"); ok {
			disk, err = strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano()), disk, err
}

func (w *way) append(ctx context.Context) error { return shapes[0].fill(ctx, w.streams, 0, w.n) }

// acquire takes all leases and puts reads in step.
func (w *way) acquire(ctx context.Context) error {
	for shard := range w.lab.shards {
		lease, err := w.streams.Acquire(ctx, shard, "bench", w.names())
		if err != nil {
			return err
		}
		if _, err := lease.TakeOver(ctx, sourceName, event.TierLive, func([]event.Entry) error { return nil }); err != nil {
			return err
		}
		w.leases = append(w.leases, lease)
	}
	return nil
}

func (w *way) read(ctx context.Context) error {
	for shard, lease := range w.leases {
		for {
			page, err := lease.Read(ctx, sourceName, event.TierLive, stream.Limits{})
			if err != nil {
				return err
			}
			if len(page) == 0 {
				break
			}
			w.entries = append(w.entries, page...)
			for range page {
				w.shards = append(w.shards, shard)
			}
		}
	}
	if len(w.entries) != w.n {
		return fmt.Errorf("%d of %d events were read", len(w.entries), w.n)
	}
	return nil
}

func (w *way) log(ctx context.Context) error {
	return w.batches(func(from, to int) error {
		arrivals := make([]storage.Arrival, 0, to-from)
		for i := from; i < to; i++ {
			arrivals = append(arrivals, storage.Arrival{Event: w.entries[i].Signal.Body, Signal: w.signal(i)})
		}
		_, err := w.store.Log(ctx, arrivals)
		return err
	})
}

func (w *way) lock(ctx context.Context) error {
	return w.each(ctx, func(i int) error {
		unlock, ok := w.streams.Lock(ctx, w.ref(i).Key)
		if !ok {
			return fmt.Errorf("%s is locked", w.ref(i).Key)
		}
		unlock()
		return nil
	})
}

func (w *way) claim(ctx context.Context) error {
	return w.each(ctx, func(i int) error {
		doc, err := w.store.Claim(ctx, w.ref(i))
		if err == nil {
			w.claims[i] = doc.Claim
		}
		return err
	})
}

func (w *way) fetch(ctx context.Context) error {
	return w.each(ctx, func(i int) (err error) {
		w.states[i], err = w.client.Fetch(ctx, w.ref(i), "bench")
		return err
	})
}

func (w *way) write(ctx context.Context) error {
	return w.each(ctx, func(i int) error {
		s, e := w.states[i], w.entries[i].Signal.Body
		done, err := w.store.Write(ctx, &storage.Write{
			Ref: w.ref(i), Claim: w.claims[i], SentAt: s.SentAt, Raw: s.Raw, StateHash: s.Hash, Status: s.Status, Terminal: s.Terminal,
			LastEvent: storage.LastEvent{ID: e.ID, Type: e.Type, CreatedAt: e.CreatedAt},
		})
		if err == nil && !done.Applied {
			err = fmt.Errorf("%s was not written", w.ref(i).Key)
		}
		return err
	})
}

func (w *way) settle(ctx context.Context) error {
	return w.batches(func(from, to int) error {
		list := make([]storage.Settlement, 0, to-from)
		for i := from; i < to; i++ {
			list = append(list, storage.Settlement{
				Source: sourceName, EventID: w.entries[i].Signal.Body.ID, Entity: w.ref(i).Key, Signal: w.signal(i), At: time.Now().UTC(),
				CoveredBy: storage.Covered{Claim: w.claims[i], FetchedAt: w.states[i].SentAt, Signal: w.entries[i].ID, StateHash: w.states[i].Hash},
			})
		}
		return w.store.Settle(ctx, list)
	})
}

func (w *way) ack(ctx context.Context) error {
	ids, events := map[int][]string{}, map[int][]string{}
	for i, e := range w.entries {
		ids[w.shards[i]] = append(ids[w.shards[i]], e.ID)
		events[w.shards[i]] = append(events[w.shards[i]], e.Signal.Body.ID)
	}
	for shard, lease := range w.leases {
		if err := lease.Ack(ctx, sourceName, event.TierLive, ids[shard], events[shard]); err != nil {
			return err
		}
	}
	return nil
}

func (w *way) ref(i int) event.Ref { return w.entries[i].Signal.Ref }

func (w *way) signal(i int) storage.SignalID {
	return storage.SignalID{Shard: w.shards[i], ID: w.entries[i].ID}
}

// batches calls do for all events, a batch at a time.
func (w *way) batches(do func(from, to int) error) error {
	for from := 0; from < w.n; from += batch {
		if err := do(from, min(from+batch, w.n)); err != nil {
			return err
		}
	}
	return nil
}

// each calls do for all events, as many at once as a worker has requests under way.
func (w *way) each(ctx context.Context, do func(i int) error) error {
	var all errgroup.Group
	all.SetLimit(w.concurrency)
	for i := range w.n {
		if ctx.Err() != nil {
			break
		}
		all.Go(func() error { return do(i) })
	}
	return errors.Join(all.Wait(), ctx.Err())
}

// floor measures what the machine takes for one thing at a time: nothing that is durable
// before its answer can be sooner, and no step that asks another process.
func floor(ctx context.Context, out io.Writer, l *lab, looks int) (err error) {
	file, err := os.Create(filepath.Join(l.dir, "synced"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	store, err := open.Open(ctx, open.Options{URL: "sqlite://" + filepath.Join(l.dir, "commit.db"), Logger: quiet})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	page := make([]byte, 4096)
	for _, f := range []struct {
		name string
		do   func(i int) error
	}{
		{"fsync of 4 KiB, as of Redis with AOF always", func(int) error {
			_, err := file.Write(page)
			return errors.Join(err, file.Sync())
		}},
		{"commit of a SQLite store, synchronous FULL", func(i int) error {
			return store.Note(ctx, []storage.Note{{ID: "note_" + strconv.Itoa(i), At: time.Now().UTC(), Source: sourceName, Kind: "bench", Count: 1}})
		}},
		{"PING of Redis", func(int) error { return l.client.Ping(ctx).Err() }},
		{"HTTP request to the provider, which answers from memory", func(int) error {
			_, err := get(ctx, "http://"+l.api+"/v1/accounts")
			return err
		}},
	} {
		took := make([]time.Duration, looks)
		for i := range took {
			began := time.Now()
			if err := f.do(i); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			took[i] = time.Since(began)
		}
		fmt.Fprintf(out, "%s: p50=%.3fms p99=%.3fms\n", f.name, ms(percentile(took, 0.5)), ms(percentile(took, 0.99)))
	}
	return nil
}
