package proof

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var binaries string // directory, made by TestMain

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "tarn-proof-")
	if err != nil {
		panic(err)
	}
	binaries = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

var builds sync.Map // name → *sync.Once

// binary builds a main once and returns its path. tags may be "".
func binary(t *testing.T, main, tags string) string {
	t.Helper()
	path := filepath.Join(binaries, strings.ReplaceAll(main, "/", "-")+tags)
	once, _ := builds.LoadOrStore(path, new(sync.Once))
	once.(*sync.Once).Do(func() {
		out, err := exec.Command("go", "build", "-tags", tags, "-o", path, "../../"+main).CombinedOutput()
		require.NoError(t, err, "build %s: %s", main, out)
	})
	return path
}

// process is a running program of the fleet.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	log  *logFile
	done chan struct{}
	err  error
}

// run starts a program that is stopped at the end of the test. Its output is
// shown if the test fails.
func run(t *testing.T, name, path string, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: exec.Command(path, args...), log: &logFile{}, done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	require.NoError(t, p.cmd.Start(), "start %s", name)
	go func() { p.err = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("last words of %s:\n%s", name, p.log.tail(4000))
		}
	})
	return p
}

// stop asks the program to end, as an orchestrator does, and wants it to within
// 10 s and without an error.
func (p *process) stop() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.done:
		require.NoError(p.t, p.err, "%s ended with an error", p.name)
	case <-time.After(10 * time.Second):
		require.FailNow(p.t, "still there 10 s after SIGTERM", p.name)
	}
}

// kill ends the program at once and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// logFile keeps what a program prints.
type logFile struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logFile) tail(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buf.Bytes()
	return string(b[max(0, len(b)-n):])
}

// freeAddr returns a loopback address nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// waitFor polls until ok, for at most d.
func waitFor(t *testing.T, d time.Duration, what func() string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			require.FailNow(t, "waited in vain", "%s after %s", what(), d)
		}
	}
}

func sprint(format string, args ...any) func() string {
	return func() string { return fmt.Sprintf(format, args...) }
}
