package identity

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

const (
	// every is how often both sides are compared.
	every = 2 * time.Second
	// within bounds what one side is asked; a side that is slower has not answered.
	within = 2 * time.Second
	// atStart is how often they are compared before a process may begin.
	atStart = 200 * time.Millisecond
)

// Queue is the side of Redis; a *stream.Streams.
type Queue interface {
	Identity(ctx context.Context) (stream.Identity, error)
	Identify(ctx context.Context, id stream.Identity) (stream.Identity, error)
	Prefix() string
	Shards() int
}

// Options are the settings of New.
type Options struct {
	Queue Queue
	Store storage.Identity
	// Adopt makes the database and the Redis of this process belong together
	// where the package comment says so. It is for one start, by hand.
	Adopt bool
	// ReadOnly compares and changes neither side. With Adopt it waits at its start
	// for another process to adopt.
	ReadOnly bool
	// Await, with ReadOnly, has Start wait until another process has founded the
	// fleet or given an empty Redis its id. Without it Start returns then.
	Await bool
	// Alert raises an alert about a mismatch. Nil: only the log reports it.
	Alert func(alert.Alert)
	// Mismatched is 1 while the two do not agree. May be nil.
	Mismatched prometheus.Gauge
	Health     *telemetry.Health
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// Now is the clock that turns are waited by. Defaults to time.Now.
	Now func() time.Time
}

// Keeper keeps a process from working while its Redis and its database are not
// of one fleet. Safe for concurrent use, but one goroutine at a time runs it.
type Keeper struct {
	Options
	// patient: another process was started to adopt.
	patient bool
	empty   emptiness
	// agreed is the database's record when both sides agreed at the last look that
	// Redis answered, without the turn. The zero value: they did not.
	agreed storage.Fleet
	// beaten is the turn when it was last looked at.
	beaten int64

	mu      sync.Mutex
	verdict error // the mismatch; nil: they agree, as far as is known
}

// New returns a keeper that knows of no mismatch.
func New(o Options) *Keeper {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	k := &Keeper{Options: o, patient: o.Adopt && o.ReadOnly}
	k.Adopt = o.Adopt && !o.ReadOnly
	return k
}

// Check returns the mismatch last seen, for readiness. It sends no request.
func (k *Keeper) Check(context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.verdict
}

// Start waits until both sides have answered and agree. A mismatch is returned
// at once.
func (k *Keeper) Start(ctx context.Context) error {
	loop := k.Health.Loop("identity at start")
	defer loop.Done()
	for said := ""; ; {
		loop.Waiting("the fleet's identity")
		err := k.look(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil, errors.Is(err, ErrMismatch) && !k.patient:
			return err
		}
		if k.ReadOnly && !k.Await && (errors.Is(err, errEmpty) || errors.Is(err, errNone)) {
			return nil // its workers see to that
		}
		if err.Error() != said {
			said = err.Error()
			k.Logger.Info("waiting for the fleet's identity", "error", err)
		}
		if !loops.Sleep(ctx, atStart) {
			return ctx.Err()
		}
	}
}

// Guard runs run, and compares both sides meanwhile. On a mismatch it ends run's
// context, with the mismatch as its cause, and returns that once run is over.
func (k *Keeper) Guard(ctx context.Context, run func(context.Context) error) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var watching sync.WaitGroup
	watching.Go(func() {
		loop := k.Health.Loop("identity")
		defer loop.Done()
		for loops.Tick(ctx, every) {
			loop.Turn()
			k.see(k.look(ctx))
			if err := k.Check(ctx); err != nil {
				end(err)
				return
			}
		}
	})
	err := run(ctx)
	cause := context.Cause(ctx)
	end(nil)
	watching.Wait()
	if errors.Is(cause, ErrMismatch) {
		return cause
	}
	return err
}

// Keep is Guard again and again: after a mismatch run is run again once both
// sides agree. It returns when run ends by itself, or ctx does.
func (k *Keeper) Keep(ctx context.Context, run func(context.Context) error) error {
	for {
		err := k.Guard(ctx, run)
		if !errors.Is(err, ErrMismatch) || ctx.Err() != nil {
			return err
		}
		k.await(ctx)
	}
}

// await compares both sides until they agree or ctx ends.
func (k *Keeper) await(ctx context.Context) {
	loop := k.Health.Loop("identity")
	defer loop.Done()
	for k.Check(ctx) != nil {
		loop.Waiting("the fleet's identity")
		if !loops.Tick(ctx, every) {
			return
		}
		k.see(k.look(ctx))
	}
}

// Run compares both sides until ctx ends: for a process that stops nothing
// itself, but asks Check.
func (k *Keeper) Run(ctx context.Context) {
	for ctx.Err() == nil {
		_ = k.Guard(ctx, func(ctx context.Context) error { <-ctx.Done(); return nil }) // Check has it
		k.await(ctx)
	}
}

// see makes what a look found the verdict. A side that did not answer, or an
// empty Redis that is waited for, changes nothing.
func (k *Keeper) see(found error) {
	if found != nil && !errors.Is(found, ErrMismatch) {
		return
	}
	k.mu.Lock()
	was := k.verdict
	k.verdict = found
	k.mu.Unlock()
	switch {
	case found != nil && was == nil:
		k.gauge(1)
		if k.Alert != nil {
			k.Alert(alert.Alert{Kind: alert.Identity, Reason: found.Error()})
		} else {
			k.Logger.Error("nothing is read or written any more", "error", found)
		}
	case found == nil && was != nil:
		k.gauge(0)
		k.Logger.Info("redis and the database are of one fleet again")
	}
}

func (k *Keeper) gauge(v float64) {
	if k.Mismatched != nil {
		k.Mismatched.Set(v)
	}
}

// look compares both sides once, and does what follows. nil: they agree.
func (k *Keeper) look(ctx context.Context) error {
	for {
		again, err := k.compareOnce(ctx)
		switch {
		case errors.Is(err, storage.ErrReplaced):
			err = mismatch("%w", err)
		case err != nil && !errors.Is(err, ErrMismatch) && !errors.Is(err, errEmpty):
			k.empty = emptiness{} // the turn may have been raised unseen
		}
		if err != nil || !again {
			return err
		}
	}
}

// compareOnce asks both sides and does the next step; again: there may be
// another. Redis is asked first, since every writer writes to the database
// first: an id that Redis has is in the database by the time that is asked. In
// the other order a change between the two answers would look like a mismatch.
func (k *Keeper) compareOnce(ctx context.Context) (again bool, err error) {
	redis, silent := k.askRedis(ctx)
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	store, err := k.Store.Fleet(ctx)
	switch {
	case err != nil && !errors.Is(err, storage.ErrNotFound):
		return false, err
	case silent != nil:
		return false, errors.Join(silent, k.beatAlone(ctx, store))
	}
	k.agreed = storage.Fleet{}
	if redis.Fleet != "" {
		k.empty = emptiness{}
	}
	todo, next, err := compare(Shape{k.Queue.Prefix(), k.Queue.Shards()}, store, redis, k.Adopt)
	switch {
	case err != nil:
		return false, err
	case todo == agreed:
		k.Adopt = false // once: it was not given for what differs later
		k.agreed = standing(store)
		return false, k.beat(ctx, store)
	case todo == name:
		return true, k.name(ctx, next)
	case k.ReadOnly && todo == found:
		return false, errNone
	case k.ReadOnly:
		return false, nil
	case todo == found:
		return true, k.found(ctx, next)
	}
	_, err = k.Store.ChangeFleet(ctx, next)
	return true, err
}

// askRedis has a time of its own, so that a Redis that hangs leaves the database
// its time.
func (k *Keeper) askRedis(ctx context.Context) (stream.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return k.Queue.Identity(ctx)
}

// standing is f without its turn.
func standing(f storage.Fleet) storage.Fleet {
	f.Turn = 0
	return f
}

// found has the database know the fleet: the one that Redis knows, or a new one.
func (k *Keeper) found(ctx context.Context, f storage.Fleet) error {
	fresh := f.ID == ""
	if fresh {
		f.ID, f.Data = newID(), newID()
	}
	stored, err := k.Store.FoundFleet(ctx, f)
	if err != nil || !fresh || stored.ID != f.ID {
		return err
	}
	k.Logger.Info("founded the fleet", "fleet", f.ID, "prefix", f.Prefix, "shards", f.Shards)
	_, err = k.Queue.Identify(ctx, stream.Identity{Fleet: f.ID, Data: f.Data})
	return err
}

// name gives an empty Redis an id, if it is the one.
func (k *Keeper) name(ctx context.Context, f storage.Fleet) error {
	if err := k.empty.look(f, k.Now()); err != nil {
		return err
	}
	if k.ReadOnly {
		return errEmpty
	}
	f.Data = newID()
	changed, err := k.Store.ChangeFleet(ctx, f)
	if err != nil || !changed {
		return err
	}
	if _, err := k.Queue.Identify(ctx, stream.Identity{Fleet: f.ID, Data: f.Data}); err != nil {
		return err
	}
	k.Logger.Warn("redis was empty and belongs to the fleet again", "fleet", f.ID)
	return nil
}

// beat raises the turn, unless another process has since the last look.
func (k *Keeper) beat(ctx context.Context, f storage.Fleet) error {
	if k.ReadOnly || f.Turn != k.beaten && k.beaten != 0 {
		k.beaten = f.Turn
		return nil
	}
	return k.raise(ctx, f)
}

// beatAlone raises the turn while Redis does not answer, if both sides agreed
// before and the database still says the same: without it an outage of Redis
// would look as if the fleet had stopped.
func (k *Keeper) beatAlone(ctx context.Context, f storage.Fleet) error {
	if k.ReadOnly || f.ID == "" || k.agreed != standing(f) {
		return nil
	}
	return k.raise(ctx, f)
}

func (k *Keeper) raise(ctx context.Context, f storage.Fleet) error {
	k.beaten = f.Turn + 1
	_, err := k.Store.ChangeFleet(ctx, f)
	return err
}

// newID makes an id of 80 random bits.
func newID() string { return strings.ToLower(rand.Text()[:16]) }
