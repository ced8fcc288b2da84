package stream

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

const callers = 64

// BenchmarkAppend compares an append (entry, mark, duplicates known) with one
// plain XADD per call, both from 64 goroutines.
func BenchmarkAppend(b *testing.B) {
	for _, fsync := range []string{"everysec", "always"} {
		srv := redistest.Start(b, redistest.Appendfsync(fsync))
		b.Run("plain XADD "+fsync, func(b *testing.B) { benchmarkPlain(b, srv) })
		for _, pipelines := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("%d pipelines %s", pipelines, fsync), func(b *testing.B) {
				o := quiet(srv.URL())
				o.Shards, o.Pipelines, o.Prefix = 64, pipelines, fsync+strconv.Itoa(pipelines)
				s := openStreams(b, o)
				benchmarkAppend(b, srv, s)
			})
		}
	}
}

var benchmarked atomic.Int64

func benchmarkAppend(b *testing.B, srv *redistest.Server, s *Streams) {
	srv.FlushAll()
	b.ReportAllocs()
	used := redisCPU(b, s.client)
	b.ResetTimer()
	defer func() { b.ReportMetric((redisCPU(b, s.client)-used)*1e6/float64(b.N), "redis-µs/op") }()
	each(b, func(i int64) error {
		n := strconv.FormatInt(i, 10)
		_, err := s.Append(b.Context(), Draft{Signal: happened("evt_"+n, "bord_"+n)})
		return err
	})
}

func benchmarkPlain(b *testing.B, srv *redistest.Server) {
	srv.FlushAll()
	c := redis.NewClient(&redis.Options{Addr: srv.Addr(), MaxRetries: -1, Protocol: 2, PoolSize: callers})
	defer func() { require.NoError(b, c.Close()) }()
	b.ReportAllocs()
	used := redisCPU(b, c)
	b.ResetTimer()
	defer func() { b.ReportMetric((redisCPU(b, c)-used)*1e6/float64(b.N), "redis-µs/op") }()
	each(b, func(i int64) error {
		n := strconv.FormatInt(i, 10)
		fields, err := happened("evt_"+n, "bord_"+n).Fields()
		if err != nil {
			return err
		}
		return c.XAdd(b.Context(), &redis.XAddArgs{Stream: "s" + strconv.FormatInt(i%64, 10), Values: fields}).Err()
	})
}

// each divides b.N calls among the callers.
func each(b *testing.B, f func(int64) error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var work sync.WaitGroup
	for range callers {
		work.Go(func() {
			for left.Add(-1) >= 0 {
				if err := f(benchmarked.Add(1)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
}

// redisCPU returns the CPU time that a server has used, in seconds.
func redisCPU(b *testing.B, c redis.UniversalClient) float64 {
	b.Helper()
	info, err := c.Info(b.Context(), "cpu").Result()
	require.NoError(b, err)
	used := 0.0
	for _, name := range []string{"used_cpu_sys", "used_cpu_user"} {
		_, rest, _ := strings.Cut(info, name+":")
		text, _, _ := strings.Cut(rest, "\r\n")
		seconds, err := strconv.ParseFloat(text, 64)
		require.NoError(b, err)
		used += seconds
	}
	return used
}
