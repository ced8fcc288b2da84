package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/problems"
)

// StuckAfter is how long a loop may go without a turn before /healthz fails.
const StuckAfter = 30 * time.Second

// checkWithin bounds one readiness check; probes of orchestrators give up
// after a second or a few.
const checkWithin = time.Second

// Health knows the loops of a process. Safe for concurrent use.
type Health struct {
	now   func() time.Time
	mu    sync.Mutex
	loops []*Loop
}

// NewHealth returns a Health without loops. now is the clock; nil means
// time.Now.
func NewHealth(now func() time.Time) *Health {
	if now == nil {
		now = time.Now
	}
	return &Health{now: now}
}

// Loop adds a loop, which counts as having turned just now. Several may share
// a name. On a nil Health it returns a nil Loop, whose methods do nothing.
func (h *Health) Loop(name string) *Loop {
	if h == nil {
		return nil
	}
	l := &Loop{health: h, name: name}
	l.Turn()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.loops = append(h.loops, l)
	return l
}

// Healthz answers 200 while every loop turns. Once one is stuck it answers 503, a problem
// that names the stuck ones. With ?verbose both answers have all loops, the stuck ones
// first.
func (h *Health) Healthz() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		loops := h.states()
		stuck := stuckNames(loops)
		if !verbose(r) {
			loops = nil
		}
		if len(stuck) == 0 {
			answer(w, healthReport{Status: "ok", Loops: loops})
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		problems.Send(w, http.StatusServiceUnavailable, stuckReport{
			problems.New(http.StatusServiceUnavailable, problems.Stuck, fmt.Sprintf("loops that have not turned for %s: %s", StuckAfter, someOf(stuck))), loops,
		})
	})
}

// verbose reports whether a request asks for details: ?verbose, or ?verbose=true.
func verbose(r *http.Request) bool {
	query := r.URL.Query()
	return query.Has("verbose") && query.Get("verbose") != "false"
}

// stuckNames returns the names of the stuck loops, each once.
func stuckNames(states []loopState) (names []string) {
	for _, s := range states {
		if s.Stuck {
			names = append(names, s.Name)
		}
	}
	return slices.Compact(names)
}

// someOf lists the first of some names.
func someOf(names []string) string {
	const shown = 10
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}

func (h *Health) states() []loopState {
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	states := make([]loopState, len(h.loops))
	for i, l := range h.loops {
		states[i] = l.state(now)
	}
	slices.SortStableFunc(states, func(a, b loopState) int {
		if a.Stuck != b.Stuck {
			if a.Stuck {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return states
}

func (h *Health) remove(l *Loop) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.loops = slices.DeleteFunc(h.loops, func(other *Loop) bool { return other == l })
}

// Loop is something a process does over and over. Its methods are cheap enough
// for every turn of a hot loop.
type Loop struct {
	health  *Health
	name    string
	last    atomic.Int64 // Unix ns of the last turn
	waiting atomic.Pointer[string]
}

// Turn says that the loop has come round.
func (l *Loop) Turn() {
	if l == nil {
		return
	}
	l.last.Store(l.health.now().UnixNano())
	if l.waiting.Load() != nil { // a plain load keeps the hot path free of stores
		l.waiting.Store(nil)
	}
}

// Waiting says that the loop waits for the named thing: "redis", "a free
// lane". That counts as turning until the next Turn, however long it lasts.
func (l *Loop) Waiting(on string) {
	if l == nil {
		return
	}
	l.Turn()
	l.waiting.Store(&on)
}

// Done says that the loop has ended, as it should.
func (l *Loop) Done() {
	if l != nil {
		l.health.remove(l)
	}
}

func (l *Loop) state(now time.Time) loopState {
	last := time.Unix(0, l.last.Load())
	s := loopState{Name: l.name, LastTurn: last.UTC().Format(turnFormat)}
	if on := l.waiting.Load(); on != nil {
		s.WaitingOn = *on
		return s
	}
	s.Stuck = now.Sub(last) > StuckAfter
	return s
}

// turnFormat is that of all times in answers: RFC 3339 with milliseconds.
const turnFormat = "2006-01-02T15:04:05.000Z"

type healthReport struct {
	Status string      `json:"status"`
	Loops  []loopState `json:"loops,omitempty"`
}

type stuckReport struct {
	problems.Problem
	Loops []loopState `json:"loops,omitempty"`
}

type loopState struct {
	Name      string `json:"name"`
	LastTurn  string `json:"last_turn"`
	WaitingOn string `json:"waiting_on,omitempty"`
	Stuck     bool   `json:"stuck,omitempty"`
}

// Check asks a dependency of a process whether it is there.
type Check = func(context.Context) error

// Readyz answers 200 if every check of needed passes, and 503, a problem, if one fails
// or takes longer than 1 s; both have the outcome of each. Those of shown are
// reported and decide nothing. Checks run side by side.
//
// A check that fails is named, not its error: the page is open to everyone, and
// errors name addresses.
func Readyz(needed, shown map[string]Check) http.Handler {
	all := maps.Clone(shown)
	if all == nil {
		all = map[string]Check{}
	}
	maps.Copy(all, needed)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		outcomes := runChecks(r.Context(), all)
		var failed []string
		for _, name := range slices.Sorted(maps.Keys(needed)) {
			if outcomes[name] != checkPassed {
				failed = append(failed, name+": "+outcomes[name])
			}
		}
		if len(failed) == 0 {
			answer(w, readyReport{Status: "ready", Checks: outcomes})
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		problems.Send(w, http.StatusServiceUnavailable, unreadyReport{
			problems.New(http.StatusServiceUnavailable, problems.NotReady, strings.Join(failed, ", ")), outcomes,
		})
	})
}

type readyReport struct {
	Status string            `json:"status"`
	Checks map[string]string `json:"checks"`
}

type unreadyReport struct {
	problems.Problem
	Checks map[string]string `json:"checks"`
}

// The outcomes of a check. The last is of what answers and cannot be written.
const checkPassed, checkFailed, checkNoWrites = "ok", "not ready", "takes no writes"

func runChecks(ctx context.Context, checks map[string]Check) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		outcomes = make(map[string]string, len(checks))
	)
	for name, check := range checks {
		wg.Go(func() {
			outcome := checkPassed
			switch err := check(ctx); {
			case errors.Is(err, fate.ErrNoWrites):
				outcome = checkNoWrites
			case err != nil:
				outcome = checkFailed
			}
			mu.Lock()
			defer mu.Unlock()
			outcomes[name] = outcome
		})
	}
	wg.Wait()
	return outcomes
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(body) // the client is gone if this fails
}
