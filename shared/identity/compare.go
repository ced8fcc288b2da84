package identity

import (
	"errors"
	"fmt"
	"time"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// ErrMismatch means that Redis and the database, or the settings, are not of one
// fleet. The error that wraps it says what each of them is of.
var ErrMismatch = errors.New("redis and the database are not of one fleet")

// errEmpty means that Redis is empty and is not given an id yet.
var errEmpty = errors.New("redis is empty; waiting to see whether the fleet works with another one")

// errNone means that the fleet is not founded yet.
var errNone = errors.New("neither redis nor the database has a fleet; waiting for a worker or reconciler to found it")

// Shape is how the queue of a fleet is laid out.
type Shape struct {
	Prefix string
	Shards int
}

// step is the action before both sides are read again.
type step int

const (
	agreed step = iota
	// found: the database is to know the fleet.
	found
	// change: the database is to know the fleet's new shape or data.
	change
	// name: Redis is empty.
	name
)

// compare says what is to be done about what both sides say. A store without
// an ID knows no fleet, an id without a Fleet is of an empty Redis. For found
// and change the fleet is what the database is to know.
func compare(own Shape, store storage.Fleet, redis stream.Identity, adopt bool) (step, storage.Fleet, error) {
	next := store
	next.ID, next.Prefix, next.Shards, next.Data = redis.Fleet, own.Prefix, own.Shards, redis.Data
	switch {
	case store.ID == "" && redis.Fleet == "":
		return found, next, nil
	case store.ID == "" && !adopt:
		return agreed, next, mismatch("redis (prefix %q) has the work of fleet %s, and the database knows no fleet: "+
			"store.url names another database, or the database was lost. Correct store.url or put the database back; if it is new "+
			"on purpose, start one process with --adopt; to begin again altogether, use another redis.prefix", own.Prefix, redis.Fleet)
	case store.ID == "":
		return found, next, nil
	case redis.Fleet != "" && redis.Fleet != store.ID:
		return agreed, next, mismatch("redis (prefix %q) is of fleet %s, the database of fleet %s: "+
			"correct redis.url, redis.prefix or store.url", own.Prefix, redis.Fleet, store.ID)
	}
	next.ID = store.ID
	if moved := own != (Shape{store.Prefix, store.Shards}); moved && !adopt {
		return agreed, next, mismatch("the database is of fleet %s, which works with redis.prefix %q and %d shards; set are %q and %d: "+
			"correct redis.prefix, shards or store.url, or move the fleet by starting one process with --adopt",
			store.ID, store.Prefix, store.Shards, own.Prefix, own.Shards)
	} else if moved {
		next.Data = store.Data // what is there under the new prefix, if anything, comes next
		return change, next, nil
	}
	switch {
	case redis.Fleet == "":
		return name, store, nil
	case redis.Data == store.Data:
		return agreed, store, nil
	case store.Data != "" && !adopt:
		return agreed, next, errOther(store.ID)
	}
	return change, next, nil
}

func mismatch(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrMismatch, fmt.Errorf(format, args...))
}

func errOther(fleet string) error {
	return mismatch("the database's fleet %s works with another redis than this one: correct redis.url; "+
		"if this is the right one (an older backup was put back, for example), start one process with --adopt", fleet)
}

// An empty Redis counts as emptied once no process has raised the turn for
// stillFor, and as another than the fleet's once the turn was seen to rise twice
// meanwhile. (One rise may be of a process that looked just before Redis was
// emptied.) stillFor leaves room for processes that skip every second rise and
// wait for a slow side in between.
const (
	stillFor  = 5 * every
	otherwise = 2
)

// emptiness is how long Redis has been found empty, and what the turn did.
type emptiness struct {
	turn   int64
	data   string
	since  time.Time // the last change of the turn that counted
	rises  int
	looked bool
}

// look takes one look at an empty Redis and says whether it is to be given an
// id (nil), is to be waited for (errEmpty), or is the wrong one (ErrMismatch).
// Stillness comes first: a Redis that was taken for the wrong one gets an id
// once no process works with another. A rise that changed the data id is no sign
// of work: it is a process that tries to give an empty Redis its id.
func (e *emptiness) look(store storage.Fleet, now time.Time) error {
	switch moved := store.Turn != e.turn; {
	case !e.looked || store.Data != e.data:
		*e = emptiness{turn: store.Turn, data: store.Data, since: now, looked: true}
	case !moved && now.Sub(e.since) >= stillFor:
		e.rises = 0
		return nil
	case moved && now.Sub(e.since) >= every:
		e.turn, e.since = store.Turn, now
		e.rises++
	}
	if e.rises >= otherwise {
		return errOther(store.ID)
	}
	return errEmpty
}
