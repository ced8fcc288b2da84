//go:build fault

package worker_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
	"github.com/tarn-sync/tarn/worker"
)

// childOf names what the process of TestWorkerProcess works with: Redis, the file of the
// store, the address of the provider, and the lifetime of its leases.
const childOf = "TARN_TEST_WORKER"

// TestWorkerProcess is a worker in a process of its own, which other tests start.
func TestWorkerProcess(t *testing.T) {
	place := strings.Fields(os.Getenv(childOf))
	if len(place) != 4 {
		return // it is not started as one
	}
	def := quickly(t, simulator.Stripe)
	ttl, err := time.ParseDuration(place[3])
	require.NoError(t, err)
	streams, err := stream.Open(t.Context(), stream.Options{URLs: []string{place[0]}, Shards: 4, LeaseTTL: ttl, Logger: quiet()})
	require.NoError(t, err)
	store, err := sqlite.Open(t.Context(), place[1], sqlite.Options{})
	require.NoError(t, err)
	client, err := provider.NewClient(def, provider.ClientOptions{BaseURL: place[2], Key: "read-key"})
	require.NoError(t, err)
	writer, err := client.Writer("write-key")
	require.NoError(t, err)
	w, err := worker.New(worker.Options{
		ID: fmt.Sprint("child-", os.Getpid()), Streams: streams, Store: store, LeaseTTL: ttl, Logger: quiet(),
		Sources: []worker.Source{{Name: "acme", Definition: def, Client: client, Writer: writes(writer), Concurrency: 16}},
		Metrics: telemetry.NewMetrics(prometheus.NewRegistry()), Health: telemetry.NewHealth(time.Now),
	})
	require.NoError(t, err)
	_ = w.Run(t.Context()) // until it is killed
}

// stopping starts a worker in a process of its own that stops at a point.
func (s *market) stopping(point string, ttl time.Duration) *exec.Cmd {
	s.t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestWorkerProcess$", "-test.timeout=5m")
	child.Env = append(os.Environ(), "TARN_FAULT=stop@"+point, childOf+"="+strings.Join([]string{s.redis.URL(), s.file, s.address, ttl.String()}, " "))
	require.NoError(s.t, child.Start())
	s.t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
	return child
}

func waitStopped(t *testing.T, child *exec.Cmd) {
	t.Helper()
	require.True(t, within(time.Minute, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child.Process.Pid))
		_, state, _ := strings.Cut(string(stat), ") ")
		return err == nil && strings.HasPrefix(state, "T")
	}), "it did not stop")
}

// A process that stood still after it asked whose the lease is gives the attempt back, though
// the lease is still its own, and begins another.
func TestFaultAttemptThatIsLateIsNotSent(t *testing.T) {
	t.Parallel()
	const still = 4 * time.Second
	s := openMarket(t, simulator.Stripe)
	child := s.stopping("after-begin", time.Minute)
	c := s.ask("product", "create", "~p", `{"name":"p"}`)
	waitStopped(t, child)
	first := s.comes(c, storage.CommandSending)
	time.Sleep(still) // it stands still for so long
	require.Empty(t, s.sim.Writes())
	require.NoError(t, child.Process.Signal(syscall.SIGCONT))
	c = s.done(c)
	writes := s.sim.Writes()
	require.Len(t, writes, 1)
	require.Len(t, c.Attempts, 1, "what was given back is no attempt")
	require.GreaterOrEqual(t, c.SentAt.Sub(first.SentAt), still-time.Second, "it was begun again")
	require.Less(t, writes[0].At.Sub(c.SentAt), still)
}

// A whole process stops between its last check and the socket. What it sends when it goes
// on has no effect, and what it records is dropped.
func TestFaultStoppedProcessHasNoEffect(t *testing.T) {
	t.Parallel()
	s := openMarket(t, simulator.Stripe)
	stop := s.start("w0")
	s.done(s.ask("product", "create", "~p", `{"name":"p"}`))
	stop()
	child := s.stopping("before-socket", 2*time.Second)

	create := s.ask("price", "create", "~m", `{"product":"p","currency":"eur","unit_amount":1}`)
	waitStopped(t, child)
	require.Equal(t, storage.CommandSending, s.comes(create, storage.CommandSending).State)
	require.Empty(t, s.effects("price", "create"))
	s.start("w1")
	create = s.done(create)

	require.NoError(t, child.Process.Signal(syscall.SIGCONT))
	require.True(t, within(time.Minute, func() bool {
		for _, w := range s.sim.Writes() {
			if w.Kind == "price" && w.Replayed {
				return true
			}
		}
		return false
	}), "it sent nothing")
	require.Len(t, s.effects("price", "create"), 1)
	last, err := s.store.Commands().Command(s.ctx, create.ID)
	require.NoError(t, err)
	require.Equal(t, create.Rev, last.Rev)
}
