package redistest

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

const slots = 16384

// StartCluster starts n masters that share all slots, and returns their
// addresses once each of them says that the cluster is ready.
func StartCluster(t testing.TB, n int) []string {
	t.Helper()
	nodes := make([]*Server, n)
	urls := make([]string, n)
	for i := range nodes {
		bus, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		nodes[i] = Start(t, Setting(
			"cluster-enabled", "yes", "cluster-port", strconv.Itoa(bus), "cluster-node-timeout", "5000"))
		urls[i] = nodes[i].URL()
		give(t, nodes[i], i*slots/n, (i+1)*slots/n-1)
		if i > 0 {
			do(t, nodes[0], "CLUSTER", "MEET", "127.0.0.1", nodes[i].port, bus)
		}
	}
	for _, node := range nodes {
		c := node.Client()
		ready := poll(t.Context(), func(ctx context.Context) bool {
			info, err := c.ClusterInfo(ctx).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok") &&
				strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", n))
		})
		if !ready {
			t.Fatal("the redis cluster did not form")
		}
	}
	return urls
}

// StartProxiedCluster starts a cluster of one master that sends its clients to
// a proxy before it.
func StartProxiedCluster(t testing.TB) *Proxy {
	t.Helper()
	node := strings.TrimPrefix(StartCluster(t, 1)[0], "redis://")
	p, err := Before(node)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	_, port, err := net.SplitHostPort(p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(&redis.Options{Addr: node, MaxRetries: -1, Protocol: 2, DisableIdentity: true})
	defer func() { _ = c.Close() }()
	if err := c.ConfigSet(t.Context(), "cluster-announce-port", port).Err(); err != nil {
		t.Fatalf("let the cluster name its proxy: %v", err)
	}
	return p
}

func give(t testing.TB, s *Server, from, to int) {
	t.Helper()
	do(t, s, "CLUSTER", "ADDSLOTSRANGE", from, to)
}

func do(t testing.TB, s *Server, args ...any) {
	t.Helper()
	if err := s.Ask(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
}
