package stream

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// An address that is moved to the promoted replica while the demoted master keeps
// its connections: they are left at the first READONLY, all of them, whether it
// answered a command, a script or a pipeline.
func TestFailoverBehindAnAddress(t *testing.T) {
	t.Parallel()
	const connections = 26
	for name, before := range map[string]func(*redistest.Proxy){
		"redis":           func(*redistest.Proxy) {},
		"a managed proxy": (*redistest.Proxy).PrefixErrors,
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			master := redistest.Start(t, redistest.Setting("repl-diskless-sync-delay", "0"))
			replica := redistest.Start(t, redistest.ReplicaOf(master))
			proxy := redistest.NewProxy(t, master)
			before(proxy)
			s := openStreams(t, quiet(proxy.URL()))
			l := ready(t, s, "w1")
			opened(t, s, connections)
			require.NoError(t, await(ctx, l, time.Millisecond, event.TierLive))
			require.Eventually(t, func() bool {
				return strings.Contains(replica.Client().Info(ctx, "replication").Val(), "master_link_status:up") &&
					replica.Client().Exists(ctx, s.keys.epoch(0)).Val() == 1
			}, soon, 10*time.Millisecond)

			require.NoError(t, replica.Ask(ctx, "REPLICAOF", "NO", "ONE"))
			host, port, _ := strings.Cut(replica.Addr(), ":")
			require.NoError(t, master.Ask(ctx, "REPLICAOF", host, port))
			proxy.To(replica.Addr())

			begun := time.Now()
			refused := 0
			require.Eventually(t, func() bool {
				_, err := s.Append(ctx, Draft{Signal: happened("evt_1", "a")})
				if err != nil {
					refused++
				}
				return err == nil
			}, soon, 10*time.Millisecond)
			require.Less(t, time.Since(begun), 15*time.Second, "%d appends were refused", refused)

			// No connection is left that would refuse another.
			var failed atomic.Int32
			var all sync.WaitGroup
			for range connections {
				all.Go(func() {
					for range 4 {
						if _, err := s.Member("w1").Beat(ctx); err != nil {
							failed.Add(1)
						}
					}
				})
			}
			all.Wait()
			require.Zero(t, failed.Load())
			done := make(chan error, 1)
			go func() { done <- await(ctx, l, time.Minute, event.TierBackground) }()
			require.Eventually(t, func() bool {
				return infoText(replica.Client().Info(ctx, "clients").Val(), "blocked_clients") == "1"
			}, soon, time.Millisecond, "what waits for new entries waits at the new master")
			begun = time.Now()
			appended(t, s, look("a", event.Reconcile))
			require.NoError(t, <-done)
			require.Less(t, time.Since(begun), 30*time.Second, "the entry ends it")
		})
	}
}

// One READONLY is enough to leave all connections, also where nothing else shows it
// that the master is a replica now: it knows every script.
func TestOneReadonlyRetiresAllConnections(t *testing.T) {
	t.Parallel()
	const connections = 12
	for name, before := range map[string]func(*redistest.Proxy){
		"redis":           func(*redistest.Proxy) {},
		"a managed proxy": (*redistest.Proxy).PrefixErrors,
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			former, promoted := redistest.Start(t), redistest.Start(t)
			proxy := redistest.NewProxy(t, former)
			before(proxy)
			s := openStreams(t, quiet(proxy.URL()))
			opened(t, s, connections)
			host, port, _ := strings.Cut(promoted.Addr(), ":")
			require.NoError(t, former.Ask(ctx, "REPLICAOF", host, port))
			require.Eventually(t, func() bool { // scripts are forgotten until then
				return strings.Contains(former.Client().Info(ctx, "replication").Val(), "master_link_status:up")
			}, soon, 10*time.Millisecond)
			for _, server := range []*redistest.Server{former, promoted} {
				require.NoError(t, heartbeatScript.Load(ctx, server.Client()).Err())
			}
			proxy.To(promoted.Addr())

			client := s.client.(*redis.Client)
			var held []*redis.Conn // each makes the next heartbeat use another connection
			var err error
			for len(held) < 4 && err == nil {
				c := client.Conn()
				require.NoError(t, c.Ping(ctx).Err())
				held = append(held, c)
				_, err = s.Member("w1").Beat(ctx)
			}
			require.ErrorContains(t, err, "READONLY")
			for range connections {
				c := client.Conn()
				require.NoError(t, c.Ping(ctx).Err())
				role, err := c.Do(ctx, "ROLE").Slice()
				require.NoError(t, err)
				require.Equal(t, "master", role[0])
				held = append(held, c)
			}
			for _, c := range held {
				require.NoError(t, c.Close())
			}
		})
	}
}

// A demoted master that has lost its own master, and is set not to answer then
// (replica-serve-stale-data no), says MASTERDOWN rather than READONLY: its connections are
// left all the same, or nothing would be accepted until it finds its master.
func TestFailoverFromAMasterThatServesNoStaleData(t *testing.T) {
	t.Parallel()
	former, promoted := redistest.Start(t, redistest.Setting("replica-serve-stale-data", "no")), redistest.Start(t)
	proxy := redistest.NewProxy(t, former)
	s := openStreams(t, quiet(proxy.URL()))
	opened(t, s, 12)
	appended(t, s, happened("evt_1", "a"))
	require.NoError(t, former.Ask(t.Context(), "REPLICAOF", "127.0.0.1", "1"))
	proxy.To(promoted.Addr())
	require.Eventually(t, func() bool {
		_, err := s.Append(t.Context(), Draft{Signal: happened("evt_2", "a")})
		return err == nil
	}, soon, 10*time.Millisecond)
	for range 12 {
		_, err := s.Member("w1").Beat(t.Context())
		require.NoError(t, err)
	}
}

// denying takes commands from the user while it is connected.
func denying(t *testing.T, commands ...string) (s *Streams, refuse, accept func()) {
	srv := redistest.Start(t)
	set := func(sign string) func() {
		return func() {
			for _, c := range commands {
				require.NoError(t, srv.Ask(t.Context(), "ACL", "SETUSER", "default", sign+c))
			}
		}
	}
	return openStreams(t, quiet(srv.URL())), set("-"), set("+")
}

// opened opens n connections at once and leaves them in the pool.
func opened(t *testing.T, s *Streams, n int) {
	t.Helper()
	client := s.client.(*redis.Client)
	var held []*redis.Conn
	for range n {
		c := client.Conn()
		require.NoError(t, c.Ping(t.Context()).Err())
		held = append(held, c)
	}
	for _, c := range held {
		require.NoError(t, c.Close())
	}
}

// A Redis that answers and takes no writes is not ready, from the first write it
// refuses until it takes one again.
func TestPingKnowsWhatLastHappenedToWrites(t *testing.T) {
	t.Parallel()
	refusing := map[string]func(*testing.T) (s *Streams, refuse, accept func()){
		"a replica": func(t *testing.T) (*Streams, func(), func()) {
			srv := redistest.Start(t)
			other := redistest.Start(t)
			host, port, _ := strings.Cut(other.Addr(), ":")
			return openStreams(t, quiet(srv.URL())),
				func() { require.NoError(t, srv.Ask(t.Context(), "REPLICAOF", host, port)) },
				func() { require.NoError(t, srv.Ask(t.Context(), "REPLICAOF", "NO", "ONE")) }
		},
		"too few replicas, asked for by Redis": func(t *testing.T) (*Streams, func(), func()) {
			srv := redistest.Start(t)
			set := func(n int) func() {
				return func() {
					require.NoError(t, srv.Ask(t.Context(), "CONFIG", "SET", "min-replicas-to-write", n))
				}
			}
			return openStreams(t, quiet(srv.URL())), set(1), set(0)
		},
		"scripts denied":                        func(t *testing.T) (*Streams, func(), func()) { return denying(t, "evalsha", "eval") },
		"one of two ways to run scripts denied": func(t *testing.T) (*Streams, func(), func()) { return denying(t, "evalsha") },
		"a command of the script denied":        func(t *testing.T) (*Streams, func(), func()) { return denying(t, "xadd") },
		"too few replicas, asked for by us": func(t *testing.T) (*Streams, func(), func()) {
			srv := redistest.Start(t)
			replica := redistest.Start(t, redistest.ReplicaOf(srv))
			o := quiet(srv.URL())
			o.WaitReplicas = 1
			return openStreams(t, o), replica.Kill, replica.Restart
		},
	}
	for name, start := range refusing {
		t.Run(name, func(t *testing.T) {
			s, refuse, accept := start(t)
			ctx := t.Context()
			n := 0
			write := func() error {
				n++
				_, err := s.Append(ctx, Draft{Signal: happened(fmt.Sprint("evt_", n), "a")})
				return err
			}
			require.Eventually(t, func() bool { return write() == nil }, soon, 10*time.Millisecond)
			require.NoError(t, s.Ping(ctx))
			refuse()
			require.Eventually(t, func() bool { return write() != nil }, soon, 10*time.Millisecond)
			require.ErrorIs(t, s.Ping(ctx), fate.ErrNoWrites)
			require.ErrorIs(t, s.Ping(ctx), fate.ErrNoWrites, "it stays so without another write")
			accept()
			require.Eventually(t, func() bool { return s.Ping(ctx) == nil }, soon, 10*time.Millisecond)
			require.Eventually(t, func() bool { return write() == nil }, soon, 10*time.Millisecond)
		})
	}
}
