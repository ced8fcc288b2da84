package worker

import (
	"context"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/stream"
)

// renewSoon is the part of a lease's time after which a renewal is tried again that
// was not confirmed.
const renewSoon = 50

// renewer keeps the leases of all shards that a worker holds.
type renewer struct{ *Worker }

// run renews them until ctx ends. A shard that can no longer be sure of its lease, by
// our own clock, is given up.
func (w renewer) run(ctx context.Context) {
	loop := w.Health.Loop("leases")
	defer loop.Done()
	for {
		loop.Turn()
		wait, d := loops.Tick, w.Streams.RenewEvery()
		if !w.all(ctx) {
			wait, d = loops.Sleep, w.LeaseTTL/renewSoon
		}
		if !wait(ctx, d) {
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
