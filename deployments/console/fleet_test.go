package console

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/storage"
)

// In a whole fleet of processes a provider refuses an order until its work is given up.
// The console says so, and once the provider answers again a redrive by filter makes the
// mirror right, which the console says too.
func TestOnAWholeFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	f, err := fleet.Start(ctx, programs, fleet.Plan{
		APIs: 1, Workers: 2, Reconcilers: 1, Fsync: "everysec", Reconcile: "{sweep: {every: 24h}}",
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, m := range f.Members("") {
				t.Logf("last words of %s:\n%s", m.Name, m.LastWords())
			}
		}
		require.NoError(t, f.Close())
	})
	b := startBrowser(t)
	b.open("http://"+f.Members(fleet.API)[0].Addr, "now")
	b.signIn(fleet.Token)
	b.waitText("Yes: every event received is in the mirror.")

	require.NoError(t, f.Simulator.StartLoad(ctx, simulator.Load{Entities: 20, Events: 600, Rate: 40}))
	order := refused(ctx, t, f)
	b.waitText("No: part of the mirror stays out of date until you act.")
	require.NoError(t, f.Simulator.WaitSent(ctx, 2*time.Minute))
	require.NoError(t, f.Drain(ctx, time.Minute))
	require.NoError(t, f.Simulator.Chaos(ctx, simulator.Chaos{}))
	b.show("dead-letters")
	b.waitText(order)
	b.waitText("HTTP 422")
	b.press("Redrive …")
	b.waitText("Dry run: nothing has been changed.")
	b.press("Redrive")
	b.waitText("A job goes through")
	b.eval("[...document.querySelectorAll('#toasts a')][0].click()")
	b.wait("[...document.querySelectorAll('main .pill')].some((n) => n.textContent === 'done')")
	b.show("now")
	b.waitText("Yes: every event received is in the mirror.")
	b.show("entities/acme/order/" + order)
	b.wait("[...document.querySelectorAll('main .pill')].some((n) => n.textContent === 'fresh')")
	b.clean("a whole fleet")
}

// refused has the provider refuse an order while events go on, until a dead letter is open.
func refused(ctx context.Context, t *testing.T, f *fleet.Fleet) (order string) {
	t.Helper()
	require.NoError(t, fleet.WaitFor(ctx, time.Minute, func() string { return "no order is made" }, func() (bool, error) {
		truth, err := f.Simulator.Truth(ctx)
		for key := range truth {
			if id, is := strings.CutPrefix(key, "order/"); is {
				order = id
			}
		}
		return order != "", err
	}))
	require.NoError(t, f.Simulator.Chaos(ctx, simulator.Chaos{Entities: map[string]int{"order/" + order: http.StatusUnprocessableEntity}}))
	require.NoError(t, fleet.WaitFor(ctx, time.Minute, func() string { return "no dead letter is written" }, func() (bool, error) {
		open, err := f.Store.CountLetters(ctx, storage.LetterFilter{Status: storage.LetterOpen})
		return open > 0, err
	}))
	return order
}
