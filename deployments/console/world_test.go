package console

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/api"
	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
	"github.com/tarn-sync/tarn/shared/waiting"
)

// scratch is a directory for the time of all tests.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "tarn-console-"); err != nil {
		panic(err)
	}
	if err = startPrograms(); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = programs.Close()
	_ = os.RemoveAll(scratch)
	os.Exit(code)
}

// Tokens of the world's guarded api.
const (
	operatorToken = "operator-token-0123456789"
	viewerToken   = "viewer-token-0123456789"
)

// markup is an id that a page would run if it took text for markup.
const markup = `<img src=x onerror="window.hacked=1">'&`

// world is a Redis and a database, filled by hand, with two apis.
type world struct {
	t       testing.TB
	ctx     context.Context
	streams *stream.Streams
	store   *sqlite.Store
	sources []api.Source
	shards  int
	leases  map[int]*stream.Lease
	dice    *rand.Rand
	now     time.Time
	entries int

	// open needs no token, guarded does.
	open, guarded string
}

// newWorld starts an empty world.
func newWorld(t testing.TB, shards int, more ...api.Source) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("runs a browser")
	}
	w := &world{
		t: t, ctx: context.WithoutCancel(t.Context()), shards: shards, leases: map[int]*stream.Lease{},
		dice: rand.New(rand.NewPCG(1, 2)), now: time.Now().UTC().Truncate(time.Millisecond),
	}
	var err error
	w.streams, err = stream.Open(w.ctx, stream.Options{
		URLs: []string{redistest.Start(t).URL()}, Shards: shards, LeaseTTL: time.Hour, Logger: quiet,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.streams.Close() })
	w.store, err = sqlite.Open(w.ctx, filepath.Join(t.TempDir(), "tarn.db"), sqlite.Options{Logger: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.store.Close() })
	w.sources = append([]api.Source{source(t, "lemon", "lemon"), source(t, "stripe", "stripe")}, more...)
	w.open = w.serve(nil)
	w.guarded = w.serve([]api.Token{
		{Name: "ops", Secret: operatorToken, Role: api.Operator}, {Name: "grafana", Secret: viewerToken, Role: api.Viewer},
	})
	return w
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func source(t testing.TB, name, definition string) api.Source {
	t.Helper()
	d, err := provider.Builtin(definition)
	require.NoError(t, err)
	if definition == "stripe" {
		d, err = d.With(map[string]string{"livemode": "true"})
		require.NoError(t, err)
	}
	v, err := provider.NewVerifier(d, provider.VerifierOptions{Secrets: []string{"0123456789abcdef"}})
	require.NoError(t, err)
	return api.Source{Name: name, Provider: d, Verifier: v, Writes: true, Rate: stream.Rate{Limit: 50, Per: time.Second}}
}

// serve serves an api until the test ends and returns its address.
func (w *world) serve(tokens []api.Token) string {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(w.t, err)
	w.serveOn(l, tokens)
	return "http://" + l.Addr().String()
}

// serveOn returns how to stop it before.
func (w *world) serveOn(l net.Listener, tokens []api.Token) (stop func()) {
	a, err := api.New(api.Options{Sources: w.sources, Queue: w.streams, Store: w.store, Tokens: tokens, Logger: quiet, Version: "1.0.0"})
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error, 1)
	go func() { done <- a.Serve(ctx, l) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(w.t, <-done)
		}
	}
	w.t.Cleanup(stop)
	return stop
}

func order(id string) event.Ref {
	return event.Ref{Key: event.Key{Source: "lemon", Kind: "order", ID: id}, Parents: map[string]string{"account": "cusa_5f1c0a92be"}}
}

func customer(id string) event.Ref {
	return event.Ref{Key: event.Key{Source: "stripe", Kind: "customer", ID: id}}
}

// employ gives the shards to workers.
func (w *world) employ(workers ...string) {
	w.t.Helper()
	for _, worker := range workers {
		_, err := w.streams.Member(worker).Beat(w.ctx)
		require.NoError(w.t, err)
	}
	for shard := range w.shards {
		l, err := w.streams.Acquire(w.ctx, shard, workers[shard%len(workers)], []string{"lemon", "stripe"})
		require.NoError(w.t, err)
		w.leases[shard] = l
		for _, source := range []string{"lemon", "stripe"} {
			_, err := l.TakeOver(w.ctx, source, event.TierLive, func([]event.Entry) error { return nil })
			require.NoError(w.t, err)
		}
	}
}

// happened is an event of the log, received some time ago.
func (w *world) happened(id, kind string, ago time.Duration, refs ...event.Ref) storage.Arrival {
	w.t.Helper()
	a := w.arrival(id, kind, ago, refs...)
	_, err := w.store.Log(w.ctx, []storage.Arrival{a})
	require.NoError(w.t, err)
	return a
}

// arrival is the same event before it is logged.
func (w *world) arrival(id, kind string, ago time.Duration, refs ...event.Ref) storage.Arrival {
	received := w.now.Add(-ago)
	source := refs[0].Key.Source
	e := &event.Event{
		Source: source, ID: id, Type: kind, CreatedAt: received.Add(-180 * time.Millisecond), ReceivedAt: received, Entities: refs,
		Payload: fmt.Appendf(nil, `{"id":%q,"type":%q,"created_at":%q,"context":{"account":"cusa_5f1c0a92be",%q:%q}}`,
			id, kind, received.Format(time.RFC3339Nano), refs[0].Key.Kind, refs[0].Key.ID),
	}
	w.entries++
	return storage.Arrival{
		Event: e, TraceID: fmt.Sprintf("%032x", w.entries+0x4bf92f35),
		Signal: storage.SignalID{Shard: refs[0].Key.Shard(w.shards), ID: fmt.Sprintf("%d-%d", received.Add(2*time.Millisecond).UnixMilli(), w.entries%3)},
	}
}

// fetched writes a state of an entity, and settles the events that led to it.
func (w *world) fetched(ref event.Ref, status, raw string, ago, took time.Duration, by ...storage.Arrival) {
	w.t.Helper()
	d, err := w.store.Claim(w.ctx, ref)
	require.NoError(w.t, err)
	sent := w.now.Add(-ago).Add(took / 2)
	write := &storage.Write{Ref: ref, Claim: d.Claim, SentAt: sent, Raw: []byte(raw), StateHash: raw, Status: status, Terminal: status == "executed"}
	for _, a := range by {
		write.LastEvent = storage.LastEvent{ID: a.Event.ID, Type: a.Event.Type, CreatedAt: a.Event.CreatedAt}
	}
	_, err = w.store.Write(w.ctx, write)
	require.NoError(w.t, err)
	var done []storage.Settlement
	for _, a := range by {
		done = append(done, storage.Settlement{
			Source: a.Event.Source, EventID: a.Event.ID, Entity: ref.Key, Signal: a.Signal, At: a.Event.ReceivedAt.Add(took),
			CoveredBy: storage.Covered{Claim: d.Claim, FetchedAt: sent, Signal: by[len(by)-1].Signal.ID, StateHash: raw},
		})
	}
	require.NoError(w.t, w.store.Settle(w.ctx, done))
}

// bury gives the work of an event up and returns the dead letter's id.
func (w *world) bury(a storage.Arrival, class string, ago time.Duration, errs ...string) string {
	w.t.Helper()
	ref := a.Event.Entities[0]
	l := storage.Letter{
		Source: a.Event.Source, EventID: a.Event.ID, Ref: ref, Signal: a.Signal, Class: class, TraceID: a.TraceID, At: w.now.Add(-ago),
	}
	d, err := w.store.Claim(w.ctx, ref)
	require.NoError(w.t, err)
	l.Claim = d.Claim
	for i, text := range errs {
		l.Attempts = append(l.Attempts, storage.Attempt{At: w.now.Add(-ago - time.Duration(1<<(len(errs)-i-1)-1)*time.Minute), Error: text})
	}
	_, err = w.store.Bury(w.ctx, []storage.Letter{l})
	require.NoError(w.t, err)
	return l.ID()
}

// park parks an entity whose event has failed.
func (w *world) park(a storage.Arrival, why waiting.Why, attempts int, delay time.Duration) {
	w.t.Helper()
	ref := a.Event.Entities[0]
	_, err := w.streams.Append(w.ctx, stream.Draft{Signal: event.Own(a.Event, "")})
	require.NoError(w.t, err)
	lease := w.leases[ref.Key.Shard(w.shards)]
	read, err := lease.Read(w.ctx, ref.Key.Source, event.TierLive, stream.Limits{})
	require.NoError(w.t, err)
	record := waiting.Record{Why: &why}
	for i := range attempts {
		record.Add(waiting.Attempt{N: i + 1, At: why.At.Add(-time.Duration(attempts-i-1) * time.Minute), Error: why.Error})
	}
	require.NoError(w.t, lease.Park(w.ctx, stream.Park{
		Key: ref.Key, Charged: read, Attempt: attempts, Delay: delay, Earliest: delay, State: record.Encode(stream.MaxState),
	}))
	require.NoError(w.t, w.store.Fail(w.ctx, []storage.Failure{{
		Source: a.Event.Source, EventID: a.Event.ID, Entity: ref.Key, Signal: a.Signal, At: why.At, Class: why.Class, Error: why.Error,
		Uncharged: attempts == 0, Next: w.now.Add(delay), Claim: 1,
	}}))
}

// found records a discrepancy.
func (w *world) found(d storage.Discrepancy) {
	w.t.Helper()
	status := d.Status
	d.Status = storage.Suspected
	require.NoError(w.t, w.store.Record(w.ctx, []storage.Discrepancy{d}))
	at := d.FoundAt.Add(time.Second)
	switch status {
	case storage.Dropped:
		_, err := w.store.Judge(w.ctx, nil, []string{d.ID}, at)
		require.NoError(w.t, err)
	case storage.Confirmed, storage.Repaired, storage.Failed:
		_, err := w.store.Judge(w.ctx, []string{d.ID}, nil, at)
		require.NoError(w.t, err)
		if status != storage.Confirmed {
			require.NoError(w.t, w.store.Repair(w.ctx, []string{d.ID}, status == storage.Repaired, at))
		}
	}
}

// task adds a sweep or job as it is after some work.
func (w *world) task(task *storage.Task) {
	w.t.Helper()
	end := *task
	task.Status = storage.TaskWaiting
	require.NoError(w.t, w.store.CreateTasks(w.ctx, []*storage.Task{task}))
	if end.Status != storage.TaskWaiting {
		end.Epoch = max(1, end.Epoch)
		w.save(&end)
	}
}

func (w *world) save(task *storage.Task) {
	w.t.Helper()
	saved, err := w.store.SaveTask(w.ctx, task)
	require.NoError(w.t, err)
	require.True(w.t, saved)
}

const errorRefused = `fetch lemon/order/%s: HTTP 422: {"error":{"code":"unprocessable","message":"the order belongs to a closed account"}}`

// fill makes a world such as an operator sees on an ordinary bad day.
func (w *world) fill() {
	w.t.Helper()
	w.employ("worker-7f9c4-x2x8k", "worker-7f9c4-l5m2d", "worker-7f9c4-q9rtz")
	for i := range 40 {
		ref := order(fmt.Sprintf("bord_%010x", w.dice.Uint64N(1<<40)))
		ago := time.Duration(i*i)*7*time.Second + time.Duration(1+i%3)*time.Second
		w.trade(ref, ago, i)
	}
	for i := range 6 {
		ref := customer(fmt.Sprintf("cus_%010x", w.dice.Uint64N(1<<40)))
		a := w.happened(fmt.Sprintf("evt_%012x", w.dice.Uint64N(1<<48)), "customer.updated", time.Duration(i+1)*11*time.Minute, ref)
		w.fetched(ref, "", fmt.Sprintf(`{"id":%q,"object":"customer","balance":-1250,"currency":"eur","livemode":true}`, ref.Key.ID), time.Duration(i+1)*11*time.Minute, 60*time.Millisecond, a)
	}
	w.misfortunes()
	w.differences()
	w.work()
	require.NoError(w.t, w.streams.PauseAs(w.ctx, "stripe", condition.Pause{
		Kind: condition.PausedDown, For: 4 * time.Minute, Reason: "20 requests in a row failed: GET /v1/customers: connection refused",
	}, "worker-7f9c4-l5m2d"))
	for range 5 {
		w.queue(fmt.Sprintf("bord_%010x", w.dice.Uint64N(1<<40)))
	}
}

// trade is an order with its events.
func (w *world) trade(ref event.Ref, ago time.Duration, i int) {
	took := time.Duration(8+w.dice.IntN(40)) * time.Millisecond
	if i%13 == 4 {
		took = 740 * time.Millisecond
	}
	statuses := []string{"created", "accepted", "executed"}[:1+i%3]
	var events []storage.Arrival
	history := ""
	for n, status := range statuses {
		before := ago + time.Duration(len(statuses)-n-1)*310*time.Millisecond
		events = append(events, w.happened(fmt.Sprintf("evt_%012x", w.dice.Uint64N(1<<48)), "order."+status, before, ref))
		if n > 0 {
			history += ", "
		}
		history += fmt.Sprintf(`{"status":%q,"timestamp":%q}`, status, w.now.Add(-before).Format(time.RFC3339Nano))
	}
	raw := fmt.Sprintf(`{"id":%q,"side":"buy","isin":"DE0007164600","quantity":%d,"limit_price":101.10,"fee":0.10,"serial":12345678901234567890,"history":[%s]}`,
		ref.Key.ID, 1+i, history)
	w.fetched(ref, statuses[len(statuses)-1], raw, ago, took, events...)
}

// queue appends an event that no worker takes.
func (w *world) queue(orderID string) {
	w.t.Helper()
	ref := order(orderID)
	e := &event.Event{
		Source: "lemon", ID: "evt_q_" + orderID, Type: "order.created", CreatedAt: w.now, ReceivedAt: w.now, Entities: []event.Ref{ref},
		Payload: []byte(`{}`),
	}
	_, err := w.streams.Append(w.ctx, stream.Draft{Signal: event.Own(e, "")})
	require.NoError(w.t, err)
}

// misfortunes are dead letters and what is parked.
func (w *world) misfortunes() {
	for i, c := range []struct {
		class  string
		ago    time.Duration
		errors []string
	}{
		{"permanent", 4 * time.Minute, []string{errorRefused}},
		{"permanent", 26 * time.Minute, []string{errorRefused}},
		{"permanent", 31 * time.Minute, []string{errorRefused}},
		{"transient", 2 * time.Hour, []string{"fetch lemon/order/%s: HTTP 503", "fetch lemon/order/%s: HTTP 503", "fetch lemon/order/%s: context deadline exceeded", "fetch lemon/order/%s: HTTP 503"}},
		{"refused", 5 * time.Hour, []string{"fetch lemon/order/%s: HTTP 403: the key may not read this order"}},
	} {
		ref := order(fmt.Sprintf("bord_dead%06x", i))
		a := w.happened(fmt.Sprintf("evt_dead%08x", i), "order.executed", c.ago+5*time.Minute, ref)
		var errs []string
		for _, text := range c.errors {
			errs = append(errs, fmt.Sprintf(text, ref.Key.ID))
		}
		w.bury(a, c.class, c.ago, errs...)
	}
	odd := order("bord_" + markup)
	a := w.happened("evt_"+markup, "order."+markup, 3*time.Hour, odd)
	w.bury(a, "panic", 3*time.Hour, "panic: "+markup)
	closed := order("bord_closed")
	a = w.happened("evt_closed", "order.executed", 9*time.Hour, closed)
	w.bury(a, "permanent", 9*time.Hour, fmt.Sprintf(errorRefused, "bord_closed"))
	_, err := w.store.Discard(w.ctx, []string{storage.LetterID("evt_closed", closed.Key)}, "ops", "the account was closed on purpose", w.now.Add(-8*time.Hour))
	require.NoError(w.t, err)

	for i, c := range []struct {
		why      waiting.Why
		attempts int
		delay    time.Duration
	}{
		{waiting.Why{Reason: waiting.Failed, Class: "transient", Error: "HTTP 503"}, 3, 4 * time.Minute},
		{waiting.Why{Reason: waiting.Throttled, Class: "throttled", Error: "HTTP 429, Retry-After 60"}, 0, time.Minute},
		{waiting.Why{Reason: waiting.NeverSeen, Class: "gone", Error: "HTTP 404: no such order"}, 0, 9 * time.Minute},
		{waiting.Why{Reason: waiting.Refused, Class: "refused", Error: "HTTP 403: the key may not read orders"}, 0, time.Hour},
	} {
		ref := order(fmt.Sprintf("bord_wait%06x", i))
		c.why.At = w.now.Add(-time.Minute)
		c.why.Error = fmt.Sprintf("fetch %s: %s", ref.Key, c.why.Error)
		w.park(w.happened(fmt.Sprintf("evt_wait%08x", i), "order.accepted", 6*time.Minute, ref), c.why, c.attempts, c.delay)
	}
}

// differences are what sweeps have found.
func (w *world) differences() {
	ref := order("bord_7e21c4aa90")
	w.trade(ref, 40*time.Minute, 1)
	key := func(id string) event.Key { return order(id).Key }
	for i, d := range []storage.Discrepancy{
		{Entity: key("bord_7e21c4aa90"), Type: storage.Stale, Status: storage.Confirmed, Patch: []byte(`[{"op":"test","path":"/limit_price","value":100.10},{"op":"replace","path":"/limit_price","value":99.50},{"op":"test","path":"/quantity","value":10},{"op":"replace","path":"/quantity","value":12},{"op":"add","path":"/history/2","value":{"status":"executed","timestamp":"2026-03-01T11:58:03.120Z"}}]`)},
		{Entity: key("bord_missing01"), Type: storage.Missing, Status: storage.Repaired},
		{Entity: key("bord_gone01"), Type: storage.Deleted, Status: storage.Repaired},
		{Entity: key("bord_" + markup), Type: storage.Stale, Status: storage.Failed, Patch: []byte(`[{"op":"test","path":"/note","value":"<i>"},{"op":"replace","path":"/note","value":"<img src=x onerror=\"window.hacked=1\">"}]`)},
		{Type: storage.EventMissed, Status: storage.Repaired, EventID: "evt_missed01", Entity: key("bord_missed01")},
		{Type: storage.SubscriptionGap, Status: storage.Confirmed, Entity: event.Key{Source: "stripe"}},
		{Entity: key("bord_flight01"), Type: storage.Stale, Status: storage.Suspected, Patch: []byte(`[{"op":"test","path":"/history/1/status","value":"accepted"},{"op":"replace","path":"/history/1/status","value":"executed"}]`)},
		{Entity: key("bord_flight02"), Type: storage.Stale, Status: storage.Dropped, Patch: []byte(`[{"op":"test","path":"/fee","value":1.00},{"op":"remove","path":"/fee"}]`)},
		{Entity: key("bord_erased02"), Type: storage.Stale, Status: storage.Repaired, Patch: []byte(storage.ErasedText)},
	} {
		d.ID, d.Source, d.SweepID = fmt.Sprintf("d%d", i), "lemon", "sweep_k3v9q1zt"
		if d.Type == storage.SubscriptionGap {
			d.Source = "stripe"
		}
		d.FoundAt = w.now.Add(-time.Duration(12+i*9) * time.Minute)
		w.found(d)
	}
}

// work are sweeps and jobs.
func (w *world) work() {
	ago := func(d time.Duration) time.Time { return w.now.Add(-d) }
	for _, task := range []*storage.Task{
		{ID: "sweep_k3v9q1zt", Kind: "sweep", Source: "lemon", Status: storage.TaskDone, By: "schedule", CreatedAt: ago(13 * time.Minute), StartedAt: ago(13 * time.Minute), FinishedAt: ago(12 * time.Minute),
			Counts: map[string]int64{"partitions": 24, "done": 24, "entities": 18204, "found": 3, "api_calls": 184}},
		{ID: "sweep_b8xm20pe", Kind: "sweep", Source: "stripe", Status: storage.TaskFailed, By: "schedule", CreatedAt: ago(55 * time.Minute), StartedAt: ago(55 * time.Minute), FinishedAt: ago(50 * time.Minute),
			Error: "list stripe/customer: connection refused", Counts: map[string]int64{"partitions": 6, "done": 6, "entities": 820, "found": 1, "api_calls": 31, "failed_lists": 1},
			State: []byte(`{"failed_lists":[{"kind":"customer","error":"page 9: connection refused"}]}`)},
		{ID: "sweep_r1wq77ab", Kind: "verify", Source: "lemon", Status: storage.TaskRunning, By: "ops", Spec: []byte(`{"kinds":["order"]}`), CreatedAt: ago(90 * time.Second), StartedAt: ago(80 * time.Second),
			Counts: map[string]int64{"partitions": 40, "done": 17, "entities": 7120, "api_calls": 72}},
		{ID: "gaps/lemon", Kind: "gaps", Source: "lemon", Status: storage.TaskRunning, By: "schedule", CreatedAt: ago(72 * time.Hour), StartedAt: ago(72 * time.Hour), Counts: map[string]int64{"events": 90210, "found": 1, "api_calls": 4320}},
		{ID: "job_m4tz81kc", Kind: "redrive", Source: "lemon", Status: storage.TaskRunning, By: "ops", Spec: []byte(`{"filter":{"source":"lemon","class":"transient"},"rate":5}`), CreatedAt: ago(40 * time.Second), StartedAt: ago(39 * time.Second),
			Counts: map[string]int64{"total": 240, "done": 96}},
		{ID: "job_a0pl55vv", Kind: "discard", Source: "lemon", Status: storage.TaskDone, By: "ops", Spec: []byte(`{"filter":{"class":"gone"},"reason":"test accounts"}`), CreatedAt: ago(26 * time.Hour), StartedAt: ago(26 * time.Hour), FinishedAt: ago(26*time.Hour - time.Minute),
			Counts: map[string]int64{"total": 12, "done": 12}},
	} {
		w.task(task)
	}
}

// acts are what operators did, one of them while the database was away.
func (w *world) acts() {
	w.t.Helper()
	for i, n := range []storage.Note{
		{By: "ops", Did: "pause", To: "stripe", Source: "stripe", Why: "their maintenance", Before: `{"source":"stripe","paused":false}`,
			After: `{"source":"stripe","paused":true,"kind":"by_hand","reason":"their maintenance","by":"ops"}`},
		{By: "ops", Did: "discard", To: "evt_closed lemon/order/bord_closed", Source: "lemon", Why: "the account was closed on purpose", Before: `{"status":"open"}`, After: `{"status":"discarded"}`},
		{By: "anna", Did: "start redrive", To: "dead letters", Source: "lemon", Why: "source lemon, class transient"},
		{By: "anna", Did: "sync", To: "lemon/order/bord_" + markup, Source: "lemon", Why: markup, After: `{"claim":12345678901234567890,"signal":"<img src=x onerror=\"window.hacked=1\">"}`},
		{Source: "lemon", Reason: "night: resume lemon"},
		{By: "night", Did: "retry", To: "17 parked entities"},
	} {
		n.ID, n.Kind, n.At = storage.ActID(fmt.Sprintf("act_%d", i)), storage.NoteOperator, w.now.Add(-time.Duration(1+i*i*17)*time.Minute)
		if n.Reason == "" {
			n.Reason = n.By + ": " + n.Did + " " + n.To
		}
		require.NoError(w.t, w.store.Note(w.ctx, []storage.Note{n}))
	}
}

// openLetters counts the open dead letters that a filter selects.
func (w *world) openLetters(f storage.LetterFilter) int64 {
	w.t.Helper()
	f.Status = storage.LetterOpen
	n, err := w.store.CountLetters(w.ctx, f)
	require.NoError(w.t, err)
	return n
}

// did returns what operators did, newest first.
func (w *world) did() (acts []string) {
	w.t.Helper()
	page, err := w.store.Acts(w.ctx, storage.NoteFilter{})
	require.NoError(w.t, err)
	for _, n := range page.Items {
		acts = append(acts, n.By+": "+n.Did)
	}
	return slices.Clip(acts)
}
