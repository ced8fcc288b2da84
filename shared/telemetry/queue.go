package telemetry

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// StalledAfter is for how long the oldest live entry of a shard may be the same
// before the shard counts as stalled.
const StalledAfter = 5 * time.Minute

// Queue is what waits of a source, in the whole fleet or in one shard.
type Queue struct {
	// Live and Background are entries, Parked is entities.
	Live, Background, Parked int64
	// Oldest is the age of the oldest live entry, 0 without one.
	Oldest time.Duration
}

// SetQueue exports what waits of a source in the whole fleet, and in how many shards
// it does not move.
func (m *Metrics) SetQueue(source string, q Queue, stalled int) {
	m.Backlog.WithLabelValues(source, "live").Set(float64(q.Live))
	m.Backlog.WithLabelValues(source, "background").Set(float64(q.Background))
	m.Parked.WithLabelValues(source).Set(float64(q.Parked))
	m.OldestAge.WithLabelValues(source).Set(q.Oldest.Seconds())
	m.StalledShards.WithLabelValues(source).Set(float64(stalled))
}

// SetShard exports what waits of a source in one shard, if ShardSeries is set.
func (m *Metrics) SetShard(shard int, source string, q Queue) {
	if !m.ShardSeries {
		return
	}
	number := strconv.Itoa(shard)
	m.ShardBacklog.WithLabelValues(number, source, "live").Set(float64(q.Live))
	m.ShardBacklog.WithLabelValues(number, source, "background").Set(float64(q.Background))
	m.ShardParked.WithLabelValues(number, source).Set(float64(q.Parked))
	m.ShardOldestAge.WithLabelValues(number, source).Set(q.Oldest.Seconds())
}

// SetMemory exports how much memory Redis uses and may use, in bytes.
func (m *Metrics) SetMemory(used, limit int64) {
	m.RedisMemoryUsed.WithLabelValues().Set(float64(used))
	m.RedisMemoryMax.WithLabelValues().Set(float64(limit))
}

// SetDisk exports the free bytes and the size of the store's file system.
func (m *Metrics) SetDisk(free, size uint64) {
	m.DiskFree.WithLabelValues().Set(float64(free))
	m.DiskSize.WithLabelValues().Set(float64(size))
}

// ForgetFleet removes the figures of the whole fleet and of its servers: the process
// no longer measures them.
func (m *Metrics) ForgetFleet(sources []string) {
	for _, source := range sources {
		of := prometheus.Labels{"source": source}
		for _, gauge := range []*prometheus.GaugeVec{
			m.Backlog, m.Parked, m.OldestAge, m.StalledShards, m.ShardBacklog, m.ShardParked, m.ShardOldestAge,
		} {
			gauge.DeletePartialMatch(of)
		}
	}
	for _, gauge := range []*prometheus.GaugeVec{
		m.Workers, m.UnownedShards, m.RedisMemoryUsed, m.RedisMemoryMax, m.DiskFree, m.DiskSize,
	} {
		gauge.Reset()
	}
}
