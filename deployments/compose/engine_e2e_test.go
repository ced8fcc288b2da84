//go:build e2e

package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// project is the name that compose gives to all it makes.
const project = "tarn-e2e"

// engine runs containers.
type engine struct {
	t       *testing.T
	compose []string // the command and the files
	env     []string
}

// standin is an image made of a program of this machine.
type standin struct {
	image, of string
	programs  []string
	user      string
}

var standins = []standin{
	{"tarn-e2e-redis", "redis", []string{"redis-server", "redis-cli"}, "999:999"},
	{"tarn-e2e-haproxy", "haproxy", []string{"haproxy"}, "99:99"},
}

// build makes the image: the programs, the libraries they are linked to, and a directory
// for data. It returns what the first program says of its version.
func (s standin) build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range s.programs {
		path, err := exec.LookPath(name)
		require.NoError(t, err, "make e2e-compose gets it")
		copyFile(t, path, filepath.Join(dir, "root/usr/local/bin", name))
		linked, err := exec.CommandContext(t.Context(), "ldd", path).Output()
		require.NoError(t, err)
		for _, library := range regexp.MustCompile(`(?m)(/\S+) \(0x`).FindAllStringSubmatch(string(linked), -1) {
			copyFile(t, library[1], filepath.Join(dir, "root", library[1]))
		}
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "data"), 0o755))
	file := fmt.Sprintf("FROM scratch\nCOPY root /\nCOPY --chown=%s data /data\nENV PATH=/usr/local/bin\nWORKDIR /data\nUSER %[1]s\n", s.user)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(file), 0o600))
	run(t, "docker", "build", "--quiet", "--tag", s.image, dir)
	version, _, _ := strings.Cut(run(t, s.programs[0], "-v"), "\n")
	return version
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
	require.NoError(t, os.WriteFile(to, text, 0o755)) //nolint:gosec // a program, for any user
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	said, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	require.NoError(t, err, "%s %s: %s", name, strings.Join(args, " "), said)
	return string(said)
}

// up starts services, of which args may say more, with two apis, three workers and two
// reconcilers.
func (e *engine) up(args ...string) {
	e.t.Helper()
	all := []string{"up", "--detach", "--no-build", "--scale", "api=2", "--scale", "worker=3", "--scale", "reconciler=2"}
	said, err := e.command(e.t.Context(), append(all, args...)...).CombinedOutput()
	require.NoError(e.t, err, "%s", said)
}

func (e *engine) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, e.compose[0], append(e.compose[1:len(e.compose):len(e.compose)], args...)...) //nolint:gosec // compose
	cmd.Env = append(os.Environ(), e.env...)
	return cmd
}

// down ends everything; its logs are kept in a directory.
func (e *engine) down(logs string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if logs != "" {
		var said bytes.Buffer
		cmd := e.command(ctx, "logs", "--no-color", "--timestamps")
		cmd.Stdout, cmd.Stderr = &said, &said
		_ = cmd.Run() // what there is helps
		_ = os.WriteFile(filepath.Join(logs, "compose.log"), said.Bytes(), 0o600)
	}
	if said, err := e.command(ctx, "down", "--volumes", "--timeout", "2").CombinedOutput(); err != nil {
		e.t.Logf("compose down: %v\n%s", err, said)
	}
}

// containers returns the ids of a service's containers, those that stand still too.
func (e *engine) containers(service string) []string {
	e.t.Helper()
	said := run(e.t, "docker", "ps", "--all", "--quiet", "--no-trunc",
		"--filter", "label=com.docker.compose.project="+project, "--filter", "label=com.docker.compose.service="+service)
	return strings.Fields(said)
}

// network is the one that all of the stack are in.
func (e *engine) network() string { return project + "_default" }

// worker returns the name that a worker's container has in the fleet, which is new at
// every start.
func (e *engine) worker(id string) (name string) {
	e.t.Helper()
	for line := range strings.Lines(run(e.t, "docker", "logs", id)) {
		var said struct{ Worker string }
		if json.Unmarshal([]byte(line), &said) == nil && said.Worker != "" {
			name = said.Worker
		}
	}
	return name
}

// ready waits until a container of Tarn says that it is ready.
func (e *engine) ready(ids ...string) {
	e.t.Helper()
	for _, id := range ids {
		require.Eventually(e.t, func() bool {
			return exec.Command("docker", "exec", id, "api", "--check", "http://127.0.0.1:8080/readyz").Run() == nil
		}, 2*time.Minute, 100*time.Millisecond, id)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}
