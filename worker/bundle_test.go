package worker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
	"github.com/tarn-sync/tarn/shared/telemetry"
	"github.com/tarn-sync/tarn/shared/telemetry/telemetrytest"
	"github.com/tarn-sync/tarn/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(redistest.Reuse())) }

const patience = time.Minute

// leaseTTL is that of the fleets of these tests: no lease is lost while a busy machine stalls
// for a second or two.
const leaseTTL = 6 * time.Second

// definition is a provider small enough to see through: widgets have a history,
// gadgets have none, receipts have no list, stock is derived from widgets.
const definition = `
provider: acme
signature: {scheme: timestamped-hmac, headers: [Acme-Signature], tolerance: 5m}
envelope: {id: id, type: type, created_at: created_at, time: rfc3339, context: context}
api:
  auth: bearer
  pagination: {style: cursor, items: data, next: pagination.next_cursor, limit: 100}
  errors: message
  probe: /ping
history: {status: status, at: timestamp}
kinds:
  widget:
    get: /widgets/{widget}
    list: /widgets
    history: history
    statuses: [created, made, sold]
    terminal: [sold]
    gone_after: {known: 300ms, unknown: 600ms}
  gadget:
    get: /gadgets/{gadget}
    list: /gadgets
    read_lag: 1h
    verify_after: 200ms
  receipt:
    get: /receipts/{receipt}
  stock:
    shape: singleton
    get: /shops/{shop}/stock
    every: 300ms
events:
  widget: {touches: [widget, "*"], implies: suffix, derived: [stock]}
  gadget: {touches: [gadget]}
  receipt: {touches: [receipt]}
`

// bundle is a fleet on a real Redis and a real store, with a provider made of
// Go functions.
type bundle struct {
	// ahead is how far the clock of health is.
	ahead    atomic.Int64
	t        *testing.T
	ctx      context.Context
	redis    *redistest.Server
	streams  *stream.Streams
	store    *watched
	provider *acme
	def      *provider.Definition
	options  worker.Options
	events   int
	told     *told
	// file is the store's.
	file string
	// registry and health are those of the worker started last.
	registry *prometheus.Registry
	health   *telemetry.Health
}

func setup(t *testing.T, change ...func(*worker.Options)) *bundle {
	t.Helper()
	redis := redistest.Start(t)
	b := setupOn(t, []string{redis.URL()}, change...)
	b.redis = redis
	return b
}

// setupOn does so on a Redis that is there: one server, or the nodes of a
// cluster.
func setupOn(t *testing.T, redis []string, change ...func(*worker.Options)) *bundle {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	def, err := provider.Parse("acme.yaml", []byte(definition))
	require.NoError(t, err)
	streams, err := stream.Open(ctx, stream.Options{URLs: redis, Shards: 4, LeaseTTL: leaseTTL, Logger: quiet()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = streams.Close() })
	b := &bundle{
		t: t, ctx: ctx, streams: streams, def: def, file: filepath.Join(t.TempDir(), "tarn.db"),
		store: &watched{}, provider: newAcme(def), told: &told{},
	}
	b.open()
	t.Cleanup(func() { _ = b.store.Close() })
	b.options = worker.Options{
		Streams: streams, Store: b.store,
		Sources:  []worker.Source{{Name: "acme", Definition: def, Client: b.provider, Concurrency: 16}},
		LeaseTTL: leaseTTL, Grace: 2 * time.Second,
		Retry:     fate.Backoff{First: 200 * time.Millisecond, Attempts: 3},
		LagPauses: []time.Duration{10 * time.Millisecond, 20 * time.Millisecond, 40 * time.Millisecond},
		Rewritten: 2 * time.Second,
		Logger:    quiet(),
		Alerts:    alert.New(alert.Options{Logger: slog.New(b.told)}),
	}
	for _, c := range change {
		c(&b.options)
	}
	return b
}

// open opens the store.
func (b *bundle) open() {
	b.t.Helper()
	store, err := sqlite.Open(b.ctx, b.file, sqlite.Options{})
	require.NoError(b.t, err)
	b.store.Store = store
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// start runs a worker; stop ends it as SIGTERM does and waits.
func (b *bundle) start(id string) (stop func()) {
	b.t.Helper()
	o := b.options
	o.ID = id
	registry := prometheus.NewRegistry()
	b.registry, o.Metrics = registry, telemetry.NewMetrics(registry)
	b.t.Cleanup(func() { telemetrytest.Check(b.t, registry, telemetry.Worker) })
	o.Health = telemetry.NewHealth(func() time.Time { return time.Now().Add(time.Duration(b.ahead.Load())) })
	b.health = o.Health
	w, err := worker.New(o)
	require.NoError(b.t, err)
	ctx, cancel := context.WithCancel(b.ctx)
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				require.NoError(b.t, err)
			case <-time.After(time.Minute):
				b.t.Error("the worker does not stop")
			}
		})
	}
	b.t.Cleanup(stop)
	return stop
}

// send appends an event as the api does and returns its id.
func (b *bundle) send(typ string, context ...string) string {
	b.t.Helper()
	b.events++
	return b.sendAs(fmt.Sprintf("evt_%d", b.events), typ, context...)
}

// sendAs does so under a given id.
func (b *bundle) sendAs(id, typ string, ids ...string) string {
	b.t.Helper()
	return b.sendFrom("acme", id, typ, ids...)
}

// sendFrom does so as an event of a given source.
func (b *bundle) sendFrom(source, id, typ string, ids ...string) string {
	b.t.Helper()
	return b.sendIn("", source, id, typ, ids...)
}

// traced sends an event in a trace.
func (b *bundle) traced(parent, typ string, ids ...string) string {
	b.t.Helper()
	b.events++
	return b.sendIn(parent, "acme", fmt.Sprintf("evt_%d", b.events), typ, ids...)
}

func (b *bundle) sendIn(trace, source, id, typ string, ids ...string) string {
	b.t.Helper()
	var keys []string
	for i := 0; i < len(ids); i += 2 {
		keys = append(keys, fmt.Sprintf("%q:%q", ids[i], ids[i+1]))
	}
	now := time.Now().UTC()
	body := fmt.Sprintf(`{"id":%q,"type":%q,"created_at":%q,"context":{%s}}`, id, typ, now.Format(time.RFC3339Nano), strings.Join(keys, ","))
	e, err := b.def.Event(source, nil, []byte(body), now)
	require.NoError(b.t, err)
	_, err = b.streams.Append(b.ctx, stream.Draft{Signal: event.Own(e, trace)})
	require.NoError(b.t, err)
	return id
}

// signal appends a signal without an event.
func (b *bundle) signal(cause event.Cause, id string, ref event.Ref) {
	b.t.Helper()
	_, err := b.streams.Append(b.ctx, stream.Draft{Signal: event.Signal{Ref: ref, Cause: cause, CauseID: id, Class: event.Reconcile}})
	require.NoError(b.t, err)
}

// row waits until the event has the wanted status and returns it.
func (b *bundle) row(id string, want storage.EventStatus) *storage.EventRow {
	b.t.Helper()
	var last *storage.EventRow
	ok := eventually(func() bool {
		rows, err := b.store.EventByID(b.ctx, "acme", id)
		if err != nil {
			return false
		}
		last = rows[0]
		return last.Status == want
	})
	require.True(b.t, ok, "event %s did not become %s; last seen: %+v", id, want, last)
	return last
}

// rows waits until no event is pending or retrying, and returns all of them.
func (b *bundle) rows() map[string]*storage.EventRow {
	b.t.Helper()
	require.True(b.t, eventually(func() bool {
		for _, open := range []storage.EventStatus{storage.Pending, storage.Retrying} {
			page, err := b.store.Events(b.ctx, storage.EventFilter{Status: open, Limit: 1})
			if err != nil || len(page.Items) > 0 {
				return false
			}
		}
		return true
	}), "events are still open")
	all := map[string]*storage.EventRow{}
	for f := (storage.EventFilter{Limit: 200}); ; {
		page, err := b.store.Events(b.ctx, f)
		require.NoError(b.t, err)
		for _, r := range page.Items {
			all[r.ID] = r
		}
		if f.Cursor = page.NextCursor; f.Cursor == "" {
			return all
		}
	}
}

func (b *bundle) document(kind, id string) *storage.Document {
	b.t.Helper()
	d, err := b.store.Entity(b.ctx, key(kind, id))
	require.NoError(b.t, err)
	return d
}

// empty waits until nothing is left in Redis.
func (b *bundle) empty() {
	b.t.Helper()
	var last []stream.ShardState
	require.True(b.t, eventually(func() bool {
		shards, _, err := b.streams.Fleet(b.ctx, []string{"acme"})
		last = shards
		var left int64
		for _, s := range shards {
			q := s.Sources["acme"]
			left += q.Live + q.Background + q.Parked
		}
		return err == nil && left == 0
	}), "Redis is not empty: %+v", last)
}

// metric is the sum of a metric of the worker started last over all labels
// that hold the given values; of a histogram, how often it was observed.
func (b *bundle) metric(name string, labels ...string) float64 {
	b.t.Helper()
	families, err := b.registry.Gather()
	require.NoError(b.t, err)
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var have []string
			for _, l := range m.GetLabel() {
				have = append(have, l.GetValue())
			}
			if !slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(have, l) }) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

// counted waits until a metric is the given number: rows are to be seen before what
// is odd about them is counted.
func (b *bundle) counted(want int, name string, labels ...string) {
	b.t.Helper()
	require.True(b.t, eventually(func() bool { return b.metric(name, labels...) == float64(want) }),
		"%s %v is %v, not %d", name, labels, b.metric(name, labels...), want)
}

// told is a log that remembers the alerts in it.
type told struct {
	mu     sync.Mutex
	alerts []map[string]string
}

// Enabled is for slog.
func (t *told) Enabled(context.Context, slog.Level) bool { return true }

// Handle is for slog.
func (t *told) Handle(_ context.Context, r slog.Record) error {
	a := map[string]string{}
	r.Attrs(func(at slog.Attr) bool { a[at.Key] = at.Value.String(); return true })
	t.mu.Lock()
	defer t.mu.Unlock()
	t.alerts = append(t.alerts, a)
	return nil
}

// WithAttrs is for slog.
func (t *told) WithAttrs([]slog.Attr) slog.Handler { return t }

// WithGroup is for slog.
func (t *told) WithGroup(string) slog.Handler { return t }

// of returns the alerts of a kind.
func (t *told) of(k alert.Kind) []map[string]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []map[string]string
	for _, a := range t.alerts {
		if a["alert"] == string(k) {
			out = append(out, a)
		}
	}
	return out
}

func eventually(ok func() bool) bool { return within(patience, ok) }

// within is eventually for what may take another time.
func within(d time.Duration, ok func() bool) bool {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}

func key(kind, id string) event.Key { return event.Key{Source: "acme", Kind: kind, ID: id} }

// acme is a provider whose answers are Go functions.
type acme struct {
	def *provider.Definition
	// now is the clock by which requests are sent.
	now func() time.Time
	mu  sync.Mutex
	// answers by entity; without one, an entity has the state of "ok".
	answers map[event.Key]func(ctx context.Context, n int) (string, error)
	fetched map[event.Key]int
	probe   error
	// probed counts probes, atOnce those under way, mostAtOnce how many were at
	// most.
	probed, atOnce, mostAtOnce int
}

func newAcme(def *provider.Definition) *acme {
	return &acme{def: def, now: time.Now, answers: map[event.Key]func(context.Context, int) (string, error){}, fetched: map[event.Key]int{}}
}

// on sets the answers for an entity; n counts its fetches from 1.
func (p *acme) on(kind, id string, answer func(ctx context.Context, n int) (string, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[key(kind, id)] = answer
}

// fails makes the first times fetches of an entity fail with err, all of them
// if times is negative.
func (p *acme) fails(kind, id string, times int, err error) {
	p.on(kind, id, func(_ context.Context, n int) (string, error) {
		if times < 0 || n <= times {
			return "", err
		}
		return ok, nil
	})
}

func (p *acme) fetches(kind, id string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetched[key(kind, id)]
}

func (p *acme) setProbe(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.probe = err
}

// probing returns what the probe path answers now.
func (p *acme) probing() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.probe
}

// ok is a widget that has been everything a widget can be.
const ok = `{"price":"1.10","history":[{"status":"sold","timestamp":"3"},{"status":"made","timestamp":"2"},{"status":"created","timestamp":"1"}]}`

// states of a widget on its way.
const (
	made    = `{"price":"1.10","history":[{"status":"made","timestamp":"2"},{"status":"created","timestamp":"1"}]}`
	created = `{"price":"1.10","history":[{"status":"created","timestamp":"1"}]}`
)

// Fetch answers for the provider.
func (p *acme) Fetch(ctx context.Context, ref event.Ref, _ string) (*provider.Snapshot, error) {
	sent := p.now()
	p.mu.Lock()
	p.fetched[ref.Key]++
	n := p.fetched[ref.Key]
	answer := p.answers[ref.Key]
	p.mu.Unlock()
	raw := ok
	if answer != nil {
		var err error
		if raw, err = answer(ctx, n); err != nil {
			return nil, err
		}
	}
	snap, err := p.def.Read(ref.Key.Kind, []byte(raw))
	if err != nil {
		return nil, err
	}
	snap.SentAt = sent
	return snap, nil
}

// Probe answers for the provider.
func (p *acme) Probe(context.Context) error {
	p.mu.Lock()
	p.probed++
	p.atOnce++
	p.mostAtOnce = max(p.mostAtOnce, p.atOnce)
	p.mu.Unlock()
	runtime.Gosched() // others may come meanwhile
	p.mu.Lock()
	defer p.mu.Unlock()
	p.atOnce--
	return p.probe
}

func (p *acme) probes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.probed
}

func (p *acme) probedAtOnce() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mostAtOnce
}

// watched is a store that counts calls and can be made to fail.
type watched struct {
	storage.Store
	mu     sync.Mutex
	calls  map[string]int
	broken error
	poison map[string]int
	lost   map[string]int
	// held keeps calls of a method waiting until it is closed.
	held map[string]chan struct{}
	// logging are the events in calls of Log under way, mostLogging how many were at
	// most.
	logging, mostLogging int
	// refuse picks settlements the store refuses, with all they come with; refused
	// are when it did.
	refuse  func(storage.Settlement) bool
	refused []time.Time
	// refuseLetters makes it refuse dead letters.
	refuseLetters bool
	// refuseEvents picks events the log refuses, with all they come with.
	refuseEvents func(storage.Arrival) bool
	// unreadable is a document that cannot be read, with all it is read with.
	unreadable event.Key
	// notes are all that were noted.
	notes []storage.Note
	// written is called with every write that was made.
	written func(*storage.Write)
}

func (w *watched) call(name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.calls == nil {
		w.calls = map[string]int{}
	}
	w.calls[name]++
	if w.poison[name] > 0 {
		w.poison[name]--
		panic("poison in " + name)
	}
	return w.broken
}

// panicIn makes the next times calls of a method panic.
func (w *watched) panicIn(name string, times int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.poison = map[string]int{name: times}
}

// loseAnswers makes the next times calls of a method fail though the store has
// done as the test asked.
func (w *watched) loseAnswers(name string, times int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = map[string]int{name: times}
}

// answer is what comes back of a call that the store answered with err.
func (w *watched) answer(name string, err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil && w.lost[name] > 0 {
		w.lost[name]--
		return fate.New(fate.Unavailable, errors.New("the answer was lost"))
	}
	return err
}

func (w *watched) count(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[name]
}

// breakWith makes every call fail until it is called with nil.
func (w *watched) breakWith(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = err
}

func (w *watched) Log(ctx context.Context, a []storage.Arrival) ([]storage.Logged, error) {
	if err := w.call("log"); err != nil {
		return nil, err
	}
	if w.refuseEvents != nil && slices.ContainsFunc(a, w.refuseEvents) {
		return nil, fate.New(fate.Permanent, errors.New("event refused"))
	}
	w.mu.Lock()
	w.logging += len(a)
	w.mostLogging = max(w.mostLogging, w.logging)
	held := w.held["log"]
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.logging -= len(a)
	}()
	if held != nil {
		<-held
	}
	return w.Store.Log(ctx, a)
}

func (w *watched) EventByID(ctx context.Context, source, id string) ([]*storage.EventRow, error) {
	_ = w.call("event by id")
	return w.Store.EventByID(ctx, source, id)
}

func (w *watched) KnownEvents(ctx context.Context, source string, ids []string) (map[string]bool, error) {
	if err := w.call("known events"); err != nil {
		return nil, err
	}
	return w.Store.KnownEvents(ctx, source, ids)
}

func (w *watched) Homes(ctx context.Context, source string, ids []string) (map[string]event.Key, error) {
	if err := w.call("homes"); err != nil {
		return nil, err
	}
	return w.Store.Homes(ctx, source, ids)
}

func (w *watched) Claim(ctx context.Context, ref event.Ref) (*storage.Document, error) {
	if err := w.call("claim"); err != nil {
		return nil, err
	}
	return w.Store.Claim(ctx, ref)
}

func (w *watched) Write(ctx context.Context, x *storage.Write) (storage.Written, error) {
	if err := w.call("write"); err != nil {
		return storage.Written{}, err
	}
	done, err := w.Store.Write(ctx, x)
	if done.Applied && w.written != nil {
		w.written(x)
	}
	return done, w.answer("write", err)
}

func (w *watched) Repair(ctx context.Context, ids []string, ok bool, at time.Time) error {
	if err := w.call("repair"); err != nil {
		return err
	}
	return w.Store.Repair(ctx, ids, ok, at)
}

func (w *watched) Note(ctx context.Context, n []storage.Note) error {
	if err := w.call("note"); err != nil {
		return err
	}
	w.mu.Lock()
	w.notes = append(w.notes, n...)
	w.mu.Unlock()
	return w.answer("note", w.Store.Note(ctx, n))
}

func (w *watched) Settle(ctx context.Context, s []storage.Settlement) error {
	if err := w.call("settle"); err != nil {
		return err
	}
	w.mu.Lock()
	held := w.held["settle"]
	w.mu.Unlock()
	if held != nil {
		<-held
	}
	w.mu.Lock()
	refuse := w.refuse
	w.mu.Unlock()
	if refuse != nil && slices.ContainsFunc(s, refuse) {
		w.mu.Lock()
		w.refused = append(w.refused, time.Now())
		w.mu.Unlock()
		return fate.New(fate.Permanent, errors.New("document refused"))
	}
	return w.Store.Settle(ctx, s)
}

func (w *watched) Fail(ctx context.Context, f []storage.Failure) error {
	if err := w.call("fail"); err != nil {
		return err
	}
	return w.answer("fail", w.Store.Fail(ctx, f))
}

func (w *watched) Bury(ctx context.Context, l []storage.Letter) ([]bool, error) {
	if err := w.call("bury"); err != nil {
		return nil, err
	}
	w.mu.Lock()
	refuse := w.refuseLetters
	w.mu.Unlock()
	if refuse {
		return nil, fate.New(fate.Permanent, errors.New("letter refused"))
	}
	return w.Store.Bury(ctx, l)
}

var errBoom = errors.New("boom")
