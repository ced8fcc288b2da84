//go:build e2e

package compose

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tarn-sync/tarn/deployments/fleet"
)

// fault is something that goes wrong and ends.
type fault struct {
	name string
	// victim is the service of which the first container is hit, if it is a worker.
	victim string
	// limit is the most that it may cost, beyond the time in which Redis did not answer.
	limit limit
	// do makes it happen and returns when all runs again.
	do func(s *stack)
}

// away is how long a container is gone, frozen how long it is frozen or cut off.
const (
	away   = 10 * time.Second
	frozen = 20 * time.Second
)

var faults = []fault{
	// What the machine itself costs.
	{name: "nothing", limit: limit{others: 5 * time.Second}},
	{name: "a worker is killed", victim: "worker", limit: lostWorker, do: func(s *stack) { s.killed("worker", away) }},
	{name: "workers restart one by one", limit: limit{others: time.Second}, do: func(s *stack) { s.restart("worker") }},
	{name: "a worker is frozen", victim: "worker", limit: lostWorker, do: (*stack).freeze},
	{name: "a worker is cut off", victim: "worker", limit: lostWorker, do: (*stack).cut},
	{name: "Redis is killed", limit: limit{others: 2 * time.Second}, do: (*stack).killRedis},
	{name: "all are recreated", do: (*stack).recreate},
	{name: "an api is killed", limit: limit{others: time.Second}, do: func(s *stack) { s.killed("api", away) }},
	{name: "all restart one by one", limit: limit{others: time.Second}, do: func(s *stack) { s.restart("api", "worker", "reconciler") }},
	{name: "an upgrade", limit: limit{others: time.Second}, do: (*stack).upgrade},
}

// lostWorker is what the loss of a worker may cost: its own shards have no reader until its
// lease has ended.
var lostWorker = limit{own: lease + time.Second, others: time.Second}

// killed ends a service's first container with SIGKILL and starts it a while later.
func (s *stack) killed(service string, away time.Duration) {
	s.t.Helper()
	id := s.containers(service)[0]
	run(s.t, "docker", "kill", id)
	require.NoError(s.t, fleet.Pause(s.t.Context(), away))
	run(s.t, "docker", "start", id)
}

// killRedis is killed for Redis, and notes how long none answered: starting a container and
// reading the file back take their time.
func (s *stack) killRedis() {
	s.t.Helper()
	began := time.Now()
	s.killed("redis", away)
	require.Eventually(s.t, s.pong, time.Minute, 10*time.Millisecond)
	s.absence = time.Since(began)
}

// pong reports whether Redis answers, and not that it is still loading.
func (s *stack) pong() bool {
	conn, err := net.DialTimeout("tcp", s.redis, time.Second)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	answer := make([]byte, len("+PONG"))
	_, err = conn.Write([]byte("PING\r\n"))
	_, rerr := io.ReadFull(conn, answer)
	return errors.Join(err, rerr) == nil && string(answer) == "+PONG"
}

// recreate replaces all containers but the provider's by new ones, all at once.
func (s *stack) recreate() {
	s.t.Helper()
	s.up("--force-recreate", "--no-deps", "proxy", "api", "worker", "reconciler", "redis")
	s.all()
}

// restart stops and starts the containers of services, each once the one before is ready.
func (s *stack) restart(services ...string) {
	s.t.Helper()
	for _, service := range services {
		for _, id := range s.containers(service) {
			run(s.t, "docker", "restart", "--time", "15", id)
			s.ready(id)
		}
	}
}

// upgrade replaces the processes by those of another image, by the script that the guide has.
func (s *stack) upgrade() {
	s.t.Helper()
	const next = "tarn-e2e-next"
	run(s.t, "docker", "tag", s.image, next)
	s.env = append(s.env, "TARN_IMAGE="+next)
	services := []string{"api", "worker", "reconciler"}
	number := map[string]int{}
	for _, service := range services {
		number[service] = len(s.containers(service))
	}
	script := exec.CommandContext(s.t.Context(), "../docker/upgrade.sh", s.compose...) //nolint:gosec // ours
	script.Env = append(os.Environ(), s.env...)
	said, err := script.CombinedOutput()
	require.NoError(s.t, err, "%s", said)
	for _, service := range services {
		require.Len(s.t, s.containers(service), number[service])
		for _, id := range s.containers(service) {
			require.Equal(s.t, next, strings.TrimSpace(run(s.t, "docker", "inspect", "--format", "{{.Config.Image}}", id)))
		}
	}
}

// freeze stops a worker as a stalled machine would. One that is frozen while it writes to
// SQLite would stop all others, as the client of a server does not; it is thawed and frozen
// again.
func (s *stack) freeze() {
	s.t.Helper()
	id := s.containers("worker")[0]
	for range 100 {
		run(s.t, "docker", "pause", id)
		if s.writable() {
			break
		}
		s.t.Log("the worker holds the file's lock: it is thawed and frozen again")
		run(s.t, "docker", "unpause", id)
	}
	require.NoError(s.t, fleet.Pause(s.t.Context(), frozen))
	run(s.t, "docker", "unpause", id)
}

// writable reports whether the right to write to the SQLite file is given within a moment.
func (s *stack) writable() bool {
	s.t.Helper()
	for _, lock := range []string{".gate", ".lock"} {
		file, err := os.OpenFile(s.data+"/tarn.db"+lock, os.O_RDWR, 0)
		require.NoError(s.t, err)
		given := false
		for until := time.Now().Add(300 * time.Millisecond); !given && time.Now().Before(until); {
			err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
			require.True(s.t, err == nil || errors.Is(err, unix.EWOULDBLOCK), err)
			given = err == nil
			require.NoError(s.t, fleet.Pause(s.t.Context(), time.Millisecond))
		}
		require.NoError(s.t, file.Close()) // which gives the lock back
		if !given {
			return false
		}
	}
	return true
}

// cut takes a worker's network away for a while.
func (s *stack) cut() {
	s.t.Helper()
	id := s.containers("worker")[0]
	run(s.t, "docker", "network", "disconnect", "--force", s.network(), id)
	require.NoError(s.t, fleet.Pause(s.t.Context(), frozen))
	run(s.t, "docker", "network", "connect", "--alias", "worker", s.network(), id)
}
