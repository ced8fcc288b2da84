package fleet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	sim "github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/fate"
)

// longestAnswer is how much of a refusal is shown, in bytes.
const longestAnswer = 1024

// Simulator is the provider, in a process of its own that never dies.
type Simulator struct {
	// Addr is host:port of its API, below /v1, and its controls, below /_sim.
	Addr string

	process *process
	log     string
}

func startSimulator(ctx context.Context, programs *Programs, plan Plan, hooks string) (*Simulator, error) {
	path, err := programs.Path(ctx, simulator, false)
	if err != nil {
		return nil, err
	}
	s := &Simulator{log: filepath.Join(plan.Dir, "simulator.log")}
	if s.Addr, err = FreeAddr(); err != nil {
		return nil, err
	}
	args := append([]string{
		"--provider", plan.Provider, "--addr", s.Addr, "--rate", "0", "--parallel", "256",
		"--api-key", APIKey, "--webhook-secret", WebhookSecret, "--webhook-url", hooks,
		"--keep-versions", "-1", "--keep-events", "-1", "--retries", plan.Retries,
	}, plan.Simulator...)
	if plan.Commands {
		args = append(args, "--write-key", WriteKey)
	}
	if s.process, err = run(s.log, path, nil, args...); err != nil {
		return nil, err
	}
	err = WaitFor(ctx, startWithin, func() string { return "the simulator does not answer:\n" + tail(s.log, 2000) }, func() (bool, error) {
		if s.process.ended() {
			return false, fmt.Errorf("the simulator ended: %w\n%s", s.process.err, tail(s.log, 2000))
		}
		return answers(ctx, "http://"+s.Addr+"/_sim/counters"), nil
	})
	if err != nil {
		s.process.kill()
		return nil, err
	}
	return s, nil
}

// Tell sends JSON to a control and reads its answer. body and answer may be nil.
func (s *Simulator) Tell(ctx context.Context, method, path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return s.ask(ctx, method, path, bytes.NewReader(text), func(r io.Reader) error {
		if answer == nil {
			return nil
		}
		return json.NewDecoder(r).Decode(answer)
	})
}

// ask bounds a control call and gives its answer to read.
func (s *Simulator) ask(ctx context.Context, method, path string, body io.Reader, read func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.Addr+path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask the simulator: %w", err)
	}
	defer func() { _ = r.Body.Close() }() // read to its end or failed
	if r.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(r.Body, longestAnswer+1)) // the status alone says enough
		return fmt.Errorf("%s %s: %s: %s", method, path, r.Status, fate.Short(string(said), longestAnswer))
	}
	if err := read(r.Body); err != nil {
		return fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	return nil
}

// Chaos sets what goes wrong at the provider, and only that.
func (s *Simulator) Chaos(ctx context.Context, c sim.Chaos) error {
	return s.Tell(ctx, http.MethodPut, "/_sim/chaos", c, nil)
}

// StartLoad makes it make events.
func (s *Simulator) StartLoad(ctx context.Context, l sim.Load) error {
	return s.Tell(ctx, http.MethodPost, "/_sim/load", l, nil)
}

// Progress says how far the load is.
func (s *Simulator) Progress(ctx context.Context) (p sim.LoadProgress, err error) {
	err = s.Tell(ctx, http.MethodGet, "/_sim/load", nil, &p)
	return p, err
}

// Counters are its counts since it started.
func (s *Simulator) Counters(ctx context.Context) (c sim.Counters, err error) {
	err = s.Tell(ctx, http.MethodGet, "/_sim/counters", nil, &c)
	return c, err
}

// WaitSent waits until all events of the load are made and, unless it is a
// silent one, accepted.
func (s *Simulator) WaitSent(ctx context.Context, within time.Duration) error {
	var p sim.LoadProgress
	err := WaitFor(ctx, within, func() string { return fmt.Sprintf("the load is not sent: %+v", p) }, func() (_ bool, err error) {
		p, err = s.Progress(ctx)
		return p.Done, err
	})
	if err == nil && !p.Silent && p.Delivered != p.Events {
		return fmt.Errorf("%d of %d events were delivered: %+v", p.Delivered, p.Events, p)
	}
	return err
}

// Load makes events and waits until all of them are accepted.
func (s *Simulator) Load(ctx context.Context, l sim.Load, within time.Duration) error {
	if err := s.StartLoad(ctx, l); err != nil {
		return err
	}
	return s.WaitSent(ctx, within)
}

// Event is one event of the simulator and its delivery.
type Event struct {
	ID       string
	Type     string
	Accepted int  // answers 2xx
	GaveUp   bool `json:"gave_up"`
	Settled  bool // nothing is left to send
}

// Events returns all events, oldest first.
func (s *Simulator) Events(ctx context.Context) (all []Event, err error) {
	err = s.ask(ctx, http.MethodGet, "/_sim/events", http.NoBody, func(r io.Reader) (err error) {
		all, err = lines[Event](r)
		return err
	})
	return all, err
}

// Truth returns every entity as it is now, by "kind/id".
func (s *Simulator) Truth(ctx context.Context) (map[string]sim.Truth, error) {
	all := map[string]sim.Truth{}
	err := s.ask(ctx, http.MethodGet, "/_sim/truth", http.NoBody, func(r io.Reader) error {
		list, err := lines[sim.Truth](r)
		for _, t := range list {
			all[t.Kind+"/"+t.ID] = t
		}
		return err
	})
	return all, err
}

// History returns the versions of an entity, oldest first.
func (s *Simulator) History(ctx context.Context, kind, id string) (all []sim.Truth, err error) {
	err = s.Tell(ctx, http.MethodGet, "/_sim/history/"+kind+"/"+id, nil, &all)
	return all, err
}

// Writes returns all requests that were to change something, oldest first.
func (s *Simulator) Writes(ctx context.Context) (all []sim.WriteFacts, err error) {
	err = s.ask(ctx, http.MethodGet, "/_sim/writes", http.NoBody, func(r io.Reader) (err error) {
		all, err = lines[sim.WriteFacts](r)
		return err
	})
	return all, err
}

// Requests is how many answers of any status its API has given.
func (s *Simulator) Requests(ctx context.Context) (n int64, err error) {
	c, err := s.Counters(ctx)
	for _, by := range c.Requests {
		for _, count := range by {
			n += count
		}
	}
	return n, err
}

// lines reads JSON lines.
func lines[T any](r io.Reader) ([]T, error) {
	var all []T
	for dec := json.NewDecoder(bufio.NewReaderSize(r, 1<<20)); ; {
		var v T
		if err := dec.Decode(&v); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
}
