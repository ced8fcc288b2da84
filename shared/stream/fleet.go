package stream

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tarn-sync/tarn/shared/event"
)

// ShardState is the current state of one shard.
type ShardState struct {
	Shard int
	// Owner and Epoch are of the lease; Owner "" if no worker has it.
	Owner string
	Epoch int64
	// Sources by name, without those that have a wrong key.
	Sources map[string]ShardSource
	// Wrong are keys of the shard that hold another type than the fleet writes.
	Wrong []string
}

// ShardSource is one source's share of a shard.
type ShardSource struct {
	// Live and Background count entries, delivered or not. Live includes those of
	// spilled entities; Parked counts the other parked entities. In a shard with
	// more than 200 parked entities the first 200 give an estimate of the share of
	// each.
	Live, Background, Parked int64
	// Scheduled are the background entries that are held back until a later time
	// on purpose. Only a shard's first 200 are looked at: any more of them look like
	// a backlog.
	Scheduled int64
	// Oldest and OldestBackground are the ages of the oldest live and
	// background entry, 0 if none.
	Oldest, OldestBackground time.Duration
	// Unmoved is for how long this process has seen the same live entry as the
	// oldest, 0 if there is none.
	Unmoved time.Duration
}

// spilledLooked is how many parked entities of a shard are looked at for spilled ones,
// and how many background entries for scheduled ones. Each takes three commands, and
// Redis does nothing else meanwhile.
const spilledLooked = 200

// Fleet returns all shards and live workers, in a few round trips.
func (s *Streams) Fleet(ctx context.Context, sources []string) (shards []ShardState, workers []string, err error) {
	if shards, err = s.states(ctx, sources, spilledLooked); err != nil {
		return nil, nil, err
	}
	workers, err = s.live(ctx)
	return shards, workers, err
}

// quietAtOnce is how many keys one call of Quiet looks at: Redis does nothing else
// meanwhile.
const quietAtOnce = 600

// Quiet reports whether no entries wait and no entities are parked, in any shard. It
// costs much less than Fleet where that is so: on a single Redis one call looks at
// many shards.
func (s *Streams) Quiet(ctx context.Context, sources []string) (bool, error) {
	_, apart := s.client.(*redis.ClusterClient) // shards lie on different nodes
	var keys []string
	for shard := range s.opts.Shards {
		for _, source := range sources {
			keys = append(keys,
				s.keys.stream(shard, source, event.TierLive),
				s.keys.stream(shard, source, event.TierBackground),
				s.keys.due(shard, source))
		}
		if len(keys) == 0 || !apart && len(keys) < quietAtOnce && shard < s.opts.Shards-1 {
			continue
		}
		v, err := run(ctx, s.client, quietScript, "look whether anything waits", keys)
		if err != nil || asInt(v) == 0 {
			return false, err
		}
		keys = keys[:0]
	}
	return true, nil
}

// Totals returns each source's share of all shards; the ages, and Unmoved, are the
// greatest of any shard.
func Totals(shards []ShardState, sources []string) map[string]ShardSource {
	totals := make(map[string]ShardSource, len(sources))
	for _, name := range sources {
		var t ShardSource
		for _, s := range shards {
			q := s.Sources[name]
			t.Live, t.Parked = t.Live+q.Live, t.Parked+q.Parked
			t.Background, t.Scheduled = t.Background+q.Background, t.Scheduled+q.Scheduled
			t.Oldest, t.OldestBackground = max(t.Oldest, q.Oldest), max(t.OldestBackground, q.OldestBackground)
			t.Unmoved = max(t.Unmoved, q.Unmoved)
		}
		totals[name] = t
	}
	return totals
}

// InStreams returns a source's share of each shard, by shard, as its streams
// alone have it. Spilled entries have been read and logged, and do not count.
func (s *Streams) InStreams(ctx context.Context, source string) ([]ShardSource, error) {
	states, err := s.states(ctx, []string{source}, 0)
	shares := make([]ShardSource, len(states))
	for i, st := range states {
		shares[i] = st.Sources[source]
	}
	return shares, err
}

func (s *Streams) states(ctx context.Context, sources []string, spilled int) ([]ShardState, error) {
	replies, err := s.look(ctx, sources, spilled)
	if len(unknownScript(replies)) > 0 { // looking changes nothing: load it and look again
		if err := fleetScript.Load(ctx, s.client).Err(); err != nil {
			return nil, fmt.Errorf("load the fleet script into redis: %w", err)
		}
		if replies, err = s.look(ctx, sources, spilled); len(unknownScript(replies)) > 0 {
			s.writes.retire()
		}
	}
	if err != nil && !wrongType(err) {
		return nil, fmt.Errorf("look at the shards: %w", err)
	}
	shards := make([]ShardState, len(replies))
	for shard, reply := range replies {
		if err := reply.Err(); wrongType(err) {
			if shards[shard], err = s.lookApart(ctx, shard, sources, spilled, err); err != nil {
				return nil, err
			}
			continue
		} else if err != nil {
			return nil, fmt.Errorf("look at shard %d: %w", shard, err)
		}
		shards[shard] = s.shardState(shard, sources, spilled, asList(reply.Val()))
	}
	return shards, nil
}

func (s *Streams) look(ctx context.Context, sources []string, spilled int) ([]*redis.Cmd, error) {
	pipe := s.client.Pipeline()
	replies := make([]*redis.Cmd, s.opts.Shards)
	for shard := range replies {
		replies[shard] = s.lookAt(ctx, pipe, shard, sources, spilled)
	}
	_, err := pipe.Exec(ctx)
	return replies, err
}

// lookAt looks at one shard.
func (s *Streams) lookAt(ctx context.Context, c redis.Scripter, shard int, sources []string, spilled int) *redis.Cmd {
	keys := []string{s.keys.lease(shard)}
	for _, source := range sources {
		keys = append(keys,
			s.keys.stream(shard, source, event.TierLive),
			s.keys.stream(shard, source, event.TierBackground),
			s.keys.due(shard, source))
	}
	return c.EvalSha(ctx, fleetScript.Hash(), keys, s.keys.parkedPrefix(shard), s.keys.recordPrefix(shard), spilled)
}

func (s *Streams) shardState(shard int, sources []string, spilled int, reply []any) ShardState {
	st := ShardState{Shard: shard, Owner: asText(reply[0]), Epoch: asInt(reply[1]), Sources: map[string]ShardSource{}}
	clock := asInt(reply[2])
	for i, source := range sources {
		part := reply[3+6*i:]
		age := func(tier event.Tier, id any) (age, unmoved time.Duration) {
			return s.ages.of(sighting{s.keys.stream(shard, source, tier), spilled > 0}, asText(id), clock, s.opts.Now())
		}
		share := ShardSource{Live: asInt(part[0]), Background: asInt(part[1]), Parked: asInt(part[2]), Scheduled: asInt(part[5])}
		share.Oldest, share.Unmoved = age(event.TierLive, part[3])
		share.OldestBackground, _ = age(event.TierBackground, part[4])
		st.Sources[source] = share
	}
	return st
}

// kindsLooked is how many parked entities of a shard ParkedKinds looks at.
const kindsLooked = 1000

// ParkedKinds counts a source's parked entities by kind: of each shard those due
// first, at most 1,000.
func (s *Streams) ParkedKinds(ctx context.Context, source string) (map[string]int, error) {
	pipe := s.client.Pipeline()
	var found []*redis.StringSliceCmd
	for shard := range s.opts.Shards {
		found = append(found, pipe.ZRange(ctx, s.keys.due(shard, source), 0, kindsLooked-1))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("look at what is parked of %s: %w", source, err)
	}
	kinds := map[string]int{}
	for _, f := range found {
		for _, entity := range f.Val() {
			if k, err := event.ParseKey(entity); err == nil {
				kinds[k.Kind]++
			}
		}
	}
	return kinds, nil
}

// ages remembers how old the oldest entries were when they were first seen.
// Their ids have the time of Redis' clock, so a clock that was set back makes
// them younger, or not yet born; what was seen before goes on growing old.
type ages struct {
	mu   sync.Mutex
	seen map[sighting]seen
}

// sighting is what of a shard's entries was looked at.
type sighting struct {
	stream  string
	spilled bool // spilled entities were looked at too
}

type seen struct {
	id  string
	age time.Duration
	at  time.Time // by our own clock
}

// of returns the age of the entry with an id, "" for none, at clock, Redis' time
// in ms, and for how long it has been seen. What is there is never of age 0.
func (a *ages) of(what sighting, id string, clock int64, now time.Time) (age, seenFor time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if id == "" {
		delete(a.seen, what)
		return 0, 0
	}
	ms, _, _ := strings.Cut(id, "-")
	age = max(time.Millisecond, time.Duration(clock-asInt(ms))*time.Millisecond)
	before, known := a.seen[what]
	if known && before.id == id {
		seenFor = now.Sub(before.at)
		return max(age, before.age+seenFor), seenFor
	}
	if a.seen == nil {
		a.seen = map[sighting]seen{}
	}
	a.seen[what] = seen{id, age, now}
	return age, 0
}

// live returns the workers whose heartbeat still counts, by Redis' clock.
func (s *Streams) live(ctx context.Context) ([]string, error) {
	c := s.heartbeatCall("read the live workers", "", "")
	v, err := run(ctx, s.client, c.script, c.doing, c.keys, c.args...)
	if err != nil {
		return nil, err
	}
	_, live := heartbeatReply(v)
	return live, nil
}

// Peek shows up to n entries of a stream from its head, delivered or not, and
// changes nothing. It is for operators and tests.
func (s *Streams) Peek(ctx context.Context, shard int, source string, tier event.Tier, n int) ([]event.Entry, error) {
	found, err := s.client.XRangeN(ctx, s.keys.stream(shard, source, tier), "-", "+", int64(n)).Result()
	if err != nil {
		return nil, fmt.Errorf("look at what waits in shard %d: %w", shard, err)
	}
	entries := make([]event.Entry, len(found))
	for i, m := range found {
		fields := make(map[string]string, len(m.Values))
		for name, value := range m.Values {
			fields[name], _ = value.(string)
		}
		e := event.Entry{ID: m.ID, Tier: tier}
		if e.Signal, e.Err = event.ParseSignal(fields); e.Err != nil {
			e.Fields = fields
		}
		entries[i] = e
	}
	return entries, nil
}
