package reconciler

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// The event of a new account alone brings all kinds under it, so verify finds it in
// sync without a sweep.
func TestANewAccountVerifiesWithoutASweep(t *testing.T) {
	t.Parallel()
	def := lemon(t)
	shop := newShop(t)
	const account = `{"id":"cusa_1","status":"created","history":[{"status":"created","timestamp":"2026-03-01T09:00:00Z"}]}`
	shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		list := ""
		switch {
		case strings.HasSuffix(r.URL.Path, "/accounts"):
			list = account
		case strings.HasSuffix(r.URL.Path, "/accounts/cusa_1"):
			_, _ = io.WriteString(w, account)
			return true
		case strings.HasSuffix(r.URL.Path, "financials"):
			_, _ = io.WriteString(w, `{"balance":"1.00","available_balance":"1.00","currency":"EUR"}`)
			return true
		}
		_, _ = io.WriteString(w, `{"data":[`+list+`],"pagination":{"next_cursor":null}}`)
		return true
	})
	c := newSceneAt(t, def, "lemon", shop.URL, shop)
	body := shopEvent("evt_1", "account.created", c.clock.now(), "account", "cusa_1")
	e, err := def.Event("lemon", nil, []byte(body), c.clock.now())
	require.NoError(t, err)
	_, err = c.store.Log(c.ctx, []storage.Arrival{{Event: e, Signal: storage.SignalID{ID: "1-1"}}})
	require.NoError(t, err)
	c.clock.move(time.Hour) // whatever was held back has been fetched
	for _, ref := range append(e.Entities, e.Derived...) {
		c.sync(ref)
	}

	r, err := verifyOnce(c.ctx, c.finder, VerifyOptions{Settle: time.Millisecond})
	require.NoError(t, err)
	require.Empty(t, r.Differences)
	require.True(t, r.InSync())
	for _, k := range def.Under(def.Kind("account")) {
		if k.Shape == provider.ShapeEntity {
			continue // its own events name it
		}
		doc, err := c.store.Entity(c.ctx, c.key(k.Name, "cusa_1"))
		require.NoError(t, err, k.Name)
		require.True(t, doc.Known(), k.Name)
	}
	require.EqualValues(t, 2, r.NotDue, "settlement_accounts and agreements are root kinds: a sweep begins them")
	require.Equal(t, 2, len(c.sweepsFetch()), "and so does it")
}

// sweepsFetch are the entities that a sweep has workers fetch without a finding.
func (c *scene) sweepsFetch() []string {
	c.t.Helper()
	c.survey(modeSweep, func(s *survey) { s.fill = c.finder.kinds() }) // none has been finished
	require.Empty(c.t, c.recorded())
	return signalled(c.entries())
}

// A delayed refresh that an event has requested is not due: verify does not report the
// mirror as wrong, and neither does a sweep.
func TestARefreshHeldBackIsNotDue(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.fill()
	c.received("evt_1", "order.made", c.clock.now(), c.clock.now(), "customer", "c0", "order", "o0_0")
	c.shop.mu.Lock()
	c.shop.state["/customers/c0/balance"] = `{"amount":5}`
	c.shop.mu.Unlock()
	verify := func() *Report {
		r, err := verifyOnce(c.ctx, c.finder, VerifyOptions{Settle: time.Millisecond})
		require.NoError(t, err)
		return r
	}
	r := verify()
	require.Empty(t, r.Differences)
	require.EqualValues(t, 1, r.NotDue)
	c.clock.move(heldFor(c.def.Kind("balance").Every) + time.Second)
	r = verify()
	require.Len(t, r.Differences, 1, "by now it should have come")
	require.Zero(t, r.NotDue)
}
