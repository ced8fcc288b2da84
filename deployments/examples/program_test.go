package examples

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
)

var programs *fleet.Programs // made by TestMain

func TestMain(m *testing.M) {
	var err error
	if programs, err = fleet.NewPrograms(); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = programs.Close()
	os.Exit(code)
}

// start starts a fleet that ends with the test.
func start(t *testing.T, p fleet.Plan) (*fleet.Fleet, context.Context) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs processes")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	p.APIs, p.Workers, p.Reconcilers, p.Shards, p.LeaseTTL, p.Fsync = 1, 1, 1, 8, time.Second, "everysec"
	f, err := fleet.Start(ctx, programs, p)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, m := range f.Members("") {
				t.Logf("last words of %s:\n%s", m.Name, m.LastWords())
			}
		}
		require.NoError(t, f.Close())
	})
	return f, ctx
}

// program is an example, which is killed and started again.
type program struct {
	t      *testing.T
	binary string
	args   []string
	log    string

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{} // closed once it has ended
}

// build returns an example, which does not run yet.
func build(t *testing.T, name string, args ...string) *program {
	t.Helper()
	binary, err := programs.Path(t.Context(), "deployments/examples/"+name, false)
	require.NoError(t, err)
	p := &program{t: t, binary: binary, args: args, log: filepath.Join(t.TempDir(), name+".log")}
	t.Cleanup(func() {
		p.kill()
		if said, err := os.ReadFile(p.log); t.Failed() && err == nil {
			t.Logf("last words of %s:\n%s", name, said[max(0, len(said)-4000):])
		}
	})
	return p
}

func (p *program) start() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(p.t, err)
	defer func() { _ = log.Close() }() // the process has its own
	cmd, ended := exec.Command(p.binary, p.args...), make(chan struct{})
	cmd.Env = append(os.Environ(), "TARN_TOKEN="+fleet.Token)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(p.t, cmd.Start())
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd, p.ended = cmd, ended
}

// kill ends it with SIGKILL, if it runs, and waits until it is gone.
func (p *program) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Kill() // it may have ended already
		<-p.ended
		p.cmd = nil
	}
}

// wait waits for a condition, longer than a busy machine needs.
func wait(t *testing.T, ctx context.Context, what func() string, yes func() bool) {
	t.Helper()
	require.NoError(t, fleet.WaitFor(ctx, 3*time.Minute, what, func() (bool, error) { return yes(), nil }))
}
