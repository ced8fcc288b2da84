package reconciler

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// under names the customer an entity is under.
func under(id string) map[string]string { return map[string]string{"customer": id} }

// moved is a scene in which an order has moved from c0 to c1, without a sign.
func moved(t *testing.T) *scene {
	t.Helper()
	c := newScene(t)
	c.shop.stock(2, 1)
	c.fill()
	state := shopOrder("o0_0", 1, "created")
	c.shop.drop("/customers/c0/orders/o0_0")
	c.shop.put("/customers/c1/orders/o0_0", state)
	return c
}

// A sweep finds an entity that has moved though its state is the same, and asks for it
// under its new parent.
func TestAMoveIsFound(t *testing.T) {
	t.Parallel()
	c := moved(t)
	require.Equal(t, []string{"moved order/o0_0"}, c.differences())
	c.survey(modeSweep)
	require.Equal(t, []string{"moved order/o0_0"}, c.recorded(), "and not as deleted besides")
	entries := c.work()
	require.Equal(t, []string{"discrepancy order/o0_0"}, signalled(entries))
	require.Equal(t, under("c1"), entries[0].Signal.Ref.Parents)
	require.Empty(t, c.differences(), "repaired")
}

// An entity that the provider refuses to show under its old parent has moved as well.
func TestAMoveOutOfReachIsFound(t *testing.T) {
	t.Parallel()
	c := moved(t)
	c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/customers/c0/orders/o0_0" {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	require.Equal(t, []string{"moved order/o0_0"}, c.differences())
}

// A backfill has a moved entity fetched under the parents the list shows.
func TestABackfillFollowsAMove(t *testing.T) {
	t.Parallel()
	c := moved(t)
	c.survey(modeBackfill)
	require.Contains(t, signalled(c.work()), "sweep order/o0_0")
	require.Empty(t, c.differences())
	require.Empty(t, c.recorded())
}

// An entity that lists show under several parents is no difference as long as it
// is where the mirror has it.
func TestAnEntityUnderTwoParentsHasNotMoved(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(2, 1)
	c.fill()
	c.shop.put("/customers/c1/orders/o0_0", shopOrder("o0_0", 1, "created"))
	require.Empty(t, c.differences())
	c.survey(modeSweep)
	require.Empty(t, c.recorded())
	require.Empty(t, c.entries())
}

// What the mirror holds as deleted and the provider has is called so, and a
// sweep names the parents under which a list shows it.
func TestVerifyNamesAWrongTombstone(t *testing.T) {
	t.Parallel()
	c := moved(t)
	doc, err := c.store.Claim(c.ctx, event.Ref{Key: c.key("order", "o0_0")})
	require.NoError(t, err)
	c.clock.move(time.Minute)
	_, err = c.store.Write(c.ctx, &storage.Write{Ref: event.Ref{Key: doc.Key}, Claim: doc.Claim, SentAt: c.clock.now().UTC(), Deleted: true})
	require.NoError(t, err)
	c.clock.move(time.Minute)
	r, err := verifyOnce(c.ctx, c.finder, VerifyOptions{Settle: time.Millisecond})
	require.NoError(t, err)
	require.Equal(t, []ReportDifference{{Kind: "order", ID: "o0_0", Type: DeletedHere}}, r.Differences)

	c.survey(modeSweep)
	require.Equal(t, []string{"unexpected order/o0_0"}, c.recorded())
	entries := c.work()
	require.Len(t, entries, 1)
	require.Equal(t, under("c1"), entries[0].Signal.Ref.Parents)
	require.Empty(t, c.differences())
}
