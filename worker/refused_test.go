package worker_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

// One settlement the store refuses holds up its own entity alone: the others go
// through, nothing is fetched again, and it is tried less and less often.
func TestARefusedSettlementHoldsUpNoOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bad := "evt_1"
	b.store.refuse = func(s storage.Settlement) bool { return s.EventID == bad }
	b.start("w1")
	require.Equal(t, bad, b.send("widget.made", "widget", "w0"))
	refusals := func() int {
		b.store.mu.Lock()
		defer b.store.mu.Unlock()
		return len(b.store.refused)
	}
	require.True(t, eventually(func() bool { return refusals() > 0 }))
	second := b.send("widget.sold", "widget", "w0")
	var ids []string
	for i := range 40 {
		ids = append(ids, b.send("widget.sold", "widget", fmt.Sprint("w", i+1)))
	}
	for _, id := range ids {
		b.row(id, storage.Processed)
	}
	require.True(t, eventually(func() bool { return refusals() >= 4 }), "it is tried again")
	b.row(bad, storage.Pending)
	b.row(second, storage.Pending)
	require.Equal(t, 2, b.provider.fetches("widget", "w0"), "once for each event, and not again")
	for i := range ids {
		require.Equal(t, 1, b.provider.fetches("widget", fmt.Sprint("w", i+1)))
	}
	require.Zero(t, b.metric("tarn_leases_lost_total"), "no shard starts over")
	b.store.mu.Lock()
	b.store.refuse = nil
	tries := b.store.refused
	b.store.mu.Unlock()
	told := b.told.of(alert.StoreRefuses)
	require.Len(t, told, 1, "one alert is raised")
	require.Equal(t, bad, told[0]["event"])
	require.Greater(t, tries[len(tries)-1].Sub(tries[len(tries)-2]), 1500*time.Millisecond, "less and less often")
	first, then := b.row(bad, storage.Processed), b.row(second, storage.Processed)
	require.Less(t, first.Entities[0].CoveredBy.Claim, then.Entities[0].CoveredBy.Claim)
	b.empty()
}

// A dead letter the store refuses makes its sync be made again, less and less
// often: each time asks the provider.
func TestARefusedDeadLetterIsNotFetchedForEverySecond(t *testing.T) {
	t.Parallel()
	b := setup(t)
	asked := make(chan time.Time, 100)
	b.provider.on("widget", "w1", func(context.Context, int) (string, error) {
		asked <- time.Now()
		return "", fate.New(fate.Permanent, errBoom)
	})
	b.store.mu.Lock()
	b.store.refuseLetters = true
	b.store.mu.Unlock()
	b.start("w1")
	id := b.send("widget.sold", "widget", "w1")
	require.True(t, eventually(func() bool { return len(asked) >= 4 }))
	_, _, third, fourth := <-asked, <-asked, <-asked, <-asked
	require.Greater(t, fourth.Sub(third), 2500*time.Millisecond)
	b.store.mu.Lock()
	b.store.refuseLetters = false
	b.store.mu.Unlock()
	b.row(id, storage.Dead)
}

// An event the log refuses holds up no other. It is stored in the audit and alerted,
// and its entities are fetched all the same: with a row in which a text replaces the
// payload, or, if the store refuses that too, without a row.
func TestARefusedEventHoldsUpNoOthers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		refuse func(storage.Arrival) bool
		row    bool
	}{
		"a payload too long": {func(a storage.Arrival) bool { return a.Event.ID == "evt_bad" && len(a.Event.Payload) > 220 }, true},
		"whatever it is":     {func(a storage.Arrival) bool { return a.Event.ID == "evt_bad" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.store.refuseEvents = c.refuse
			b.send("widget.sold", "widget", "w1")
			b.sendAs("evt_bad", "widget.sold", "widget", "w1", "gadget", strings.Repeat("g", 150))
			b.send("widget.sold", "widget", "w1")
			b.start("w1")
			b.row("evt_1", storage.Processed)
			b.row("evt_2", storage.Processed)
			b.empty()
			noted := b.store.noted(storage.NoteRefused)
			require.NotEmpty(t, noted)
			require.Equal(t, "evt_bad", noted[0].EventID)
			require.Contains(t, noted[0].Reason, "event refused")
			require.Contains(t, noted[0].Reason, strings.Repeat("g", 150), "with the payload")
			require.Equal(t, "evt_bad", b.told.of(alert.StoreRefuses)[0]["event"])
			require.True(t, eventually(func() bool { return b.metric("tarn_events_flagged_total", "refused") > 0 }))
			require.Positive(t, b.provider.fetches("gadget", strings.Repeat("g", 150)))
			require.Zero(t, b.metric("tarn_leases_lost_total"))
			if c.row {
				require.Contains(t, string(b.row("evt_bad", storage.Processed).Payload), "tarn_refused")
				return
			}
			_, err := b.store.EventByID(b.ctx, "acme", "evt_bad")
			require.ErrorIs(t, err, storage.ErrNotFound)
		})
	}
}
