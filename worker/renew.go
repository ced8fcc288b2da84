package worker

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/stream"
)

// renewSoon is the part of a lease's time after which a renewal is sent again that was
// not confirmed; at once, if it took longer to fail.
const renewSoon = 50

// renewer keeps the leases of all shards that a worker holds.
type renewer struct{ *Worker }

// run renews them until ctx ends. A shard that can no longer be sure of its lease, by
// our own clock, is given up.
func (w renewer) run(ctx context.Context) {
	loop := w.Health.Loop("leases")
	defer loop.Done()
	repeatRenewal(ctx, w.Streams.RenewEvery(), w.LeaseTTL/renewSoon, func() bool {
		loop.Turn()
		return w.all(ctx)
	})
}

// repeatRenewal calls renew until ctx ends: at each tick of every, and soon after a
// call that was not confirmed. Both times count from when a call began, as the time of a
// lease does. If they counted from its answer, a slow one could make the next late, and
// leave one try before a lease counts as lost.
func repeatRenewal(ctx context.Context, every, soon time.Duration, renew func() (confirmed bool)) {
	for {
		begun, next := time.Now(), loops.UntilTick(every)
		if !renew() {
			next = soon
		}
		if !loops.Sleep(ctx, next-time.Since(begun)) {
			return
		}
	}
}

// all renews all leases, and reports whether each renewal was confirmed or its
// shard is not ours any more.
func (w renewer) all(ctx context.Context) bool {
	var held []*shard
	var leases []*stream.Lease
	for _, s := range w.held() {
		if s.ctx.Err() == nil && s.ours() {
			held, leases = append(held, s), append(leases, s.lease)
		}
	}
	if len(held) == 0 {
		return true
	}
	confirmed := true
	for i, err := range w.Streams.RenewAll(ctx, leases) {
		s := held[i]
		if err == nil || s.lost(err) || !s.ours() {
			continue
		}
		confirmed = false
		s.trouble()
	}
	return confirmed
}
