package lists

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tarn-sync/tarn/api"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
	"github.com/tarn-sync/tarn/shared/storage/sqlite/sqlitetest"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
	"github.com/tarn-sync/tarn/shared/waiting"
)

var quiet = slog.New(slog.DiscardHandler)

// shards is the number of a fleet that has not chosen one.
const shards = 64

// batch is how many rows are written in one call.
const batch = 500

// sizes are how many rows there are.
type sizes struct{ events, others int }

// world is a Redis and a SQLite file with much in them.
type world struct {
	sizes
	now     time.Time
	took    time.Duration
	streams *stream.Streams
	store   *sqlite.Store
	sources []api.Source
}

func order(i int) string       { return fmt.Sprintf("bord_a8b11a37eccc49ecac%010d", i) }
func account(i int) string     { return fmt.Sprintf("cusa_33531f7f801d4ce997747470ab72%04d", i%200) }
func orderName(i int) string   { return "lemon/order/" + order(i) }
func parkedName(i int) string  { return orderName(i + 1_000_000) }
func accountName(i int) string { return "lemon/account/" + account(i) }

func orderRef(i int) event.Ref {
	return event.Ref{Key: event.Key{Source: "lemon", Kind: "order", ID: order(i)}, Parents: map[string]string{"account": account(i)}}
}

func accountRef(i int) event.Ref {
	return event.Ref{Key: event.Key{Source: "lemon", Kind: "account", ID: account(i)}}
}

// withWorld makes a world for the time of f.
func withWorld(ctx context.Context, dir string, s sizes, f func(*world) error) error {
	return inDirectory(dir, func(dir string) (err error) {
		w := &world{sizes: s, now: time.Now().UTC().Truncate(time.Millisecond)}
		redis, err := redistest.Launch(ctx, dir)
		if err != nil {
			return err
		}
		defer redis.Kill()
		w.streams, err = stream.Open(ctx, stream.Options{URLs: []string{redis.URL()}, Shards: shards, LeaseTTL: time.Hour, Logger: quiet})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, w.streams.Close()) }()
		if err := w.configure(); err != nil {
			return err
		}
		file := filepath.Join(dir, "tarn.db")
		if err := w.many(ctx, file); err != nil {
			return err
		}
		if w.store, err = sqlite.Open(ctx, file, sqlite.Options{Logger: quiet}); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, w.store.Close()) }()
		for _, fill := range []func(context.Context) error{w.rare, w.letters, w.differences, w.acts, w.tasks, w.mirror, w.parked, w.commands, w.erasures} {
			if err := fill(ctx); err != nil {
				return err
			}
		}
		w.took = time.Since(w.now)
		return f(w)
	})
}

func (w *world) configure() error {
	for _, name := range []string{"lemon", "stripe"} {
		d, err := provider.Builtin(name)
		if err != nil {
			return err
		}
		if name == "stripe" {
			if d, err = d.With(map[string]string{"livemode": "true"}); err != nil {
				return err
			}
		}
		v, err := provider.NewVerifier(d, provider.VerifierOptions{Secrets: []string{"0123456789abcdef"}})
		if err != nil {
			return err
		}
		w.sources = append(w.sources, api.Source{Name: name, Provider: d, Verifier: v, Rate: stream.Rate{Limit: 50, Per: time.Second}})
	}
	return nil
}

// arrival is an event that came n seconds ago, and names an order and its account, or
// what is given.
func (w *world) arrival(id, kind string, n int, refs ...event.Ref) storage.Arrival {
	at := w.now.Add(-time.Duration(n) * time.Second)
	if refs == nil {
		refs = []event.Ref{orderRef(n), accountRef(n)}
	}
	e := &event.Event{
		Source: refs[0].Key.Source, ID: id, Type: kind, CreatedAt: at.Add(-200 * time.Millisecond), ReceivedAt: at, Entities: refs,
		Payload: fmt.Appendf(nil, `{"id":%q,"type":%q,"created_at":%q,"context":{"account":%q,"order":%q}}`, id, kind, at.Format(time.RFC3339Nano), account(n), order(n)),
	}
	return storage.Arrival{Event: e, Signal: storage.SignalID{Shard: n % shards, ID: fmt.Sprintf("%d-0", at.UnixMilli())}, TraceID: fmt.Sprintf("%032x", n+1)}
}

func settled(a storage.Arrival) (done []storage.Settlement) {
	for _, r := range a.Event.Entities {
		done = append(done, storage.Settlement{
			Source: a.Event.Source, EventID: a.Event.ID, Entity: r.Key, Signal: a.Signal, At: a.Event.ReceivedAt.Add(30 * time.Millisecond),
			CoveredBy: storage.Covered{Claim: 1, FetchedAt: a.Event.ReceivedAt.Add(20 * time.Millisecond), Signal: a.Signal.ID},
		})
	}
	return done
}

// many makes the file with its many events, all alike.
func (w *world) many(ctx context.Context, file string) error {
	store, err := sqlite.Open(ctx, file, sqlite.Options{Logger: quiet})
	if err != nil {
		return err
	}
	a := w.arrival("evt_first", "order.executed", 0)
	_, err = store.Log(ctx, []storage.Arrival{a})
	if err = errors.Join(err, store.Settle(ctx, settled(a)), store.Close()); err != nil {
		return err
	}
	return sqlitetest.Many(ctx, file, w.events-1)
}

// rare adds a few hundred events of every other sort, all over the time of the log.
func (w *world) rare(ctx context.Context) error {
	var all []storage.Arrival
	var done []storage.Settlement
	var failed []storage.Failure
	every := max(1, w.events/300)
	for i := range min(300, w.events) {
		n := i * every
		name := func(sort string) string { return fmt.Sprintf("evt_%s_%d", sort, i) }
		other := w.arrival(name("type"), "order.created", n)
		kind := w.arrival(name("kind"), "withdrawal.created", n, event.Ref{Key: event.Key{Source: "lemon", Kind: "withdrawal", ID: fmt.Sprintf("wd_%d", i)}})
		source := w.arrival(name("source"), "customer.updated", n, event.Ref{Key: event.Key{Source: "stripe", Kind: "customer", ID: fmt.Sprintf("cus_%d", i)}})
		unknown := w.arrival(name("note"), "order.teleported", n)
		unknown.Event.Note = event.UnknownType
		open, again := w.arrival(name("open"), "order.executed", i), w.arrival(name("again"), "order.executed", i)
		all = append(all, other, kind, source, unknown, open, again)
		for _, a := range []storage.Arrival{other, kind, source, unknown} {
			done = append(done, settled(a)...)
		}
		failed = append(failed, storage.Failure{
			Source: "lemon", EventID: again.Event.ID, Entity: again.Event.Entities[0].Key, Signal: again.Signal, At: w.now, Class: "transient", Error: "HTTP 503", Next: w.now.Add(time.Hour), Claim: 1,
		})
	}
	if err := w.log(ctx, all, done); err != nil {
		return err
	}
	return w.store.Fail(ctx, failed)
}

func (w *world) log(ctx context.Context, all []storage.Arrival, done []storage.Settlement) error {
	for some := range slices.Chunk(all, batch) {
		if _, err := w.store.Log(ctx, some); err != nil {
			return err
		}
	}
	for some := range slices.Chunk(done, batch) {
		if err := w.store.Settle(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// letters adds dead letters with their events: one in ten of another class, one in fifty
// discarded.
func (w *world) letters(ctx context.Context) error {
	for from := 0; from < w.others; from += batch {
		var all []storage.Arrival
		var buried []storage.Letter
		var given []string
		for i := from; i < min(from+batch, w.others); i++ {
			a := w.arrival(fmt.Sprintf("evt_dead%08d", i), "order.executed", i*max(1, w.events/w.others), orderRef(i))
			l := storage.Letter{
				Source: "lemon", EventID: a.Event.ID, Ref: orderRef(i), Signal: a.Signal, Class: "permanent", TraceID: a.TraceID, At: a.Event.ReceivedAt,
				Attempts: []storage.Attempt{{At: a.Event.ReceivedAt, Error: "fetch " + orderName(i) + ": HTTP 422"}},
			}
			if i%10 == 0 {
				l.Class = "gone"
			}
			if i%50 == 0 {
				given = append(given, l.ID())
			}
			all, buried = append(all, a), append(buried, l)
		}
		if err := w.log(ctx, all, nil); err != nil {
			return err
		}
		if _, err := w.store.Bury(ctx, buried); err != nil {
			return err
		}
		if _, err := w.store.Discard(ctx, given, "ops", "tests", w.now); err != nil {
			return err
		}
	}
	return nil
}

// differences adds what sweeps have found: one in twenty is confirmed, one in a hundred failed.
func (w *world) differences(ctx context.Context) error {
	var all []storage.Discrepancy
	for i := range w.others {
		d := storage.Discrepancy{
			ID: fmt.Sprintf("d%08d", i), Source: "lemon", Entity: orderRef(i).Key, Type: storage.Stale, Status: storage.Repaired, SweepID: fmt.Sprintf("sweep_%d", i%100),
			FoundAt: w.now.Add(-time.Duration(i) * time.Minute), Patch: []byte(`[{"op":"replace","path":"/history/1/status","value":"executed"}]`),
		}
		switch {
		case i%100 == 0:
			d.Status = storage.Failed
		case i%20 == 0:
			d.Status = storage.Confirmed
		}
		all = append(all, d)
	}
	for some := range slices.Chunk(all, batch) {
		if err := w.store.Record(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// acts adds what operators did; one of them acts rarely.
func (w *world) acts(ctx context.Context) error {
	var all []storage.Note
	for i := range w.others {
		n := storage.Note{
			ID: storage.ActID(fmt.Sprintf("act_%08d", i)), Kind: storage.NoteOperator, At: w.now.Add(-time.Duration(i) * time.Minute), Source: "lemon", Count: 1,
			By: "ops", Did: "redrive", To: orderName(i), Why: "the cause is corrected", Before: `{"status":"open"}`, After: `{"status":"redriven"}`, Reason: "ops: redrive",
		}
		if i%1000 == 0 {
			n.By = "night"
		}
		all = append(all, n)
	}
	for some := range slices.Chunk(all, batch) {
		if err := w.store.Note(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// commands adds changes asked for at the provider, of which nothing performs any.
func (w *world) commands(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(64)
	for i := range w.others {
		g.Go(func() error {
			c := &storage.Command{
				Source: "lemon", Key: fmt.Sprintf("key-%08d", i), Kind: "order", Op: "cancel", Ref: fmt.Sprintf("ref-%d", i), By: "shop",
				Lane: orderRef(i).Key, Parents: orderRef(i).Parents, At: w.now.Add(-time.Duration(i) * time.Minute), State: storage.CommandQueued,
			}
			if i%100 == 0 {
				c.State, c.Reason = storage.CommandDead, "HTTP 404"
			}
			c.ID = storage.CommandID(c.Source, c.Key)
			_, err := w.store.Commands().Ask(ctx, c)
			return err
		})
	}
	return g.Wait()
}

// erasures adds accounts that were erased with all that is under them.
func (w *world) erasures(ctx context.Context) error {
	for i := range min(w.others, 200) {
		err := w.store.Enlist(ctx, storage.Erasure{Key: accountRef(1000 + i).Key, Marker: storage.Marker{At: w.now, By: "ops"}, Below: true})
		if err != nil {
			return err
		}
	}
	return nil
}

// tasks adds sweeps and jobs, nearly all of them over.
func (w *world) tasks(ctx context.Context) error {
	var all []*storage.Task
	for i := range w.others / 10 {
		at := w.now.Add(-time.Duration(i) * time.Minute)
		k := &storage.Task{
			ID: fmt.Sprintf("task_%08d", i), Kind: []string{"sweep", "redrive", "verify", "discard"}[i%4], Source: "lemon", By: "schedule", Status: storage.TaskDone,
			CreatedAt: at, StartedAt: at, FinishedAt: at.Add(time.Minute), Counts: map[string]int64{"partitions": 24, "done": 24, "total": 24},
		}
		if i < 20 {
			k.Status, k.FinishedAt = storage.TaskRunning, time.Time{}
		}
		all = append(all, k)
	}
	for some := range slices.Chunk(all, batch) {
		if err := w.store.CreateTasks(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// mirror adds orders; one in a hundred is not executed yet.
func (w *world) mirror(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(64)
	for i := range w.others {
		g.Go(func() error {
			d, err := w.store.Claim(ctx, orderRef(i))
			if err != nil {
				return err
			}
			write := &storage.Write{
				Ref: orderRef(i), Claim: d.Claim, SentAt: w.now.Add(-time.Duration(i) * time.Second), StateHash: "hash", Status: "executed", Terminal: true,
				Raw: fmt.Appendf(nil, `{"id":%q,"side":"buy","isin":"DE0007164600","quantity":%d,"limit_price":101.10,"history":[{"status":"executed"}]}`, order(i), i),
			}
			if i%100 == 0 {
				write.Status, write.Terminal = "created", false
			}
			_, err = w.store.Write(ctx, write)
			return err
		})
	}
	return g.Wait()
}

// parked adds entities that wait in Redis; one in ten for another reason.
func (w *world) parked(ctx context.Context) error {
	const worker = "bench"
	if _, err := w.streams.Member(worker).Beat(ctx); err != nil {
		return err
	}
	var drafts []stream.Draft
	for i := range w.others / 10 {
		a := w.arrival(fmt.Sprintf("evt_wait%08d", i), "order.executed", 60, orderRef(i+1_000_000))
		drafts = append(drafts, stream.Draft{Signal: event.Own(a.Event, "")})
	}
	if _, err := w.streams.AppendAll(ctx, drafts); err != nil {
		return err
	}
	n := 0
	for shard := range shards {
		l, err := w.streams.Acquire(ctx, shard, worker, []string{"lemon", "stripe"})
		if err != nil {
			return err
		}
		if _, err := l.TakeOver(ctx, "lemon", event.TierLive, func([]event.Entry) error { return nil }); err != nil {
			return err
		}
		for {
			entries, err := l.Read(ctx, "lemon", event.TierLive, stream.Limits{})
			if err != nil {
				return err
			}
			if len(entries) == 0 {
				break
			}
			for _, e := range entries {
				if err := w.park(ctx, l, e, n); err != nil {
					return err
				}
				n++
			}
		}
	}
	return nil
}

func (w *world) park(ctx context.Context, l *stream.Lease, e event.Entry, n int) error {
	why := waiting.Why{Reason: waiting.Failed, Class: "transient", Error: "HTTP 503", At: w.now}
	if n%10 == 0 {
		why.Reason, why.Class, why.Error = waiting.Refused, "refused", "HTTP 403"
	}
	record := waiting.Record{Why: &why}
	record.Add(waiting.Attempt{N: 1, At: w.now, Error: why.Error})
	return l.Park(ctx, stream.Park{
		Key: e.Signal.Ref.Key, Charged: []event.Entry{e}, Attempt: 1, Delay: time.Hour, Earliest: time.Hour, State: record.Encode(stream.MaxState),
	})
}
