package storage

import (
	"context"
	"time"
)

// TaskStatus is how far a task is.
type TaskStatus string

// The statuses of a task. The last three are final.
const (
	TaskWaiting   TaskStatus = "waiting"
	TaskRunning   TaskStatus = "running"
	TaskDone      TaskStatus = "done"
	TaskFailed    TaskStatus = "failed"
	TaskCancelled TaskStatus = "cancelled"
)

// Final reports whether a task of this status is over.
func (s TaskStatus) Final() bool { return s == TaskDone || s == TaskFailed || s == TaskCancelled }

// The kinds of tasks that more than one service names.
const (
	KindRedrive       = "redrive" // of dead letters, with a RedriveSpec
	KindDiscard       = "discard" // of dead letters, with a RedriveSpec
	KindDiscardSource = "abandon" // of a source that is given up
	KindReread        = "reread"  // of events with a note, with a RedriveSpec
	KindRecover       = "recover" // of what Redis lost of a source, standing
	KindErase         = "erase"   // of an entity, or of all that is under it, with an ErasureSpec
	KindRestore       = "restore" // of what was erased so, with an ErasureSpec
)

// Task is work of the reconciler that outlives its processes: a sweep, one
// partition of a sweep, a job an operator started, the standing search for
// missed events of a source. The holder of the lease of that name works on it
// and saves its progress under the lease's epoch; the next holder continues there.
type Task struct {
	// ID names it: sweep_…, job_…, a partition sweep_…/7, a standing task
	// gaps/lemon.
	ID string
	// Kind is what it is: "sweep", "backfill", "verify" and "gaps" with a
	// SweepSpec, "redrive" and "discard" with a RedriveSpec, "partition" …
	Kind string
	// Parent is the task a partition belongs to. May be "".
	Parent string
	Source string
	Status TaskStatus
	// By is who or what started it: an operator's name, "schedule", "command".
	By string
	// Spec is what is to be done, State how far it has come: both JSON, opaque to
	// the store. Spec never changes.
	Spec, State []byte
	// Counts are sums to be shown: found, api_calls, done, total …
	Counts map[string]int64
	// Error is the last thing that went wrong. "" if nothing did.
	Error string
	// Cancel: an operator asked for it to end.
	Cancel bool
	// Epoch is that of the lease under which it was last saved.
	Epoch                                       int64
	CreatedAt, StartedAt, UpdatedAt, FinishedAt time.Time
}

// RedriveSpec is the Spec, in JSON, of a task that goes through dead letters:
// one of kind "redrive" appends their work again, one of kind "discard" gives
// them up. Its Counts are total, done and failed. One of kind "reread" goes through the
// events of a source that have a note; of its Filter only Source, which is needed,
// Type, From and To count, and From and To bound received_at.
type RedriveSpec struct {
	// Filter selects the dead letters. Status, Limit and Cursor are not looked at:
	// only open dead letters are touched. To is never zero: what is buried after the
	// job began, perhaps by the job, is not its business.
	Filter LetterFilter `json:"filter"`
	// Rate is the most dead letters a second. 0: no limit of its own.
	Rate float64 `json:"rate,omitempty"`
	// Reason is why dead letters are discarded. "" in a redrive.
	Reason string `json:"reason,omitempty"`
	// Note selects the events of a task of kind "reread". "" in others.
	Note string `json:"note,omitempty"`
}

// SweepSpec is the Spec, in JSON, of a task that compares with the provider:
// of kind "sweep", "backfill", "verify" or "gaps". Its Counts are partitions,
// done (partitions that are over), entities or events, found, api_calls,
// failed_lists, not_fetched and failed_checks. Its State holds a SweepOutcome.
type SweepSpec struct {
	// Kinds are the kinds looked at. None: all that can be found.
	Kinds []string `json:"kinds,omitempty"`
	// Since is how far back gaps are looked for, or a backfill reaches. Zero:
	// as far as usual.
	Since time.Time `json:"since,omitzero"`
	// Rate is the most calls of the provider's API a second, within the
	// source's budget. 0: no limit of its own.
	Rate float64 `json:"rate,omitempty"`
	// Request names the request that made the task, so that of several at the same time
	// each knows whether the task is its own. "": no request did.
	Request string `json:"request,omitempty"`
}

// PhaseFill is the phase, which the State of a sweep's task has as "phase", in which workers
// fetch what the sweep has asked for.
const PhaseFill = "fill"

// SweepOutcome is what a sweep, backfill or verification could not have. It is
// part of the State, in JSON, of its task, whose Counts say how many there are
// in all: failed_lists, not_fetched and failed_checks.
type SweepOutcome struct {
	// FailedLists are the lists that were not read whole, at most MostNamed.
	FailedLists []FailedList `json:"failed_lists,omitempty"`
	// NotFetched are the entities that workers were asked for and did not have
	// in the end, at most MostNamed.
	NotFetched []NotFetched `json:"not_fetched,omitempty"`
	// Unchecked are the entities that were asked for by id, to be compared, and that the
	// provider did not answer for, at most MostNamed.
	Unchecked []Unchecked `json:"unchecked,omitempty"`
}

// MostNamed is how many lists, and how many entities of each sort, an outcome names.
const MostNamed = 100

// FailedList is a list that was not read whole.
type FailedList struct {
	Kind string `json:"kind"`
	// Parents are the ids of the list's parents.
	Parents map[string]string `json:"parents,omitempty"`
	Error   string            `json:"error"`
	// Times is in how many sweeps of the same kinds in a row it failed.
	Times int `json:"times,omitempty"`
}

// NotFetched is an entity that was not fetched, and why.
type NotFetched struct {
	Kind    string            `json:"kind"`
	ID      string            `json:"id"`
	Parents map[string]string `json:"parents,omitempty"`
	Reason  string            `json:"reason"`
}

// Unchecked is an entity that could not be compared, and why.
type Unchecked struct {
	Kind string `json:"kind"`
	// ID is "" for the rest of a kind that the key may not read.
	ID      string            `json:"id,omitempty"`
	Parents map[string]string `json:"parents,omitempty"`
	Reason  string            `json:"reason"`
}

// TaskFilter selects tasks; zero values select all.
type TaskFilter struct {
	Kinds    []string
	Statuses []TaskStatus
	Parent   string
	Source   string
	// Limit is the page size, 1 to 200. Defaults to 50.
	Limit  int
	Cursor string
}

// Tasks is the part of Store that keeps the reconciler's work.
type Tasks interface {
	// CreateTasks adds tasks; one whose id is there is left as it is.
	CreateTasks(ctx context.Context, tasks []*Task) error
	// Task returns one, or ErrNotFound.
	Task(ctx context.Context, id string) (*Task, error)
	// Tasks lists them, newest created_at first.
	Tasks(ctx context.Context, f TaskFilter) (Page[*Task], error)
	// SaveTask writes Status, State, Counts, Error, Epoch and the times but
	// CreatedAt, unless the stored epoch is higher or the stored status final:
	// then it changes nothing and answers false, or true if it is this final
	// status of this epoch that is stored. Cancel is not written; it is read
	// back into t, so that the caller sees it. An unknown task is not
	// saved: false.
	SaveTask(ctx context.Context, t *Task) (bool, error)
	// CancelTask sets Cancel, and makes a waiting task cancelled at once. A
	// task that is over is left: false. Unknown: ErrNotFound.
	CancelTask(ctx context.Context, id string) (bool, error)
	// ForgetTasks removes final tasks without a parent that finished before a
	// time, and their partitions. It answers how many in all. Tasks that never
	// said when they finished stay.
	ForgetTasks(ctx context.Context, before time.Time) (int, error)
}
