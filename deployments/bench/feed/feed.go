package feed

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// The limits.
const (
	latencyWithin = 250 * time.Millisecond // p99
	changesWanted = 5000                   // a second
	memoryWithin  = 64 << 10               // bytes a consumer
	// Documents a second of a snapshot.
	snapshotSQLite, snapshotMongo = 20000, 10000
)

// Commands are the measurements, by name.
var Commands = map[string]func(ctx context.Context, args []string, out io.Writer) error{"feed": Feed}

// errMissed is the error of -check.
var errMissed = errors.New("a limit was missed")

// bench is one measurement under way.
type bench struct {
	*fleet.Fleet
	out       io.Writer
	documents int
	events    int
	rate      float64
	consumers int
	mongo     bool
	missed    bool
}

// Feed measures the change feed.
func Feed(ctx context.Context, args []string, out io.Writer) (err error) {
	b := &bench{out: out}
	flags := flag.NewFlagSet("feed", flag.ContinueOnError)
	flags.IntVar(&b.documents, "documents", 50_000, "documents of the mirror")
	flags.IntVar(&b.events, "events", 1000, "events whose changes are timed")
	flags.Float64Var(&b.rate, "rate", 50, "of them a second")
	flags.IntVar(&b.consumers, "consumers", 1000, "consumers of streams whose memory is measured")
	flags.BoolVar(&b.mongo, "mongo", false, "with FerretDB, whose figures say little about MongoDB; use fewer documents")
	check := flags.Bool("check", false, "fail if a limit is missed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	programs, err := fleet.NewPrograms()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, programs.Close()) }()
	plan := fleet.Plan{
		APIs: 1, MongoDB: b.mongo, Shards: 16, Rate: 2000, Reconcile: "{gaps: {every: 24h}, sweep: {every: 168h}}", Level: "warn",
	}
	if err := b.with(ctx, programs, plan, b.fill, b.snapshot, b.changes, b.latency); err != nil {
		return err
	}
	plan.Workers, plan.Reconcilers = 1, 1
	if err := b.with(ctx, programs, plan, b.memory); err != nil {
		return err
	}
	if *check && b.missed {
		return errMissed
	}
	return nil
}

// with measures in a fleet.
func (b *bench) with(ctx context.Context, programs *fleet.Programs, plan fleet.Plan, steps ...func(context.Context) error) (err error) {
	b.Fleet, err = fleet.Start(ctx, programs, plan)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// tell prints a line that ends with whether the limit was kept.
func (b *bench) tell(held bool, format string, args ...any) {
	word := "held"
	if !held {
		word, b.missed = "MISSED", true
	}
	fmt.Fprintf(b.out, format+": %s\n", append(args, word)...)
}

// state is what each document has, about as long as an order.
const state = `{"id":%q,"account":"cusa_bench","isin":"DE0007236101","side":"buy","quantity":"10","order_type":"limit","limit_price":"124.5600","status":"executed","executed_quantity":"10","created_at":"2026-03-01T12:00:00.000Z","updated_at":"2026-03-01T12:00:01.000Z","venue":"munc","expires_at":"2026-03-02T22:00:00.000Z","history":[{"status":"draft","timestamp":"2026-03-01T12:00:00.000Z"},{"status":"open","timestamp":"2026-03-01T12:00:00.500Z"},{"status":"executed","timestamp":"2026-03-01T12:00:01.000Z"}]}`

// atOnce is how many documents are written at the same time.
const atOnce = 64

// fill writes the documents, and leaves a hint of each as a worker does.
func (b *bench) fill(ctx context.Context) error {
	keys := make([]event.Key, b.documents)
	for i := range keys {
		keys[i] = event.Key{Source: fleet.Source, Kind: "order", ID: fmt.Sprintf("bord_%07d", i)}
	}
	errs := make(chan error, atOnce)
	var writing sync.WaitGroup
	for part := range slices.Chunk(keys, (len(keys)+atOnce-1)/atOnce) {
		writing.Go(func() {
			for _, k := range part {
				if err := b.write(ctx, k); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	writing.Wait()
	close(errs)
	if err := <-errs; err != nil {
		return err
	}
	hints := map[int][]stream.Hint{}
	for _, k := range keys {
		shard := k.Shard(b.Streams.Shards())
		hints[shard] = append(hints[shard], stream.Hint{Key: k, Version: 1})
	}
	for shard, of := range hints {
		lease, err := b.Streams.Acquire(ctx, shard, "bench", []string{fleet.Source})
		if err != nil {
			return err
		}
		err = lease.Ack(ctx, fleet.Source, event.TierLive, nil, nil, of...)
		if err := errors.Join(err, lease.Release(ctx)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) write(ctx context.Context, k event.Key) error {
	ref := event.Ref{Key: k, Parents: map[string]string{"account": "cusa_bench"}}
	doc, err := b.Store.Claim(ctx, ref)
	if err != nil {
		return err
	}
	_, err = b.Store.Write(ctx, &storage.Write{
		Ref: ref, Claim: doc.Claim, SentAt: time.Now(), Raw: fmt.Appendf(nil, state, k.ID), StateHash: k.ID, Status: "executed", Terminal: true,
	})
	return err
}

// snapshot reads the whole mirror in pages.
func (b *bench) snapshot(ctx context.Context) error {
	began := time.Now()
	n := 0
	for after := "snapshot"; ; {
		p, err := b.page(ctx, after, 0)
		if err != nil {
			return err
		}
		n += p.items
		if after = p.after; p.synced {
			break
		}
	}
	if n != b.documents {
		return fmt.Errorf("the snapshot has %d documents, not %d", n, b.documents)
	}
	wanted := snapshotSQLite
	if b.mongo {
		wanted = snapshotMongo
	}
	each := float64(n) / time.Since(began).Seconds()
	b.tell(each >= float64(wanted), "feed: snapshot documents=%d per_second=%.0f (≥ %d)", n, each, wanted)
	return nil
}

// changes has a sequencer add all changes, and reads them in pages.
func (b *bench) changes(ctx context.Context) error {
	if _, err := b.Add(ctx, fleet.Reconciler); err != nil {
		return err
	}
	// The first page waits for the reconciler's start, so the time begins with it.
	p, err := b.page(ctx, "0", 30*time.Second)
	if err != nil {
		return err
	}
	began, n := time.Now(), 0
	for left := b.documents - p.items; n < left; n += p.items {
		if p, err = b.page(ctx, p.after, 30*time.Second); err != nil {
			return err
		}
	}
	each := float64(n) / time.Since(began).Seconds()
	b.tell(each >= changesWanted, "feed: changes=%d per_second=%.0f (≥ %d)", n, each, changesWanted)
	return nil
}

// latency times changes on their way through a worker.
func (b *bench) latency(ctx context.Context) error {
	if _, err := b.Add(ctx, fleet.Worker); err != nil {
		return err
	}
	if err := b.Simulator.Chaos(ctx, simulator.Chaos{Latency: simulator.Duration(5 * time.Millisecond)}); err != nil {
		return err
	}
	following, stop := context.WithCancel(ctx)
	defer stop()
	s, err := b.open(following)
	if err != nil {
		return err
	}
	took := make(chan []time.Duration, 1)
	go func() { took <- s.times() }()
	if err := b.Simulator.Load(ctx, simulator.Load{Entities: 200, Accounts: 20, Events: b.events, Rate: b.rate}, time.Duration(float64(b.events)/b.rate*float64(time.Second))+time.Minute); err != nil {
		return err
	}
	if err := b.Drain(ctx, time.Minute); err != nil {
		return err
	}
	if err := fleet.Pause(ctx, 2*time.Second); err != nil { // for the last ones
		return err
	}
	stop()
	all := <-took
	if len(all) == 0 {
		return errors.New("no change came")
	}
	slices.Sort(all)
	at := func(share float64) time.Duration { return all[min(len(all)-1, int(share*float64(len(all))))] }
	b.tell(at(0.99) <= latencyWithin, "feed: latency changes=%d p50=%dms p99=%dms (≤ %s) most=%dms",
		len(all), at(0.5).Milliseconds(), at(0.99).Milliseconds(), latencyWithin, all[len(all)-1].Milliseconds())
	return nil
}

// memory measures what a consumer of a stream costs the api.
func (b *bench) memory(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	pid := b.Members(fleet.API)[0].PID()
	before, err := fleet.Resident(pid)
	if err != nil {
		return err
	}
	for range b.consumers {
		s, err := b.open(ctx)
		if err != nil {
			return err
		}
		defer s.close()
	}
	if err := b.Simulator.Load(ctx, simulator.Load{Entities: 20, Accounts: 2, Events: 50, Rate: 20}, time.Minute); err != nil {
		return err
	}
	if err := b.Drain(ctx, time.Minute); err != nil {
		return err
	}
	after, err := fleet.Resident(pid)
	if err != nil {
		return err
	}
	each := (after - before) / int64(b.consumers)
	b.tell(each <= memoryWithin, "feed: memory consumers=%d bytes_each=%d (≤ %d)", b.consumers, each, memoryWithin)
	return nil
}
