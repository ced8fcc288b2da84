package worker_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/worker"
)

// However many entities wait for a proof, one slot is held by who asks for it.
func TestASlowWitnessHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Sources[0].Concurrency = 4 })
	b.start("w1")
	const n = 8
	for i := range n {
		b.row(b.send("widget.sold", "widget", fmt.Sprint(i)), mirror.Processed)
	}
	b.row(b.send("widget.sold", "widget", "witness"), mirror.Processed)
	asked := make(chan struct{}, 100)
	b.provider.on("widget", "witness", func(ctx context.Context, _ int) (string, error) {
		asked <- struct{}{}
		<-ctx.Done()
		return "", ctx.Err()
	})
	for i := range n {
		b.provider.fails("widget", fmt.Sprint(i), -1, errGone)
		b.send("widget.made", "widget", fmt.Sprint(i))
	}
	<-asked
	for i := range n { // all have come to where they want a proof
		require.True(t, eventually(func() bool { return b.provider.fetches("widget", fmt.Sprint(i)) >= 3 || i > 0 }))
		b.row(b.send("gadget.sold", "gadget", fmt.Sprint(i)), mirror.Processed)
	}
}

// A key that is revoked between two parents is nobody's attempt.
func TestAKeyRevokedBetweenTwoParentsPausesTheSource(t *testing.T) {
	t.Parallel()
	b, p := inShops(t)
	b.start("w1")
	known(b, p, "w1")
	p.in("s1", "w1", always("", errGone))
	p.in("s2", "w1", func(int) (string, error) {
		p.setProbe(fate.New(fate.Refused, errForbidden))
		return "", errForbidden
	})
	id := b.widget("w1", "s2")
	b.paused("credentials")
	require.Zero(t, b.row(id, mirror.Pending).Attempts)
	p.move("w1", "s2")
	p.setProbe(nil)
	require.Zero(t, b.row(id, mirror.Processed).Attempts)
}
