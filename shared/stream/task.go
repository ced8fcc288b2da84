package stream

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/fault"
)

// taskEpoch is how long the epoch of a task is remembered after its last
// handover. Most tasks end within minutes and their names never come again.
const taskEpoch = 24 * time.Hour

// TaskLease is the right to work on a named task of the fleet: a lease like
// that of a shard, with an epoch that grows at each handover, also after
// Redis lost everything. Safe for concurrent use.
type TaskLease struct {
	name  string
	lease *Lease
}

// Task takes the lease of a task, or fails with ErrHeld. An owner that has it
// already gets it again with a larger epoch.
func (s *Streams) Task(ctx context.Context, name, owner string) (*TaskLease, error) {
	key := s.keys.task(name)
	if fault.Off("tasks") {
		key += ":" + owner // every reconciler has one
	}
	lease, err := s.acquire(ctx, "task "+name, key, []string{s.keys.taskEpoch(name)}, owner, taskEpoch)
	if err != nil {
		return nil, err
	}
	return &TaskLease{name: name, lease: lease}, nil
}

// Name returns the task's name.
func (t *TaskLease) Name() string { return t.name }

// Epoch returns the epoch.
func (t *TaskLease) Epoch() int64 { return t.lease.Epoch() }

// Valid reports whether the lease is surely ours, as Lease.Valid does.
func (t *TaskLease) Valid() bool { return t.lease.Valid() }

// Renew extends the lease to a full TTL, or fails with ErrFenced.
func (t *TaskLease) Renew(ctx context.Context) error { return t.lease.Renew(ctx) }

// Release gives the lease up so that another can take it at once.
func (t *TaskLease) Release(ctx context.Context) error { return t.lease.Release(ctx) }
