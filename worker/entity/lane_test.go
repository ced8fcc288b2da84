package entity_test

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/worker/entity"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fixture is a shard of lemon's entities, and what it wants done.
type fixture struct {
	*entity.Shard
	t    *testing.T
	wait []entity.Effect
}

func setup(t *testing.T) *fixture {
	t.Helper()
	def, err := provider.Load("lemon")
	require.NoError(t, err)
	return &fixture{t: t, Shard: entity.NewShard(entity.Config{
		Definition: func(string) *provider.Definition { return def },
		Retry:      fate.Backoff{}.WithDefaults(), Rewritten: 10 * time.Minute,
		Random: func() float64 { return 0.5 }, Logger: slog.New(slog.DiscardHandler),
	})}
}

func (f *fixture) step(in entity.Input) { f.wait = append(f.wait, f.Step(noon, in)...) }

// next returns the oldest effect of a type that has not been asked for before.
func next[E entity.Effect](f *fixture) E {
	f.t.Helper()
	for i, e := range f.wait {
		if found, ok := e.(E); ok {
			f.wait = append(f.wait[:i:i], f.wait[i+1:]...)
			return found
		}
	}
	require.Failf(f.t, "no such effect", "want %T among %+v", *new(E), f.wait)
	panic("unreachable")
}

// none fails if an effect of a type is wanted.
func none[E entity.Effect](f *fixture) {
	f.t.Helper()
	for _, e := range f.wait {
		if _, ok := e.(E); ok {
			require.Failf(f.t, "not wanted yet", "%+v", e)
		}
	}
}

func signal(id int, entityID string, class event.Class) event.Entry {
	return event.Entry{ID: fmt.Sprintf("%d-0", id), Tier: class.Tier(), Signal: event.Signal{
		Ref: event.Ref{Key: event.Key{Source: "lemon", Kind: "account", ID: entityID}}, Cause: event.CauseSweep, CauseID: "sweep", Class: class,
	}}
}

func (f *fixture) done(n entity.Number, r entity.Result) { f.step(entity.Done{Sync: n, Result: r}) }

// fetched runs a sync of the lane that is ready as far as the provider's answer.
func (f *fixture) fetched(err error) entity.Number {
	f.t.Helper()
	f.step(entity.Start{Lane: next[entity.Ready](f).Lane})
	n := next[entity.Begun](f).Sync
	next[entity.Lock](f)
	f.done(n, entity.Result{})
	claim := next[entity.Claim](f)
	f.done(n, entity.Result{Document: &storage.Document{Key: claim.Ref.Key, Claim: int64(n)}})
	next[entity.Fetch](f)
	var snap *provider.Snapshot
	if err == nil {
		snap = &provider.Snapshot{Raw: []byte(`{}`), SentAt: noon}
	}
	f.done(n, entity.Result{Snapshot: snap, Err: err})
	next[entity.Report](f)
	f.done(n, entity.Result{})
	return n
}

// covered runs one whole sync but for its settlement.
func (f *fixture) covered() entity.Settle {
	f.t.Helper()
	n := f.fetched(nil)
	next[entity.Write](f)
	f.done(n, entity.Result{})
	next[entity.Unlock](f)
	f.done(n, entity.Result{})
	return next[entity.Settle](f)
}

// Parking waits until all that was covered before is settled, and is given up if
// the store refuses some of it.
func TestParkingWaitsForWhatIsCoveredBefore(t *testing.T) {
	for name, refused := range map[string]bool{"settled": false, "refused": true} {
		t.Run(name, func(t *testing.T) {
			f := setup(t)
			f.step(entity.Route{Entries: []event.Entry{signal(1, "a", event.Live)}})
			one := f.covered()
			f.step(entity.Route{Entries: []event.Entry{signal(2, "a", event.Live)}})
			two := f.covered()
			f.step(entity.Route{Entries: []event.Entry{signal(3, "a", event.Live)}})
			n := f.fetched(fate.Errorf(fate.Transient, "HTTP 500"))
			next[entity.Unlock](f)
			f.done(n, entity.Result{})
			next[entity.Consult](f)
			f.done(n, entity.Result{})
			none[entity.Count](f)
			f.step(entity.Settled{Sync: one.Sync})
			none[entity.Count](f)
			f.step(entity.Settled{Sync: two.Sync, Refused: refused})
			if refused {
				require.Equal(t, "account", next[entity.Rest](f).Lane.Key.Kind)
				none[entity.Park](f)
				return
			}
			next[entity.Count](f)
			f.done(n, entity.Result{})
			require.Len(t, next[entity.Park](f).Charged, 1)
		})
	}
}

// An entity is parked only while no reader holds the gate, and the other way
// round.
func TestReadingAndParkingTakeTurns(t *testing.T) {
	f := setup(t)
	f.step(entity.Enter{})
	next[entity.Entered](f)
	f.step(entity.Route{Entries: []event.Entry{signal(1, "a", event.Live)}})
	n := f.fetched(fate.Errorf(fate.Transient, "HTTP 500"))
	next[entity.Unlock](f)
	f.done(n, entity.Result{})
	next[entity.Consult](f)
	f.done(n, entity.Result{})
	next[entity.Count](f)
	f.done(n, entity.Result{})
	none[entity.Park](f)
	f.step(entity.Leave{})
	next[entity.Park](f)
	f.step(entity.Enter{})
	none[entity.Entered](f)
	f.done(n, entity.Result{})
	next[entity.Entered](f)
	require.True(t, f.Idle())
}

// What is buried is whole for its readers while more comes for the lane, which
// makes its queue grow.
//
// With Redis in the way the race detector sees nothing of such a race: package
// syscall tells it that every read of a socket or file comes after every earlier
// write to one, so each round trip puts the two in order. Nothing here reads or
// writes.
func TestBuryingLeavesTheQueueAlone(t *testing.T) {
	for range 100 {
		f := setup(t)
		for id := range 4 { // as many as there is room for: the next one makes it grow
			f.step(entity.Route{Entries: []event.Entry{signal(id+1, "a", event.Backfill)}})
		}
		f.wait = f.wait[:1]
		n := f.fetched(fate.Errorf(fate.Permanent, "HTTP 400"))
		next[entity.Unlock](f)
		f.done(n, entity.Result{})
		bury := next[entity.Bury](f)
		var wg sync.WaitGroup
		wg.Go(func() {
			for _, e := range bury.Batch {
				if e.Attempts != 0 {
					t.Error("the attempt is counted in the queue's own entries")
				}
			}
		})
		f.step(entity.Route{Entries: []event.Entry{signal(5, "a", event.Backfill)}})
		f.done(n, entity.Result{})
		wg.Wait()
		require.Len(t, next[entity.Ack](f).Batch, 4)
		require.Equal(t, "5-0", next[entity.Ready](f).Oldest, "what came since goes on")
	}
}

// A lane waits since the oldest of what is in it came, also one that goes on after
// a sync, and one whose signals wait in Redis.
func TestALaneIsAsOldAsItsOldestSignal(t *testing.T) {
	f := setup(t)
	f.step(entity.Route{Entries: []event.Entry{signal(3000, "c", event.Backfill), signal(1000, "a", event.Live)}})
	require.Equal(t, "3000-0", next[entity.Ready](f).Oldest)
	ready := next[entity.Ready](f)
	require.Equal(t, "1000-0", ready.Oldest)
	f.wait = append(f.wait, ready)
	f.step(entity.Route{Entries: []event.Entry{signal(2000, "c", event.Live)}})
	f.covered()
	again := next[entity.Ready](f)
	require.Equal(t, "3000-0", again.Oldest)
	require.Equal(t, event.Live, again.Class, "a live signal came for it")
	parked := signal(1500, "parked", event.Live)
	f.step(entity.Due{Key: parked.Signal.Ref.Key, First: []event.Entry{parked}})
	require.Equal(t, "1500-0", next[entity.Ready](f).Oldest)
}

// Retries in lanes are counted for each that is due: however many lanes there are,
// only those of retries are looked at.
func TestRetriesAreCountedAmongRetries(t *testing.T) {
	f := setup(t)
	for i := range 20_000 {
		f.Step(noon, entity.Route{Entries: []event.Entry{signal(i+1, fmt.Sprint(i), event.Live)}})
	}
	for i, class := range []event.Class{event.Live, event.Backfill} {
		e := signal(i+1, fmt.Sprint("parked", i), class)
		f.step(entity.Due{Key: e.Signal.Ref.Key, First: []event.Entry{e}})
	}
	count := func() [2]int { all, lower := f.Retries("lemon"); return [2]int{all, lower} }
	require.Equal(t, [2]int{2, 1}, count())
	f.step(entity.Route{Entries: []event.Entry{signal(9, "parked1", event.Live)}}) // it has come for an entity that is tried
	require.Equal(t, [2]int{2, 0}, count())
	f.step(entity.Start{Lane: next[entity.Ready](f).Lane})
	f.done(next[entity.Begun](f).Sync, entity.Result{}) // nothing waits for it any more
	require.Equal(t, [2]int{1, 0}, count())
	other, _ := f.Retries("other")
	require.Zero(t, other)

	fastest := time.Hour
	for range 50 {
		begun := time.Now()
		f.Retries("lemon")
		fastest = min(fastest, time.Since(begun))
	}
	require.Less(t, fastest, 20*time.Microsecond, "20,000 lanes are looked at for two retries")
}
