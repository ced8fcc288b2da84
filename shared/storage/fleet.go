package storage

import (
	"context"
	"errors"
)

// ErrReplaced is returned, with class fate.Unavailable, once the database is not
// the one that was opened: its file was removed, or another lies in its place.
// What is written then would be lost with the next start.
var ErrReplaced = errors.New("the database is not the one that was opened")

// Fleet is the database's record of the fleet it belongs to. The zero value
// means none.
type Fleet struct {
	// ID is the fleet's id, made once.
	ID string
	// Prefix and Shards are the shape of its queue.
	Prefix string
	Shards int
	// Data is the id of the data in Redis the fleet works with, made again
	// whenever Redis was found empty.
	Data string
	// Turn grows with each change.
	Turn int64
}

// Identity is the part of Store that says which fleet a database belongs to.
type Identity interface {
	// Fleet returns the fleet, or ErrNotFound.
	Fleet(ctx context.Context) (Fleet, error)
	// FoundFleet keeps f at turn 1 unless the database belongs to a fleet
	// already, and returns the fleet it belongs to after that. Of several
	// callers at once one founds it.
	FoundFleet(ctx context.Context, f Fleet) (Fleet, error)
	// ChangeFleet replaces what is known of the fleet and raises the turn by one,
	// if the turn is still f.Turn. It reports whether it was.
	ChangeFleet(ctx context.Context, f Fleet) (bool, error)
}
