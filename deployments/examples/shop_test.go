package examples

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/storage"
)

// The shop is killed, or its client goes away, between every two steps of its transaction,
// before and after it; the reconciler, which takes rows from the outbox, is killed meanwhile.
// Each change that was committed takes effect at the provider once, in the order of the shop;
// one that was not committed never does.
func TestShopIsKilled(t *testing.T) {
	t.Parallel()
	f, ctx := start(t, fleet.Plan{Provider: simulator.Stripe, Commands: true})
	path := filepath.Join(f.Dir(), "tarn.db")
	s := newShop(t, f, path)
	s.begin(ctx)
	slowly(t, ctx, path)
	for s.tries < fewest || s.rolledBack(ctx) == 0 {
		require.Less(t, s.tries, most, "no transaction is cut off where it should be")
		if s.tries%fewest == fewest/2 {
			reconciler := f.Members(fleet.Reconciler)[0]
			reconciler.Kill()
			require.NoError(t, reconciler.Start())
		}
		s.try(ctx)
	}
	require.Positive(t, s.unanswered(ctx))
	s.begin(ctx)
	for sku := range skus {
		s.put(ctx, name(sku)) // the last one of each, which is not cut off
	}
	t.Logf("%d changes, of which %d were not answered, and %d were rolled back", s.committed(ctx), s.unanswered(ctx), s.rolledBack(ctx))
	s.carried(ctx)
	s.judge(ctx)
}

// fewest and most are how many changes are tried, of so many products.
const (
	fewest, most = 40, 400
	skus         = 3
)

// stepTakes is about how long a step of the shop's transaction is made to take.
const stepTakes = 20 * time.Millisecond

// slowly makes the two steps of the shop's transaction slow, so that what kills it comes
// between them.
func slowly(t *testing.T, ctx context.Context, path string) {
	t.Helper()
	db := open(t, path)
	defer func() { require.NoError(t, db.Close()) }()
	const count = "SELECT count(*) FROM (WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < %d) SELECT n FROM c)"
	n := 1000
	for took := time.Duration(0); took < stepTakes/2; n *= 2 {
		took = time.Hour
		for range 3 { // the fastest one: others may have waited for something else
			began := time.Now()
			_, err := db.ExecContext(ctx, fmt.Sprintf(count, n))
			require.NoError(t, err)
			took = min(took, time.Since(began))
		}
	}
	for i, on := range []string{"INSERT ON shop_products", "UPDATE ON shop_products", "INSERT ON outbox"} {
		_, err := db.ExecContext(ctx, fmt.Sprintf("CREATE TRIGGER slow_%d AFTER %s BEGIN "+count+"; END", i, on, n))
		require.NoError(t, err)
	}
}

// shop is the example, and what its client knows.
type shop struct {
	*program
	fleet      *fleet.Fleet
	path, addr string
	tries      int
	// saved are the names that the shop said it has saved, with the version of the product.
	saved map[string]int64
}

func newShop(t *testing.T, f *fleet.Fleet, path string) *shop {
	t.Helper()
	addr, err := fleet.FreeAddr()
	require.NoError(t, err)
	return &shop{program: build(t, "shop", "-addr", addr, "-source", fleet.Source, "-db", path), fleet: f, path: path, addr: addr, saved: map[string]int64{}}
}

// begin starts the shop, unless it runs, and waits until it listens.
func (s *shop) begin(ctx context.Context) {
	s.t.Helper()
	if s.cmd == nil {
		s.start()
	}
	wait(s.t, ctx, func() string { return "the shop listens" }, func() bool {
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// try changes a product. Of four tries the shop is killed in one at any time and in one after
// it has committed, and the client goes away in another.
func (s *shop) try(ctx context.Context) {
	s.t.Helper()
	s.begin(ctx)
	if s.tries%4 == 2 {
		s.putUnread(ctx, name(rand.N(skus)))
		return
	}
	asking, leave := context.WithCancel(ctx)
	defer leave()
	hit := func() {}
	switch s.tries % 4 {
	case 0:
		hit = s.kill
	case 1:
		hit = leave
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		time.Sleep(rand.N(4 * stepTakes))
		hit()
	}()
	s.put(asking, name(rand.N(skus)))
	<-ended
}

// name returns a new name for a product, which begins with its sku.
func name(sku int) string { return fmt.Sprintf("sku-%d %x", sku, rand.Uint64()) }

func (s *shop) put(ctx context.Context, name string) {
	s.t.Helper()
	s.tries++
	res, err := http.DefaultClient.Do(s.request(ctx, name))
	if err != nil {
		return // it was killed, or the client has left
	}
	defer func() { _ = res.Body.Close() }() // read to its end, or cut off
	require.Equal(s.t, http.StatusOK, res.StatusCode)
	var product struct{ Version int64 }
	if json.NewDecoder(res.Body).Decode(&product) == nil {
		s.saved[name] = product.Version
	}
}

// putUnread changes a product and kills the shop once that is committed. The client does not
// read an answer, so it cannot know of the change.
func (s *shop) putUnread(ctx context.Context, name string) {
	s.t.Helper()
	s.tries++
	before := s.committed(ctx)
	c, err := net.Dial("tcp", s.addr)
	require.NoError(s.t, err)
	defer func() { _ = c.Close() }() // the shop is gone
	require.NoError(s.t, s.request(ctx, name).Write(c))
	wait(s.t, ctx, func() string { return "the change is committed" }, func() bool { return s.committed(ctx) > before })
	s.kill()
}

func (s *shop) request(ctx context.Context, name string) *http.Request {
	s.t.Helper()
	sku, _, _ := strings.Cut(name, " ")
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+s.addr+"/products/"+sku, strings.NewReader(`{"name": "`+name+`"}`))
	require.NoError(s.t, err)
	return req
}

// committed is how many changes there were, unanswered how many of them the client does not
// know, and rolledBack how many there were not.
func (s *shop) committed(ctx context.Context) int {
	return int(number(s.t, ctx, s.path, "SELECT ifnull(sum(version), 0) FROM shop_products"))
}

func (s *shop) unanswered(ctx context.Context) int { return s.committed(ctx) - len(s.saved) }

func (s *shop) rolledBack(ctx context.Context) int { return s.tries - s.committed(ctx) }

// carried waits until nothing is in the outbox and every command is done.
func (s *shop) carried(ctx context.Context) {
	s.t.Helper()
	states := map[storage.CommandState]int{}
	wait(s.t, ctx, func() string { return fmt.Sprintf("all that was committed is done: %v", states) }, func() bool {
		rows, err := s.fleet.Commands(ctx)
		require.NoError(s.t, err)
		clear(states)
		for _, c := range rows {
			states[c.State]++
		}
		left := number(s.t, ctx, s.path, "SELECT count(*) FROM outbox")
		return left == 0 && states[storage.CommandDone] == len(rows) && len(rows) >= s.committed(ctx)
	})
}

// judge compares what had an effect at the provider with what the shop has committed.
func (s *shop) judge(ctx context.Context) {
	s.t.Helper()
	writes, err := s.fleet.Simulator.Writes(ctx)
	require.NoError(s.t, err)
	effects := map[string]int64{} // by sku: how many there were
	last := map[string]string{}
	for _, w := range writes {
		if !w.Effect {
			continue
		}
		form, err := url.ParseQuery(w.Body)
		require.NoError(s.t, err)
		name := form.Get("name")
		sku, _, _ := strings.Cut(name, " ")
		effects[sku]++
		last[sku] = name
		require.Equal(s.t, strconv.FormatInt(effects[sku], 10), form.Get("metadata[shop_version]"), "%s: each change has its effect once, in order: %+v", sku, w)
		if version, saved := s.saved[name]; saved {
			require.Equal(s.t, version, effects[sku], "%s was saved in another version", name)
		}
	}
	for i := range skus {
		sku := fmt.Sprintf("sku-%d", i)
		require.Equal(s.t, number(s.t, ctx, s.path, "SELECT version FROM shop_products WHERE sku = '"+sku+"'"), effects[sku], "%s has other changes at the provider", sku)
		require.Contains(s.t, s.saved, last[sku], "the last one was answered")
	}
}
