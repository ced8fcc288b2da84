package fleet

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/storage"
)

// Outage is a moment at which shards lost their reader, and those shards.
type Outage struct {
	At     time.Time
	Shards []int
}

// OutageOf returns what an outage of the worker would be now: the shards it reads.
// A nil worker means all shards. It fails while Redis does not answer.
func (f *Fleet) OutageOf(ctx context.Context, m *Member) (Outage, error) {
	if m == nil {
		return f.outage(ctx, func(string) bool { return true })
	}
	return f.OutageOfWorker(ctx, m.Worker())
}

// OutageOfWorker is OutageOf for a worker by the name that it has in the fleet now.
func (f *Fleet) OutageOfWorker(ctx context.Context, name string) (Outage, error) {
	return f.outage(ctx, func(owner string) bool { return owner == name })
}

func (f *Fleet) outage(ctx context.Context, of func(owner string) bool) (Outage, error) {
	shards, _, err := f.Streams.Fleet(ctx, []string{f.plan.Source})
	s := Outage{At: time.Now()}
	for _, shard := range shards {
		if of(shard.Owner) {
			s.Shards = append(s.Shards, shard.Shard)
		}
	}
	return s, err
}

// Recoveries are, for each shard of an outage, the time until the first event
// settled that had come before. A shard without waiting events is left out.
func (s Outage) Recoveries(rows []*storage.EventRow) []time.Duration {
	first := map[int]time.Duration{}
	for _, r := range rows {
		if len(r.Entities) == 0 || r.ReceivedAt.After(s.At) || !r.ProcessedAt.After(s.At) {
			continue
		}
		shard := r.Entities[0].Signal.Shard
		took, known := first[shard]
		if !known {
			took = math.MaxInt64
		}
		first[shard] = min(took, r.ProcessedAt.Sub(s.At))
	}
	var all []time.Duration
	for _, shard := range s.Shards {
		if took, known := first[shard]; known {
			all = append(all, took)
		}
	}
	slices.Sort(all)
	return all
}
