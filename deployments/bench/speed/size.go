package speed

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/open"
	"github.com/tarn-sync/tarn/shared/storage/sqlite/sqlitetest"
)

// What a long log may cost.
const (
	// sizeDrain is the least ratio of events a second, to those with a short log.
	sizeDrain = 0.9
	// sizeList and sizeEvent bound the 99th percentile of a list of 100 and of a look
	// for one event.
	sizeList  = 20 * time.Millisecond
	sizeEvent = 5 * time.Millisecond
)

// shortLog is how many events the log has that a long one is compared with.
const shortLog = 10_000

// Size measures whether the length of the log shows: in how fast a backlog is settled,
// and in what readers of the log wait.
func Size(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("size", flag.ContinueOnError)
	rows := flags.Int("rows", 10_000_000, "events in the log: about 1 KB of disk each")
	events := flags.Int("events", 20_000, "events in the backlog")
	rounds := flags.Int("rounds", 5, "drains of the short and the long log in turn; medians are compared")
	looks := flags.Int("looks", 200, "times each list is read; single events five times as often")
	check := flags.Bool("check", false, "fail if a limit is missed")
	var s setup
	s.flags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	return withPrograms(ctx, func(programs *fleet.Programs) (err error) {
		s.write(out)
		dir, err := os.MkdirTemp(s.dir, "tarn-size-")
		if err != nil {
			return fmt.Errorf("make a directory: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		var logs []*lab
		defer func() {
			for _, l := range logs {
				err = errors.Join(err, l.close())
			}
		}()
		for i, n := range []int{shortLog, *rows} {
			began := time.Now()
			file := filepath.Join(dir, fmt.Sprintf("log%d.db", i))
			if err := manyEvents(ctx, file, n); err != nil {
				return err
			}
			info, err := os.Stat(file)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "size: a log of %d events is made in %.0f s and has %.0f MB\n", n, time.Since(began).Seconds(), mb(info.Size()))
			of := s
			of.store = "sqlite://" + file
			l, err := newLab(ctx, programs, of)
			if err != nil {
				return err
			}
			logs = append(logs, l)
		}
		missed, err := reads(ctx, out, logs[1].store, *rows, *looks)
		if err != nil {
			return err
		}
		slow, err := drains(ctx, out, logs, *rounds, *events)
		if err == nil && (missed || slow) && *check {
			err = errMissed
		}
		return err
	})
}

// manyEvents makes a file whose log has n events of shape two.
func manyEvents(ctx context.Context, file string, n int) error {
	store, err := open.Open(ctx, open.Options{URL: "sqlite://" + file, Logger: quiet})
	if err != nil {
		return err
	}
	if err := errors.Join(oneEvent(ctx, store), store.Close()); err != nil {
		return err
	}
	return sqlitetest.Many(ctx, file, n-1)
}

// oneEvent has a store log and settle an event.
func oneEvent(ctx context.Context, store storage.Store) error {
	lemon, err := provider.Builtin("lemon")
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	two, err := shapeNamed("two")
	if err != nil {
		return err
	}
	e, err := lemon.Event(sourceName, nil, []byte(two.body(0, now)), now)
	if err != nil {
		return err
	}
	e.ID = "evt_first"
	entry := storage.SignalID{ID: fmt.Sprintf("%d-0", now.UnixMilli())}
	if _, err := store.Log(ctx, []storage.Arrival{{Event: e, Signal: entry}}); err != nil {
		return err
	}
	var done []storage.Settlement
	for _, r := range e.Entities {
		done = append(done, storage.Settlement{
			Source: e.Source, EventID: e.ID, Entity: r.Key, Signal: entry, At: now,
			CoveredBy: storage.Covered{Claim: 1, FetchedAt: now, Signal: entry.ID},
		})
	}
	return store.Settle(ctx, done)
}

// reads measures what readers of a log of n events wait.
func reads(ctx context.Context, out io.Writer, store storage.Store, n, looks int) (missed bool, err error) {
	rng := rand.New(rand.NewPCG(1, 2))
	newest := time.Now()
	// sometime is a time the log has events of.
	sometime := func() time.Time { return newest.Add(-time.Duration(rng.IntN(n)) * time.Second) }
	account := func() event.Key {
		return event.Key{Source: sourceName, Kind: "account", ID: fmt.Sprintf("cusa_33531f7f801d4ce997747470ab72%04d", rng.IntN(200))}
	}
	for _, l := range []struct {
		name   string
		filter func() storage.EventFilter
	}{
		{"newest", func() storage.EventFilter { return storage.EventFilter{} }},
		{"before some time", func() storage.EventFilter { return storage.EventFilter{To: sometime()} }},
		{"of a status, before", func() storage.EventFilter {
			return storage.EventFilter{Status: storage.Processed, To: sometime()}
		}},
		{"dead ones, of which there are none", func() storage.EventFilter { return storage.EventFilter{Status: storage.Dead} }},
		{"of a type, before", func() storage.EventFilter { return storage.EventFilter{Type: "order.executed", To: sometime()} }},
		{"of a type there is none of", func() storage.EventFilter { return storage.EventFilter{Type: "order.rejected"} }},
		{"of a source, before", func() storage.EventFilter { return storage.EventFilter{Source: sourceName, To: sometime()} }},
		{"that name a kind, before", func() storage.EventFilter { return storage.EventFilter{Kind: "account", To: sometime()} }},
		{"that name one of 200 accounts", func() storage.EventFilter { return storage.EventFilter{Entity: account()} }},
	} {
		took := make([]time.Duration, looks)
		for i := range took {
			f := l.filter()
			f.Limit = 100
			began := time.Now()
			if _, err := store.Events(ctx, f); err != nil {
				return false, fmt.Errorf("list events %s: %w", l.name, err)
			}
			took[i] = time.Since(began)
		}
		missed = tellTimes(out, "100 events "+l.name, took, sizeList) || missed
	}
	took := make([]time.Duration, 5*looks)
	for i := range took {
		began := time.Now()
		if _, err := store.EventByID(ctx, sourceName, sqlitetest.ManyID(1+rng.IntN(n-1))); err != nil {
			return false, fmt.Errorf("read an event: %w", err)
		}
		took[i] = time.Since(began)
	}
	return tellTimes(out, "one event by id", took, sizeEvent) || missed, nil
}

// tellTimes writes how long something took and reports whether it was too long.
func tellTimes(out io.Writer, what string, took []time.Duration, limit time.Duration) (missed bool) {
	p99 := percentile(took, 0.99)
	fmt.Fprintf(out, "size: %s: p50=%.2fms p99=%.2fms most=%.2fms (p99 ≤ %.0f ms): %s\n",
		what, ms(percentile(took, 0.5)), ms(p99), ms(percentile(took, 1)), ms(limit), verdict(p99 <= limit))
	return p99 > limit
}

// drains measures how fast backlogs are settled with a short and a long log, in turn.
func drains(ctx context.Context, out io.Writer, logs []*lab, rounds, events int) (missed bool, err error) {
	two, err := shapeNamed("two")
	if err != nil {
		return false, err
	}
	var ratios, cpu []float64
	got := make([][]cost, len(logs))
	for round := range rounds {
		for i, l := range logs {
			c, err := l.drain(ctx, two, round*events, events, profiles{})
			if err != nil {
				return false, fmt.Errorf("round %d, log %d: %w", round, i, err)
			}
			got[i] = append(got[i], c)
		}
		ratios = append(ratios, got[1][round].rate()/got[0][round].rate())
		cpu = append(cpu, got[1][round].workerCPU()/got[0][round].workerCPU())
	}
	held := median(ratios) >= sizeDrain
	fmt.Fprintf(out, "size: drain with the short log %.0f/s, with the long one %.0f/s, ratio %.2f (≥ %.2f; by round %.2f), worker's CPU per event %.2f times: %s\n",
		median(values(got[0], cost.rate)), median(values(got[1], cost.rate)), median(ratios), sizeDrain, ratios, median(cpu), verdict(held))
	return !held, nil
}
