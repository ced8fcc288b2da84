package entity

import (
	"cmp"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Config configures the machines of a shard.
type Config struct {
	// Shard is the shard's number.
	Shard int
	// Definition returns the definition of a source.
	Definition func(source string) *provider.Definition
	// Retry is the back-off of entities that failed. Its fields are set.
	Retry fate.Backoff
	// LagPauses are the pauses before a read that lags behind its event is
	// repeated.
	LagPauses []time.Duration
	// Rewritten is how long a provider must go on answering without history that
	// the mirror holds until its answer is taken for the truth.
	Rewritten time.Duration
	// Page is how many entries of a parked entity are handled at a time. Defaults
	// to PageSize.
	Page int
	// Split gives every entry a lane of its own: a negative control.
	Split bool
	// Random returns a number from 0 to 1, without 1. Defaults to math/rand, by
	// which equal inputs lead to pauses of other lengths.
	Random func() float64
	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// Shard holds the machines of all entities of one shard for which something is
// in flight. The zero value is not usable; see NewShard.
type Shard struct {
	cfg   Config
	gate  gate
	lanes lanes
	syncs map[Number]*sync
	// retrying are the lanes of parked entities.
	retrying map[*lane]bool
	// called are the parked entities that have commands.
	called  map[event.Key]bool
	number  Number
	running int // syncs that have begun and not ended
	closing bool

	now time.Time // of the step under way
	out []Effect  // of the step under way
}

// Number names one sync among those of a Shard. 0 names none.
type Number uint64

// NewShard returns a Shard that holds nothing.
func NewShard(c Config) *Shard {
	if c.Random == nil {
		c.Random = rand.Float64
	}
	if c.Page <= 0 {
		c.Page = PageSize
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &Shard{cfg: c, lanes: newLanes(), syncs: map[Number]*sync{}, retrying: map[*lane]bool{}, called: map[event.Key]bool{}}
}

// Input is something that has happened.
type Input interface{ input() }

// Enter: a reader wants the gate. Answered by Entered, at once or once nothing is
// being parked.
type Enter struct{}

// Leave: the reader releases the gate.
type Leave struct{}

// Route: entries were read whose entities are not parked, in the order of their
// stream. The reader holds the gate.
type Route struct{ Entries []event.Entry }

// Due: the time of a parked entity has come. First are the first entries that
// wait for it, at least one. The reader holds the gate. Nothing happens if the
// shard is closing, or if something waits or is being synced in the entity's lane.
type Due struct {
	Key    event.Key
	Failed bool // it was parked for a failure, not spilled
	First  []event.Entry
}

// Call: a parked entity has commands, and has been made due. Its next sync performs
// them, and is not charged.
type Call struct{ Key event.Key }

// Spill: too much of a source is in flight, so the lanes of it that wait
// for budget are parked, those whose turn comes last, at most Most. The reader
// holds the gate and keeps it until the Parks are done.
type Spill struct {
	Source string
	Most   int
}

// Start: the lane's turn has come. Nothing happens unless it is ready.
type Start struct{ Lane ID }

// Done: an effect of a sync has ended.
type Done struct {
	Sync   Number
	Result Result
}

// Result is the result of an effect. The comment of each effect says which fields
// it sets.
type Result struct {
	Err      error
	Parked   Parked
	Entries  []event.Entry
	Batch    Batch
	Document *storage.Document
	Snapshot *provider.Snapshot
	Now      time.Time
	Yes      bool
	OfKind   bool
	After    time.Duration
	Left     int
	Owed     int64
	Gone     int
}

// Settled: the store holds what a Settle was for, or, Refused, has refused it. A
// refused one that is not waited for is tried again and may be settled later.
type Settled struct {
	Sync    Number
	Refused bool
}

// Acked: the entries of an Ack have left Redis.
type Acked struct{ Sync Number }

// Woke: the time of a Rest has passed.
type Woke struct{ Lane ID }

// Close: the shard is handed over. No further sync begins. Quiet follows once
// none is under way.
type Close struct{}

func (Enter) input()   {}
func (Leave) input()   {}
func (Route) input()   {}
func (Due) input()     {}
func (Call) input()    {}
func (Spill) input()   {}
func (Start) input()   {}
func (Done) input()    {}
func (Settled) input() {}
func (Acked) input()   {}
func (Woke) input()    {}
func (Close) input()   {}

// Step takes an input at a time of day, which is only written down, and returns
// what is to be done now. The effects are to be begun in their order. Inputs about
// syncs and lanes that are no more are ignored.
func (s *Shard) Step(now time.Time, in Input) []Effect {
	s.now, s.out = now, nil
	switch in := in.(type) {
	case Enter:
		s.gate.enter(func() { s.emit(Entered{}) })
	case Leave:
		s.gate.leave()
	case Route:
		s.route(in.Entries)
	case Due:
		s.due(in)
	case Call:
		s.called[in.Key] = true
	case Spill:
		s.spill(in)
	case Start:
		s.start(in.Lane)
	case Done:
		if y := s.syncs[in.Sync]; y != nil && y.next != nil {
			next := y.next
			y.next = nil
			next(in.Result)
		}
	case Settled:
		s.settled(in)
	case Acked:
		s.acked(in.Sync)
	case Woke:
		if l := s.lanes.get(in.Lane); l != nil && l.state == resting {
			l.ready()
		}
	case Close:
		s.closing = true
		s.maybeQuiet()
	}
	return s.out
}

// Has reports whether the entity has a lane with something in it.
func (s *Shard) Has(k event.Key) bool {
	l := s.lanes.get(ID{Key: k})
	return l != nil && l.state != idle
}

// Closing reports whether the shard is being handed over.
func (s *Shard) Closing() bool { return s.closing }

// Idle reports whether nothing at all is in flight.
func (s *Shard) Idle() bool { return s.lanes.n == 0 && len(s.syncs) == 0 }

// Retries counts the lanes of a source's parked entities: all, and those of
// classes below live.
func (s *Shard) Retries(source string) (all, lower int) {
	for l := range s.retrying {
		if l.id.Key.Source != source {
			continue
		}
		if all++; l.class > event.Live {
			lower++
		}
	}
	return all, lower
}

// Unbegun returns the parked entities whose retries are due and have not begun.
func (s *Shard) Unbegun() []event.Key {
	var keys []event.Key
	for l := range s.retrying {
		if l.state == ready {
			keys = append(keys, l.id.Key)
		}
	}
	return keys
}

// Lanes returns the names of all lanes.
func (s *Shard) Lanes() []ID {
	ids := make([]ID, 0, s.lanes.n)
	for l := range s.lanes.all() {
		ids = append(ids, l.id)
	}
	return ids
}

// start begins a sync of a lane, unless the shard is closing.
func (s *Shard) start(id ID) {
	l := s.lanes.get(id)
	if l == nil || l.state != ready || s.closing {
		return
	}
	s.number++
	s.running++
	l.state = syncing
	y := &sync{number: s.number, lane: l, facts: facts{s: s, kind: s.cfg.Definition(id.Key.Source).Kind(id.Key.Kind)}}
	y.ref.Key, y.called = id.Key, s.called[id.Key]
	delete(s.called, id.Key)
	s.syncs[y.number] = y
	s.emit(Begun{Sync: y.number, Lane: id})
	y.begin()
}

// spill parks lanes, first things first within each. It leaves those whose reads
// lag, since they would forget how often the entity was asked for, and those with
// an unsettled head.
func (s *Shard) spill(in Spill) {
	var may []*lane
	for l := range s.lanes.all() {
		if l.id.Key.Source == in.Source && l.class.Tier() == event.TierLive && l.state == ready && !l.retry && l.lag == 0 && l.unsettled == 0 {
			may = append(may, l)
		}
	}
	slices.SortFunc(may, func(a, b *lane) int { return compareIDs(a.queue[0].ID, b.queue[0].ID) })
	for _, l := range may[max(0, len(may)-in.Most):] {
		s.lanes.remove(l)
		s.emit(Park{Lane: l.id, Waiting: l.queue})
	}
}

// compareIDs compares two stream ids by their age.
func compareIDs(a, b string) int {
	ams, aseq := parseID(a)
	bms, bseq := parseID(b)
	return cmp.Or(cmp.Compare(ams, bms), cmp.Compare(aseq, bseq))
}

func parseID(id string) (ms, seq uint64) {
	left, right, _ := strings.Cut(id, "-")
	ms, _ = strconv.ParseUint(left, 10, 64) // an id that Redis did not make comes first
	seq, _ = strconv.ParseUint(right, 10, 64)
	return ms, seq
}
