package stream

import (
	"errors"

	"github.com/redis/go-redis/v9"
)

// Errors the caller decides by.
var (
	// ErrFenced: the lease is no longer ours. Drop everything of the shard.
	ErrFenced = errors.New("lease is held by another worker")
	// ErrHeld: Acquire found the lease taken.
	ErrHeld = errors.New("lease is held")
	// ErrResync: what was read last is uncertain. Take the pending list over
	// again (TakeOver), skipping what is in flight already, then go on reading.
	ErrResync = errors.New("reads are out of step: take the pending list over again")
	// ErrShards: the fleet was first started with another number of shards.
	ErrShards = errors.New("number of shards differs from the fleet's")
	// ErrRights: the user of the address may not run what is needed.
	ErrRights = errors.New("the redis user is not allowed what is needed")
	// ErrFull: Redis is near its memory limit, or refused for lack of memory.
	ErrFull = errors.New("redis is nearly full")
	// ErrReplicas: too few replicas confirmed an append in time. It may have
	// been made.
	ErrReplicas = errors.New("too few replicas confirmed")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("streams are closed")
)

// Replied reports whether an error is an answer of Redis, so that Redis is there
// and what was asked about is at fault.
func Replied(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}
