package simulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Options are the settings of a Simulator. The zero value is a silent world in
// memory.
type Options struct {
	// Provider is which provider is simulated, Lemon or Stripe. Default Lemon.
	Provider string
	// Data is the directory the world is kept in. "": in memory only.
	Data string
	// Seed decides everything random. Worlds of one seed, clock and rate are
	// the same.
	Seed uint64
	// Rate is how many events a second the living world makes. 0: none.
	Rate float64
	// APIKey is the bearer the API wants. "": any.
	APIKey string
	// WriteKey is the key that requests must have which change something. They are
	// refused with APIKey; reads are answered with both. "": APIKey does for both.
	WriteKey string
	// KeepKeys is how long the API keeps the answer to a request with an idempotency
	// key. 0: as the provider does, 24 h.
	KeepKeys time.Duration
	// WebhookURL and WebhookSecret subscribe one webhook to all event types.
	// "": none but those that POST /v1/webhooks makes.
	WebhookURL    string
	WebhookSecret string
	// Thin sends thin events to WebhookURL in place of snapshots, which only Stripe
	// has.
	Thin bool
	// Retries is how long the sender waits after each refused attempt; after
	// the last it gives up. Nil: DefaultRetries.
	Retries []time.Duration
	// Parallel is how many webhooks are posted at once. Default 64.
	Parallel int
	// Chaos is what goes wrong from the start.
	Chaos Chaos
	// KeepVersions is how many versions of an entity are kept, KeepEvents how
	// many events once nothing is left to send of them. Defaults 20 and
	// 50,000; negative: all, as proofs want it.
	KeepVersions, KeepEvents int
	// MaxEntities is how large the living world grows; beyond, it only changes
	// what there is. Default 30,000 (about 230 MB, reached after some three
	// hours at 5 events a second); negative: no limit.
	MaxEntities int
	// Now is the clock of the world. Waiting always takes real time. Default
	// time.Now.
	Now func() time.Time
	// Log takes what the simulator has to say. Default: nothing.
	Log *slog.Logger
}

// withDefaults fills in what is not set.
func (o Options) withDefaults() Options {
	if o.Retries == nil {
		o.Retries = DefaultRetries()
	}
	o.Parallel = orDefault(o.Parallel, 64)
	o.KeepVersions = orDefault(o.KeepVersions, 20)
	o.KeepEvents = orDefault(o.KeepEvents, 50_000)
	o.MaxEntities = orDefault(o.MaxEntities, 30_000)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func orDefault(n, def int) int {
	if n == 0 {
		return def
	}
	return n
}

// check reports the first setting that makes no sense.
func (o Options) check(d *dialect) error {
	switch {
	case o.Rate < 0:
		return fmt.Errorf("rate: %v is negative", o.Rate)
	case o.Parallel < 0:
		return fmt.Errorf("parallel: %d is negative", o.Parallel)
	case o.Thin && d.thinEvent == nil:
		return fmt.Errorf("thin: %s has no thin events", d.name)
	case o.WebhookURL != "" && o.WebhookSecret == "":
		return errors.New("webhook secret: missing; webhooks are always signed")
	}
	if o.WebhookURL != "" {
		if err := checkAddress(o.WebhookURL); err != nil {
			return fmt.Errorf("webhook: %w", err)
		}
	}
	return o.Chaos.Check()
}

// Simulator is the stand-in. Make it with New, serve its Handler, and Run it.
type Simulator struct {
	options  Options
	world    *world
	chaos    *chaos
	sender   *sender
	api      *api
	counters *counters

	mu      sync.Mutex
	rate    float64
	moved   chan struct{}   // closed when rate or load changed
	settled []settledRecord // to be journalled
	// troubles are those of the last MakeTrouble, nil if there was none.
	troubles *Troubles
}

// New returns a simulator with the world of o.Data, or a new one.
func New(o Options) (*Simulator, error) {
	o = o.withDefaults()
	d, err := dialectOf(o.Provider)
	if err == nil {
		err = o.check(d)
	}
	if err != nil {
		return nil, fmt.Errorf("simulator options: %w", err)
	}
	w := newWorld(d, o.Now, o.Seed, bounds{o.KeepVersions, o.KeepEvents, o.MaxEntities, rewriteAt})
	if w.journal, err = openJournal(o.Data, w.apply); err != nil {
		return nil, fmt.Errorf("simulator world: %w", err)
	}
	if w.seq > 0 {
		w.reseed(o.Seed)
	}
	w.recallLoad()
	counts := &counters{}
	x := newChaos(o.Chaos, o.Seed, d)
	s := &Simulator{
		options: o, world: w, chaos: x, counters: counts, rate: o.Rate, moved: make(chan struct{}),
		sender: newSender(o, x, counts),
	}
	s.api = newAPI(w, x, counts, o)
	s.sender.settled = s.noteSettled
	if o.WebhookURL != "" {
		// One fixed id: a restart with another address or secret moves it.
		h := hookRecord{ID: d.kind("webhook").prefix + "options", URL: o.WebhookURL, Events: d.eventTypes, Secret: o.WebhookSecret, Thin: o.Thin}
		if err := w.subscribe(h); err != nil {
			return nil, errors.Join(err, w.journal.close())
		}
	}
	s.resume()
	return s, nil
}

// resume sends again what was not settled when the world was last left.
func (s *Simulator) resume() {
	w := s.world
	w.mu.Lock()
	defer w.mu.Unlock()
	var unsettled []*notice
	for _, n := range w.events {
		if !n.settled.Load() {
			unsettled = append(unsettled, n)
		}
	}
	s.sender.recall(w.events, w.load)
	s.sender.start(unsettled, w.hooks)
	w.forgetEvents() // the journal has events before it has their end
	w.publish = func(ns []*notice) {
		s.counters.made.Add(int64(len(ns)))
		s.sender.start(ns, w.hooks)
	}
}

// Handler serves the API under /v1 and the controls under /_sim.
func (s *Simulator) Handler() http.Handler {
	m := http.NewServeMux()
	m.Handle("/v1/", s.api)
	m.Handle("/_sim/", s.control())
	return m
}

// Run moves the world and sends its webhooks until the context ends. Then it
// closes the world: a Simulator runs once.
func (s *Simulator) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	running.Go(func() { s.sender.run(ctx) })
	for _, loop := range []func(context.Context) error{s.keepLiving, s.keepLoading, s.keepSafe} {
		running.Go(func() {
			if err := loop(ctx); err != nil {
				cancel(err)
			}
		})
	}
	running.Wait()
	err := context.Cause(ctx)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return errors.Join(err, s.flushSettled(), s.world.journal.close())
}

// keepLiving moves the world at the rate in force.
func (s *Simulator) keepLiving(ctx context.Context) error {
	return s.eachMove(ctx, func(ctx context.Context) error {
		s.mu.Lock()
		rate := s.rate
		s.mu.Unlock()
		return s.world.live(ctx, rate)
	})
}

// keepLoading runs the loads asked for.
func (s *Simulator) keepLoading(ctx context.Context) error { return s.eachMove(ctx, s.world.runLoad) }

// eachMove runs f again whenever rate or load changes.
func (s *Simulator) eachMove(ctx context.Context, f func(context.Context) error) error {
	for ctx.Err() == nil {
		s.mu.Lock()
		moved := s.moved
		s.mu.Unlock()
		once, stop := context.WithCancel(ctx)
		go func() {
			select {
			case <-moved:
				stop()
			case <-once.Done():
			}
		}()
		err := f(once)
		stop()
		if err != nil {
			return err
		}
		select {
		case <-moved:
		case <-ctx.Done():
		}
	}
	return nil
}

// keepSafe writes down what was settled, syncs the journal each second and
// rewrites it when it is long.
func (s *Simulator) keepSafe(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := errors.Join(s.flushSettled(), s.world.journal.sync(), s.world.tidy()); err != nil {
			return err
		}
	}
}

func (s *Simulator) noteSettled(n *notice) {
	facts := s.sender.facts(n)
	if facts.GaveUp {
		s.options.Log.Warn("webhook given up", "event", n.ID, "type", n.Type, "attempts", facts.Attempts)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled = append(s.settled, settledRecord{n.Seq, facts.Accepted, facts.Lost, facts.GaveUp})
}

func (s *Simulator) flushSettled() error {
	s.mu.Lock()
	settled := s.settled
	s.settled = nil
	s.mu.Unlock()
	return s.world.settle(settled)
}

// move signals the loops that rate or load changed.
func (s *Simulator) move() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.moved)
	s.moved = make(chan struct{})
}

// SetRate sets how many events a second the living world makes.
func (s *Simulator) SetRate(rate float64) {
	s.mu.Lock()
	s.rate = rate
	s.mu.Unlock()
	s.move()
}

// SetChaos replaces the chaos in force.
func (s *Simulator) SetChaos(c Chaos) { s.chaos.settings.Store(&c) }

// StartLoad starts a load; it runs while Run does. One at a time.
func (s *Simulator) StartLoad(l Load) error {
	if err := l.check(); err != nil {
		return err
	}
	number, err := s.world.startLoad(l)
	if err != nil {
		return err
	}
	s.sender.countLoad(number)
	s.move()
	return nil
}

// LoadProgress says how far the load is.
func (s *Simulator) LoadProgress() LoadProgress {
	l := s.world.loading()
	d := s.sender.loadFacts()
	p := LoadProgress{
		Load: l.Load, Made: l.Made, Delivered: d.delivered, Lost: d.lost, GaveUp: d.gaveUp, Unwanted: d.unwanted, Sends: d.waiting,
		Pending: l.Made - d.delivered - d.lost - d.gaveUp - d.unwanted,
	}
	if l.Silent {
		p.Pending = 0
	}
	if l.Events > 0 && l.Made == l.Events {
		p.MadeAt = &l.MadeAt
		p.Done = p.Pending <= 0 && p.Sends == 0
	}
	return p
}

// Truth returns what is so now; see Truth. kind "" means all kinds.
func (s *Simulator) Truth(kind string, after int64) []Truth { return s.world.truth(kind, after, nil) }

// History returns the kept versions of an entity, oldest first; nil if there
// is no such entity.
func (s *Simulator) History(kind, id string) []Truth { return s.world.history(kind, id) }

// Counters returns the counts since the start.
func (s *Simulator) Counters() Counters {
	c := s.counters.read()
	s.world.mu.RLock()
	defer s.world.mu.RUnlock()
	c.Entities, c.Versions = len(s.world.entities), s.world.seq
	return c
}

// Events returns the kept events and what became of them, oldest first.
func (s *Simulator) Events() []EventFacts {
	events := s.eventsAfter(0)
	out := make([]EventFacts, len(events))
	for i, n := range events {
		out[i] = s.factsOf(n)
	}
	return out
}

func (s *Simulator) eventsAfter(seq int64) []*notice {
	s.world.mu.RLock()
	defer s.world.mu.RUnlock()
	i, _ := slices.BinarySearchFunc(s.world.events, seq+1, func(n *notice, seq int64) int { return int(n.Seq - seq) })
	return slices.Clone(s.world.events[i:])
}

// Redeliver sends events again and returns how many of the ids it knows.
func (s *Simulator) Redeliver(ids ...string) (found int) {
	s.world.mu.RLock()
	defer s.world.mu.RUnlock()
	for _, n := range s.world.events {
		if slices.Contains(ids, n.ID) {
			s.sender.again(n, s.world.hooks)
			found++
		}
	}
	return found
}
