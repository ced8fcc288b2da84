package worker_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/worker"
)

// shop is a provider on HTTP whose orders are under customers.
const shop = `
provider: acme
signature: {scheme: timestamped-hmac, headers: [Acme-Signature]}
envelope: {id: id, type: type, created_at: created_at, context: context}
api: {errors: message, probe: /ping, pagination: {style: cursor}}
kinds:
  order: {get: "/customers/{customer}/orders/{order}", list: "/customers/{customer}/orders", gone_after: {known: 100ms, unknown: 100ms}}
  customer: {get: "/customers/{customer}", list: /customers}
  balance: {shape: singleton, get: "/customers/{customer}/balance", proof: [amount]}
events:
  order: {touches: [order, "*"]}
  balance: {touches: [balance]}
`

// site answers as the test asks, and otherwise with a good state.
type site struct {
	mu     sync.Mutex
	answer http.HandlerFunc // nil: all is well
	asked  []string
	notes  []storage.Note // what the store was given
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	answer := s.answer
	s.asked = append(s.asked, r.URL.Path)
	s.mu.Unlock()
	if answer != nil && r.URL.Path != "/ping" {
		answer(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	id := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	_, _ = fmt.Fprintf(w, `{"id":%q,"amount":1.10}`, id)
}

func (s *site) answers(answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *site) count(path string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.asked {
		if p == path {
			n++
		}
	}
	return n
}

// setupShop is a fleet of one worker on such a site. Its log is written to the
// buffer.
func setupShop(t *testing.T, attempts int, timeout time.Duration) (*bundle, *site, *logged) {
	t.Helper()
	s, log := &site{}, &logged{}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	def, err := provider.Parse("shop.yaml", []byte(shop))
	require.NoError(t, err)
	client, err := provider.NewClient(def, provider.ClientOptions{BaseURL: server.URL, Key: "k", Timeout: timeout})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	b := setup(t, func(o *worker.Options) {
		o.Sources = []worker.Source{{Name: "acme", Definition: def, Client: client, Concurrency: 16}}
		o.Retry = fate.Backoff{First: 20 * time.Millisecond, Cap: 20 * time.Millisecond, Attempts: attempts}
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
	})
	b.def = def
	b.options.Store = &noting{watched: b.store, site: s}
	b.start("w1")
	return b, s, log
}

// noting is a store that remembers notes.
type noting struct {
	*watched
	site *site
}

func (n *noting) Note(ctx context.Context, notes []storage.Note) error {
	n.site.mu.Lock()
	n.site.notes = append(n.site.notes, notes...)
	n.site.mu.Unlock()
	return n.watched.Note(ctx, notes)
}

// noted returns the notes of a kind.
func (s *site) noted(kind string) (found []storage.Note) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.notes {
		if n.Kind == kind {
			found = append(found, n)
		}
	}
	return found
}

// logged is a log that may be read while it is written.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// raw sends a body as the api would.
func (b *bundle) raw(body string) stream.Receipt {
	b.t.Helper()
	e, err := b.def.Event("acme", nil, []byte(body), time.Now())
	require.NoError(b.t, err)
	r, err := b.streams.Append(b.ctx, stream.Draft{Signal: event.Own(e, "")})
	require.NoError(b.t, err)
	return r
}

// A provider may misbehave in every way HTTP and JSON allow: what it answers is
// not taken for the entity, its state is kept, and the event is retried until the
// provider behaves again, or to the end of its attempts.
func TestAMisbehavingProviderChangesNothing(t *testing.T) {
	t.Parallel()
	text := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	const isJSON = "application/json"
	const order = `{"id":"o_1","amount":2}`
	cases := map[string]http.HandlerFunc{
		"an error under 200":  text(200, isJSON, `{"ok":false,"error":{"code":"x"}}`),
		"nothing under 200":   text(200, isJSON, `{}`),
		"another entity":      text(200, isJSON, `{"id":"o_2"}`),
		"a list":              text(200, isJSON, `[`+order+`]`),
		"empty":               text(200, isJSON, ``),
		"cut":                 text(200, isJSON, order[:12]),
		"a problem under 200": text(200, "application/problem+json", order),
		"HTML":                text(200, "text/html", order),
		"202":                 text(202, isJSON, order),
		"404 of a proxy":      text(404, "text/html", "<html>"),
		"410 of a proxy":      text(410, "text/html", "<html>"),
		"500":                 text(500, isJSON, order),
		"the body ends early": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", isJSON)
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, order)
		},
		"the connection ends": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"silence":             func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	}
	b, s, _ := setupShop(t, 1000, 300*time.Millisecond) // to be silent takes no longer
	n := 0
	send := func(typ string) string {
		n++
		id := fmt.Sprintf("evt_%d", n)
		b.raw(fmt.Sprintf(`{"id":%q,"type":%q,"created_at":%q,"context":{"customer":"c_1","order":"o_1"}}`, id, typ, time.Now().UTC().Format(time.RFC3339Nano)))
		return id
	}
	b.row(send("order.made"), storage.Processed)
	b.row(send("balance.changed"), storage.Processed)
	for name, answer := range cases {
		t.Run(name, func(t *testing.T) {
			before, balance := b.document("order", "o_1"), b.document("balance", "c_1")
			s.answers(answer)
			ids := []string{send("order.made"), send("balance.changed")}
			for _, id := range ids {
				require.Positive(t, b.row(id, storage.Retrying).Attempts)
			}
			for _, was := range []*storage.Document{before, balance} {
				now := b.document(was.Key.Kind, was.Key.ID)
				require.Equal(t, string(was.Raw), string(now.Raw), "the state is kept")
				require.Equal(t, was.SyncedAt, now.SyncedAt)
				require.Zero(t, now.DeletedAt)
			}
			s.answers(nil)
			for _, id := range ids {
				b.row(id, storage.Processed)
			}
		})
	}
}

// What stays unreadable ends as a dead letter, with its attempts.
func TestWhatStaysUnreadableIsBuried(t *testing.T) {
	t.Parallel()
	b, s, _ := setupShop(t, 3, 20*time.Second)
	b.raw(`{"id":"evt_1","type":"order.made","created_at":"2026-03-01T12:00:00Z","context":{"customer":"c_1","order":"o_1"}}`)
	b.row("evt_1", storage.Processed)
	was := b.document("order", "o_1")
	s.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"ok":false}`)
	})
	b.raw(`{"id":"evt_2","type":"order.made","created_at":"2026-03-01T12:00:00Z","context":{"order":"o_1","customer":"c_1"}}`)
	row := b.row("evt_2", storage.Dead)
	require.Contains(t, row.Error, "the answer has no id, so it is not the entity")
	require.Equal(t, string(was.Raw), string(b.document("order", "o_1").Raw))
}

// 410 in the provider's own words is gone, as 404 is.
func TestGoneInItsOwnWords(t *testing.T) {
	t.Parallel()
	b, s, _ := setupShop(t, 3, 20*time.Second)
	for _, id := range []string{"o_1", "o_2", "o_3"} { // what is known shows that not everything is gone
		b.raw(fmt.Sprintf(`{"id":"evt_%s","type":"order.made","created_at":"2026-03-01T12:00:00Z","context":{"customer":"c_1","order":%q}}`, id, id))
		b.row("evt_"+id, storage.Processed)
	}
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/o_1") {
			w.WriteHeader(http.StatusGone)
			_, _ = io.WriteString(w, `{"message":"deleted"}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"id":%q}`, r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
	})
	b.raw(`{"id":"evt_gone","type":"order.deleted","created_at":"2026-03-01T12:00:00Z","context":{"customer":"c_1","order":"o_1"}}`)
	b.row("evt_gone", storage.Processed)
	require.False(t, b.document("order", "o_1").DeletedAt.IsZero())
}

// A context that drifts does nothing in silence: known parents are used, the
// rest is on the row, in a metric, and in the log once per type.
func TestWhatAnEventDoesNotTell(t *testing.T) {
	t.Parallel()
	b, s, log := setupShop(t, 3, 20*time.Second)
	b.raw(`{"id":"evt_1","type":"order.made","created_at":"2026-03-01T12:00:00Z","context":{"customer":"c_1","order":"o_1"}}`)
	require.False(t, b.row("evt_1", storage.Processed).Unnamed)
	before := s.count("/customers/c_1/orders/o_1")

	b.raw(`{"id":"evt_2","type":"order.made","created_at":"2026-03-01T12:00:00Z","context":{"order":"o_1"}}`)
	row := b.row("evt_2", storage.Processed)
	require.Equal(t, map[string]string{"customer": "c_1"}, row.Entities[0].Ref.Parents, "the mirror knows them")
	require.False(t, row.Unnamed)
	require.Equal(t, before+1, s.count("/customers/c_1/orders/o_1"))

	for i, context := range []string{
		`{"order":"o_9"}`, `{"order":{"id":"o_1"},"customer":{"id":"c_1"}}`, `{"customer":"c_1"}`, `{}`, `"o_1"`,
	} {
		id := fmt.Sprintf("evt_odd_%d", i)
		b.raw(fmt.Sprintf(`{"id":%q,"type":"order.made","created_at":"2026-03-01T12:00:00Z","context":%s}`, id, context))
		require.True(t, b.row(id, storage.Processed).Unnamed, context)
	}
	b.counted(5, "tarn_events_flagged_total", "unnamed")
	require.True(t, eventually(func() bool { return log.count("do not name the entity it is about") == 1 }), "once per type")
	_, err := b.store.Entity(b.ctx, key("order", "o_9"))
	require.ErrorIs(t, err, storage.ErrNotFound, "an entity that cannot be asked for leaves no trace")

	b.raw(`{"id":"evt_undated","type":"order.made","created_at":"9999-12-31T23:59:59-01:00","context":{"customer":"c_1","order":"o_1"}}`)
	row = b.row("evt_undated", storage.Processed)
	require.True(t, row.Undated)
	require.False(t, row.OutOfOrder, "the order is not known")
	require.Equal(t, "evt_1", b.document("order", "o_1").LastEvent.ID)
	b.counted(1, "tarn_events_flagged_total", "undated")
	b.empty()
}

// An event that comes again with another body is flagged, kept and followed, as
// long as its mark lives and after that.
func TestAnotherBodyIsFollowed(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]bool{"with its mark": false, "without its mark": true} {
		t.Run(name, func(t *testing.T) {
			b, s, _ := setupShop(t, 3, 20*time.Second)
			const body = `{"id":"evt_1","type":"order.made","created_at":"2026-03-01T12:00:00Z","context":{"customer":"c_1","order":%q}}`
			first := fmt.Sprintf(body, "o_1")
			b.raw(first)
			b.row("evt_1", storage.Processed)
			b.empty()
			require.True(t, b.raw(first).Duplicate)
			asked := s.count("/customers/c_1")
			if forget {
				require.NoError(t, b.streams.ForgetEvents(b.ctx, map[string]event.Key{"evt_1": key("order", "o_1")}))
			}
			second := strings.Replace(first, `"order":"o_1"`, `"order":"o_1","note":2`, 1)
			require.False(t, b.raw(second).Duplicate)
			require.True(t, eventually(func() bool {
				rows, err := b.store.EventByID(b.ctx, "acme", "evt_1")
				return err == nil && rows[0].PayloadDiffers && s.count("/customers/c_1/orders/o_1") == 2 && s.count("/customers/c_1") > asked
			}), "what it names is fetched again")
			b.empty()
			row := b.row("evt_1", storage.Processed)
			require.Equal(t, first, string(row.Payload), "the first is kept")
			notes := s.noted(storage.NoteDiffering)
			require.Len(t, notes, 1)
			require.Equal(t, second, notes[0].Reason, "and the other, in the audit")
			b.counted(1, "tarn_events_flagged_total", "differing")
		})
	}
}
