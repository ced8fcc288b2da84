package proof

import (
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
)

// The receiver of an outgoing webhook ends with what the mirror holds, though it refuses,
// throttles and dies with what it was sent, and though the reconciler is killed on the way.
// Every message is signed.
func TestOutgoingWebhook(t *testing.T) {
	t.Parallel()
	outgoingWebhook(t, fleet.Plan{Workers: 1, Reconcilers: 2}, simulator.Load{Entities: 60, Events: 1500, Rate: 150})
}

// The same on MongoDB's wire protocol, at a gentle rate, as eventsOnMongoDB.
func TestOutgoingWebhookOnMongoDB(t *testing.T) {
	t.Parallel()
	outgoingWebhook(t, fleet.Plan{MongoDB: true, Workers: 1, Reconcilers: 2, Shards: 16}, simulator.Load{Entities: 30, Accounts: 6, Events: 150, Rate: 15})
}

func outgoingWebhook(t *testing.T, p fleet.Plan, load simulator.Load) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs processes")
	}
	r, err := fleet.Receive("ledger")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	p.Settings = r.Settings()
	s := start(t, p)
	r.Of(s.Fleet)
	dice := rand.New(rand.NewPCG(1, 2))
	r.Troubled(func() fleet.Trouble {
		switch dice.IntN(40) {
		case 0:
			return fleet.Trouble{Status: http.StatusInternalServerError}
		case 1:
			return fleet.Trouble{Cut: true, Keep: true}
		case 2:
			return fleet.Trouble{Status: http.StatusTooManyRequests, RetryAfter: 1}
		case 3:
			return fleet.Trouble{Cut: true}
		}
		return fleet.Trouble{}
	})
	require.NoError(t, s.Simulator.StartLoad(s.ctx, load))
	for range 3 { // the one that sends, whichever it is
		require.NoError(t, fleet.Pause(s.ctx, 2*time.Second))
		for _, m := range s.Members(fleet.Reconciler) {
			m.Kill()
			require.NoError(t, fleet.Pause(s.ctx, 200*time.Millisecond))
			require.NoError(t, m.Start())
		}
	}
	require.NoError(t, s.Simulator.WaitSent(s.ctx, 5*time.Minute))
	require.NoError(t, s.Drain(s.ctx, 5*time.Minute))
	r.Troubled(nil)
	require.NoError(t, s.Operate(s.ctx, http.MethodPost, "/v1/subscriptions/ledger/resume", nil, nil))
	missing := []string{"not compared"}
	err = fleet.WaitFor(s.ctx, 5*time.Minute, func() string { return "the receiver holds what the mirror holds" }, func() (bool, error) {
		var err error
		missing, err = r.Missing(s.ctx)
		return len(missing) == 0, err
	})
	require.NoError(t, err, "missing: %v", missing)
	require.Empty(t, r.Forged())
	s.wait("the api shows that all is sent", func() bool { // what was sent is saved each 2 s
		var list struct {
			Items []struct {
				Consumer string
				Lag      struct{ Positions int64 }
				Webhook  struct {
					Status string
					Parked int64
				}
			}
		}
		require.NoError(t, s.Operate(s.ctx, http.MethodGet, "/v1/subscriptions", nil, &list))
		require.Len(t, list.Items, 1)
		it := list.Items[0]
		return it.Consumer == "ledger" && it.Webhook.Status == "active" && it.Webhook.Parked == 0 && it.Lag.Positions == 0
	})
}
