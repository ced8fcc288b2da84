package fleet

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/storage"
)

// Strike is a moment at which shards lost their reader.
type Strike struct {
	At     time.Time
	Shards []int
}

// StrikeOf is the strike if a worker were to die now; nil: all shards lose
// their reader. It fails while Redis does not answer.
func (f *Fleet) StrikeOf(ctx context.Context, m *Member) (Strike, error) {
	name := ""
	if m != nil {
		name = m.Worker()
	}
	shards, _, err := f.Streams.Fleet(ctx, []string{Source})
	s := Strike{At: time.Now()}
	for _, shard := range shards {
		if m == nil || shard.Owner == name {
			s.Shards = append(s.Shards, shard.Shard)
		}
	}
	return s, err
}

// Recoveries are, for each shard of a strike, the time until the first event
// settled that had come before. A shard without waiting events is left out.
func (s Strike) Recoveries(rows []*storage.EventRow) []time.Duration {
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
