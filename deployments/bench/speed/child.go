package speed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/shared/fate"
)

// child is a program that is measured, or that serves what is measured.
type child struct {
	name  string
	cmd   *exec.Cmd
	log   string    // what it printed
	stdin io.Closer // its end ends the modes of this binary
	done  chan struct{}
	err   error // how it ended; read after done
}

// start runs a program whose output goes to a file. env goes over our own.
func start(name, log, path string, env []string, args ...string) (*child, error) {
	file, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = file, file
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), file.Close())
	}
	p := &child{name: name, cmd: cmd, log: log, stdin: stdin, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = errors.Join(cmd.Wait(), file.Close())
	}()
	return p, nil
}

func (p *child) pid() int { return p.cmd.Process.Pid }

// died returns an error with its last words if it has ended.
func (p *child) died() error {
	select {
	case <-p.done:
		said, _ := os.ReadFile(p.log) // no file: nothing was said
		return fmt.Errorf("%s ended by itself: %w\n%s", p.name, p.err, fate.Short(string(said), 4000))
	default:
		return nil
	}
}

// stopWithin is how long a process may take to end once it is asked to.
const stopWithin = 30 * time.Second

// stop asks it to end as an orchestrator does, and by the end of its input, and
// waits until it has.
func (p *child) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	_ = p.stdin.Close()
	t := time.NewTimer(stopWithin)
	defer t.Stop()
	select {
	case <-p.done:
		return nil
	case <-t.C:
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s was still there %s after SIGTERM", p.name, stopWithin)
	}
}

// answers waits until an address of the process answers 200.
func (p *child) answers(ctx context.Context, url string) error {
	return fleet.WaitFor(ctx, startWithin, func() string { return p.name + " does not answer at " + url }, func() (bool, error) {
		if err := p.died(); err != nil {
			return false, err
		}
		status, err := get(ctx, url)
		return err == nil && status == http.StatusOK, nil
	})
}

// startWithin is how long a process may take until it answers.
const startWithin = time.Minute

// getWithin is how long an answer may take, on a machine that stalls too.
const getWithin = 10 * time.Second

// get asks an address for nothing but its status.
func get(ctx context.Context, url string) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, getWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, r.Body) // the status is what was asked for
	return r.StatusCode, r.Body.Close()
}
