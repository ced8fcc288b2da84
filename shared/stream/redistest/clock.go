package redistest

import (
	_ "embed"
	bytes "encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// preload is the C source of the library that moves a server's clock.
//
//go:embed clock/clock.c
var preload []byte

// StartWithClock starts a server whose wall clock a test may set. It needs
// Linux and the C compiler that -race needs too; without them the test fails.
func StartWithClock(t testing.TB, opts ...Option) (*Server, *Clock) {
	t.Helper()
	c, err := newClock(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := Start(t, append(opts, c.option())...)
	c.server = s
	c.Set(time.Hour) // a server that does not follow is noticed here, not by a test that waits in vain
	c.Set(0)
	return s, c
}

// Clock is the wall clock of one server.
type Clock struct {
	library, file string
	server        *Server
}

// newClock compiles the library into dir.
func newClock(dir string) (*Clock, error) {
	compiler := os.Getenv("CC")
	if compiler == "" {
		compiler = "cc"
	}
	if _, err := exec.LookPath(compiler); err != nil {
		return nil, errors.New("a C compiler is needed to set the clock of a redis-server: install one (Debian: apt-get install gcc), or name it in CC")
	}
	source := filepath.Join(dir, "clock.c")
	c := &Clock{library: filepath.Join(dir, "clock.so"), file: filepath.Join(dir, "offset")}
	if err := errors.Join(os.WriteFile(source, preload, 0o600), c.write(0, 0), c.write(1, 0)); err != nil {
		return nil, fmt.Errorf("prepare the clock: %w", err)
	}
	if said, err := exec.Command(compiler, "-shared", "-fPIC", "-O1", "-o", c.library, source).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile the clock: %w\n%s", err, said)
	}
	return c, nil
}

func (c *Clock) option() Option {
	return func(p *Process) { p.env = append(p.env, "LD_PRELOAD="+c.library, "TARN_CLOCK="+c.file) }
}

// Set lets the server's clock be so much ahead of ours from now on, or behind
// it if off is negative.
func (c *Clock) Set(off time.Duration) {
	c.server.t.Helper()
	if err := c.write(0, off.Microseconds()); err != nil {
		c.server.t.Fatal(err)
	}
	client := c.server.client()
	defer func() { _ = client.Close() }()
	now, err := client.Time(c.server.t.Context()).Result()
	if err == nil {
		err = follows(now, off)
	}
	if err != nil {
		c.server.t.Fatalf("set the clock of redis-server: %v", err)
	}
}

// Stand stops the server's clock at a time, until it stands at another: what is measured by
// it does not depend on how fast this machine is.
func (c *Clock) Stand(at time.Time) {
	c.server.t.Helper()
	if err := c.write(1, at.UnixMicro()); err != nil {
		c.server.t.Fatal(err)
	}
}

// write changes one of the two numbers in one write of 8 bytes, so that no look at the clock
// finds half of it.
func (c *Clock) write(which int64, n int64) error {
	f, err := os.OpenFile(c.file, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	_, err = f.WriteAt(bytes.NativeEndian.AppendUint64(nil, uint64(n)), which*8)
	return errors.Join(err, f.Close())
}

// wrongBy is how far a server's clock may be from where it was set: the time
// between the look at it and now.
const wrongBy = 10 * time.Second

// follows returns an error unless now is about off away from our clock.
func follows(now time.Time, off time.Duration) error {
	if wrong := time.Until(now) - off; wrong.Abs() > wrongBy {
		return fmt.Errorf("it is off by %s; the library that moves it was not loaded, which takes Linux and a redis-server that is linked dynamically", wrong)
	}
	return nil
}
