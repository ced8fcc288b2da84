package reconciler

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

const platformDefinition = `
provider: platform
signature: {scheme: timestamped-hmac, headers: [Platform-Signature]}
envelope: {id: id, type: type, created_at: created_at, time: rfc3339, context: context}
api:
  pagination: {style: whole}
  errors: message
  probe: /ping
  events: {path: /events, since: since}
  scope: {id: tenant, header: Platform-Tenant, of: tenant}
kinds:
  tenant: {get: "/tenants/{tenant}", list: /tenants}
  item: {get: "/items/{item}", list: /items}
  part: {get: "/items/{item}/parts/{part}", list: "/items/{item}/parts"}
  total: {shape: singleton, get: /total, proof: [sum], every: 1s}
events:
  tenant: {touches: [tenant]}
  item: {touches: [item], derived: [total]}
  part: {touches: [part]}
`

// tenants is a platform: the header says whose things are asked for. What belongs to
// another tenant, or to the platform, is not found.
type tenants struct {
	*httptest.Server
	mu sync.Mutex
	// state is by tenant and path, "" for the platform.
	state map[string]string
	// events are those of each tenant, events of the platform's are under "".
	events map[string][]string
	gone   map[string]bool
	deaf   bool // the header is lost on the way
	asked  []string
}

func newTenants(t *testing.T) *tenants {
	p := &tenants{state: map[string]string{}, events: map[string][]string{}, gone: map[string]bool{}}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	for _, tenant := range []string{"t_1", "t_2"} {
		p.put("", "/tenants/"+tenant, `{"id":"`+tenant+`"}`)
	}
	// Ids are the same everywhere, states are not.
	for _, tenant := range []string{"", "t_1", "t_2"} {
		p.put(tenant, "/items/i_1", `{"id":"i_1","of":"`+tenant+`"}`)
		p.put(tenant, "/items/i_1/parts/p_1", `{"id":"p_1","of":"`+tenant+`"}`)
		p.put(tenant, "/total", `{"sum":"`+tenant+`"}`)
	}
	return p
}

func (p *tenants) put(tenant, path, state string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state[tenant+" "+path] = state
}

// happen makes an event that no webhook brings. The payload does not say whose it is.
func (p *tenants) happen(tenant, id string, at time.Time, item string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events[tenant] = append(p.events[tenant], shopEvent(id, "item.made", at, "item", item))
}

// refuse takes back the permission of a tenant, or gives it again.
func (p *tenants) refuse(tenant string, refused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone[tenant] = refused
}

// requests returns what was asked for since the last call, with the tenant.
func (p *tenants) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := p.asked
	p.asked = nil
	return asked
}

// ServeHTTP answers a request.
func (p *tenants) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	tenant := r.Header.Get("Platform-Tenant")
	if p.deaf {
		tenant = ""
	}
	p.asked = append(p.asked, tenant+" "+r.URL.Path)
	if p.gone[tenant] || p.gone[path.Base(r.URL.Path)] {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"message":"this account has taken back its permission"}`)
		return
	}
	list := func(under string) string {
		var all []string
		for key, state := range p.state {
			if id, ok := strings.CutPrefix(key, tenant+" "+under+"/"); ok && !strings.Contains(id, "/") && !p.gone[id] {
				all = append(all, state)
			}
		}
		slices.Sort(all)
		return `{"data":[` + strings.Join(all, ",") + `]}`
	}
	switch state := p.state[tenant+" "+r.URL.Path]; {
	case r.URL.Path == "/ping":
		_, _ = io.WriteString(w, `{}`)
	case r.URL.Path == "/events":
		_, _ = io.WriteString(w, `{"data":[`+strings.Join(p.events[tenant], ",")+`]}`)
	case state != "":
		_, _ = io.WriteString(w, state)
	case strings.HasSuffix(r.URL.Path, "s"):
		_, _ = io.WriteString(w, list(r.URL.Path))
	default:
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"message":"no such thing"}`)
	}
}

// newPlatform is a scoped source of such a platform.
func newPlatform(t *testing.T) (*scene, *tenants, *[]alert.Alert) {
	t.Helper()
	def, err := provider.Parse("platform.yaml", []byte(platformDefinition))
	require.NoError(t, err)
	def, err = def.Scoped()
	require.NoError(t, err)
	p := newTenants(t)
	c := newSceneAt(t, def, "shop", p.URL, nil)
	told := new([]alert.Alert)
	c.finder.alert = func(a alert.Alert) { *told = append(*told, a) }
	c.finder.scopes = c.finder.newScopes()
	return c, p, told
}

// mirrored returns what the mirror has of some kinds, by key.
func (c *scene) mirrored() map[string]string {
	c.t.Helper()
	all := map[string]string{}
	for _, k := range c.def.Kinds() {
		page, err := c.store.Entities(c.ctx, storage.EntityFilter{Source: "shop", Kind: k.Name, Limit: 200})
		require.NoError(c.t, err)
		for _, doc := range page.Items {
			all[doc.Key.String()] = string(doc.Raw)
			if !doc.DeletedAt.IsZero() {
				all[doc.Key.String()] = "deleted"
			}
		}
	}
	return all
}

// platformTruth is what the mirror of the platform should have.
func platformTruth(more ...string) map[string]string {
	truth := map[string]string{"shop/tenant/t_1": `{"id":"t_1"}`, "shop/tenant/t_2": `{"id":"t_2"}`}
	for tenant, under := range map[string]string{"": "", "t_1": "@t_1", "t_2": "@t_2"} {
		truth["shop/item"+under+"/i_1"] = `{"id":"i_1","of":"` + tenant + `"}`
		truth["shop/part"+under+"/p_1"] = `{"id":"p_1","of":"` + tenant + `"}`
		truth["shop/total"+under+"/all"] = `{"sum":"` + tenant + `"}`
	}
	for i := 0; i < len(more); i += 2 {
		truth[more[i]] = more[i+1]
	}
	return truth
}

// Sweeps read the lists of the platform and of every scope, and repair each.
func TestSweepsReadTheListsOfEveryScope(t *testing.T) {
	t.Parallel()
	c, p, _ := newPlatform(t)
	c.fill()
	require.Equal(t, platformTruth(), c.mirrored())

	p.put("t_1", "/items/i_1", `{"id":"i_1","of":"t_1","new":true}`)
	p.put("t_2", "/items/i_2", `{"id":"i_2"}`)
	require.Equal(t, []string{"missing item/i_2", "stale item/i_1"}, c.differences())
	c.survey(modeSweep)
	entries := c.work()
	require.Len(t, entries, 2, "the other scopes are in sync")
	require.Equal(t, platformTruth("shop/item@t_1/i_1", `{"id":"i_1","of":"t_1","new":true}`, "shop/item@t_2/i_2", `{"id":"i_2"}`), c.mirrored())
}

// A control of the comparisons above: if the header is lost on the way, they are red.
func TestWithoutTheHeaderTheMirrorOfScopesIsLost(t *testing.T) {
	t.Parallel()
	c, p, _ := newPlatform(t)
	p.put("t_1", "/items/only", `{"id":"only"}`)
	c.fill()
	require.Equal(t, platformTruth("shop/item@t_1/only", `{"id":"only"}`), c.mirrored())
	p.mu.Lock()
	p.deaf = true
	p.mu.Unlock()
	c.clock.move(25 * time.Hour)
	require.NotEmpty(t, c.differences())
	c.survey(modeSweep)
	c.work()
	require.Equal(t, "deleted", c.mirrored()["shop/item@t_1/only"])
	require.Equal(t, `{"id":"i_1","of":""}`, c.mirrored()["shop/item@t_1/i_1"], "that of the platform")
}

// The search for missed events reads each scope's list and keeps a mark for each.
func TestMissedEventsOfScopesAreFound(t *testing.T) {
	t.Parallel()
	c, p, told := newPlatform(t)
	c.fill()
	require.NoError(t, c.store.CreateTasks(c.ctx, []*storage.Task{{ID: gapsID("shop"), Kind: kindGaps, Source: "shop", CreatedAt: c.clock.now()}}))
	task, err := c.store.Task(c.ctx, gapsID("shop"))
	require.NoError(t, err)
	e := &engine{finders: map[string]*finder{"shop": c.finder}, marks: time.Hour, alarm: func(string, string) {}}
	own, err := e.newGaps(c.finder, task, func(context.Context) error { return nil })
	require.NoError(t, err)
	search := func() {
		t.Helper()
		s := &scopeSearch{engine: e, task: task, own: own} // as a process that was just started
		_, problem := own.attempt(c.ctx)
		require.NoError(t, problem)
		shown, err := s.attempt(c.ctx)
		require.NoError(t, err)
		require.NoError(t, shown)
	}
	search()
	require.Empty(t, c.recorded())
	at := c.clock.now()
	for _, tenant := range []string{"", "t_1", "t_2"} {
		p.put(tenant, "/items/i_9", `{"id":"i_9","of":"`+tenant+`"}`)
		p.happen(tenant, "evt_"+tenant, at, "i_9")
	}
	search()
	c.work()
	require.Len(t, c.recorded(), 3)
	have := c.mirrored()
	for tenant, under := range map[string]string{"": "", "t_1": "@t_1", "t_2": "@t_2"} {
		require.Equal(t, `{"id":"i_9","of":"`+tenant+`"}`, have["shop/item"+under+"/i_9"])
		require.Equal(t, tenant != "", c.row("evt_"+tenant).Given != nil, "the log has whose it is")
	}
	search()
	require.Empty(t, c.entries(), "nothing is left to find")
	mark, err := c.store.Task(c.ctx, kindGapsScope+"/shop/t_1")
	require.NoError(t, err)
	require.NotEmpty(t, mark.State)

	// A scope that refuses us holds up no other one.
	p.refuse("t_1", true)
	p.put("t_2", "/items/i_10", `{"id":"i_10"}`)
	p.happen("t_2", "evt_10", c.clock.now(), "i_10")
	search()
	search()
	c.work()
	require.Contains(t, c.mirrored(), "shop/item@t_2/i_10")
	require.Len(t, *told, 1, "once")
	require.Equal(t, alert.ScopeRefused, (*told)[0].Kind)
	require.Equal(t, "shop/tenant/t_1", (*told)[0].Entity)
	require.Contains(t, (*told)[0].Reason, "tenant t_1: HTTP 403")
}

// A scope that took back its permission is left out: its documents stay as they are,
// nothing is reported, and it is asked once.
func TestAScopeThatVanished(t *testing.T) {
	t.Parallel()
	c, p, told := newPlatform(t)
	for i := range 20 {
		p.put("t_1", fmt.Sprintf("/items/x_%d", i), fmt.Sprintf(`{"id":"x_%d"}`, i))
	}
	c.fill()
	before := c.mirrored()
	c.clock.move(25 * time.Hour) // everything is due
	p.refuse("t_1", true)
	p.requests()
	s := c.survey(modeSweep)
	require.Empty(t, c.recorded())
	require.Empty(t, c.entries())
	require.Equal(t, before, c.mirrored())
	require.Zero(t, s.counts["failed_checks"])
	require.Zero(t, s.counts["failed_lists"])
	require.Positive(t, s.counts["refused_scope_checks"])
	require.Len(t, *told, 1)
	refused := 0
	for _, asked := range p.requests() {
		if strings.HasPrefix(asked, "t_1 ") || strings.HasSuffix(asked, "/t_1") {
			refused++
		}
	}
	require.LessOrEqual(t, refused, 2, "not for each of its documents")
	state, err := c.streams.Source(c.ctx, "shop")
	require.NoError(t, err)
	require.False(t, state.Paused)

	p.refuse("t_1", false)
	c.finder.scopes.Answered("t_1")
	p.put("t_1", "/items/i_1", `{"id":"i_1","back":true}`)
	c.survey(modeSweep)
	c.work()
	require.Equal(t, `{"id":"i_1","back":true}`, c.mirrored()["shop/item@t_1/i_1"])
}

// A backfill by events reads every scope's list.
func TestBackfillByTheEventsOfScopes(t *testing.T) {
	t.Parallel()
	c, p, _ := newPlatform(t)
	c.fill()
	for _, tenant := range []string{"", "t_1", "t_2"} {
		p.put(tenant, "/items/i_9", `{"id":"i_9","of":"`+tenant+`"}`)
		p.happen(tenant, "evt_"+tenant, c.clock.now(), "i_9")
	}
	stop := c.workUntil()
	defer stop()
	task := c.sweepBy(modeBackfill, storage.SweepSpec{Since: c.clock.now().Add(-time.Hour)}, c.replica("r1"))
	require.Equal(t, storage.TaskDone, task.Status, task.Error)
	for tenant, under := range map[string]string{"": "", "t_1": "@t_1", "t_2": "@t_2"} {
		c.eventually("the item of "+tenant, func() bool {
			return c.mirrored()["shop/item"+under+"/i_9"] == `{"id":"i_9","of":"`+tenant+`"}`
		})
	}
}
