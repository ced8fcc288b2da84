// Package measure exports what only Redis and the store know of a whole fleet: how
// much waits, whether it moves, and how full the servers are.
//
// The worker that reads shard 0 does so, and one reconciler, for when there is no
// worker. The figures of both are the fleet's: queries take their maximum.
package measure

import (
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// Servers shows how much memory Redis uses; a *stream.Streams.
type Servers interface {
	Memory() (stream.Memory, bool)
}

// Disk is a store that knows how much space is left for it; a *sqlite.Store.
type Disk interface {
	DiskSpace() (free, size uint64, err error)
}

// Queue exports what waits of the sources in all shards, and returns the sums.
func Queue(m *telemetry.Metrics, shards []stream.ShardState, sources []string) map[string]stream.ShardSource {
	totals := stream.Totals(shards, sources)
	stalled, unowned := map[string]int{}, 0
	for _, s := range shards {
		waits := false
		for _, name := range sources {
			share := s.Sources[name]
			if share.Unmoved >= telemetry.StalledAfter {
				stalled[name]++
			}
			q := waiting(share)
			waits = waits || q.Live+q.Background+q.Parked > 0
			m.SetShard(s.Shard, name, q)
		}
		if waits && s.Owner == "" {
			unowned++
		}
	}
	m.UnownedShards.WithLabelValues().Set(float64(unowned))
	for name, total := range totals {
		m.SetQueue(name, waiting(total), stalled[name])
	}
	return totals
}

// waiting leaves out what is scheduled for later on purpose.
func waiting(s stream.ShardSource) telemetry.Queue {
	return telemetry.Queue{Live: s.Live, Background: s.Background - s.Scheduled, Parked: s.Parked, Oldest: s.Oldest}
}

// Full exports how full Redis and the disk of the store are, as far as they show it.
func Full(m *telemetry.Metrics, redis Servers, store any) {
	if memory, ok := redis.Memory(); ok {
		m.SetMemory(memory.Used, memory.Max)
	}
	if disk, ok := store.(Disk); ok {
		if free, size, err := disk.DiskSpace(); err == nil { // a file that is gone is reported by every call
			m.SetDisk(free, size)
		}
	}
}
