package identity

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

var errAway = errors.New("does not answer")

// database is one that several keepers share. It does not answer while away.
type database struct {
	fleet storage.Fleet
	away  bool
	// refuses is the error of a change. Nil: it succeeds.
	refuses error
}

func (d *database) Fleet(context.Context) (storage.Fleet, error) {
	switch {
	case d.away:
		return storage.Fleet{}, errAway
	case d.fleet.ID == "":
		return storage.Fleet{}, storage.ErrNotFound
	}
	return d.fleet, nil
}

func (d *database) FoundFleet(_ context.Context, f storage.Fleet) (storage.Fleet, error) {
	if d.fleet.ID == "" {
		d.fleet = f
		d.fleet.Turn = 1
	}
	return d.fleet, nil
}

func (d *database) ChangeFleet(_ context.Context, f storage.Fleet) (bool, error) {
	if d.away {
		return false, errAway
	}
	if d.refuses != nil {
		return false, d.refuses
	}
	if f.Turn != d.fleet.Turn {
		return false, nil
	}
	d.fleet = f
	d.fleet.Turn++
	return true, nil
}

// redis is one Redis. It does not answer while away, and writes nothing while
// refusing.
type redis struct {
	id             stream.Identity
	away, refusing bool
}

func (r *redis) Identity(context.Context) (stream.Identity, error) {
	if r.away {
		return stream.Identity{}, errAway
	}
	return r.id, nil
}

func (r *redis) Identify(_ context.Context, id stream.Identity) (stream.Identity, error) {
	if r.away || r.refusing {
		return stream.Identity{}, errAway
	}
	if r.id.Fleet == "" {
		r.id = id
	}
	return r.id, nil
}

func (r *redis) Prefix() string { return "tarn" }
func (r *redis) Shards() int    { return 4 }

// split calls between once, after the first of the two sides that one look asks.
type split struct {
	*database
	*redis
	between func()
}

func (s *split) once() {
	if f := s.between; f != nil {
		s.between = nil
		f()
	}
}

func (s *split) Fleet(ctx context.Context) (storage.Fleet, error) {
	defer s.once()
	return s.database.Fleet(ctx)
}

func (s *split) Identity(ctx context.Context) (stream.Identity, error) {
	defer s.once()
	return s.redis.Identity(ctx)
}

// clockwork is the one clock of several keepers.
type clockwork struct{ now time.Time }

func (c *clockwork) Now() time.Time { return c.now }

// pass lets d go by in steps of 200 ms, and calls each before every step with
// the time since pass began.
func (c *clockwork) pass(d time.Duration, each func(time.Duration)) {
	for at := time.Duration(0); at < d; at += atStart {
		each(at)
		c.now = c.now.Add(atStart)
	}
}

func (c *clockwork) keeper(q Queue, s storage.Identity) *Keeper {
	return New(Options{Queue: q, Store: s, Now: c.Now, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
}

// founded is a fleet with one process that works.
func founded(t *testing.T) (*clockwork, *database, *redis, *Keeper) {
	t.Helper()
	c, d, r := &clockwork{now: time.Unix(1000, 0)}, &database{}, &redis{}
	k := c.keeper(r, d)
	require.NoError(t, k.look(t.Context()))
	require.Equal(t, stream.Identity{Fleet: d.fleet.ID, Data: d.fleet.Data}, r.id)
	return c, d, r, k
}

// looks has a process look every 2 s, as one that runs does, and gives it the
// verdict.
func looks(t *testing.T, k *Keeper, at time.Duration) {
	t.Helper()
	if at%every == 0 {
		k.see(k.look(t.Context()))
	}
}

// Redis fails over, while a process that is set to an empty one starts.
func TestAnOutageOfRedisKeepsTheFleet(t *testing.T) {
	t.Parallel()
	c, d, r, right := founded(t)
	other := c.keeper(right.Queue, d)
	require.NoError(t, other.look(t.Context()))
	data, empty := d.fleet.Data, &redis{}
	wrong := c.keeper(empty, d)
	r.away = true
	c.pass(time.Minute, func(at time.Duration) {
		looks(t, right, at)
		looks(t, other, at)
		require.Error(t, wrong.look(t.Context()))
	})
	require.ErrorIs(t, wrong.look(t.Context()), ErrMismatch)
	require.Zero(t, empty.id)
	require.Equal(t, data, d.fleet.Data)
	r.away = false
	require.NoError(t, right.look(t.Context()))
}

// A process that never agreed, or no longer does, does not speak for the fleet.
func TestOnlyAgreedProcessesKeepTheFleetInAnOutage(t *testing.T) {
	t.Parallel()
	c, d, r, right := founded(t)
	never := c.keeper(&redis{away: true}, d)
	turn := d.fleet.Turn
	require.ErrorIs(t, never.look(t.Context()), errAway)
	require.Equal(t, turn, d.fleet.Turn)
	r.away = true
	d.fleet.Data = "another"
	require.ErrorIs(t, right.look(t.Context()), errAway)
	require.Equal(t, turn, d.fleet.Turn)
}

// The database elects a primary: no process can raise the turn meanwhile.
func TestAnOutageOfTheDatabaseIsNoStillness(t *testing.T) {
	t.Parallel()
	c, d, _, right := founded(t)
	wrong := c.keeper(&redis{}, d)
	require.ErrorIs(t, wrong.look(t.Context()), errEmpty)
	d.away = true
	c.pass(time.Minute, func(at time.Duration) {
		looks(t, right, at)
		require.ErrorIs(t, wrong.look(t.Context()), errAway)
	})
	d.away = false
	require.ErrorIs(t, wrong.look(t.Context()), errEmpty, "the others had no time to raise it yet")
	require.NoError(t, right.look(t.Context()))
}

// Redis was restarted empty and writes nothing for a while.
func TestARedisThatRefusesWritesHeals(t *testing.T) {
	t.Parallel()
	c, d, r, one := founded(t)
	two := c.keeper(r, d)
	require.NoError(t, two.look(t.Context()))
	r.id, r.refusing = stream.Identity{}, true
	both := func(at time.Duration) {
		looks(t, one, at)
		looks(t, two, at+time.Second)
		require.NoError(t, one.Check(t.Context()))
		require.NoError(t, two.Check(t.Context()))
	}
	c.pass(2*time.Minute, both)
	require.Zero(t, r.id)
	r.refusing = false
	c.pass(2*stillFor, both)
	require.Equal(t, stream.Identity{Fleet: d.fleet.ID, Data: d.fleet.Data}, r.id)
}

// A process that is cut off with the old master works on for a while, and ends.
func TestAnEmptyRedisHealsOnceTheOtherIsLeft(t *testing.T) {
	t.Parallel()
	c, d, _, cutOff := founded(t)
	master := &redis{}
	rest := c.keeper(master, d)
	c.pass(20*time.Second, func(at time.Duration) {
		looks(t, cutOff, at)
		looks(t, rest, at)
	})
	require.ErrorIs(t, rest.Check(t.Context()), ErrMismatch)
	require.Zero(t, master.id)
	c.pass(2*stillFor, func(at time.Duration) { looks(t, rest, at) })
	require.NoError(t, rest.Check(t.Context()))
	require.Equal(t, stream.Identity{Fleet: d.fleet.ID, Data: d.fleet.Data}, master.id)
}

// Another process changes both sides between the two questions of one look.
func TestAChangeBetweenTheTwoQuestions(t *testing.T) {
	t.Parallel()
	t.Run("the fleet is founded", func(t *testing.T) {
		c, d, r := &clockwork{now: time.Unix(1000, 0)}, &database{}, &redis{}
		first, s := c.keeper(r, d), &split{database: d, redis: r}
		second := c.keeper(s, s)
		s.between = func() { require.NoError(t, first.look(t.Context())) }
		require.NotErrorIs(t, second.look(t.Context()), ErrMismatch)
		require.NoError(t, second.look(t.Context()))
	})
	t.Run("an emptied redis gets its id", func(t *testing.T) {
		c, d, r, first := founded(t)
		s := &split{database: d, redis: r}
		second := c.keeper(s, s)
		require.NoError(t, second.look(t.Context()))
		r.id = stream.Identity{}
		c.pass(stillFor, func(at time.Duration) { looks(t, first, at); require.Zero(t, r.id) })
		s.between = func() { require.NoError(t, first.look(t.Context())); require.NotZero(t, r.id) }
		require.NotErrorIs(t, second.look(t.Context()), ErrMismatch)
		require.NoError(t, second.look(t.Context()))
	})
}

// A command that needs the fleet waits for another process to say what it is.
func TestAwaitWaitsForAnotherToDecide(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]storage.Fleet{
		"not founded":   {},
		"redis emptied": {ID: "x", Prefix: "tarn", Shards: 4, Data: "1", Turn: 7},
	} {
		t.Run(name, func(t *testing.T) {
			c, d, r := &clockwork{now: time.Unix(1000, 0)}, &database{fleet: before}, &redis{}
			k := c.keeper(r, d)
			k.ReadOnly, k.Await = true, true
			c.pass(2*stillFor, func(time.Duration) {
				err := k.look(t.Context())
				require.True(t, errors.Is(err, errNone) || errors.Is(err, errEmpty), "%v", err)
			})
			require.Equal(t, before, d.fleet)
			require.Zero(t, r.id)
			ctx, cancel := context.WithTimeout(t.Context(), atStart/2)
			defer cancel()
			require.ErrorIs(t, k.Start(ctx), context.DeadlineExceeded)
			k.Await = false
			require.NoError(t, k.Start(t.Context()))
			worker := c.keeper(r, d)
			c.pass(2*stillFor, func(at time.Duration) { looks(t, worker, at) })
			k.Await = true
			require.NoError(t, k.Start(t.Context()))
		})
	}
}

// An older copy that is put over an open SQLite file is noticed by a write.
func TestAReplacedDatabaseThatAWriteNotices(t *testing.T) {
	t.Parallel()
	_, d, _, k := founded(t)
	d.refuses = storage.ErrReplaced
	require.ErrorIs(t, k.look(t.Context()), ErrMismatch)
}
