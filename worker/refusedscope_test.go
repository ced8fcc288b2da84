package worker_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/worker"
)

// tenanted is a platform whose header says whose widgets are asked for.
type tenanted struct {
	mu    sync.Mutex
	gone  map[string]bool // tenants that took back their permission
	asked map[string]int  // by tenant and path
}

func (p *tenanted) refuse(tenant string, refused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone[tenant] = refused
}

func (p *tenanted) requests(tenant, path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[tenant+path]
}

// ServeHTTP answers a request: gadgets are of t_1 and t_2 only.
func (p *tenanted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	tenant, id := r.Header.Get("Acme-Tenant"), path.Base(r.URL.Path)
	p.asked[tenant+r.URL.Path]++
	switch {
	case p.gone[tenant] || p.gone[id]:
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"message":"no access to this account"}`)
	case r.URL.Path == "/ping":
		_, _ = io.WriteString(w, `{}`)
	case tenant == "" && strings.HasPrefix(r.URL.Path, "/gadgets/"):
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"message":"no such gadget"}`)
	default:
		_, _ = fmt.Fprintf(w, `{"id":%q,"of":%q}`, id, tenant)
	}
}

// scopedFleet is a fleet of a scoped source.
func scopedFleet(t *testing.T) (*bundle, *tenanted) {
	t.Helper()
	text := strings.NewReplacer("probe: /ping", "probe: /ping\n  scope: {id: tenant, header: Acme-Tenant, of: tenant}",
		"kinds:", "kinds:\n  tenant: {get: \"/tenants/{tenant}\", list: /tenants}", "events:", "events:\n  tenant: {touches: [tenant]}").Replace(definition)
	def, err := provider.Parse("acme.yaml", []byte(text))
	require.NoError(t, err)
	def, err = def.Scoped()
	require.NoError(t, err)
	p := &tenanted{gone: map[string]bool{}, asked: map[string]int{}}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	client, err := provider.NewClient(def, provider.ClientOptions{BaseURL: server.URL, Key: "key"})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	b := setup(t, func(o *worker.Options) { o.Sources[0].Definition, o.Sources[0].Client = def, client })
	b.def = def
	return b, p
}

// within sends an event about a gadget of a tenant.
func (b *bundle) within(tenant, gadget string) string {
	b.t.Helper()
	b.events++
	id, at := fmt.Sprintf("evt_%d", b.events), time.Now().UTC()
	body := fmt.Sprintf(`{"id":%q,"type":"gadget.made","created_at":%q,"tenant":%q,"context":{"gadget":%q}}`, id, at.Format(time.RFC3339Nano), tenant, gadget)
	e, err := b.def.Event("acme", nil, []byte(body), at)
	require.NoError(b.t, err)
	_, err = b.streams.Append(b.ctx, stream.Draft{Signal: event.Own(e, "")})
	require.NoError(b.t, err)
	return id
}

// gadgetOf is the key of a tenant's gadget.
func gadgetOf(tenant, id string) event.Key {
	return event.Key{Source: "acme", Kind: "gadget", ID: id, Under: event.Under(tenant)}
}

// Equal ids of two scopes are two entities, each asked for in its own scope.
func TestOneIDInTwoScopes(t *testing.T) {
	t.Parallel()
	b, p := scopedFleet(t)
	b.start("w1")
	for _, tenant := range []string{"t_1", "t_2"} {
		b.row(b.within(tenant, "g"), storage.Processed)
		doc, err := b.store.Entity(b.ctx, gadgetOf(tenant, "g"))
		require.NoError(t, err)
		require.JSONEq(t, fmt.Sprintf(`{"id":"g","of":%q}`, tenant), string(doc.Raw))
		require.Equal(t, map[string]string{"tenant": tenant}, doc.Parents)
	}
	require.Zero(t, p.requests("", "/gadgets/g"))
}

// What belongs to an account that took back its permission waits, with one alert. It is
// neither deleted nor given up, and the source and other accounts go on.
func TestAScopeThatRefusesUsWaits(t *testing.T) {
	t.Parallel()
	b, p := scopedFleet(t)
	b.start("w1")
	for i := range 10 {
		b.row(b.within("t_1", fmt.Sprint(i)), storage.Processed)
	}
	b.empty()
	p.refuse("t_1", true)
	var ids []string
	for i := range 10 {
		ids = append(ids, b.within("t_1", fmt.Sprint(i)))
	}
	ids = append(ids, b.send("tenant.gone", "tenant", "t_1"))
	b.row(b.within("t_2", "1"), storage.Processed)
	b.row(b.send("tenant.made", "tenant", "t_2"), storage.Processed)
	require.True(t, eventually(func() bool { return len(b.parked()) == len(ids) }))
	for _, id := range ids {
		require.Zero(t, b.row(id, storage.Retrying).Attempts)
	}
	for i := range 10 {
		doc, err := b.store.Entity(b.ctx, gadgetOf("t_1", fmt.Sprint(i)))
		require.NoError(t, err)
		require.True(t, doc.DeletedAt.IsZero())
		require.JSONEq(t, fmt.Sprintf(`{"id":"%d","of":"t_1"}`, i), string(doc.Raw))
	}
	told := b.told.of(alert.ScopeRefused)
	require.Len(t, told, 1)
	require.Equal(t, "acme/tenant/t_1", told[0]["entity"])
	require.Contains(t, told[0]["reason"], "tenant t_1: HTTP 403: provider refuses our key; its documents stay as they are")
	require.Empty(t, b.told.of(alert.DeadLetter))
	require.Empty(t, b.told.of(alert.SourcePaused))
	require.Empty(t, b.told.of(alert.KindRefused))

	p.refuse("t_1", false)
	b.retried(ids)
}
