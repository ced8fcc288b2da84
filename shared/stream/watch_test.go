package stream

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// spoken is a log that is read while it is written.
type spoken struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *spoken) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *spoken) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// What a server is set to while it runs counts as what it was set to at the start.
func TestAnEvictionPolicySetLaterIsSeen(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	said := &spoken{}
	o := quiet(srv.URL())
	o.Logger = slog.New(slog.NewTextHandler(said, nil))
	s := openStreams(t, o)
	require.NoError(t, s.Ping(t.Context()))
	require.NoError(t, srv.Ask(t.Context(), "CONFIG", "SET", "maxmemory-policy", "allkeys-lru"))
	require.Eventually(t, func() bool { return s.Ping(t.Context()) != nil }, soon, 10*time.Millisecond)
	require.ErrorContains(t, s.Ping(t.Context()), "allkeys-lru")
	require.ErrorIs(t, s.Evicting(), errEvicts)
	require.NoError(t, srv.Ask(t.Context(), "CONFIG", "SET", "maxmemory-policy", "noeviction"))
	require.Eventually(t, func() bool { return s.Ping(t.Context()) == nil }, soon, 10*time.Millisecond)
	require.Equal(t, 1, said.count("may evict accepted events"), "once")
}

func TestAMemoryLimitSetLaterIsGuarded(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	s := openStreams(t, quiet(srv.URL()))
	roomFor(t, s, 64<<10) // of some MB: more than 80 % are used
	n := 0
	require.Eventually(t, func() bool {
		n++
		_, err := s.Append(t.Context(), Draft{Signal: happened(fmt.Sprint("evt_", n), "a")})
		return errors.Is(err, ErrFull) && s.full.Load()
	}, soon, 50*time.Millisecond)
}

// A client that appends nothing and is not asked looks all the same.
func TestAMemoryLimitIsSeenUnasked(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	s := openStreams(t, quiet(srv.URL()))
	roomFor(t, s, 64<<10)
	require.Eventually(t, s.full.Load, soon, 50*time.Millisecond)
	// What decides by it has it looked at again.
	require.True(t, s.isFull())
	require.Eventually(t, func() bool { return !s.asked.Load() }, soon, 10*time.Millisecond)
}

func TestDurabilityIsCheckedAgain(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t, redistest.Appendfsync("always"))
	said := &spoken{}
	o := quiet(srv.URL())
	o.Logger = slog.New(slog.NewTextHandler(said, nil))
	s := openStreams(t, o)
	set := func(name, value string) {
		require.NoError(t, srv.Ask(t.Context(), "CONFIG", "SET", name, value))
		for range 2 {
			require.NoError(t, s.recheckDurability(t.Context()))
		}
	}
	const everysec, none = "up to 2 s of accepted events", "keeps no append-only file"
	set("appendfsync", "everysec")
	require.Equal(t, []int{1, 0}, []int{said.count(everysec), said.count(none)})
	set("appendonly", "no")
	require.Equal(t, []int{1, 1}, []int{said.count(everysec), said.count(none)})
	set("appendonly", "yes")
	set("appendfsync", "always")
	require.Equal(t, []int{2, 1}, []int{said.count(everysec), said.count(none)})
	// Its directory is removed with it, but not while a child of it writes there.
	require.Eventually(t, func() bool {
		info, err := srv.Client().Info(t.Context(), "persistence").Result()
		return err == nil && strings.Contains(info, "aof_rewrite_in_progress:0") && strings.Contains(info, "aof_rewrite_scheduled:0")
	}, soon, 5*time.Millisecond)
}

// The memory of Redis is known, with its limit, and follows it.
func TestMemoryIsSeen(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	s := openStreams(t, quiet(srv.URL()))
	require.Eventually(t, func() bool { m, ok := s.Memory(); return ok && m.Used > 0 && m.Max == 0 }, soon, 10*time.Millisecond)
	require.NoError(t, srv.Ask(t.Context(), "CONFIG", "SET", "maxmemory", "1gb"))
	require.Eventually(t, func() bool { s.ask(); m, _ := s.Memory(); return m.Max == 1<<30 }, soon, 10*time.Millisecond)
}

func TestTheFullestMasterIsShown(t *testing.T) {
	for name, c := range map[string]struct{ all, want []Memory }{
		"by share":           {[]Memory{{50, 100}, {90, 1000}, {60, 100}}, []Memory{{60, 100}}},
		"by use, unlimited":  {[]Memory{{50, 0}, {90, 0}}, []Memory{{90, 0}}},
		"limited goes first": {[]Memory{{5000, 0}, {90, 100}}, []Memory{{90, 100}}},
		"empty":              {[]Memory{{0, 100}}, []Memory{{0, 100}}},
	} {
		t.Run(name, func(t *testing.T) {
			var f fullestMemory
			for _, m := range c.all {
				f.add(m)
			}
			require.Equal(t, c.want[0], f.memory)
		})
	}
}

// The oldest entry of a shard stands as long as it is the same one.
func TestUnmovedIsHowLongTheOldestStands(t *testing.T) {
	var a ages
	at := func(d time.Duration) time.Time { return time.UnixMilli(1_000_000).Add(d) }
	const clock = int64(1_000_000)
	look := func(id string, d time.Duration) time.Duration {
		_, unmoved := a.of(sighting{"s", true}, id, clock+d.Milliseconds(), at(d))
		return unmoved
	}
	require.Zero(t, look("999000-0", 0))
	require.Equal(t, 6*time.Minute, look("999000-0", 6*time.Minute))
	require.Zero(t, look("999500-0", 7*time.Minute), "another is the oldest")
	require.Equal(t, time.Minute, look("999500-0", 8*time.Minute))
	require.Zero(t, look("", 9*time.Minute))
	require.Zero(t, look("999500-0", 10*time.Minute), "it was gone")
}
