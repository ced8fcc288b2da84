package api

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// onRedis is a fixture whose queue is a real one.
func onRedis(t *testing.T, s *redistest.Server, change ...func(*Options)) (*fixture, *stream.Streams) {
	t.Helper()
	// The client itself waits longer for an answer than any test does.
	streams, err := stream.Open(t.Context(), stream.Options{URLs: []string{s.URL() + "?read_timeout=60s"}, Shards: 4, LeaseTTL: time.Minute})
	require.NoError(t, err)
	t.Cleanup(func() { _ = streams.Close() })
	change = append(change, func(o *Options) { o.Queue = streams })
	return newFixture(t, change...), streams
}

// bodiesIn returns the payloads in all streams, by how often each is there.
func bodiesIn(t *testing.T, s *redistest.Server) map[string]int {
	t.Helper()
	ctx := context.Background() // also used while the test winds down
	client := s.Client()
	found := map[string]int{}
	for keys := client.ScanType(ctx, 0, "*", 1000, "stream").Iterator(); keys.Next(ctx); {
		entries, err := client.XRange(ctx, keys.Val(), "-", "+").Result()
		require.NoError(t, err)
		for _, e := range entries {
			fields := map[string]string{}
			for name, v := range e.Values {
				fields[name] = v.(string)
			}
			if signal, err := event.ParseSignal(fields); err == nil && signal.Body != nil {
				found[string(signal.Body.Payload)]++
			}
		}
	}
	return found
}

func TestSuccessIsDurable(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, redistest.Appendfsync("always"))
	f, _ := onRedis(t, redis)
	const senders, each = 8, 50
	var (
		mu       sync.Mutex
		accepted []string
		all      sync.WaitGroup
	)
	killed := make(chan struct{})
	for s := range senders {
		all.Go(func() {
			for i := range each {
				body := orderEvent(fmt.Sprintf("evt_%d_%d", s, i))
				w := f.do(webhook("lemon", body, noon))
				if w.Code == http.StatusOK {
					mu.Lock()
					accepted = append(accepted, body)
					enough := len(accepted) == senders*each/4
					mu.Unlock()
					if enough {
						redis.Kill()
						close(killed)
					}
					continue
				}
				if w.Code != http.StatusServiceUnavailable {
					t.Errorf("status %d: %s", w.Code, w.Body)
				}
				return
			}
		})
	}
	all.Wait()
	<-killed
	redis.Restart()
	there := bodiesIn(t, redis)
	for _, body := range accepted {
		require.Equal(t, 1, there[body], "answered with success, but not there after SIGKILL: %s", body)
	}
}

func TestRedisAwayAndBack(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	f, _ := onRedis(t, redis)
	redis.Kill()
	w := f.do(webhook("lemon", orderEvent("evt_1"), noon))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
	require.Equal(t, http.StatusServiceUnavailable, f.get("/readyz").Code)

	redis.Restart()
	require.Eventually(t, func() bool {
		return f.do(webhook("lemon", orderEvent("evt_1"), noon)).Code == http.StatusOK
	}, time.Minute, 50*time.Millisecond)
	require.Equal(t, http.StatusOK, f.get("/readyz").Code)
	require.Equal(t, map[string]int{orderEvent("evt_1"): 1}, bodiesIn(t, redis))
}

func TestRedisSilent(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	f, _ := onRedis(t, redis, func(o *Options) { o.AppendTimeout = 200 * time.Millisecond })
	redis.Freeze()
	began := time.Now()
	w := f.do(webhook("lemon", orderEvent("evt_1"), noon))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Less(t, time.Since(began), 20*time.Second, "the sender is told although Redis stays silent")
	redis.Thaw()
	// Whether that append was made is not known; sending it again settles it.
	require.Eventually(t, func() bool {
		return f.do(webhook("lemon", orderEvent("evt_1"), noon)).Code == http.StatusOK
	}, time.Minute, 50*time.Millisecond)
	require.Equal(t, map[string]int{orderEvent("evt_1"): 1}, bodiesIn(t, redis))
}

// What a duplicate is put on record by is bounded like the append itself, by a
// Redis that stops answering in between too.
func TestRedisSilentAtANote(t *testing.T) {
	t.Parallel()
	proxy := redistest.NewProxy(t, redistest.Start(t))
	streams, err := stream.Open(t.Context(), stream.Options{URLs: []string{proxy.URL() + "?read_timeout=60s"}, Shards: 4})
	require.NoError(t, err)
	t.Cleanup(func() { _ = streams.Close() })
	f := newFixture(t, func(o *Options) { o.Queue, o.AppendTimeout = streams, 5*time.Second })
	require.Equal(t, http.StatusOK, f.do(webhook("lemon", orderEvent("evt_1"), noon)).Code)
	proxy.Stall("duplicate")
	began := time.Now()
	w := f.do(webhook("lemon", orderEvent("evt_1"), noon))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Less(t, time.Since(began), 20*time.Second, "the sender is told although Redis stays silent")
	requireProblem(t, w, "timeout")
}

// A Redis that answers and takes no writes takes no webhooks: the api is not
// ready, and says why.
func TestNotReadyWhileRedisTakesNoWrites(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	f, _ := onRedis(t, redis)
	host, port, _ := strings.Cut(redistest.Start(t).Addr(), ":")
	require.Equal(t, http.StatusOK, f.get("/readyz").Code)
	require.NoError(t, redis.Ask(t.Context(), "REPLICAOF", host, port))
	require.Equal(t, http.StatusServiceUnavailable, f.do(webhook("lemon", orderEvent("evt_1"), noon)).Code)
	ready := f.get("/readyz")
	require.Equal(t, http.StatusServiceUnavailable, ready.Code)
	require.Contains(t, ready.Body.String(), `"redis":"takes no writes"`)
	require.NoError(t, redis.Ask(t.Context(), "REPLICAOF", "NO", "ONE"))
	require.Eventually(t, func() bool { return f.get("/readyz").Code == http.StatusOK }, time.Minute, 10*time.Millisecond,
		"although no webhook comes to what is not ready")
	require.Equal(t, http.StatusOK, f.do(webhook("lemon", orderEvent("evt_1"), noon)).Code)
}

func TestRedisFull(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, redistest.Maxmemory(8<<20))
	f, _ := onRedis(t, redis)
	ctx := t.Context()
	filler := strings.Repeat("x", 16<<10)
	for i := 0; redis.Client().Set(ctx, fmt.Sprint("filler", i), filler, 0).Err() == nil; i++ {
	}
	require.Eventually(t, func() bool {
		w := f.do(webhook("lemon", orderEvent(fmt.Sprint("evt_", time.Now().UnixNano())), noon))
		return w.Code == http.StatusServiceUnavailable && strings.Contains(w.Body.String(), problems.Base+"full") &&
			w.Header().Get("Retry-After") == "30"
	}, time.Minute, 10*time.Millisecond)
}

func TestSameEventManyTimes(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	f, streams := onRedis(t, redis)
	const times = 20
	answers := make(chan *httptest.ResponseRecorder, times)
	for range times {
		go func() { answers <- f.do(webhook("lemon", orderEvent("evt_1"), noon)) }()
	}
	statuses := map[string]int{}
	for range times {
		w := <-answers
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		statuses[w.Body.String()]++
	}
	require.Equal(t, map[string]int{
		`{"status":"accepted","id":"evt_1"}`:  1,
		`{"status":"duplicate","id":"evt_1"}`: times - 1,
	}, statuses)
	require.Equal(t, map[string]int{orderEvent("evt_1"): 1}, bodiesIn(t, redis))
	notes, err := streams.Notes(t.Context(), "", 100)
	require.NoError(t, err)
	require.Len(t, notes, times-1)
	for _, n := range notes {
		require.Equal(t, "duplicate", n.Kind)
		require.Equal(t, "evt_1", n.EventID)
	}
}

func TestStopPutsRefusalsOnRecord(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	f, streams := onRedis(t, redis)
	addr, stop := f.serve(t)
	for range 5 {
		resp, err := http.Post("http://"+addr+"/webhooks/lime", "", strings.NewReader("{}"))
		require.NoError(t, err)
		resp.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
	require.NoError(t, stop())
	notes, err := streams.Notes(t.Context(), "", 100)
	require.NoError(t, err)
	require.Len(t, notes, 1)
	require.EqualValues(t, 5, notes[0].Count)
}

// read is what a worker that takes the shard of a key finds in its live stream.
func (f *fixture) read(t *testing.T, s *stream.Streams, worker string, k event.Key) []event.Entry {
	t.Helper()
	lease, err := s.Acquire(t.Context(), k.Shard(s.Shards()), worker, []string{k.Source})
	require.NoError(t, err)
	t.Cleanup(func() { _ = lease.Release(context.WithoutCancel(t.Context())) })
	var found []event.Entry
	_, err = lease.TakeOver(t.Context(), k.Source, event.TierLive, func(page []event.Entry) error {
		found = append(found, page...)
		return nil
	})
	require.NoError(t, err)
	more, err := lease.Read(t.Context(), k.Source, event.TierLive, stream.Limits{Count: 100, Bytes: 1 << 20})
	require.NoError(t, err)
	return append(found, more...)
}

// Redis has appended, and its answer is lost on the way: the sender is told to
// come again, or the client has repeated the command by itself. Either way the
// event is there once.
func TestLostReplyHasNoDoubleEffect(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	proxy := redistest.NewProxy(t, redis)
	streams, err := stream.Open(t.Context(), stream.Options{URLs: []string{proxy.URL()}, Shards: 4})
	require.NoError(t, err)
	t.Cleanup(func() { _ = streams.Close() })
	f := newFixture(t, func(o *Options) { o.Queue, o.AppendTimeout = streams, 5*time.Second })

	lost := proxy.LoseReply("evt_1")
	first := f.do(webhook("lemon", orderEvent("evt_1"), noon))
	<-lost
	require.Equal(t, map[string]int{orderEvent("evt_1"): 1}, bodiesIn(t, redis))
	if first.Code != http.StatusOK {
		require.Equal(t, http.StatusServiceUnavailable, first.Code)
		require.NotEmpty(t, first.Header().Get("Retry-After"))
	}
	require.Eventually(t, func() bool {
		w := f.do(webhook("lemon", orderEvent("evt_1"), noon))
		return w.Code == http.StatusOK && strings.Contains(w.Body.String(), `"duplicate"`)
	}, time.Minute, 50*time.Millisecond, "the mark tells what was in doubt")
	require.Equal(t, map[string]int{orderEvent("evt_1"): 1}, bodiesIn(t, redis))
}

// When workers have emptied a full Redis, events are taken again; what was
// refused left nothing behind that would make it a duplicate.
func TestRedisFullAndDrained(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, redistest.Maxmemory(8<<20))
	f, streams := onRedis(t, redis)
	ctx := t.Context()
	send := func(id string) *httptest.ResponseRecorder { return f.do(webhook("lemon", orderEvent(id), noon)) }
	const id = "evt_1"
	// What is in use is over the limit at once. Redis that is filled up to it frees buffers of
	// connections whenever it likes, and has room for one more entry.
	require.NoError(t, redis.Client().ConfigSet(ctx, "maxmemory", "1").Err())
	require.Equal(t, http.StatusServiceUnavailable, send(id).Code, "at the limit, before anybody has looked")
	require.NotContains(t, bodiesIn(t, redis), orderEvent(id), "no half of it is there")
	lease, err := streams.Acquire(ctx, 0, "w1", []string{"lemon"})
	require.NoError(t, err, "workers go on")
	require.NoError(t, lease.Release(ctx))

	require.NoError(t, redis.Client().ConfigSet(ctx, "maxmemory", "8mb").Err())
	require.Eventually(t, func() bool {
		w := send(id)
		require.NotContains(t, w.Body.String(), `"duplicate"`)
		return w.Code == http.StatusOK
	}, time.Minute, 20*time.Millisecond)
	require.Equal(t, 1, bodiesIn(t, redis)[orderEvent(id)])
}
