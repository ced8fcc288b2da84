package mongotest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// addressWithin is how long FerretDB may take until it prints its address.
	addressWithin = 2 * time.Minute
	// endWithin is how long it may take to end before it is killed.
	endWithin = time.Minute
)

// process is a running FerretDB.
type process struct {
	cmd  *exec.Cmd
	addr string
	// stdin is the end of FerretDB's standard input that this process holds: when
	// it is closed, as it also is when this process dies, FerretDB ends.
	stdin io.Closer
	// log is the file with what FerretDB wrote to standard error.
	log string
}

// start runs FerretDB and waits for its address. Its data and its log are in dir.
func start(ctx context.Context, dir string) (*process, error) {
	path, err := program(ctx)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(path, dir), log: filepath.Join(dir, "ferretdb.log")}
	// It decodes every document of a collection for most commands, and leaves
	// more garbage than data.
	p.cmd.Env = append(os.Environ(), "GOGC=800")
	log, err := os.OpenFile(p.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of FerretDB: %w", err)
	}
	defer func() { _ = log.Close() }() // FerretDB has its own
	p.cmd.Stderr = log
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start FerretDB: %w", err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start FerretDB: %w", err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start FerretDB: %w", err)
	}
	late := time.AfterFunc(addressWithin, p.kill)
	defer late.Stop()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		p.kill()
		return nil, fmt.Errorf("wait for the address of FerretDB: %w", errors.Join(err, p.stop()))
	}
	p.addr = strings.TrimSpace(line)
	return p, nil
}

// stop ends FerretDB. It is an error if FerretDB failed, or had before.
func (p *process) stop() error {
	_ = p.stdin.Close() // it may have ended already
	late := time.AfterFunc(endWithin, p.kill)
	defer late.Stop()
	if err := p.cmd.Wait(); err != nil {
		said, _ := os.ReadFile(p.log) // the error is worth telling without it
		return fmt.Errorf("FerretDB: %w\n%s", err, said)
	}
	return nil
}

func (p *process) kill() { _ = p.cmd.Process.Kill() } // it may have ended already

// program returns the path of FerretDB's binary in the cache of the go command,
// which builds it unless it is there already.
func program(ctx context.Context) (string, error) {
	mod, err := run(ctx, "env", "GOMOD")
	if err != nil {
		return "", err
	}
	module := filepath.Join(filepath.Dir(mod), "deployments", "standins")
	// One build at a time: of two, the second may still write the binary that the
	// first one's caller runs already.
	lock, err := os.Open(module)
	if err != nil {
		return "", fmt.Errorf("find the module of FerretDB (go.mod here: %q): %w", mod, err)
	}
	defer func() { _ = lock.Close() }() // read only; the lock goes with it
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("wait for another build of FerretDB: %w", err)
	}
	return run(ctx, "tool", "-C", module, "-n", "ferretdb")
}

// run runs the go command and returns the line it prints.
func run(ctx context.Context, args ...string) (string, error) {
	var said strings.Builder
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, said.String())
	}
	return strings.TrimSpace(string(out)), nil
}
