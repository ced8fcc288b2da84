package reconciler

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

const testShards = 4

// shopDefinition is a small provider: customers have
// orders with a history, a balance, and notes that no list shows.
const shopDefinition = `
provider: shop
signature: {scheme: timestamped-hmac, headers: [Shop-Signature]}
envelope: {id: id, type: type, created_at: created_at, time: rfc3339, context: context}
api:
  pagination: {style: cursor, items: data, next: next, limit: 2}
  errors: message
  probe: /ping
  events: {path: /events, since: since, query: {sort: asc}, horizon: 720h}
history: {status: status, at: at}
kinds:
  customer:
    get: /customers/{customer}
    list: /customers
    volatile: [last_seen]
  order:
    get: /customers/{customer}/orders/{order}
    list: /customers/{customer}/orders
    history: history
    statuses: [created, made, sold]
    terminal: [sold]
    secret: [pin]
  note:
    get: /customers/{customer}/notes/{note}
  balance:
    shape: singleton
    get: /customers/{customer}/balance
    every: 1s
events:
  customer: {touches: [customer]}
  order: {touches: [order, "*"], derived: [balance]}
`

// shop is that provider.
type shop struct {
	*httptest.Server
	mu     sync.Mutex
	state  map[string]string   // by path
	lists  map[string][]string // paths of the elements, by path of the list
	events []string
	// answer may answer a request in place of the shop: true if it did.
	answer func(w http.ResponseWriter, r *http.Request) bool
	asked  []string
}

func newShop(t *testing.T) *shop {
	s := &shop{state: map[string]string{}, lists: map[string][]string{"/customers": nil}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// put sets the state of an entity, and puts a new one into the list.
func (s *shop) put(path, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.state[path]; !ok {
		list := path[:strings.LastIndexByte(path, '/')]
		s.lists[list] = append(s.lists[list], path)
	}
	s.state[path] = state
	if strings.Count(path, "/") == 2 {
		if _, ok := s.lists[path+"/orders"]; !ok {
			s.lists[path+"/orders"] = nil
			s.state[path+"/balance"] = `{"amount":0}`
		}
	}
}

// drop removes an entity, with all that is under it.
func (s *shop) drop(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.state {
		if p == path || strings.HasPrefix(p, path+"/") {
			delete(s.state, p)
		}
	}
	for l := range s.lists {
		if strings.HasPrefix(l, path+"/") {
			delete(s.lists, l)
		}
	}
	list := path[:strings.LastIndexByte(path, '/')]
	s.lists[list] = slices.DeleteFunc(s.lists[list], func(p string) bool { return p == path })
}

// happen makes an event that is not sent as a webhook.
func (s *shop) happen(id, typ string, at time.Time, ids ...string) string {
	body := shopEvent(id, typ, at, ids...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, body)
	return body
}

func shopEvent(id, typ string, at time.Time, ids ...string) string {
	var keys []string
	for i := 0; i < len(ids); i += 2 {
		keys = append(keys, fmt.Sprintf("%q:%q", ids[i], ids[i+1]))
	}
	return fmt.Sprintf(`{"id":%q,"type":%q,"created_at":%q,"context":{%s}}`,
		id, typ, at.UTC().Format(time.RFC3339Nano), strings.Join(keys, ","))
}

// interfere lets answer answer in place of the shop. Nil: the shop answers.
func (s *shop) interfere(answer func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// calls returns the requests since the last call of it, without probes.
func (s *shop) calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return slices.DeleteFunc(asked, func(a string) bool { return a == "/ping" })
}

// ServeHTTP answers a request.
func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.URL.Path)
	answer := s.answer
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if answer != nil && answer(w, r) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch elements, isList := s.lists[r.URL.Path]; {
	case r.URL.Path == "/ping":
		_, _ = io.WriteString(w, `{}`)
	case r.URL.Path == "/events":
		s.page(w, r.URL.Query(), s.eventsSince(r.URL.Query()))
	case isList:
		states := make([]string, len(elements))
		for i, p := range elements {
			states[i] = s.state[p]
		}
		s.page(w, r.URL.Query(), states)
	case s.state[r.URL.Path] != "":
		_, _ = io.WriteString(w, s.state[r.URL.Path])
	default:
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"message":"no such thing"}`)
	}
}

func (s *shop) eventsSince(q url.Values) []string {
	since, err := time.Parse(time.RFC3339Nano, q.Get("since"))
	if c := q.Get("cursor"); c != "" {
		_, text, _ := strings.Cut(c, ",")
		since, err = time.Parse(time.RFC3339Nano, text)
	}
	if err != nil {
		return s.events
	}
	var out []string
	for _, e := range s.events {
		var head struct {
			At time.Time `json:"created_at"`
		}
		if json.Unmarshal([]byte(e), &head) != nil || !head.At.Before(since) {
			out = append(out, e)
		}
	}
	return out
}

// page writes as many elements as are asked for and where the next ones are: a
// cursor holds the place and the limit.
func (s *shop) page(w io.Writer, q url.Values, all []string) {
	from, rest := 0, q.Get("since")
	limit, _ := strconv.Atoi(q.Get("limit"))
	if c := q.Get("cursor"); c != "" {
		var place string
		place, rest, _ = strings.Cut(c, ",")
		_, _ = fmt.Sscanf(place, "%d/%d", &from, &limit)
	}
	to, next := min(from+limit, len(all)), "null"
	if to < len(all) {
		next = strconv.Quote(fmt.Sprintf("%d/%d,%s", to, limit, rest))
	}
	_, _ = fmt.Fprintf(w, `{"data":[%s],"next":%s}`, strings.Join(all[min(from, to):to], ","), next)
}

// scene is a shop with a mirror, a queue, and a test that plays the worker.
type scene struct {
	t       *testing.T
	ctx     context.Context
	shop    *shop
	redis   *redistest.Server
	streams *stream.Streams
	store   *noting
	file    string // of the store
	finder  *finder
	def     *provider.Definition
	client  *provider.Client
	clock   *clock
	working sync.Mutex
}

// noting notes which writes the reconciler makes.
type noting struct {
	storage.Store
	mu       sync.Mutex
	verified []storage.Verified
	batches  int
	looked   int // how often the log was asked
	// saved, if set, is called with each task that is saved.
	saved func(*storage.Task)
	// erased and unerased, if set, are called after each marker that was written or removed.
	erased, unerased func(n int)
	markers          []event.Key // written, in order
	removed          int
}

func (n *noting) SaveTask(ctx context.Context, t *storage.Task) (bool, error) {
	if n.saved != nil {
		n.saved(t)
	}
	return n.Store.SaveTask(ctx, t)
}

func (n *noting) Erase(ctx context.Context, ref event.Ref, m storage.Marker) (*storage.Document, error) {
	doc, err := n.Store.Erase(ctx, ref, m)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.markers = append(n.markers, ref.Key)
	if n.erased != nil {
		n.erased(len(n.markers))
	}
	return doc, err
}

func (n *noting) Unerase(ctx context.Context, k, with event.Key) (bool, error) {
	done, err := n.Store.Unerase(ctx, k, with)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.removed++; n.unerased != nil {
		n.unerased(n.removed)
	}
	return done, err
}

func (n *noting) Events(ctx context.Context, f storage.EventFilter) (storage.Page[*storage.EventRow], error) {
	n.mu.Lock()
	n.looked++
	n.mu.Unlock()
	return n.Store.Events(ctx, f)
}

func (n *noting) Verify(ctx context.Context, same []storage.Verified) (int, error) {
	n.mu.Lock()
	n.verified = append(n.verified, same...)
	n.batches++
	n.mu.Unlock()
	return n.Store.Verify(ctx, same)
}

// clock is real time, moved by hand.
type clock struct {
	mu  sync.Mutex
	off time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off)
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += d
}

func newScene(t *testing.T) *scene {
	t.Helper()
	def, err := provider.Parse("shop.yaml", []byte(shopDefinition))
	require.NoError(t, err)
	s := newShop(t)
	return newSceneAt(t, def, "shop", s.URL, s)
}

func newSceneAt(t *testing.T, def *provider.Definition, source, address string, s *shop) *scene {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // a slow machine runs eight of them
	t.Cleanup(cancel)
	c := &scene{t: t, ctx: ctx, shop: s, redis: redistest.Start(t), def: def, clock: &clock{}}
	quiet := slog.New(slog.DiscardHandler)
	var err error
	c.streams, err = stream.Open(ctx, stream.Options{URLs: []string{c.redis.URL()}, Shards: testShards, LeaseTTL: time.Minute, Logger: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.streams.Close() })
	c.file = filepath.Join(t.TempDir(), "tarn.db")
	db, err := sqlite.Open(ctx, c.file, sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	c.store = &noting{Store: db}
	c.client, err = provider.NewClient(def, provider.ClientOptions{BaseURL: address, Key: "id:secret", Timeout: 10 * time.Second, Now: c.clock.now})
	require.NoError(t, err)
	t.Cleanup(c.client.Close)
	c.finder = &finder{
		name: source, def: def, api: c.client, store: c.store, streams: c.streams, owner: "test",
		rate: func() stream.Rate { return stream.Rate{} },
		settings: config.Reconcile{
			Gaps:  config.Gaps{Every: time.Minute, Overlap: 10 * time.Minute},
			Grace: 2 * time.Minute, Window: 168 * time.Hour, Kinds: map[string]config.ReconcileKind{},
		},
		now: c.clock.now, log: quiet, sparing: quiet, metrics: telemetry.NewMetrics(prometheus.NewRegistry()),
		pace: pace{poll: 5 * time.Millisecond, backoff: 2 * time.Millisecond, patience: 100 * time.Millisecond, stalled: 2 * time.Minute,
			round: 5 * time.Millisecond, look: time.Minute},
	}
	c.finder.condition = c.finder.newCondition()
	return c
}

// lose deletes documents from the database by hand: one of a kind, or all for "".
func (c *scene) lose(kind, id string) {
	c.t.Helper()
	require.Positive(c.t, c.exec("DELETE FROM mirror WHERE kind = ?1 AND (id = ?2 OR ?2 = '')", kind, id))
}

// exec changes the database without the store and returns how many
// rows it changed.
func (c *scene) exec(statement string, args ...any) int64 {
	c.t.Helper()
	db, err := sql.Open("sqlite", c.file+"?_pragma=busy_timeout(20000)")
	require.NoError(c.t, err)
	done, err := db.ExecContext(c.ctx, statement, args...)
	require.NoError(c.t, err)
	n, err := done.RowsAffected()
	require.NoError(c.t, err)
	require.NoError(c.t, db.Close())
	return n
}

func (c *scene) key(kind, id string) event.Key {
	return event.Key{Source: c.finder.name, Kind: kind, ID: id}
}

// entries reads what waits in the streams, oldest first per shard, and takes
// it out.
func (c *scene) entries() []event.Entry { return c.entriesAfter(func(event.Entry) {}) }

// entriesAfter is entries, and does something with each entry before it leaves its stream, as
// workers do.
func (c *scene) entriesAfter(do func(event.Entry)) []event.Entry {
	c.t.Helper()
	var all []event.Entry
	for shard := range testShards {
		lease, err := c.streams.Acquire(c.ctx, shard, "player", []string{c.finder.name})
		require.NoError(c.t, err)
		for _, tier := range []event.Tier{event.TierLive, event.TierBackground} {
			_, err := lease.TakeOver(c.ctx, c.finder.name, tier, func(page []event.Entry) error { return nil })
			require.NoError(c.t, err)
			for {
				batch, err := lease.Read(c.ctx, c.finder.name, tier, stream.Limits{})
				require.NoError(c.t, err)
				if len(batch) == 0 {
					break
				}
				all = append(all, batch...)
				var ids, events []string
				for _, e := range batch {
					do(e)
					ids = append(ids, e.ID)
					if e.Signal.Body != nil {
						events = append(events, e.Signal.CauseID)
					}
				}
				require.NoError(c.t, lease.Ack(c.ctx, c.finder.name, tier, ids, events))
			}
		}
		require.NoError(c.t, lease.Release(c.ctx))
	}
	return all
}

// work does with queued entries what a worker would do, in a simple way, and returns
// them.
func (c *scene) work() []event.Entry {
	c.t.Helper()
	c.working.Lock() // some do so while a request of theirs is answered
	defer c.working.Unlock()
	all := c.entries()
	for _, e := range all {
		if e.Signal.Body != nil {
			_, err := c.store.Log(c.ctx, []storage.Arrival{{Event: e.Signal.Body, Signal: storage.SignalID{ID: e.ID}}})
			require.NoError(c.t, err)
			for _, ref := range e.Signal.Body.Entities {
				c.sync(ref)
			}
			continue
		}
		c.sync(e.Signal.Ref)
		if e.Signal.Cause == event.CauseDiscrepancy {
			require.NoError(c.t, c.store.Repair(c.ctx, []string{e.Signal.CauseID}, true, c.clock.now()))
		}
	}
	return all
}

// sync fetches one entity and writes what it is.
func (c *scene) sync(ref event.Ref) {
	c.t.Helper()
	doc, err := c.store.Claim(c.ctx, ref)
	require.NoError(c.t, err)
	w := &storage.Write{Ref: ref, Claim: doc.Claim, SentAt: c.clock.now().UTC()}
	state, err := c.client.Fetch(c.ctx, ref, "test")
	switch {
	case fate.Is(err, fate.Gone):
		w.Deleted = true
	default:
		require.NoError(c.t, err)
		w.SentAt, w.Raw, w.StateHash, w.Status, w.Terminal = state.SentAt, state.Raw, state.Hash, state.Status, state.Terminal
	}
	done, err := c.store.Write(c.ctx, w)
	require.NoError(c.t, err)
	require.True(c.t, done.Applied)
}

// survey runs one in this process, over everything.
func (c *scene) survey(m mode, change ...func(*survey)) *survey {
	c.t.Helper()
	s := &survey{
		finder: c.finder, mode: m, id: "sweep_" + strconv.FormatInt(time.Now().UnixNano(), 36), begun: c.clock.now(),
		counts: map[string]int64{}, failed: map[string]bool{}, reported: map[event.Key]bool{},
	}
	for _, f := range change {
		f(s)
	}
	for _, k := range c.def.Roots() {
		var ids []string
		require.NoError(c.t, s.listRoot(c.ctx, k, &place{}, func(more ...string) { ids = append(ids, more...) }))
		require.NoError(c.t, s.under(c.ctx, k, ids))
	}
	require.NoError(c.t, s.flush(c.ctx))
	if m != modeBackfill {
		for _, k := range c.def.Kinds() {
			require.NoError(c.t, s.checkKind(c.ctx, k, new(string)))
		}
	}
	require.NoError(c.t, s.flush(c.ctx))
	return s
}

// fill makes the mirror true.
func (c *scene) fill() {
	c.t.Helper()
	c.survey(modeBackfill)
	c.work()
	require.Empty(c.t, c.differences(), "a mirror that was filled is in sync")
	require.NoError(c.t, c.finder.noteSwept(c.ctx, c.finder.kinds(), "test"))
}

// differences is what a look at everything shows.
func (c *scene) differences() []string {
	c.t.Helper()
	var found []string
	c.survey(modeReport, func(s *survey) {
		s.report = func(d difference) { found = append(found, string(d.typ)+" "+d.ref.Key.Kind+"/"+d.ref.Key.ID) }
	})
	slices.Sort(found)
	return found
}

// recorded are the discrepancies on record, as "type kind/id".
func (c *scene) recorded() []string {
	c.t.Helper()
	page, err := c.store.Discrepancies(c.ctx, storage.DiscrepancyFilter{Limit: 200})
	require.NoError(c.t, err)
	out := []string{}
	for _, d := range page.Items {
		out = append(out, string(d.Type)+" "+d.Entity.Kind+"/"+d.Entity.ID)
	}
	slices.Sort(out)
	return out
}

// signalled are the signals among entries, as "cause kind/id".
func signalled(entries []event.Entry) []string {
	out := []string{}
	for _, e := range entries {
		out = append(out, string(e.Signal.Cause)+" "+e.Signal.Ref.Key.Kind+"/"+e.Signal.Ref.Key.ID)
	}
	slices.Sort(out)
	return out
}

// stock puts some customers with orders into the shop.
func (s *shop) stock(customers, orders int) {
	for i := range customers {
		id := "c" + strconv.Itoa(i)
		s.put("/customers/"+id, fmt.Sprintf(`{"id":%q,"name":"N","last_seen":1}`, id))
		for j := range orders {
			order := fmt.Sprintf("o%d_%d", i, j)
			s.put("/customers/"+id+"/orders/"+order, shopOrder(order, 1, "created"))
		}
	}
}

func shopOrder(id string, amount int, statuses ...string) string {
	var history []string
	for i, st := range statuses {
		history = append([]string{fmt.Sprintf(`{"status":%q,"at":"2026-03-01T09:%02d:00Z"}`, st, i)}, history...)
	}
	return fmt.Sprintf(`{"id":%q,"amount":%d,"pin":"1234","history":[%s]}`, id, amount, strings.Join(history, ","))
}
