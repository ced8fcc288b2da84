package worker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/mirror"
)

// One settlement the store refuses holds up its own entity alone: the others go
// through, nothing is fetched again, and it is tried less and less often.
func TestARefusedSettlementHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bad := "evt_1"
	b.store.refuse = func(s mirror.Settlement) bool { return s.EventID == bad }
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
		b.row(id, mirror.Processed)
	}
	require.True(t, eventually(func() bool { return refusals() >= 4 }), "it is tried again")
	b.row(bad, mirror.Pending)
	b.row(second, mirror.Pending)
	require.Equal(t, 2, b.provider.fetches("widget", "w0"), "once for each event, and not again")
	for i := range ids {
		require.Equal(t, 1, b.provider.fetches("widget", fmt.Sprint("w", i+1)))
	}
	require.Zero(t, b.metric("tarn_leases_lost_total"), "no shard starts over")
	b.store.mu.Lock()
	b.store.refuse = nil
	tries := b.store.refused
	b.store.mu.Unlock()
	require.Greater(t, tries[len(tries)-1].Sub(tries[len(tries)-2]), 1500*time.Millisecond, "less and less often")
	first, then := b.row(bad, mirror.Processed), b.row(second, mirror.Processed)
	require.Less(t, first.Entities[0].CoveredBy.Claim, then.Entities[0].CoveredBy.Claim)
	b.empty()
}

// A dead letter the store refuses makes its sync be made again, less and less
// often: each time asks the provider.
func TestARefusedLetterIsNotFetchedForEverySecond(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.fails("widget", "w1", -1, fate.New(fate.Permanent, errBoom))
	b.store.mu.Lock()
	b.store.refuseLetters = true
	b.store.mu.Unlock()
	b.start("w1")
	id := b.send("widget.sold", "widget", "w1")
	var asked []time.Time
	require.True(t, eventually(func() bool {
		if n := b.provider.fetches("widget", "w1"); n > len(asked) {
			asked = append(asked, time.Now())
		}
		return len(asked) == 4
	}))
	require.Greater(t, asked[3].Sub(asked[2]), 2500*time.Millisecond)
	b.store.mu.Lock()
	b.store.refuseLetters = false
	b.store.mu.Unlock()
	b.row(id, mirror.Dead)
}
