package measure_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tarn-sync/tarn/shared/measure"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// exports asserts all series of some metrics.
func exports(t *testing.T, r *prometheus.Registry, want string, names ...string) {
	t.Helper()
	var lines strings.Builder
	all, err := r.Gather()
	require.NoError(t, err)
	for _, f := range all { // the comparison wants the help of what it compares
		for _, name := range names {
			if f.GetName() == name {
				lines.WriteString("# HELP " + name + " " + f.GetHelp() + "\n# TYPE " + name + " gauge\n")
				for line := range strings.SplitSeq(want, "\n") {
					if strings.HasPrefix(line, name+"{") || strings.HasPrefix(line, name+" ") {
						lines.WriteString(line + "\n")
					}
				}
			}
		}
	}
	require.NoError(t, testutil.GatherAndCompare(r, strings.NewReader(lines.String()), names...))
}

// Shards are counted that do not move, and those in which something waits and that no
// worker reads; what is scheduled for later waits for no worker.
func TestQueue(t *testing.T) {
	r := prometheus.NewRegistry()
	m := telemetry.NewMetrics(r)
	shards := []stream.ShardState{
		{Shard: 0, Owner: "w1", Sources: map[string]stream.ShardSource{
			"a": {Live: 3, Background: 5, Scheduled: 4, Parked: 2, Oldest: time.Hour, Unmoved: 5 * time.Minute},
			"b": {Live: 1, Oldest: time.Minute, Unmoved: time.Minute},
		}},
		{Shard: 1, Sources: map[string]stream.ShardSource{"a": {Live: 1, Oldest: time.Minute, Unmoved: 4 * time.Minute}}},
		{Shard: 2, Sources: map[string]stream.ShardSource{"a": {Background: 2, Scheduled: 2}}},
	}
	names := []string{"a", "b"}
	totals := measure.Queue(m, shards, names)
	require.EqualValues(t, 4, totals["a"].Live)
	exports(t, r, `
tarn_backlog_entries{source="a",tier="background"} 1
tarn_backlog_entries{source="a",tier="live"} 4
tarn_backlog_entries{source="b",tier="background"} 0
tarn_backlog_entries{source="b",tier="live"} 1
tarn_parked_entities{source="a"} 2
tarn_parked_entities{source="b"} 0
tarn_backlog_oldest_age_seconds{source="a"} 3600
tarn_backlog_oldest_age_seconds{source="b"} 60
tarn_stalled_shards{source="a"} 1
tarn_stalled_shards{source="b"} 0
tarn_unowned_shards 1`,
		"tarn_backlog_entries", "tarn_parked_entities", "tarn_backlog_oldest_age_seconds", "tarn_stalled_shards", "tarn_unowned_shards")
	require.Zero(t, testutil.CollectAndCount(m.ShardBacklog), "off by default")

	m.ShardSeries = true
	measure.Queue(m, shards[:1], []string{"a"})
	exports(t, r, `
tarn_shard_backlog_entries{shard="0",source="a",tier="background"} 1
tarn_shard_backlog_entries{shard="0",source="a",tier="live"} 3
tarn_shard_backlog_oldest_age_seconds{shard="0",source="a"} 3600
tarn_shard_parked_entities{shard="0",source="a"} 2`,
		"tarn_shard_backlog_entries", "tarn_shard_backlog_oldest_age_seconds", "tarn_shard_parked_entities")

	m.SetMemory(1, 2)
	m.SetDisk(1, 2)
	m.ForgetFleet(names)
	for _, gauge := range []*prometheus.GaugeVec{
		m.Backlog, m.Parked, m.OldestAge, m.StalledShards, m.UnownedShards, m.ShardBacklog, m.ShardOldestAge, m.ShardParked,
		m.RedisMemoryUsed, m.RedisMemoryMax, m.DiskFree, m.DiskSize,
	} {
		require.Zero(t, testutil.CollectAndCount(gauge), "an old figure beside that of the next process")
	}
}

// redis shows its memory, or does not.
type redis struct{ memory *stream.Memory }

func (r redis) Memory() (stream.Memory, bool) {
	if r.memory == nil {
		return stream.Memory{}, false
	}
	return *r.memory, true
}

// Memory and disk are exported as far as the servers show them.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, "tarn.db"), sqlite.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()

	r := prometheus.NewRegistry()
	m := telemetry.NewMetrics(r)
	measure.Full(m, redis{}, struct{}{})
	require.Zero(t, testutil.CollectAndCount(m.RedisMemoryUsed)+testutil.CollectAndCount(m.DiskFree))

	measure.Full(m, redis{&stream.Memory{Used: 70, Max: 100}}, store)
	exports(t, r, "tarn_redis_memory_used_bytes 70\ntarn_redis_memory_max_bytes 100", "tarn_redis_memory_used_bytes", "tarn_redis_memory_max_bytes")
	free, size := testutil.ToFloat64(m.DiskFree), testutil.ToFloat64(m.DiskSize)
	require.Positive(t, free)
	require.Greater(t, size, free)
	names, err := testutil.GatherAndCount(r, "tarn_store_disk_free_bytes", "tarn_store_disk_size_bytes")
	require.NoError(t, err)
	require.Equal(t, 2, names)
}
