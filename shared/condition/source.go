package condition

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarn-sync/tarn/shared/fate"
)

// probeWithin is how long one process may take to probe for the fleet.
const probeWithin = 15 * time.Second

// Fleet keeps what the fleet knows of sources; *stream.Streams is one.
type Fleet interface {
	Source(ctx context.Context, source string) (State, error)
	PauseAs(ctx context.Context, source string, p Pause, by string) error
	TakeProbe(ctx context.Context, source string, d time.Duration) (probe string, err error)
	EndProbe(ctx context.Context, source, probe string) (resumed bool, err error)
}

// Options say whose condition a Source is of.
type Options struct {
	// Name is that of the source. Needed.
	Name string
	// By names this process in the pauses it makes. Needed.
	By string
	// Fleet keeps the state. Needed.
	Fleet Fleet
	// Probe asks the source's probe path. Needed.
	Probe func(context.Context) error
	// ProbeEvery is the least time between two probes on account of bad answers.
	ProbeEvery time.Duration
	// Answering reports whether one of the witnesses answers that a pause waits
	// for, by their kinds, or need not. Needed if there are pauses with witnesses.
	Answering func(ctx context.Context, witnesses []string) (bool, error)
	// Changed is called when the source is seen to be paused, paused for another
	// kind, or resumed. May be nil.
	Changed func(was, now State)
	// Pauses is how long pauses last that the provider asked no length of.
	Pauses Pauses
	// Logger is needed.
	Logger *slog.Logger
}

// Source is one source, as one process sees it and acts on it for the fleet. It may
// be used by several goroutines.
type Source struct {
	Options
	// Prober asks the probe path.
	Prober *Prober
	// Throttle knows what was answered 429.
	Throttle Throttle
	state    atomic.Pointer[State]

	mu sync.Mutex
	// news is when the state was last seen, or a pause was known to be made. What was
	// asked for before then may be older.
	news time.Time
}

// New returns the condition of a source that is not paused, as far as is known.
func New(o Options) *Source {
	o.Pauses = o.Pauses.WithDefaults()
	s := &Source{Options: o, Prober: NewProber(o.Probe, o.ProbeEvery)}
	s.state.Store(&State{})
	return s
}

// State returns what was last seen.
func (s *Source) State() State { return *s.state.Load() }

// Paused reports whether the fleet has paused the source, as last seen.
func (s *Source) Paused() bool { return s.state.Load().Paused }

// See takes a state, as the fleet has it, for what is so now. asked is the time.Now from
// before the state was asked for. Several goroutines may read states at once, and an
// answer may be seen late: one that was asked for before the last state was seen may be
// older than that one and is ignored. The next one that is asked for counts.
func (s *Source) See(now State, asked time.Time) {
	was, fresh := s.replace(now, asked)
	if !fresh || was.Paused == now.Paused && was.Kind == now.Kind {
		return
	}
	if !now.Paused {
		s.Prober.Forget() // a bad answer from before would pause it again
	}
	if s.Changed != nil {
		s.Changed(*was, now)
	}
}

// replace stores a state and returns the one before. Not fresh: it may be older, and
// nothing is stored.
func (s *Source) replace(now State, asked time.Time) (was *State, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if asked.Before(s.news) {
		return nil, false
	}
	s.news = time.Now()
	return s.state.Swap(&now), true
}

// outdate has See ignore what was asked for until now. It returns the time.
func (s *Source) outdate() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.news = time.Now()
	return s.news
}

// Pause pauses the source for the fleet. A failure to do so is logged: whatever
// wanted the pause will want it again.
func (s *Source) Pause(ctx context.Context, p Pause) {
	if err := s.Fleet.PauseAs(ctx, s.Name, p, s.By); err != nil {
		s.Logger.Warn("could not pause a source", "source", s.Name, "reason", p.Reason, "error", err)
		return
	}
	// If See ignores this state, another was seen that was asked for after the pause too.
	asked := s.outdate()
	if state, err := s.Fleet.Source(ctx, s.Name); err == nil {
		s.See(state, asked)
	}
}

// PauseFor pauses the source for a reason the provider asked no length of.
// witnesses may be nil: see Pause.
func (s *Source) PauseFor(ctx context.Context, kind PauseKind, why string, witnesses []string) {
	p := NewPause(kind, s.Pauses.Length(s.State().Strikes), why)
	p.Witnesses = witnesses
	s.Pause(ctx, p)
}

// IsIll asks the probe path, which depends on no entity, whether it is the source
// that gives bad answers. If so, the source is paused. ask is Ask or Recent of the
// Prober.
func (s *Source) IsIll(ctx context.Context, ask func(context.Context) error) bool {
	if s.Paused() {
		return true
	}
	err := ask(ctx)
	if err != nil && ctx.Err() == nil && !s.Paused() {
		s.Pause(ctx, s.Pauses.After(err, s.State().Strikes))
	}
	return err != nil
}

// Overasked pauses the source if a 429 means that it is asked too often: the probe
// path is answered so too; or something else was before, and nothing was answered
// otherwise since, for a probe path may have no limit. Things that are answered so
// again and again while others are not do not count. what names the thing that was
// answered err; ask is as for IsIll. How long one thing's answer asks us to wait
// pauses the source for no longer than a pause that the provider asked no length of.
func (s *Source) Overasked(ctx context.Context, what any, err error, ask func(context.Context) error) bool {
	if s.IsIll(ctx, ask) {
		s.Throttle.Refused(what)
		return true
	}
	if !s.Throttle.Another(what) {
		return false
	}
	_, asked := fate.Of(err)
	d := min(max(asked, s.Pauses.Length(s.State().Strikes)), s.Pauses.Longest)
	s.Pause(ctx, NewPause(PausedThrottled, d, err.Error()))
	return true
}

// TryResume asks a paused source whether it is well again, if its time has come and
// this process is the one in the fleet to ask. Redis, which set the time, says so.
// If the source is still ill it is paused again, for longer. well: it has answered well.
func (s *Source) TryResume(ctx context.Context, state State) (well bool) {
	if !state.EndsByItself() {
		return false
	}
	probe, err := s.Fleet.TakeProbe(ctx, s.Name, probeWithin)
	if err != nil || probe == "" {
		return false
	}
	asking, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	if err := s.Prober.Fresh(asking); err != nil {
		if asking.Err() == nil {
			s.Pause(ctx, s.Pauses.After(err, state.Strikes))
		}
		return false
	}
	if len(state.Witnesses) > 0 && !s.answering(asking, state.Witnesses) {
		if asking.Err() == nil {
			s.Pause(ctx, Pause{Kind: state.Kind, For: s.Pauses.Length(state.Strikes), Reason: state.Reason, Witnesses: state.Witnesses})
		}
		return false
	}
	asked := time.Now()
	if resumed, err := s.Fleet.EndProbe(ctx, s.Name, probe); err == nil && resumed {
		s.See(State{}, asked)
	}
	return true
}

func (s *Source) answering(ctx context.Context, witnesses []string) bool {
	yes, err := s.Answering(ctx, witnesses)
	if err != nil {
		s.Logger.Warn("could not find out whether the right account is asked", "source", s.Name, "error", err)
	}
	return yes
}
