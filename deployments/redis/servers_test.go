//go:build e2e

package redis

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// nodeTimeout is after how many milliseconds without an answer a cluster, and sentinels,
// take a server for dead.
const nodeTimeout = 5000

// eventually waits for a condition of a server, for a minute at most.
func eventually(t *testing.T, what string, yes func() bool) {
	t.Helper()
	require.Eventually(t, yes, time.Minute, 50*time.Millisecond, what)
}

// durable are the settings of a server that loses nothing.
func durable(more ...string) redistest.Option {
	return redistest.Setting(append([]string{"appendonly", "yes", "appendfsync", "always"}, more...)...)
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// caughtUp waits until a replica is in step with its master.
func caughtUp(t *testing.T, replica *redistest.Server) {
	t.Helper()
	c := replica.Client()
	eventually(t, "the replica catches up", func() bool {
		return strings.Contains(c.Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
}

// cluster is three masters, of which each has a replica.
type cluster struct {
	nodes []*redistest.Server // the masters first, then their replicas
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	ctx := t.Context()
	c := &cluster{}
	for range 6 {
		c.nodes = append(c.nodes, redistest.Start(t, durable("cluster-enabled", "yes", "cluster-port", freePort(t),
			"cluster-node-timeout", strconv.Itoa(nodeTimeout))))
	}
	first, _ := c.at(0)
	for i := range c.nodes {
		if i < 3 {
			require.NoError(t, c.nodes[i].Ask(ctx, "CLUSTER", "ADDSLOTSRANGE", i*16384/3, (i+1)*16384/3-1))
		}
		if i > 0 {
			host, port, err := net.SplitHostPort(first)
			require.NoError(t, err)
			bus, err := c.nodes[0].Client().ConfigGet(ctx, "cluster-port").Result()
			require.NoError(t, err)
			require.NoError(t, c.nodes[i].Ask(ctx, "CLUSTER", "MEET", host, port, bus["cluster-port"]))
		}
	}
	c.know(t)
	for i := range 3 {
		require.NoError(t, c.nodes[3+i].Ask(ctx, "CLUSTER", "REPLICATE", c.nodes[i].Client().ClusterMyID(ctx).Val()))
	}
	for i := range 3 {
		caughtUp(t, c.nodes[3+i])
	}
	c.know(t)
	return c
}

// know waits until every node knows all nodes and all slots.
func (c *cluster) know(t *testing.T) {
	t.Helper()
	for _, node := range c.nodes {
		client := node.Client()
		eventually(t, "the cluster forms", func() bool {
			info, err := client.ClusterInfo(t.Context()).Result()
			return err == nil && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", len(c.nodes))) && strings.Contains(info, "cluster_state:ok")
		})
	}
}

func (c *cluster) at(i int) (addr, url string) { return c.nodes[i].Addr(), c.nodes[i].URL() }

func (c *cluster) urls() (urls []string) {
	for _, n := range c.nodes {
		urls = append(urls, n.URL())
	}
	return urls
}

// slotsOf returns the slots of the fleet's shards that a master serves.
func (c *cluster) slotsOf(t *testing.T, master, shards int) (slots []int) {
	t.Helper()
	client := c.nodes[master].Client()
	id := client.ClusterMyID(t.Context()).Val()
	all, err := client.ClusterShards(t.Context()).Result()
	require.NoError(t, err)
	own := slices.IndexFunc(all, func(of redis.ClusterShard) bool {
		return slices.ContainsFunc(of.Nodes, func(n redis.Node) bool { return n.ID == id })
	})
	require.GreaterOrEqual(t, own, 0, "it serves no slots")
	for shard := range shards {
		slot := client.ClusterKeySlot(t.Context(), fmt.Sprintf("{tarn:%d}", shard)).Val()
		if slices.ContainsFunc(all[own].Slots, func(r redis.SlotRange) bool { return r.Start <= slot && slot <= r.End }) {
			slots = append(slots, int(slot))
		}
	}
	return slots
}

// move moves a slot with its keys from one master to another, as redis-cli reshards.
func (c *cluster) move(t *testing.T, slot, from, to int) {
	t.Helper()
	ctx := t.Context()
	source, target := c.nodes[from].Client(), c.nodes[to].Client()
	sourceID, targetID := source.ClusterMyID(ctx).Val(), target.ClusterMyID(ctx).Val()
	require.NoError(t, target.Do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", sourceID).Err())
	require.NoError(t, source.Do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", targetID).Err())
	host, port, err := net.SplitHostPort(c.nodes[to].Addr())
	require.NoError(t, err)
	for {
		keys, err := source.ClusterGetKeysInSlot(ctx, slot, 10).Result()
		require.NoError(t, err)
		if len(keys) == 0 {
			break
		}
		args := []any{"MIGRATE", host, port, "", 0, 5000, "KEYS"}
		for _, k := range keys {
			args = append(args, k)
		}
		require.NoError(t, source.Do(ctx, args...).Err())
	}
	require.NoError(t, target.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", targetID).Err())
	require.NoError(t, source.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", targetID).Err())
	require.NoError(t, c.nodes[3-from-to].Ask(ctx, "CLUSTER", "SETSLOT", slot, "NODE", targetID))
}

// startSentinels starts three of them, of which two must agree, and returns the address.
func startSentinels(t *testing.T, master *redistest.Server) string {
	t.Helper()
	var addrs []string
	host, port, err := net.SplitHostPort(master.Addr())
	require.NoError(t, err)
	for range 3 {
		own := freePort(t)
		file := filepath.Join(t.TempDir(), "sentinel.conf") // the sentinel writes to it
		text := fmt.Sprintf("bind 127.0.0.1\nport %s\nsentinel monitor main %s %s 2\nsentinel down-after-milliseconds main %d\nsentinel failover-timeout main 20000\n",
			own, host, port, nodeTimeout)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		cmd := exec.Command("redis-server", file, "--sentinel")
		require.NoError(t, cmd.Start())
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // it may have ended already
			_ = cmd.Wait()
		})
		addrs = append(addrs, "127.0.0.1:"+own)
	}
	for _, addr := range addrs {
		c := redis.NewSentinelClient(&redis.Options{Addr: addr, MaxRetries: -1, Protocol: 2, DisableIdentity: true})
		t.Cleanup(func() { _ = c.Close() })
		eventually(t, "the sentinels know each other and the replicas", func() bool {
			others, err := c.Sentinels(t.Context(), "main").Result()
			replicas, err2 := c.Replicas(t.Context(), "main").Result()
			return err == nil && err2 == nil && len(others) == 2 && len(replicas) == 2
		})
	}
	return "redis+sentinel://" + strings.Join(addrs, ",") + "/main"
}

// authority is a CA of our own.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.issue(t, "ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue writes NAME.pem and NAME.key.
func (a *authority) issue(t *testing.T, name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	require.NoError(t, err)
	secret, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	write := func(file, kind string, bytes []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600))
	}
	write(name+".pem", "CERTIFICATE", der)
	write(name+".key", "EC PRIVATE KEY", secret)
	made, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return made, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// pause waits, and fails the test if that ends first.
func pause(ctx context.Context, t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-ctx.Done():
		require.NoError(t, ctx.Err())
	}
}
