package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/tarn-sync/tarn/deployments"
)

const module = "github.com/tarn-sync/tarn"

// The programs of a fleet, as directories of the module.
const (
	API        = "api/cmd"
	Worker     = "worker/cmd"
	Reconciler = "reconciler/cmd"
	simulator  = "deployments/simulator/cmd"
)

// Programs are binaries, each built when it is first asked for. They are linked
// in bin/test of the module, where the next run finds them: go links one again
// only when its sources, tags or Go itself have changed, by their content.
type Programs struct {
	dir string
	// root is the directory of another checkout of the module. "": this one's.
	root string

	mu    sync.Mutex
	built map[string]error
}

// NewPrograms returns binaries kept in a fresh directory, until Close, so that a
// run that has begun keeps its binaries when another one builds newer ones.
func NewPrograms() (*Programs, error) {
	return NewProgramsOf("")
}

// NewProgramsOf is NewPrograms of another checkout of the module.
func NewProgramsOf(root string) (*Programs, error) {
	dir, err := os.MkdirTemp("", "tarn-programs-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for binaries: %w", err)
	}
	return &Programs{dir: dir, root: root, built: map[string]error{}}, nil
}

// Close removes the binaries.
func (p *Programs) Close() error { return os.RemoveAll(p.dir) }

// Build builds what every fleet on SQLite is made of, for programs that count
// time and do not want to count compiling.
func (p *Programs) Build(ctx context.Context) error {
	for _, main := range []string{API, Worker, Reconciler, simulator} {
		if _, err := p.Path(ctx, main, false); err != nil {
			return err
		}
	}
	return nil
}

// Path returns the binary of a main package, given as a directory of the
// module. faulty is the build in which TARN_FAULT means something.
func (p *Programs) Path(ctx context.Context, main string, faulty bool) (string, error) {
	name := strings.ReplaceAll(main, "/", "-")
	tags := deployments.Tags()
	if faulty {
		name += "-fault"
		tags = deployments.Tags("fault")
	}
	binary := filepath.Join(p.dir, name)
	p.mu.Lock()
	defer p.mu.Unlock()
	err, done := p.built[name]
	if !done {
		if err = build(ctx, p.root, main, name, binary, "-tags", tags); err != nil {
			err = fmt.Errorf("build %s: %w", main, err)
		}
		p.built[name] = err
	}
	return binary, err
}

// build brings the binary of a main package of a module up to date and gives it a
// second name, binary. One process at a time does so.
func build(ctx context.Context, root, main, name, binary string, flags ...string) (err error) {
	if root == "" {
		if root, err = moduleRoot(ctx); err != nil {
			return err
		}
	}
	dir := filepath.Join(root, "bin", "test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }() // which unlocks it
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	kept := filepath.Join(dir, name)
	// The commit is not stamped: it would have every commit linked.
	args := append([]string{"build", "-buildvcs=false", "-o", kept}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, path.Join(module, main))...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	if os.Link(kept, binary) == nil {
		return nil
	}
	// It is on another file system. A process that is just started must not have the copy open
	// for writing: the binary could not be run.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return duplicate(kept, binary)
}

// moduleRoot is the directory of the module.
func moduleRoot(ctx context.Context) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return strings.TrimSpace(string(root)), nil
}

// duplicate copies a binary.
func duplicate(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // read only
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
