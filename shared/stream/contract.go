package stream

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
)

// Errors the caller decides by.
var (
	// ErrFenced: the lease is no longer ours. Drop everything of the shard.
	ErrFenced = errors.New("lease is held by another worker")
	// ErrHeld: Acquire found the lease taken.
	ErrHeld = errors.New("lease is held")
	// ErrResync: what was read last is uncertain. Take the pending list over
	// again (TakeOver), skipping what is in hand already, then go on reading.
	ErrResync = errors.New("reads are out of step: take the pending list over again")
	// ErrShards: the fleet was first started with another number of shards.
	ErrShards = errors.New("number of shards differs from the fleet's")
)

// Options are the settings of Open.
type Options struct {
	// URLs are redis:// or rediss:// addresses; several are the nodes of a
	// cluster. "redis+sentinel://host:port,host:port/master" is a sentinel.
	URLs []string
	// Prefix starts every key. Defaults to "tarn".
	Prefix string
	// Shards is the number of shards, fixed when the fleet first starts.
	// Defaults to 64.
	Shards int
	// LeaseTTL is how long a lease outlives its last renewal. Defaults to 5 s.
	LeaseTTL time.Duration
	// DedupeTTL is how long the mark of an event id stays. Defaults to 1 h.
	DedupeTTL time.Duration
	// WaitReplicas is how many replicas must confirm an append. Defaults to 0.
	WaitReplicas int
	// Logger takes warnings. Defaults to slog.Default().
	Logger *slog.Logger
}

// Streams is a connection to the queue. Safe for concurrent use.
type Streams struct{}

// Open connects, checks the number of shards against the fleet's (ErrShards)
// and Redis' settings (unsafe ones are warned about; an eviction policy other
// than noeviction is refused).
func Open(ctx context.Context, o Options) (*Streams, error) { panic("not built") }

// Close waits for appends under way and closes all connections.
func (s *Streams) Close() error { panic("not built") }

// Ping reports whether Redis answers.
func (s *Streams) Ping(ctx context.Context) error { panic("not built") }

// Shards returns the number of shards.
func (s *Streams) Shards() int { panic("not built") }

// --- append -----------------------------------------------------------------

// Draft is a signal on its way into a stream.
type Draft struct {
	Signal event.Signal
	// Once, for signals that carry no event, suppresses a further one of the
	// same cause for the same entity for that long, or until ForgetOnce.
	// A signal that carries its event is always marked by the event's id.
	Once time.Duration
}

// Receipt says where an append went.
type Receipt struct {
	Shard int
	// ID is the stream id; of the earlier entry, if known, for a duplicate.
	ID string
	// Duplicate: the mark was there, nothing was appended.
	Duplicate bool
	// Processed: the mark says that the earlier one is done.
	Processed bool
}

// Append appends one signal and returns when Redis (and WaitReplicas
// replicas) confirmed it. Concurrent calls share pipelines. On an error the
// signal may or may not have been appended. Above 80 % of maxmemory it answers
// ErrFull.
func (s *Streams) Append(ctx context.Context, d Draft) (Receipt, error) { panic("not built") }

// AppendAll appends many signals in one pipeline per node, in order per shard.
func (s *Streams) AppendAll(ctx context.Context, ds []Draft) ([]Receipt, error) { panic("not built") }

// ErrFull: Redis is near its memory limit, or refused for lack of memory.
var ErrFull = errors.New("redis is nearly full")

// ForgetEvent removes the mark of an event, so that the provider's sending it
// again is taken up. home is the event's Home key.
func (s *Streams) ForgetEvent(ctx context.Context, home event.Key, eventID string) error {
	panic("not built")
}

// ForgetOnce removes the mark of a Draft with Once.
func (s *Streams) ForgetOnce(ctx context.Context, cause event.Cause, k event.Key) error {
	panic("not built")
}

// --- membership and leases ---------------------------------------------------

// Heartbeat says that worker is alive for three lease TTLs and returns all
// live workers, sorted.
func (s *Streams) Heartbeat(ctx context.Context, worker string) ([]string, error) { panic("not built") }

// Leave takes worker out of the live ones.
func (s *Streams) Leave(ctx context.Context, worker string) error { panic("not built") }

// FairShare returns the shards that fall to self among live workers:
// rendezvous hashing with a bound of ceil(shards/workers) a worker, so every
// worker computes the same division from the same list and one that comes or
// goes moves few shards.
func FairShare(live []string, shards int, self string) []int { panic("not built") }

// Lease is the right to read one shard. Its methods fail with ErrFenced once
// another worker has it, or Redis has lost it.
type Lease struct{}

// Acquire takes the lease of a shard, or fails with ErrHeld. The epoch is
// larger than any before, also after Redis lost everything (it follows the
// clock). The consumer groups of sources are made where missing, from id 0.
func (s *Streams) Acquire(ctx context.Context, shard int, worker string, sources []string) (*Lease, error) {
	panic("not built")
}

// Shard returns the shard.
func (l *Lease) Shard() int { panic("not built") }

// Epoch returns the epoch.
func (l *Lease) Epoch() int64 { panic("not built") }

// Renew extends the lease to a full TTL.
func (l *Lease) Renew(ctx context.Context) error { panic("not built") }

// Valid reports whether the lease is surely ours by our own monotonic clock:
// less than 0.8 TTL since the last confirmed renewal was sent.
func (l *Lease) Valid() bool { panic("not built") }

// Release gives the lease up so that another can take it at once.
func (l *Lease) Release(ctx context.Context) error { panic("not built") }

// --- reading -----------------------------------------------------------------

// Entry is one entry of a shard's stream.
type Entry struct {
	ID     string
	Tier   event.Tier
	Signal event.Signal
	// Parked: the entity is parked, so the entry belongs behind it.
	Parked bool
	// Err: the entry could not be decoded; Fields hold it as it is.
	Err    error
	Fields map[string]string
	// Attempts, on entries taken from a parked list, is how many failed
	// attempts were charged to it.
	Attempts int
}

// Limits bound one read.
type Limits struct {
	// Count is the most entries, at most 1,000. Bytes is where reading stops
	// once passed. Default 500 and 1 MiB.
	Count, Bytes int
}

// Read returns the next new entries of a stream, none if there are none.
// After any error other than ErrFenced, and after ErrResync, the caller must
// TakeOver before it reads again.
func (l *Lease) Read(ctx context.Context, source string, tier event.Tier, lim Limits) ([]Entry, error) {
	panic("not built")
}

// TakeOver claims everything delivered and not acked of a stream, whoever held
// it, in stream order, page by page, and puts reads in step again. yield is
// called for each page; entries whose data is gone are counted in lost.
func (l *Lease) TakeOver(ctx context.Context, source string, tier event.Tier, yield func([]Entry) error) (lost int, err error) {
	panic("not built")
}

// Await returns when one of the tiers of the sources may hold something new,
// after the given time at the latest (at most 1 s; cancellation is noticed
// no sooner).
func (l *Lease) Await(ctx context.Context, sources []string, tiers []event.Tier, atMost time.Duration) error {
	panic("not built")
}

// Ack removes entries from their stream. events are the ids of events whose
// own entry is among them: their marks become "processed".
func (l *Lease) Ack(ctx context.Context, source string, tier event.Tier, ids []string, events []string) error {
	panic("not built")
}

// --- parking -----------------------------------------------------------------

// Park is an entity to be put to wait with all that waits for it.
type Park struct {
	Key event.Key
	// Charged and Waiting are the entries in hand, in stream order: those the
	// failed attempt was for, then those that came since. Both are moved.
	// None when the entity is parked already and a retry has failed.
	Charged, Waiting []Entry
	// Attempt counts the charged attempts of the entity since it was parked;
	// an uncharged wait leaves it.
	Attempt int
	// Delay is how long until it is due, by Redis' clock.
	Delay time.Duration
	// Earliest is how long until a new live signal may make it due; never more
	// than Delay.
	Earliest time.Duration
	// State is the worker's own record, opaque here, at most 64 KiB.
	State []byte
}

// Parked is an entity that waits.
type Parked struct {
	Key event.Key
	// Len is how many entries wait.
	Len     int
	Attempt int
	State   []byte
}

// Park moves what waits for an entity from its streams into its parked list,
// with ack and delete, in one script.
func (l *Lease) Park(ctx context.Context, p Park) error { panic("not built") }

// ParkBehind moves entries, each behind its parked entity, in the given order.
// Those whose entity is not parked (any more) are left where they are and
// returned.
func (l *Lease) ParkBehind(ctx context.Context, entries []Entry) (notParked []Entry, err error) {
	panic("not built")
}

// Due returns up to n parked entities of a source that are due, longest first,
// and how long until the next one will be (0: none waits).
func (l *Lease) Due(ctx context.Context, source string, n int) (due []event.Key, next time.Duration, err error) {
	panic("not built")
}

// Defer moves the due time of a parked entity, nothing else: Due will name it
// again only after delay. A retry begins with it, so that one that dies with
// its worker comes back.
func (l *Lease) Defer(ctx context.Context, k event.Key, delay time.Duration) error {
	panic("not built")
}

// Parked returns a parked entity and up to n of its entries from the head.
// Not parked: Len 0.
func (l *Lease) Parked(ctx context.Context, k event.Key, n int) (Parked, []Entry, error) {
	panic("not built")
}

// Unpark removes the named entries, which must be the head of the parked list,
// and un-parks the entity when none is left; else it is due again after delay.
// events as in Ack. It returns how many are left.
func (l *Lease) Unpark(ctx context.Context, k event.Key, ids []string, events []string, delay time.Duration) (left int, err error) {
	panic("not built")
}

// --- entity locks ------------------------------------------------------------

// Lock takes the entity's lock (Redsync), waiting at most one expiry (the
// lease TTL) for another to let go. The lock keeps two workers from fetching
// the same thing at once; nothing rests on it, so an error or a lock that
// stays taken is answered with ok false, and the caller goes on.
func (s *Streams) Lock(ctx context.Context, k event.Key) (unlock func(), ok bool) {
	panic("not built")
}

// --- sources -----------------------------------------------------------------

// SourceState is what the fleet knows of a source.
type SourceState struct {
	Paused bool
	// Until is when a probe may be tried. Zero with Paused: by hand only.
	Until  time.Time
	Since  time.Time
	Reason string
	By     string
	// Strikes counts pauses in a row without a good answer in between.
	Strikes int
}

// Source returns the state of a source.
func (s *Streams) Source(ctx context.Context, source string) (SourceState, error) {
	panic("not built")
}

// Pause pauses a source for the fleet until a probe after the given time
// (0: until Resume). It never shortens a pause, nor softens one made by hand.
func (s *Streams) Pause(ctx context.Context, source string, d time.Duration, reason, by string) error {
	panic("not built")
}

// Resume ends a pause and forgets its strikes.
func (s *Streams) Resume(ctx context.Context, source string) error { panic("not built") }

// TakeProbe gives one caller in the fleet the right to try a paused source
// whose time has come, for the given time.
func (s *Streams) TakeProbe(ctx context.Context, source string, d time.Duration) (bool, error) {
	panic("not built")
}

// Rate is what a source's provider allows the fleet.
type Rate struct {
	// Limit is how many requests each Per. Limit 0: unlimited.
	Limit int
	Per   time.Duration
}

// Grant is the answer to Take.
type Grant struct {
	// Tokens granted, 0 to what was asked.
	Tokens int
	// Wait is when to ask again if fewer were granted.
	Wait time.Duration
	// Source is the state, so that every taker learns of a pause. No tokens are
	// granted while paused.
	Source SourceState
}

// Take takes up to n tokens of a source's budget for a class. Higher classes go
// first; each lower one has a floor of 5 % of the rate that is its own.
func (s *Streams) Take(ctx context.Context, source string, class event.Class, n int, r Rate) (Grant, error) {
	panic("not built")
}

// --- notes -------------------------------------------------------------------

// Note is something to be put on record that needs no answer.
type Note struct {
	// ID is set by DrainNotes.
	ID      string
	At      time.Time
	Source  string
	Kind    string
	EventID string
	Reason  string
	Count   int64
}

// AddNotes appends notes, shared with Append's pipelines. The notes' stream is
// trimmed to about 1,000,000.
func (s *Streams) AddNotes(ctx context.Context, notes []Note) error { panic("not built") }

// Notes returns up to n notes, oldest first; DropNotes removes them once they
// are on record.
func (s *Streams) Notes(ctx context.Context, n int) ([]Note, error) { panic("not built") }

// DropNotes removes notes.
func (s *Streams) DropNotes(ctx context.Context, ids []string) error { panic("not built") }

// --- looking -----------------------------------------------------------------

// ShardState is one shard as it stands.
type ShardState struct {
	Shard int
	// Owner and Epoch are of the lease; Owner "" if nobody has it.
	Owner string
	Epoch int64
	// Sources by name.
	Sources map[string]ShardSource
}

// ShardSource is one source's share of a shard.
type ShardSource struct {
	// Live and Background count entries, delivered or not; Parked counts
	// parked entities.
	Live, Background, Parked int64
	// Oldest is the age of the oldest live entry, 0 if none.
	Oldest time.Duration
}

// Fleet returns all shards and live workers, in a few round trips.
func (s *Streams) Fleet(ctx context.Context, sources []string) (shards []ShardState, workers []string, err error) {
	panic("not built")
}
