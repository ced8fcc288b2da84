package proof

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
)

// An account is erased with all that is under it, and an order of another one by itself,
// while their events go on: the replica that erases is killed in the middle, so is a
// worker, and Redis loses everything. From then on the provider is not asked for any of
// it, whatever comes: events, redrives, recovery, sweeps, backfills and verifications. What
// is restored becomes true again, though the replica that restores is killed as well.
func TestErasedStaysErased(t *testing.T) {
	t.Parallel()
	door := newDoorman(t)
	s := start(t, fleet.Plan{
		Workers: 2, Attempts: 2, Env: []string{"TARN_SOURCES__ACME__API_URL=" + door.URL + "/v1"},
		Reconcile: "{gaps: {every: 1h}, sweep: {every: 168h}, grace: 1s}",
	})
	door.leadsTo(s.Simulator.Addr)
	dying := func(at string) *fleet.Member {
		s.SetFaults(fleet.Reconciler, "kill@"+at)
		victim, err := s.Add(s.ctx, fleet.Reconciler)
		require.NoError(t, err)
		require.NoError(t, victim.WaitReady(s.ctx, time.Minute))
		return victim
	}
	dies := func(victim *fleet.Member) {
		select {
		case <-victim.Ended():
		case <-time.After(time.Minute):
			require.FailNow(t, "the reconciler never got there", victim.LastWords())
		}
		victim.Kill() // it is dead, and meant to be
		s.SetFaults(fleet.Reconciler, "")
		_, err := s.Add(s.ctx, fleet.Reconciler)
		require.NoError(t, err)
	}
	victim := dying("after-marker:3")
	follower := s.follows()
	require.NoError(t, s.Simulator.StartLoad(s.ctx, simulator.Load{Entities: 24, Accounts: 3, Events: 4_800, Rate: 30}))

	// Some work is dead, of an order that is going to be erased with its account.
	var orders []*storage.Document
	s.wait("accounts have orders", func() bool {
		page, err := s.Store.Entities(s.ctx, storage.EntityFilter{Source: fleet.Source, Kind: "order", Limit: 200})
		require.NoError(t, err)
		orders = page.Items
		return len(orders) == 21
	})
	account := orders[0].Parents["account"]
	alone := orders[slices.IndexFunc(orders, func(d *storage.Document) bool { return d.Parents["account"] != account })].Key
	require.NoError(t, s.Simulator.Chaos(s.ctx, simulator.Chaos{Entities: map[string]int{"order/" + orders[0].Key.ID: 422}}))
	var letters []*storage.LetterRecord
	s.wait("work is dead", func() bool {
		page, err := s.Store.Letters(s.ctx, storage.LetterFilter{Entity: orders[0].Key, Status: storage.LetterOpen})
		require.NoError(t, err)
		letters = page.Items
		return len(letters) > 0
	})

	said := s.tarn(0, "erase", fleet.Source, "order", alone.ID, "--yes")
	require.Contains(t, said, "erased since")
	said = s.tarn(0, "erase", fleet.Source, "account", account, "--children", "--yes", "--no-wait")
	require.Contains(t, said, "looks a second time")
	dies(victim)
	s.erasingIsOver()
	truth, err := s.Simulator.Truth(s.ctx)
	require.NoError(t, err)
	erased := func(k event.Key) bool {
		return k == alone || k.ID == account || k.Kind == "order" && truth["order/"+k.ID].Parent == account
	}

	since, asked := time.Now(), door.asked(alone.ID, account)
	require.NoError(t, s.Redis.Ask(s.ctx, "FLUSHALL"))
	ill := s.Members(fleet.Worker)[0]
	ill.Kill()
	require.NoError(t, ill.Start())
	require.NoError(t, s.Simulator.WaitSent(s.ctx, 6*time.Minute))
	s.redeliver(erased)
	require.NoError(t, s.Drain(s.ctx, 3*time.Minute))

	later := 0
	for _, row := range s.rows() {
		names := slices.ContainsFunc(row.Entities, func(o storage.Outcome) bool { return erased(o.Ref.Key) })
		require.Equal(t, names, storage.IsErased(row.Payload), "%s %s: %s", row.ID, row.Type, row.Payload)
		require.True(t, row.Status.Final())
		for _, o := range row.Entities {
			if row.ReceivedAt.After(since) && erased(o.Ref.Key) {
				require.Equal(t, storage.Erased, o.Status, "%s: %s", row.ID, o.Ref.Key)
				later++
			}
		}
	}
	require.Greater(t, later, 50, "events have come since")
	bad, compared, err := s.Untrue(s.ctx)
	require.NoError(t, err)
	require.Greater(t, compared, 5)
	require.NotEmpty(t, bad, "what is erased is not in the mirror")
	for _, d := range bad {
		require.True(t, erased(event.Key{Source: fleet.Source, Kind: d.Kind, ID: d.ID}), d)
		require.Empty(t, d.Mirror, d)
	}

	t.Run("work that was dead", func(t *testing.T) {
		for _, l := range letters {
			got, err := s.Store.LetterByID(s.ctx, l.ID())
			require.NoError(t, err)
			require.Equal(t, storage.LetterErased, got.Status)
			require.Equal(t, storage.ErasedText, got.Attempts[0].Error)
			require.ErrorContains(t, s.Operate(s.ctx, http.MethodPost, "/v1/dead-letters/"+l.ID()+"/redrive", nil, nil), "not-open")
		}
		require.Contains(t, s.tarn(0, "letters", "redrive", "--entity", orders[0].Key.String()), "0 dead letters")
	})
	t.Run("comparisons", func(t *testing.T) {
		for _, way := range []string{"sweep", "backfill", "verify"} {
			s.tarn(0, way, fleet.Source)
			require.NoError(t, s.Drain(s.ctx, time.Minute), way)
		}
	})
	require.Equal(t, asked, door.asked(alone.ID, account), "the provider is asked for nothing of it")
	t.Run("operators see it", func(t *testing.T) {
		said := s.tarn(1, "entity", fleet.Source, "account", account)
		require.Contains(t, said, "is erased since")
		require.Contains(t, said, "by fleet")
		require.Contains(t, s.tarn(0, "erasures"), alone.String())
		require.Contains(t, s.tarn(0, "audit"), "erase with children")
	})
	t.Run("consumers see it", func(t *testing.T) {
		gone := []string{"account/" + account, "order/" + alone.ID, "order/" + orders[0].Key.ID}
		require.NoError(t, fleet.WaitFor(s.ctx, 3*time.Minute, func() string { return "consumers do not hear of it" }, func() (bool, error) {
			err := follower.read()
			return !slices.ContainsFunc(gone, func(subject string) bool { return follower.last[subject] != feed.TypeErased }), err
		}))
	})

	require.NoError(t, s.Simulator.Chaos(s.ctx, simulator.Chaos{}))
	for _, m := range s.Members(fleet.Reconciler) {
		m.Kill()
	}
	victim = dying("after-unerase:2")
	s.tarn(0, "restore", fleet.Source, "order", alone.ID, "--yes")
	s.tarn(0, "restore", fleet.Source, "account", account, "--yes", "--no-wait")
	dies(victim)
	s.erasingIsOver()
	require.NoError(t, s.Drain(s.ctx, time.Minute))
	bad, _, err = s.Untrue(s.ctx)
	require.NoError(t, err)
	require.Empty(t, bad, "all is true again")
	require.NoError(t, fleet.WaitFor(s.ctx, time.Minute, func() string { return "consumers are not told that it is back" }, func() (bool, error) {
		err := follower.read()
		return follower.last["order/"+alone.ID] == feed.TypeChanged && follower.last["account/"+account] == feed.TypeChanged, err
	}))
	require.Greater(t, door.asked(alone.ID, account), asked)
	require.NotContains(t, s.tarn(0, "erasures"), fleet.Source)
	s.tarn(0, "verify", fleet.Source)
}

// erasingIsOver waits until no job that erases or restores is under way, and wants all to
// have succeeded.
func (s *subject) erasingIsOver() {
	s.t.Helper()
	what := "the jobs are not over"
	require.NoError(s.t, fleet.WaitFor(s.ctx, 3*time.Minute, func() string { return what }, func() (bool, error) {
		page, err := s.Store.Tasks(s.ctx, storage.TaskFilter{Kinds: []string{storage.KindErase, storage.KindRestore}})
		over := err == nil
		for _, task := range page.Items {
			require.NotEqual(s.t, storage.TaskFailed, task.Status, task.Error)
			over = over && task.Status.Final()
		}
		return over, err
	}))
}

// redeliver has the provider send all events of what is erased again.
func (s *subject) redeliver(erased func(event.Key) bool) {
	s.t.Helper()
	var again []string
	for _, row := range s.rows() {
		if slices.ContainsFunc(row.Entities, func(o storage.Outcome) bool { return erased(o.Ref.Key) }) {
			again = append(again, row.ID)
		}
	}
	require.NoError(s.t, s.Simulator.Tell(s.ctx, http.MethodPost, "/_sim/redeliver", map[string]any{"events": again}, nil))
	require.NoError(s.t, s.Simulator.WaitSent(s.ctx, time.Minute))
}

// tarn runs the operators' command line, which is to end with a status, and returns what it
// says.
func (s *subject) tarn(status int, args ...string) string {
	s.t.Helper()
	binary, err := programs.Path(s.ctx, "deployments/tarn", false)
	require.NoError(s.t, err)
	c := exec.CommandContext(s.ctx, binary, args...) //nolint:gosec // our binary
	c.Env = append(os.Environ(), "TARN_API=http://"+s.Members(fleet.API)[0].Addr, "TARN_TOKEN="+fleet.Token)
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	_ = c.Run() // its status is what counts
	require.Equal(s.t, status, c.ProcessState.ExitCode(), "tarn %s: %s", strings.Join(args, " "), &said)
	return said.String()
}

// follower is a consumer of the change feed.
type follower struct {
	s     *subject
	after string
	last  map[string]string // type of the last change, by subject
}

// follows begins where the feed is now.
func (s *subject) follows() *follower {
	s.t.Helper()
	f := &follower{s: s, after: "now", last: map[string]string{}}
	s.wait("the feed has begun", func() bool { return f.read() == nil })
	return f
}

// read reads to the end of what there is.
func (f *follower) read() error {
	for {
		var page struct {
			Items []struct{ Subject, Type string }
			After string
			More  bool
		}
		query := url.Values{"source": {fleet.Source}, "after": {f.after}, "limit": {"1000"}}
		if err := f.s.Operate(f.s.ctx, http.MethodGet, "/v1/changes?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		f.after = page.After
		for _, c := range page.Items {
			f.last[c.Subject] = c.Type
		}
		if !page.More {
			return nil
		}
	}
}

// doorman stands before the provider and counts who is asked for.
type doorman struct {
	*httptest.Server
	to atomic.Pointer[url.URL]

	mu    sync.Mutex
	paths []string
}

func newDoorman(t *testing.T) *doorman {
	t.Helper()
	d := &doorman{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(d.to.Load()) }}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		d.paths = append(d.paths, r.URL.Path)
		d.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(d.Close)
	return d
}

func (d *doorman) leadsTo(addr string) { d.to.Store(&url.URL{Scheme: "http", Host: addr}) }

// asked counts the requests whose path has one of some ids.
func (d *doorman) asked(ids ...string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.paths {
		if slices.ContainsFunc(ids, func(id string) bool { return strings.Contains(p, id) }) {
			n++
		}
	}
	return n
}
