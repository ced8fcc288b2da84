package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Member is one process of Tarn that can die and come back. Its methods may be
// called at once.
type Member struct {
	// Name is unique in the fleet: "worker 2".
	Name string
	// Program is API, Worker or Reconciler.
	Program string
	// Addr is where it listens, the same after each start.
	Addr string

	fleet  *Fleet
	enter  []string // see Network
	binary string
	env    []string
	log    string

	mu     sync.Mutex
	now    *process
	frozen bool
	wanted bool // it is to run: ending by itself is a failure
	totals totals
}

// Start starts it, unless it runs.
func (m *Member) Start() error { return m.start() }

// Adopt starts it with --adopt, unless it runs.
func (m *Member) Adopt() error { return m.start("--adopt") }

func (m *Member) start(flags ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now != nil && !m.now.ended() {
		return nil
	}
	command := append(slices.Clone(m.enter), m.binary, "--config", m.fleet.settings)
	p, err := run(m.log, command[0], m.env, append(command[1:], flags...)...)
	if err != nil {
		return fmt.Errorf("start %s: %w", m.Name, err)
	}
	m.totals.restart()
	m.now, m.wanted, m.frozen = p, true, false
	return nil
}

// Kill ends it with SIGKILL.
func (m *Member) Kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now == nil {
		return
	}
	m.wanted = false
	m.now.kill()
}

// Stop asks it to end and wants it to, in time and without an error.
func (m *Member) Stop() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now == nil || m.now.ended() {
		return fmt.Errorf("stop %s: it does not run", m.Name)
	}
	m.wanted = false
	if m.frozen {
		m.now.signal(syscall.SIGCONT)
	}
	if err := m.now.stop(); err != nil {
		return fmt.Errorf("stop %s: %w\n%s", m.Name, err, tail(m.log, 2000))
	}
	return nil
}

// Freeze stops it as a stalled machine would, until Thaw.
func (m *Member) Freeze() { m.freeze(true, syscall.SIGSTOP) }

// Thaw lets it go on.
func (m *Member) Thaw() { m.freeze(false, syscall.SIGCONT) }

func (m *Member) freeze(frozen bool, s os.Signal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now != nil {
		m.now.signal(s)
		m.frozen = frozen
	}
}

// Running reports whether it runs and is not frozen.
func (m *Member) Running() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now != nil && !m.now.ended() && !m.frozen
}

// PID returns the number of its process, 0 if it does not run.
func (m *Member) PID() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now == nil || m.now.ended() {
		return 0
	}
	return m.now.cmd.Process.Pid
}

// Died returns an error with its last words if it ended by itself.
func (m *Member) Died() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now == nil || !m.wanted || !m.now.ended() {
		return nil
	}
	return fmt.Errorf("%s ended by itself: %w\n%s", m.Name, m.now.err, tail(m.log, 2000))
}

// Ended returns a channel that is closed when the process that runs now has
// ended.
func (m *Member) Ended() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now.done
}

// LastWords returns the end of what it printed.
func (m *Member) LastWords() string { return tail(m.log, 4000) }

// WaitReady waits until it says that it is ready.
func (m *Member) WaitReady(ctx context.Context, within time.Duration) error {
	return WaitFor(ctx, within, func() string { return m.Name + " is not ready:\n" + m.LastWords() }, func() (bool, error) {
		if err := m.Died(); err != nil {
			return false, err
		}
		return answers(ctx, "http://"+m.Addr+"/readyz"), nil
	})
}

// Worker returns the name under which a worker that runs is known in the fleet
// now, which is new at every start. "": it has not said it yet.
func (m *Member) Worker() string {
	var last struct{ Worker string }
	eachLine(m.log, func(line []byte) {
		var l struct{ Worker string }
		if json.Unmarshal(line, &l) == nil && l.Worker != "" {
			last = l
		}
	})
	return last.Worker
}

func answers(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = r.Body.Close()
	return r.StatusCode == http.StatusOK
}

// newMember returns a member that does not run yet.
func (f *Fleet) newMember(ctx context.Context, program, name string) (*Member, error) {
	f.mu.Lock()
	faults, programs := f.plan.Faults[program], f.programs
	f.mu.Unlock()
	binary, err := programs.Path(ctx, program, faults != "")
	if err != nil {
		return nil, err
	}
	addr, enter, err := f.plan.Network.Host(name)
	if err != nil {
		return nil, err
	}
	env := append([]string{"TARN_HTTP__ADDR=" + addr}, f.plan.Env...)
	if faults != "" {
		env = append(env, "TARN_FAULT="+faults)
	}
	return &Member{
		Name: name, Program: program, Addr: addr, fleet: f, enter: enter, binary: binary, env: env,
		log: filepath.Join(f.plan.Dir, name+".log"),
	}, nil
}
