package simulation

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// redis is what the scripts of package stream make of Redis, for one source. Its
// methods are the scripts; each does what the script of its name does, a second
// run included.
type redis struct {
	w      *world
	shards []*redisShard
	// once and marks are until when further signals of one cause, and events with
	// one id, are not appended.
	once  map[onceKey]time.Duration
	marks map[string]time.Duration
	locks map[event.Key]held
	// losses counts the times that all was lost.
	losses int
	seq    int
}

// held is an entity's lock.
type held struct {
	by    *shard
	until time.Duration
}

// lock takes the lock of an entity, if it is free.
func (r *redis) lock(k event.Key, by *shard) bool {
	if l := r.locks[k]; l.by != nil && l.by != by && l.until > r.w.now {
		return false
	}
	r.locks[k] = held{by, r.w.now + leaseTTL}
	return true
}

func (r *redis) unlock(k event.Key, by *shard) {
	if r.locks[k].by == by {
		delete(r.locks, k)
	}
}

type onceKey struct {
	cause event.Cause
	key   event.Key
}

type redisShard struct {
	streams   [2]redisStream
	parked    map[event.Key]*parkedEntity
	leases    map[string]*lease
	epoch     int64
	recovered map[string]recoveredMark
	hints     []storage.Item
}

type recoveredMark struct {
	id    string
	until time.Duration
}

type lease struct {
	owner string
	epoch int64
	until time.Duration
	reads [2]int64
}

// redisStream holds entries in the order of their ids. Those before next are
// delivered.
type redisStream struct {
	entries []stored
	next    int
}

type stored struct {
	id     string
	at     time.Duration
	signal event.Signal
}

type parkedEntity struct {
	list          []parkedEntry
	attempt       int
	state         []byte
	spilled       bool
	due, earliest time.Duration
	epoch, step   int64
}

type parkedEntry struct {
	stored
	tier event.Tier
	base int
}

func newRedis(w *world) *redis {
	r := &redis{w: w}
	r.flush()
	return r
}

// flush loses everything.
func (r *redis) flush() {
	r.losses++
	r.once, r.marks, r.locks, r.shards = map[onceKey]time.Duration{}, map[string]time.Duration{}, map[event.Key]held{}, nil
	for range r.w.plan.Shards {
		r.shards = append(r.shards, &redisShard{
			parked: map[event.Key]*parkedEntity{}, leases: map[string]*lease{}, recovered: map[string]recoveredMark{},
		})
	}
}

func index(t event.Tier) int {
	if t == event.TierLive {
		return 0
	}
	return 1
}

// millisecond is the time of an id.
func (w *world) millisecond() int64 { return 1000 + w.now.Milliseconds() }

// appendedAt is when the entry with an id was appended, to a millisecond.
func appendedAt(id string) time.Duration {
	ms, _ := cutID(id)
	return time.Duration(ms-1000) * time.Millisecond
}

// cutID reads an id.
func cutID(id string) (ms, seq int64) {
	left, right, _ := strings.Cut(id, "-")
	ms, _ = strconv.ParseInt(left, 10, 64) // they are all made here
	seq, _ = strconv.ParseInt(right, 10, 64)
	return ms, seq
}

func compareIDs(a, b string) int {
	am, as := cutID(a)
	bm, bs := cutID(b)
	return cmp.Or(cmp.Compare(am, bm), cmp.Compare(as, bs))
}

func (r *redis) add(sig event.Signal) string {
	r.seq++ // over all streams, so that no two ids are the same
	id := strconv.FormatInt(r.w.millisecond(), 10) + "-" + strconv.Itoa(r.seq)
	n := r.w.shardOf(sig.Ref.Key)
	s := &r.shards[n].streams[index(sig.Class.Tier())]
	s.entries = append(s.entries, stored{id, r.w.now, sig})
	r.w.appended(n)
	return id
}

// append is append.lua: once keeps others like it out for a time.
func (r *redis) append(sig event.Signal, once time.Duration) {
	switch {
	case sig.Body != nil:
		if r.marks[sig.CauseID] > r.w.now {
			return
		}
		r.marks[sig.CauseID] = r.w.now + time.Hour
	case once > 0:
		k := onceKey{sig.Cause, sig.Ref.Key}
		if r.once[k] > r.w.now {
			return
		}
		r.once[k] = r.w.now + once
	}
	r.add(sig)
}

// recover is recover.lua, with the look through the stream. It returns the id of
// the entry that stands for the work, "" if its entity is parked.
func (r *redis) recover(sig event.Signal, known string) (id string) {
	s := r.shards[r.w.shardOf(sig.Ref.Key)]
	if s.parked[sig.Ref.Key] != nil {
		return ""
	}
	name := sig.CauseID + " " + sig.Ref.Key.String()
	if m := s.recovered[name]; m.until > r.w.now {
		return m.id
	}
	for _, e := range s.streams[0].entries {
		if e.id == known || known == "" && e.signal.CauseID == sig.CauseID && e.signal.Ref.Key == sig.Ref.Key {
			return e.id
		}
	}
	id = r.add(sig)
	s.recovered[name] = recoveredMark{id, r.w.now + 20*time.Second}
	r.w.say("recover appends event %s of %v as %s", sig.CauseID, sig.Ref.Key, id)
	return id
}

// holder names the lease in Redis that a worker has of a shard.
func (r *redis) holder(worker string) string {
	if r.w.plan.Off == Leases {
		return worker // each has one
	}
	return ""
}

func (r *redis) lease(n int, worker string) *lease {
	l := r.shards[n].leases[r.holder(worker)]
	if l == nil || l.until <= r.w.now {
		return nil
	}
	return l
}

// fenced reports whether a lease is not held by the caller.
func (r *redis) fenced(h hold) bool {
	l := r.lease(h.shard, h.worker)
	return l == nil || l.owner != h.worker || l.epoch != h.epoch
}

// hold is a lease as its holder knows it.
type hold struct {
	shard  int
	worker string
	epoch  int64
}

func (r *redis) acquire(n int, worker string) (hold, bool) {
	s := r.shards[n]
	if l := r.lease(n, worker); l != nil && l.owner != worker {
		return hold{}, false
	}
	s.epoch = max(s.epoch+1, r.w.millisecond())
	s.leases[r.holder(worker)] = &lease{owner: worker, epoch: s.epoch, until: r.w.now + leaseTTL}
	return hold{n, worker, s.epoch}, true
}

func (r *redis) renew(h hold) (nothing, error) {
	if r.fenced(h) {
		return nothing{}, errFenced
	}
	r.lease(h.shard, h.worker).until = r.w.now + leaseTTL
	return nothing{}, nil
}

func (r *redis) release(h hold) {
	if !r.fenced(h) {
		delete(r.shards[h.shard].leases, r.holder(h.worker))
	}
}

func (s *redisShard) entry(e stored, t event.Tier) event.Entry {
	return event.Entry{ID: e.id, Tier: t, Signal: e.signal, Parked: s.parked[e.signal.Ref.Key] != nil}
}

// read is read.lua. False: out of step.
func (r *redis) read(h hold, t event.Tier, seq, next int64, most int) (out []event.Entry, inStep bool, err error) {
	if r.fenced(h) {
		return nil, false, errFenced
	}
	s, l := r.shards[h.shard], r.lease(h.shard, h.worker)
	if l.reads[index(t)] != seq {
		return nil, false, nil
	}
	x := &s.streams[index(t)]
	for x.next < len(x.entries) && len(out) < most {
		out = append(out, s.entry(x.entries[x.next], t))
		x.next++
	}
	if len(out) > 0 {
		l.reads[index(t)] = next
	}
	return out, true, nil
}

// takeOver is takeover.lua: a page of what was delivered, behind an id.
func (r *redis) takeOver(h hold, t event.Tier, next int64, behind string, most int) (out []event.Entry, last bool, err error) {
	if r.fenced(h) {
		return nil, false, errFenced
	}
	s := r.shards[h.shard]
	x := &s.streams[index(t)]
	for _, e := range x.entries[:x.next] {
		if behind != "" && compareIDs(behind, e.id) >= 0 {
			continue
		}
		if len(out) == most {
			return out, false, nil
		}
		out = append(out, s.entry(e, t))
	}
	l := r.lease(h.shard, h.worker)
	l.reads[index(t)] = max(l.reads[index(t)], next)
	return out, true, nil
}

// take removes a delivered entry. False: it is not there.
func (s *redisShard) take(t event.Tier, id string) (stored, bool) {
	x := &s.streams[index(t)]
	i, ok := slices.BinarySearchFunc(x.entries[:x.next], id, func(e stored, id string) int { return compareIDs(e.id, id) })
	if !ok {
		return stored{}, false
	}
	e := x.entries[i]
	x.entries = slices.Delete(x.entries, i, i+1)
	x.next--
	return e, true
}

func (r *redis) ack(h hold, entries []event.Entry, hints []storage.Item) (nothing, error) {
	if r.fenced(h) {
		return nothing{}, errFenced
	}
	r.hint(h, hints)
	for _, e := range entries {
		if was, ok := r.shards[h.shard].take(e.Tier, e.ID); ok {
			r.w.leaves(was)
		}
	}
	return nothing{}, nil
}

// hint is hint.lua: what the feed may lack.
func (r *redis) hint(h hold, hints []storage.Item) {
	s := r.shards[h.shard]
	for _, i := range hints {
		if !slices.Contains(s.hints, i) {
			s.hints = append(s.hints, i)
		}
	}
}

// parking is what park.lua is given.
type parking struct {
	key             event.Key
	step            int64
	attempt         int
	delay, earliest time.Duration
	state           []byte
	spilled         bool
	entries         []event.Entry
	charged         int // how many of them the attempt was for
}

func (r *redis) park(h hold, p parking) (nothing, error) {
	if r.fenced(h) {
		return nothing{}, errFenced
	}
	s := r.shards[h.shard]
	at := s.parked[p.key]
	if at == nil {
		at = &parkedEntity{}
	}
	moved := 0
	for i, e := range p.entries {
		was, ok := s.take(e.Tier, e.ID)
		if !ok {
			continue
		}
		base := p.attempt
		if i < p.charged {
			base--
		}
		was.signal.Body = was.signal.Body.Logged()
		at.list = append(at.list, parkedEntry{was, e.Tier, max(base, 0)})
		moved++
	}
	if len(at.list) == 0 || moved == 0 && at.late(h, p.step) {
		return nothing{}, nil
	}
	s.parked[p.key] = at
	at.attempt, at.state, at.spilled, at.epoch, at.step = p.attempt, p.state, p.spilled, h.epoch, p.step
	at.due, at.earliest = r.w.now+p.delay, r.w.now+min(p.earliest, p.delay)
	r.w.appended(h.shard)
	return nothing{}, nil
}

func (p *parkedEntity) late(h hold, step int64) bool { return p.epoch == h.epoch && step <= p.step }

// parkBehind is parkbehind.lua. It returns those whose entity is not parked.
func (r *redis) parkBehind(h hold, entries []event.Entry) (left []event.Entry, err error) {
	if r.fenced(h) {
		return nil, errFenced
	}
	s := r.shards[h.shard]
	for _, e := range entries {
		at := s.parked[e.Signal.Ref.Key]
		if at == nil {
			left = append(left, e)
			continue
		}
		was, ok := s.take(e.Tier, e.ID)
		if !ok {
			continue
		}
		was.signal.Body = was.signal.Body.Logged()
		at.list = append(at.list, parkedEntry{was, e.Tier, at.attempt})
		if e.Tier == event.TierLive {
			at.due = min(at.due, at.earliest)
		}
	}
	return left, nil
}

func (r *redis) due(h hold, most int) (keys []event.Key, next time.Duration, err error) {
	if r.fenced(h) {
		return nil, 0, errFenced
	}
	s := r.shards[h.shard]
	next = time.Hour
	for k, p := range s.parked {
		if p.due <= r.w.now {
			keys = append(keys, k)
		} else {
			next = min(next, p.due-r.w.now)
		}
	}
	slices.SortFunc(keys, func(a, b event.Key) int {
		return cmp.Or(cmp.Compare(s.parked[a].due, s.parked[b].due), compareKeys(a, b))
	})
	return keys[:min(most, len(keys))], next, nil
}

func (r *redis) deferRetry(h hold, k event.Key, step int64, delay time.Duration) (nothing, error) {
	if r.fenced(h) {
		return nothing{}, errFenced
	}
	if p := r.shards[h.shard].parked[k]; p != nil && !p.late(h, step) {
		p.due, p.earliest = r.w.now+delay, r.w.now+delay
		p.epoch, p.step = h.epoch, step
	}
	return nothing{}, nil
}

func (r *redis) rebase(h hold, k event.Key, step int64, from, base int) (nothing, error) {
	if r.fenced(h) {
		return nothing{}, errFenced
	}
	if p := r.shards[h.shard].parked[k]; p != nil && !p.late(h, step) {
		for i := from; i < len(p.list); i++ {
			p.list[i].base = base
		}
		p.epoch, p.step = h.epoch, step
	}
	return nothing{}, nil
}

// look is parked.lua.
func (r *redis) look(h hold, k event.Key, from, most int) (p parkedEntity, out []event.Entry, err error) {
	if r.fenced(h) {
		return p, nil, errFenced
	}
	at := r.shards[h.shard].parked[k]
	if at == nil {
		return p, nil, nil
	}
	for _, e := range at.list[min(from, len(at.list)):min(from+most, len(at.list))] {
		out = append(out, event.Entry{ID: e.id, Tier: e.tier, Signal: e.signal, Attempts: max(at.attempt-e.base, 0)})
	}
	return *at, out, nil
}

// unpark is unpark.lua; it returns how many are left.
func (r *redis) unpark(h hold, k event.Key, step int64, entries []event.Entry, hints []storage.Item) (left int, err error) {
	if r.fenced(h) {
		return 0, errFenced
	}
	r.hint(h, hints)
	p := r.shards[h.shard].parked[k]
	if p == nil {
		return 0, nil
	}
	if p.late(h, step) {
		return len(p.list), nil
	}
	for _, e := range entries {
		if len(p.list) > 0 && p.list[0].id == e.ID {
			r.w.leaves(p.list[0].stored)
			p.list = p.list[1:]
		}
	}
	if len(p.list) == 0 {
		delete(r.shards[h.shard].parked, k)
		return 0, nil
	}
	p.due, p.epoch, p.step = r.w.now, h.epoch, step
	return len(p.list), nil
}

// stands reports whether another entry stands for the same work: the provider has
// sent its event again.
func (r *redis) stands(e stored) bool {
	same := func(o stored) bool {
		return o.id != e.id && o.signal.CauseID == e.signal.CauseID && o.signal.Ref.Key == e.signal.Ref.Key
	}
	s := r.shards[r.w.shardOf(e.signal.Ref.Key)]
	p := s.parked[e.signal.Ref.Key]
	return slices.ContainsFunc(s.streams[0].entries, same) ||
		p != nil && slices.ContainsFunc(p.list, func(o parkedEntry) bool { return same(o.stored) })
}

// left counts what waits.
func (r *redis) left() (n int) {
	for _, s := range r.shards {
		for _, x := range s.streams {
			n += len(x.entries)
		}
		for _, p := range s.parked {
			n += len(p.list)
		}
	}
	return n
}

func compareKeys(a, b event.Key) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
}
