package mongo

import (
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// row is an event as stored.
type row struct {
	RowID  string `bson:"_id"`
	Source string `bson:"source"`
	ID     string `bson:"id"`
	Type   string `bson:"type"`

	CreatedAt  time.Time `bson:"created_at,omitempty"`
	ReceivedAt time.Time `bson:"received_at"`
	// ProcessedAt is when the newest of its outcomes was settled, and thus of
	// the event once open is 0.
	ProcessedAt time.Time `bson:"processed_at,omitempty"`

	Status storage.EventStatus `bson:"status"`
	// Open counts the outcomes that are open, Tally those that ended badly.
	Open  int   `bson:"open"`
	Tally tally `bson:"tally"`

	Attempts       int    `bson:"attempts"`
	Error          string `bson:"error,omitempty"`
	Duplicates     int64  `bson:"duplicates"`
	OutOfOrder     bool   `bson:"out_of_order,omitempty"`
	Overtaken      bool   `bson:"overtaken,omitempty"`
	Lagging        bool   `bson:"lagging,omitempty"`
	PayloadDiffers bool   `bson:"payload_differs,omitempty"`
	ParentsDiffer  bool   `bson:"parents_differ,omitempty"`
	Unnamed        bool   `bson:"unnamed,omitempty"`
	Undated        bool   `bson:"undated,omitempty"`
	Note           string `bson:"note,omitempty"`
	// Noted: there is a Note. The index of such rows is on it.
	Noted bool `bson:"noted,omitempty"`

	// Signals are the newest stream entries it came with.
	Signals []signal `bson:"signals"`
	// Keys ("kind/id") and Kinds name its entities for queries.
	Keys  []string `bson:"keys"`
	Kinds []string `bson:"kinds"`
	// Outcomes are by entity, "kind/id" escaped.
	Outcomes map[string]outcome `bson:"outcomes"`
	Payload  bson.RawValue      `bson:"payload,omitempty"`
	// Given are the values read outside the payload, by the escaped text of their place.
	Given   map[string]string `bson:"given,omitempty"`
	TraceID string            `bson:"trace_id,omitempty"`
	// Rev counts the changes that a step which read the row must not overlook.
	Rev int64 `bson:"rev"`
}

type tally struct {
	Dead       int `bson:"dead"`
	Discarded  int `bson:"discarded"`
	Superseded int `bson:"superseded"`
	Erased     int `bson:"erased,omitempty"`
}

type signal struct {
	Shard int    `bson:"shard"`
	ID    string `bson:"id"`
}

type outcome struct {
	// N is its place among the event's entities, 0 the primary.
	N         int                 `bson:"n"`
	Kind      string              `bson:"kind"`
	ID        string              `bson:"id"`
	Parents   map[string]string   `bson:"parents,omitempty"`
	Status    storage.EventStatus `bson:"status"`
	Signal    *signal             `bson:"signal,omitempty"`
	CoveredBy *covered            `bson:"covered_by,omitempty"`
	// FailedAt and Error are of its newest failure, NextAt when it is tried again.
	FailedAt time.Time `bson:"failed_at,omitempty"`
	NextAt   time.Time `bson:"next_at,omitempty"`
	Error    string    `bson:"error,omitempty"`
}

type covered struct {
	Claim     int64     `bson:"claim"`
	FetchedAt time.Time `bson:"fetched_at"`
	Signal    string    `bson:"signal"`
	StateHash string    `bson:"state_hash,omitempty"`
}

// maxSignals bounds the entries a row remembers: after that many deliveries
// the first cannot be waiting in a stream any more.
const maxSignals = 100

// newRow is the row of an arrival not in the log yet.
func newRow(a *storage.Arrival) *row {
	e := a.Event
	r := &row{
		RowID: rowID(e.Source, e.ID), Source: e.Source, ID: e.ID, Type: e.Type,
		CreatedAt: e.CreatedAt, ReceivedAt: e.ReceivedAt, Status: storage.Pending,
		Signals: []signal{signal(a.Signal)}, Keys: []string{}, Kinds: []string{}, Outcomes: map[string]outcome{},
		Payload: body(e.Payload), TraceID: a.TraceID, Unnamed: e.Unnamed, Undated: e.Undated,
		Note: e.Note.String(), Noted: e.Note != 0, Given: escapeKeys(e.Given),
	}
	r.open(a)
	if r.Open == 0 {
		r.Status, r.ProcessedAt = storage.Processed, e.ReceivedAt
	}
	return r
}

// open adds an open outcome for every entity of the event that has none.
func (r *row) open(a *storage.Arrival) (opened bool) {
	home := a.Event.Home()
	for _, ref := range a.Event.Entities {
		field := outcomeField(ref.Key)
		if _, there := r.Outcomes[field]; there {
			continue
		}
		o := outcome{
			N: len(r.Outcomes), Kind: ref.Key.Kind, ID: ref.Key.Local(), Parents: escapeKeys(ref.Parents), Status: storage.Pending,
		}
		if ref.Key == home { // the others' entries are known when they are settled
			sig := signal(a.Signal)
			o.Signal = &sig
		}
		r.Outcomes[field] = o
		r.Keys = append(r.Keys, entityName(ref.Key))
		if !slices.Contains(r.Kinds, ref.Key.Kind) {
			r.Kinds = append(r.Kinds, ref.Key.Kind)
		}
		r.Open++
		opened = true
	}
	return opened
}

// reopen opens the outcomes that were dead.
func (r *row) reopen() (opened bool) {
	for field, o := range r.Outcomes {
		if o.Status == storage.Dead {
			o.Status = storage.Pending
			r.Outcomes[field] = o
			r.Open++
			r.Tally.Dead--
			opened = true
		}
	}
	return opened
}

// saw remembers a stream entry and reports whether it is new.
func (r *row) saw(id storage.SignalID) bool {
	if slices.Contains(r.Signals, signal(id)) {
		return false
	}
	r.Signals = append(r.Signals, signal(id))
	if over := len(r.Signals) - maxSignals; over > 0 {
		r.Signals = r.Signals[over:]
	}
	return true
}

// setEntry makes an entry that of the primary entity's outcome, if it is open.
func (r *row) setEntry(id storage.SignalID) {
	for field, o := range r.Outcomes {
		if o.N == 0 && !o.Status.Final() {
			sig := signal(id)
			o.Signal = &sig
			r.Outcomes[field] = o
		}
	}
}

// statuses are the outcomes' by entity.
func (r *row) statuses() map[event.Key]storage.EventStatus {
	out := make(map[event.Key]storage.EventStatus, len(r.Outcomes))
	for _, o := range r.Outcomes {
		out[event.LocalKey(r.Source, o.Kind, o.ID)] = o.Status
	}
	return out
}

func (r *row) mirror() *storage.EventRow {
	out := &storage.EventRow{
		ID: r.ID, Source: r.Source, Type: r.Type, CreatedAt: r.CreatedAt, ReceivedAt: r.ReceivedAt,
		Status: r.Status, Attempts: r.Attempts, Error: r.Error, Duplicates: r.Duplicates,
		OutOfOrder: r.OutOfOrder, Overtaken: r.Overtaken, Lagging: r.Lagging, PayloadDiffers: r.PayloadDiffers, ParentsDiffer: r.ParentsDiffer,
		Unnamed: r.Unnamed, Undated: r.Undated, Payload: bodyBytes(r.Payload), TraceID: r.TraceID,
		Note: event.ParseNote(r.Note), Given: unescapeKeys(r.Given),
	}
	if r.Status.Final() {
		out.ProcessedAt = r.ProcessedAt
	}
	sorted := make([]outcome, 0, len(r.Outcomes))
	for _, o := range r.Outcomes {
		sorted = append(sorted, o)
	}
	slices.SortFunc(sorted, func(a, b outcome) int { return a.N - b.N })
	for _, o := range sorted {
		out.Entities = append(out.Entities, o.mirror(r.Source))
	}
	return out
}

func (o *outcome) mirror(source string) storage.Outcome {
	out := storage.Outcome{
		Ref:    event.Ref{Key: event.LocalKey(source, o.Kind, o.ID), Parents: unescapeKeys(o.Parents)},
		Status: o.Status, FailedAt: o.FailedAt, NextAt: o.NextAt, Error: o.Error,
	}
	if o.Signal != nil {
		out.Signal = storage.SignalID(*o.Signal)
	}
	if c := o.CoveredBy; c != nil {
		out.CoveredBy = &storage.Covered{Claim: c.Claim, FetchedAt: c.FetchedAt, Signal: c.Signal, StateHash: c.StateHash}
	}
	return out
}
