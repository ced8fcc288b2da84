package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// operateWithin is how long the api may take to answer an operator.
const operateWithin = 30 * time.Second

// Operate sends JSON to the first api as an operator does, and reads its
// answer. body and answer may be nil.
func (f *Fleet) Operate(ctx context.Context, method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, operateWithin)
	defer cancel()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+f.Members(API)[0].Addr+path, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header.Set("Authorization", "Bearer "+Token)
	req.Header.Set("Content-Type", "application/json")
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask the api: %w", err)
	}
	defer func() { _ = r.Body.Close() }() // read to its end or failed
	said, err := io.ReadAll(r.Body)
	switch {
	case err != nil:
		return fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	case r.StatusCode < 200 || r.StatusCode > 299:
		return fmt.Errorf("%s %s: %s: %s", method, path, r.Status, said)
	case answer == nil:
		return nil
	}
	if err := json.Unmarshal(said, answer); err != nil {
		return fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	return nil
}

// Command is a program of the fleet run once, with the fleet's settings:
// Command(ctx, Reconciler, "verify"). What it prints is the caller's.
func (f *Fleet) Command(ctx context.Context, program string, args ...string) (*exec.Cmd, error) {
	f.mu.Lock()
	programs := f.programs
	f.mu.Unlock()
	binary, err := programs.Path(ctx, program, false)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, binary, append(args, "--config", f.settings)...)
	cmd.Env = append(os.Environ(), f.plan.Env...)
	return cmd, nil
}

// Resident returns the memory of a process that is in RAM, in bytes, from Linux.
func Resident(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(text)) {
		value, ok := strings.CutPrefix(line, "VmRSS:")
		if !ok {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the memory of process %d: %w", pid, err)
		}
		return kb << 10, nil
	}
	return 0, fmt.Errorf("process %d has no memory: it has ended", pid)
}
