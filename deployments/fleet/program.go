package fleet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/tarn-sync/tarn/deployments"
)

const module = "github.com/tarn-sync/tarn"

// The programs of a fleet, as directories of the module.
const (
	API        = "api/cmd"
	Worker     = "worker/cmd"
	Reconciler = "reconciler/cmd"
	simulator  = "deployments/simulator"
)

// Programs are binaries, each built when it is first asked for.
type Programs struct {
	dir string

	mu    sync.Mutex
	built map[string]error
}

// NewPrograms returns binaries kept in a fresh directory, until Close.
func NewPrograms() (*Programs, error) {
	dir, err := os.MkdirTemp("", "tarn-programs-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for binaries: %w", err)
	}
	return &Programs{dir: dir, built: map[string]error{}}, nil
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
		out, failed := exec.CommandContext(ctx, "go", "build", "-tags", tags, "-o", binary, path.Join(module, main)).CombinedOutput()
		if failed != nil {
			err = fmt.Errorf("build %s: %w\n%s", main, failed, out)
		}
		p.built[name] = err
	}
	return binary, err
}
