//go:build e2e

package redis

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/trial"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// rate is the load in events a second.
const rate = 100

const shards = 16

// after is how long a fleet is watched once its password is another.
const after = 4 * time.Second

// kind is a kind of Redis, and what happens to a fleet on it.
type kind struct {
	name string
	// start starts Redis, and returns how the fleet reaches it and what goes wrong: a
	// function that returns when all is well again, except for what takes time.
	start func(*testing.T) (fleet.Plan, func(context.Context, *testing.T, *fleet.Fleet))
	// load is how long the load goes on, longer than the fault.
	load time.Duration
	// intake and settling are the longest pauses that are accepted, without this machine's
	// own. 0: there is no limit.
	intake, settling time.Duration
	// entities defaults to 200.
	entities int
}

const failover = nodeTimeout*time.Millisecond + 4*time.Second

var kinds = []kind{
	{"one server, killed for 3 s", single, 14 * time.Second, 5 * time.Second, 5 * time.Second, 0},
	{"one server, all connections cut", cut, 12 * time.Second, 2 * time.Second, 2 * time.Second, 0},
	{"cluster of 3+3, a master killed", clusterKilled, 22 * time.Second, failover, failover, 0},
	{"cluster of 3+3, slots move", clusterMoved, 20 * time.Second, 2 * time.Second, 2 * time.Second, 0},
	{"3 sentinels, the master killed", sentinelKilled, 22 * time.Second, failover, failover, 0},
	{"TLS with client certificates, killed for 3 s", secured, 14 * time.Second, 5 * time.Second, 5 * time.Second, 0},
	{"ACL user, no CONFIG and INFO, new password", restricted, 20 * time.Second, 0, 0, 0},
	{"wait_replicas 1, the replica stopped for 10 s", unreplicated, 20 * time.Second, 12 * time.Second, 2 * time.Second, 1000},
}

// TestRedis prints the table.
func TestRedis(t *testing.T) {
	programs, err := fleet.NewPrograms()
	require.NoError(t, err)
	defer func() { require.NoError(t, programs.Close()) }()
	require.NoError(t, programs.Build(t.Context()))
	var names []string
	rows := map[string]trial.Row{}
	for _, k := range kinds {
		names = append(names, k.name)
		t.Run(strings.ReplaceAll(k.name, " ", "-"), func(t *testing.T) { rows[k.name] = k.run(t, programs) })
	}
	t.Log(trial.Table("Redis, and what happens to it", names, rows))
}

func (k kind) run(t *testing.T, programs *fleet.Programs) trial.Row {
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	plan, goWrong := k.start(t)
	plan.APIs, plan.Workers, plan.Reconcilers, plan.Shards, plan.Journal = 1, 2, 1, shards, true
	plan.Reconcile = "{gaps: {every: 5s, overlap: 30s}, recover: {every: 3s, after: 5s}}"
	f, err := fleet.Start(ctx, programs, plan)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()

	load := trial.Load{Rate: rate, Entities: cmp.Or(k.entities, 200), For: k.load}
	r, err := trial.Run(ctx, f, load, func(ctx context.Context) error {
		goWrong(ctx, t, f)
		return nil
	})
	t.Logf("%s%s%s", r.Line(k.name), r.Most, strings.Join(r.Findings, "\n"))
	require.NoError(t, err)
	if k.intake > 0 {
		require.LessOrEqual(t, r.Intake, k.intake, "the longest pause of intake")
	}
	if k.settling > 0 {
		require.LessOrEqual(t, r.Settling, k.settling, "the longest pause of settling")
	}
	return r
}

type fault = func(context.Context, *testing.T, *fleet.Fleet)

// killed kills a server and starts it again after a while.
func killed(s *redistest.Server, away time.Duration) fault {
	return func(ctx context.Context, t *testing.T, _ *fleet.Fleet) {
		s.Kill()
		pause(ctx, t, away)
		s.Restart()
	}
}

func single(t *testing.T) (fleet.Plan, fault) {
	s := redistest.Start(t, durable())
	return fleet.Plan{RedisURLs: []string{s.URL()}}, killed(s, 3*time.Second)
}

func cut(t *testing.T) (fleet.Plan, fault) {
	s := redistest.Start(t, durable())
	return fleet.Plan{RedisURLs: []string{s.URL()}}, func(ctx context.Context, t *testing.T, _ *fleet.Fleet) {
		require.NoError(t, s.Ask(ctx, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"))
	}
}

// masterKilled kills a master for good, and waits until one of the others takes its place.
func masterKilled(master *redistest.Server, replicas ...*redistest.Server) fault {
	return func(ctx context.Context, t *testing.T, _ *fleet.Fleet) {
		master.Kill()
		dead := time.Now()
		defer func() { t.Logf("a replica was promoted after %s", time.Since(dead).Round(time.Millisecond)) }()
		eventually(t, "a replica is promoted", func() bool {
			for _, r := range replicas {
				if strings.Contains(r.Client().Info(ctx, "replication").Val(), "role:master") {
					return true
				}
			}
			return false
		})
	}
}

// Appends do not wait for replicas: the promoted one has none until the first master is
// back, so those of a third of the shards would be refused until then. What it lacks of
// the last moment is found in the provider's list of events.
func clusterKilled(t *testing.T) (fleet.Plan, fault) {
	c := startCluster(t)
	return fleet.Plan{RedisURLs: c.urls()}, masterKilled(c.nodes[0], c.nodes[3])
}

func clusterMoved(t *testing.T) (fleet.Plan, fault) {
	c := startCluster(t)
	return fleet.Plan{RedisURLs: c.urls()}, func(_ context.Context, t *testing.T, _ *fleet.Fleet) {
		slots := c.slotsOf(t, 0, shards)
		require.NotEmpty(t, slots)
		for _, slot := range slots {
			c.move(t, slot, 0, 1)
		}
		for _, slot := range slots[:len(slots)/2+1] {
			c.move(t, slot, 1, 2)
		}
	}
}

func sentinelKilled(t *testing.T) (fleet.Plan, fault) {
	master := redistest.Start(t, durable())
	replicas := []*redistest.Server{redistest.Start(t, durable(), redistest.ReplicaOf(master)), redistest.Start(t, durable(), redistest.ReplicaOf(master))}
	for _, r := range replicas {
		caughtUp(t, r)
	}
	url := startSentinels(t, master)
	return fleet.Plan{RedisURLs: []string{url}, RedisSettings: "wait_replicas: 1"}, masterKilled(master, replicas...)
}

func secured(t *testing.T) (fleet.Plan, fault) {
	ca := newAuthority(t)
	ca.issue(t, "server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	ca.issue(t, "tarn", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	port := freePort(t)
	s := redistest.Start(t, durable("tls-port", port, "tls-cert-file", ca.file("server.pem"), "tls-key-file", ca.file("server.key"),
		"tls-ca-cert-file", ca.file("ca.pem"), "tls-auth-clients", "yes"))
	return fleet.Plan{
		RedisURLs: []string{"rediss://127.0.0.1:" + port}, RedisOwn: []string{s.URL()},
		RedisSettings: fmt.Sprintf("tls: {ca: %q, cert: %q, key: %q}", ca.file("ca.pem"), ca.file("tarn.pem"), ca.file("tarn.key")),
	}, killed(s, 3*time.Second)
}

// rights are those of the guide's user.
func rights(t *testing.T) (rules []any) {
	guide, err := os.ReadFile("../../shared/stream/REDIS.md")
	require.NoError(t, err)
	found := regexp.MustCompile("(?s)ACL SETUSER (tarn .*?)\n```").FindSubmatch(guide)
	require.NotNil(t, found)
	for _, rule := range strings.Fields(strings.ReplaceAll(string(found[1]), "\\\n", " ")) {
		rules = append(rules, rule)
	}
	return rules
}

// restricted has a user that may do what the guide says and nothing else. Its password is
// in a file, and is replaced: first beside the old one, which is then taken away with all
// connections that were made with it.
func restricted(t *testing.T) (fleet.Plan, fault) {
	s := redistest.Start(t, durable(), redistest.HideConfig(), redistest.Password("root"))
	ctx := t.Context()
	require.NoError(t, s.Ask(ctx, append(append([]any{"ACL", "SETUSER"}, rights(t)...), ">old-password")...))
	file := filepath.Join(t.TempDir(), "redis-password")
	require.NoError(t, os.WriteFile(file, []byte("old-password"), 0o600))
	own := strings.Replace(s.URL(), "redis://", "redis://:root@", 1)
	plan := fleet.Plan{
		RedisURLs: []string{strings.Replace(s.URL(), "redis://", "redis://tarn:${file:"+file+"}@", 1)}, RedisOwn: []string{own},
	}
	return plan, func(ctx context.Context, t *testing.T, f *fleet.Fleet) {
		require.NoError(t, s.Ask(ctx, "ACL", "SETUSER", "tarn", ">new-password"))
		next := file + ".next"
		require.NoError(t, os.WriteFile(next, []byte("new-password"), 0o600))
		require.NoError(t, os.Rename(next, file))
		eventually(t, "all members have read it", func() bool {
			return f.Count(ctx, "tarn_settings_reloads_total") == int64(len(f.Members("")))
		})
		require.NoError(t, s.Ask(ctx, "ACL", "SETUSER", "tarn", "<old-password"))
		require.NoError(t, s.Ask(ctx, "CLIENT", "KILL", "USER", "tarn"))
		pause(ctx, t, after)
		deniedNothing(ctx, t, s)
		usedAll(ctx, t, s)
	}
}

// deniedNothing fails the test if the user wanted to run what it may not, other than what
// Tarn does without. That connections were refused for their password is no matter of rights.
func deniedNothing(ctx context.Context, t *testing.T, s *redistest.Server) {
	t.Helper()
	log, err := s.Client().Do(ctx, "ACL", "LOG", 1000).Slice()
	require.NoError(t, err)
	var denied []string
	for _, entry := range log {
		is := map[string]string{}
		fields := entry.([]any)
		for i := 0; i+1 < len(fields); i += 2 {
			is[fmt.Sprint(fields[i])] = fmt.Sprint(fields[i+1])
		}
		if is["reason"] != "auth" {
			denied = append(denied, is["object"])
		}
	}
	slices.Sort(denied)
	for _, command := range slices.Compact(denied) {
		require.Contains(t, []string{"info", "config|get"}, strings.ToLower(command), "the guide's user may not run it")
	}
}

// usedAll names the commands that the guide's user may run and that this fleet had no use
// for. Those of a run in which nothing fails are not among them.
func usedAll(ctx context.Context, t *testing.T, s *redistest.Server) {
	t.Helper()
	stats, err := s.Client().Info(ctx, "commandstats").Result()
	require.NoError(t, err)
	var unused []string
	for _, rule := range rights(t) {
		command, ok := strings.CutPrefix(rule.(string), "+")
		if ok && !strings.Contains(stats, "cmdstat_"+command+":") {
			unused = append(unused, command)
		}
	}
	t.Logf("not used in this run: %v", unused)
	for _, command := range []string{"evalsha", "mget", "xadd", "xreadgroup", "xread", "xack", "xdel", "xautoclaim", "zadd", "hset", "xgroup|create", "script|load"} {
		require.NotContains(t, unused, command)
	}
}

// unreplicated stops the only replica of a master. Nothing is accepted then, and what was
// goes on: there is more of it than the provider's limit lets through meanwhile.
func unreplicated(t *testing.T) (fleet.Plan, fault) {
	master := redistest.Start(t, durable())
	replica := redistest.Start(t, durable(), redistest.ReplicaOf(master))
	caughtUp(t, replica)
	return fleet.Plan{RedisURLs: []string{master.URL()}, RedisSettings: "wait_replicas: 1", Rate: 20}, func(ctx context.Context, t *testing.T, f *fleet.Fleet) {
		replica.Freeze()
		api := f.Members(fleet.API)[0]
		eventually(t, "the api says that it does not accept", func() bool { return f.Count(ctx, "tarn_redis_unconfirmed") > 0 })
		require.Error(t, api.WaitReady(ctx, 100*time.Millisecond), "the api is not ready")
		for _, w := range f.Members(fleet.Worker) {
			require.NoError(t, w.WaitReady(ctx, time.Minute), "workers work")
		}
		pause(ctx, t, 10*time.Second)
		replica.Thaw()
	}
}
