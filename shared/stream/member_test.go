package stream

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

func TestFairShareCoversEveryShardOnceWithinTheBound(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 2, 7, 16, 64, 100} {
		for workers := 1; workers <= 20; workers++ {
			live := names(workers)
			owner := owners(live, shards)
			require.Len(t, owner, shards, "%d shards, %d workers", shards, workers)
			has := map[string]int{}
			for _, w := range owner {
				has[w]++
			}
			for _, w := range live {
				require.LessOrEqual(t, has[w], (shards+workers-1)/workers)
			}
		}
	}
}

func TestFairShareMovesFewShards(t *testing.T) {
	t.Parallel()
	const shards = 64
	for workers := 2; workers <= 16; workers++ {
		live := names(workers)
		before := owners(live, shards)
		after := owners(live[1:], shards)
		moved := 0
		for shard, w := range before {
			if w != live[0] && after[shard] != w {
				moved++
			}
		}
		// Those of the worker that left must move; of the others, the bound
		// makes some follow. A division by modulo would move nearly all.
		require.LessOrEqual(t, moved, shards/4, "%d workers", workers)
	}
}

func TestFairShareOddInput(t *testing.T) {
	t.Parallel()
	require.Nil(t, FairShare(nil, 8, "w1"))
	require.Nil(t, FairShare([]string{"w2"}, 8, "w1"))
	require.Nil(t, FairShare([]string{"w1"}, 0, "w1"))
	require.Equal(t, []int{0, 1, 2}, FairShare([]string{"w1", "w1"}, 3, "w1"))
	live := names(5)
	turned := slices.Clone(live)
	slices.Reverse(turned)
	require.Equal(t, FairShare(live, 64, "w3"), FairShare(turned, 64, "w3"), "the order of the list does not matter")
}

func names(n int) (live []string) {
	for i := range n {
		live = append(live, fmt.Sprint("w", i))
	}
	return live
}

// owners asks every worker for its share; two that claim a shard are an error.
func owners(live []string, shards int) map[int]string {
	owner := map[int]string{}
	for _, w := range live {
		for _, shard := range FairShare(live, shards, w) {
			if other, taken := owner[shard]; taken {
				panic(fmt.Sprintf("%s and %s claim shard %d", w, other, shard))
			}
			owner[shard] = w
		}
	}
	return owner
}

func TestHeartbeatNamesTheLiving(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	_, err := s.Member("w2").Beat(t.Context())
	require.NoError(t, err)
	live, err := s.Member("w1").Beat(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"w1", "w2"}, live)

	o := quiet(srv.URL())
	o.LeaseTTL = 100 * time.Millisecond
	s = openStreams(t, o)
	require.Eventually(t, func() bool {
		live, err = s.Member("w1").Beat(t.Context())
		return err == nil && slices.Equal(live, []string{"w1"})
	}, soon, 10*time.Millisecond, "who is silent for a TTL is gone")
	require.NoError(t, s.Member("w1").Leave(t.Context()))
	_, workers, err := s.Fleet(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, workers)
}

// Redis that was emptied shows a worker that asks before the holders of the leases an
// empty fleet. They trust their leases for a while longer.
func TestAFleetThatRedisForgotIsWaitedFor(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			now := time.Now()
			o := quiet(kind.urls(t)...)
			o.Now = func() time.Time { return now }
			s := openStreams(t, o)
			beat := func(m *Member) []string {
				live, err := m.Beat(t.Context())
				require.NoError(t, err)
				return live
			}
			holder, other := s.Member("w1"), s.Member("w2")
			beat(holder)
			require.True(t, holder.MayTake(nil), "a fleet that is new does not wait")
			lease := acquired(t, s, "w1")
			beat(other)
			require.True(t, other.MayTake(nil), "nor does a worker that comes later")

			now = now.Add(time.Second)
			require.NoError(t, lease.Renew(t.Context()))
			flushAll(t, s)
			require.Equal(t, []string{"w2"}, beat(other))
			require.True(t, lease.Valid())
			require.False(t, other.MayTake(nil), "the holder still works")
			require.ErrorIs(t, lease.Renew(t.Context()), ErrFenced)
			require.Equal(t, []string{"w1", "w2"}, beat(holder))
			require.False(t, holder.MayTake(nil))
			require.True(t, holder.MayTake(lease), "no worker can have had it since")

			now = now.Add(s.opts.LeaseTTL * 9 / 10)
			beat(other)
			require.False(t, other.MayTake(nil))
			require.False(t, holder.MayTake(lease), "another may have it by now")
			now = now.Add(s.opts.LeaseTTL / 10)
			require.True(t, other.MayTake(nil))
			require.True(t, holder.MayTake(nil))
		})
	}
}

// A worker that was silent for longer than its heartbeat counts, or that left, is no
// sign that Redis lost anything.
func TestAHeartbeatThatRanOutIsNotWaitedFor(t *testing.T) {
	now := time.Now()
	o := quiet(redistest.Start(t).URL())
	o.Now = func() time.Time { return now }
	s := openStreams(t, o)
	m := s.Member("w1")
	_, err := m.Beat(t.Context())
	require.NoError(t, err)
	require.NoError(t, m.Leave(t.Context()))
	_, err = m.Beat(t.Context())
	require.NoError(t, err)
	require.True(t, m.MayTake(nil))
	now = now.Add(s.opts.LeaseTTL)
	flushAll(t, s)
	_, err = m.Beat(t.Context())
	require.NoError(t, err)
	require.True(t, m.MayTake(nil))
}

// The heartbeat that finds nothing is the one that counts, though its answer is lost
// and it is repeated, by the client or by the worker.
func TestAHeartbeatIsKnownAgain(t *testing.T) {
	for _, kind := range proxied {
		t.Run(kind.name, func(t *testing.T) {
			url, proxy := kind.start(t)
			s := openStreams(t, quiet(url))
			m := s.Member("w1")
			_, err := m.Beat(t.Context())
			require.NoError(t, err)
			flushAll(t, s)
			_, err = s.live(t.Context()) // loads the script
			require.NoError(t, err)
			lost := proxy.LoseReply("joined:w1")
			for range 2 {
				_, _, err = m.BeatAndRead(t.Context(), []string{"lemon"})
				if kind.repeats {
					require.NoError(t, err)
				}
			}
			require.NoError(t, err)
			<-lost
			require.False(t, m.MayTake(nil))
		})
	}
}

// A heartbeat brings the news of sources, also from a Redis that has forgotten the scripts.
func TestAHeartbeatBringsNews(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	m := s.Member("w1")
	sources := []string{"other", "lemon"}
	require.NoError(t, s.Pause(t.Context(), "lemon", 0, "by hand", "ops"))
	_, err := s.RetryParked(t.Context(), "other")
	require.NoError(t, err)
	want, err := s.Sources(t.Context(), sources)
	require.NoError(t, err)
	require.True(t, want[1].State.Paused)
	for _, forgotten := range []bool{false, true} {
		if forgotten {
			require.NoError(t, s.client.ScriptFlush(t.Context()).Err())
		}
		live, news, err := m.BeatAndRead(t.Context(), sources)
		require.NoError(t, err)
		require.Equal(t, []string{"w1"}, live)
		require.Equal(t, want, news)
	}
}

func TestFleetShowsShards(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	o := quiet(srv.URL())
	o.Shards = 4
	s := openStreams(t, o)
	key := order("a")
	shard := key.Shard(4)
	l, err := s.Acquire(t.Context(), shard, "w1", []string{"lemon"})
	require.NoError(t, err)
	_, err = s.Append(t.Context(), Draft{Signal: happened("evt_1", "a")})
	require.NoError(t, err)
	_, err = s.Append(t.Context(), Draft{Signal: look("a", 3)})
	require.NoError(t, err)
	for _, until := range []time.Time{time.Now().Add(-time.Minute), time.Now().Add(time.Hour)} {
		sig := look("a", 3)
		sig.NotBefore = until
		_, err = s.Append(t.Context(), Draft{Signal: sig})
		require.NoError(t, err)
	}
	shards, _, err := s.Fleet(t.Context(), []string{"lemon", "stripe"})
	require.NoError(t, err)
	require.Len(t, shards, 4)
	got := shards[shard]
	require.Equal(t, "w1", got.Owner)
	require.Equal(t, l.Epoch(), got.Epoch)
	require.EqualValues(t, 1, got.Sources["lemon"].Live)
	require.EqualValues(t, 3, got.Sources["lemon"].Background)
	require.EqualValues(t, 1, got.Sources["lemon"].Scheduled, "one waits for its time, the others for a worker")
	require.Equal(t, ShardSource{}, got.Sources["stripe"])
	require.Empty(t, shards[(shard+1)%4].Owner)
}

// What is spilled is backlog, with its age; what has failed is parked.
func TestFleetCountsWhatIsSpilled(t *testing.T) {
	t.Parallel()
	s := openStreams(t, quiet(redistest.Start(t).URL()))
	l := ready(t, s, "w1")
	appended(t, s, happened("evt_1", "a"), happened("evt_2", "b"), happened("evt_3", "a"))
	entries := readLive(t, l)
	require.NoError(t, l.Park(t.Context(), Park{Key: order("a"), Waiting: []event.Entry{entries[0], entries[2]}, Spilled: true}))
	state := func() ShardSource {
		shards, _, err := s.Fleet(t.Context(), []string{"lemon"})
		require.NoError(t, err)
		return shards[0].Sources["lemon"]
	}
	got := state()
	require.EqualValues(t, 3, got.Live)
	require.Zero(t, got.Parked)
	ms, err := strconv.ParseInt(strings.Split(entries[0].ID, "-")[0], 10, 64)
	require.NoError(t, err)
	require.InDelta(t, time.Since(time.UnixMilli(ms)), got.Oldest, float64(time.Second))
	alone, err := s.InStreams(t.Context(), "lemon")
	require.NoError(t, err)
	require.EqualValues(t, 1, alone[0].Live, "it has been read")
	require.EqualValues(t, 1, alone[0].Parked)

	require.NoError(t, l.Park(t.Context(), Park{Key: order("a"), Attempt: 1, Delay: time.Hour, State: []byte("{}")}))
	require.NoError(t, l.Park(t.Context(), Park{Key: order("b"), Charged: entries[1:2], Attempt: 1, Delay: time.Hour, State: []byte("{}")}))
	require.Equal(t, ShardSource{Parked: 2}, state())
}

// The kind of a parked entity is stored. A record of an older version has none:
// an entity with an attempt or a state has failed, and any other is spilled.
func TestSpilledIsAStoredKind(t *testing.T) {
	t.Parallel()
	s := openStreams(t, quiet(redistest.Start(t).URL()))
	record := func(entity string) string { return s.keys.recordPrefix(0) + order(entity).String() }
	older := func(t *testing.T, entity string) {
		require.NoError(t, s.client.HDel(t.Context(), record(entity), "kind").Err())
	}
	overwritten := func(t *testing.T, entity string) { // by a worker of an older version
		require.NoError(t, s.client.HSet(t.Context(), record(entity), "attempt", 0, "state", "{}").Err())
	}
	asIs := func(*testing.T, string) {}
	tests := []struct {
		name    string
		park    Park
		then    func(t *testing.T, entity string)
		spilled bool
	}{
		{"spilled", Park{Spilled: true}, asIs, true},
		{"failed", Park{Attempt: 1, State: []byte("{}")}, asIs, false},
		{"failed uncharged", Park{State: []byte("{}")}, asIs, false},
		{"failed uncharged without a state", Park{}, asIs, false},
		{"older: spilled", Park{Spilled: true}, older, true},
		{"older: failed", Park{Attempt: 1}, older, false},
		{"older: failed uncharged", Park{State: []byte("{}")}, older, false},
		{"spilled, then failed in an older worker", Park{Spilled: true}, overwritten, false},
	}
	l := ready(t, s, "w1")
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			entity := strconv.Itoa(i)
			appended(t, s, happened("evt_"+entity, entity))
			tt.park.Key, tt.park.Waiting = order(entity), readLive(t, l)
			require.NoError(t, l.Park(t.Context(), tt.park))
			defer func() {
				_, err := l.Unpark(t.Context(), order(entity), idsOf(tt.park.Waiting), nil, 0)
				require.NoError(t, err)
			}()
			tt.then(t, entity)

			parked, _, err := l.Parked(t.Context(), order(entity), 0, 1)
			require.NoError(t, err)
			require.Equal(t, tt.spilled, parked.Spilled)
			shards, _, err := s.Fleet(t.Context(), []string{"lemon"})
			require.NoError(t, err)
			got := shards[0].Sources["lemon"]
			if tt.spilled {
				require.EqualValues(t, 1, got.Live)
				require.Zero(t, got.Parked)
			} else {
				require.Zero(t, got.Live)
				require.EqualValues(t, 1, got.Parked)
			}
		})
	}
}
