package simulation

import (
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/worker/entity"
)

// shard is one shard that a worker holds.
type shard struct {
	life
	k      *worker
	hold   hold
	sent   time.Duration // when the last confirmed renewal was
	number int64         // of the last command
	reads  [2]int64      // number of the last read of each stream
	entity *entity.Shard
	runs   map[entity.Number]*run

	inFlight map[string]bool
	spilled  []entity.Park
	delayed  []delayed
	closing  bool
	handed   bool

	uncertain [2]bool
	dueAt     time.Duration
	entered   bool
	gate      *proc // waits for the gate
	idle      func()
	acks      []acking
	acking    bool
}

// acking are entries to be acked, and what the feed lacks of their entities. sync is
// that of an entity.Ack, 0 for others.
type acking struct {
	sync  entity.Number
	batch []event.Entry
	hints []storage.Item
}

type delayed struct {
	event.Entry
	until time.Duration
}

// run is one sync.
type run struct {
	s      *shard
	number entity.Number
	freed  bool
	locked bool
	claim  int64
	key    event.Key
	sent   time.Duration // when the last request to the provider was
}

var quiet = slog.New(slog.DiscardHandler)

func (k *worker) startShard(h hold, sent time.Duration) {
	w := k.w
	s := &shard{
		life: life{w: w, of: &k.life}, k: k, hold: h, sent: sent, runs: map[entity.Number]*run{}, inFlight: map[string]bool{},
		uncertain: [2]bool{true, true},
	}
	s.entity = entity.NewShard(entity.Config{
		Shard:      h.shard,
		Definition: func(string) *provider.Definition { return acme },
		Retry:      fate.Backoff{First: time.Second, Cap: 5 * time.Second, Attempts: w.plan.Attempts}.WithDefaults(),
		LagPauses:  []time.Duration{200 * time.Millisecond, time.Second, 2 * time.Second},
		Rewritten:  10 * time.Second, Page: w.plan.Page, Split: w.plan.Off == Lanes, Random: w.rng.Float64, Logger: quiet,
	})
	k.shards = append(k.shards, s)
	w.say("worker %d takes shard %d", k.number, h.shard)
	s.loop(s.intake)
	s.renew()
}

func (s *shard) renew() {
	s.after(leaseTTL/5, func() {
		sent := s.w.now
		call(&s.life, redisServer, func() (nothing, error) { return s.w.redis.renew(s.hold) }, func(_ nothing, err error) {
			switch {
			case err == nil:
				s.sent = max(s.sent, sent)
			case !s.lost(err):
				s.ours()
			}
		})
		s.renew()
	})
}

// next numbers a command.
func (s *shard) next() int64 { s.number++; return s.number }

// ours reports whether the lease is surely held still, and drops the shard if not.
func (s *shard) ours() bool {
	if s.w.now-s.sent < leaseTTL*8/10 {
		return true
	}
	s.drop("its lease may have run out")
	return false
}

func (s *shard) lost(err error) bool {
	if errors.Is(err, errFenced) {
		s.drop("another has it")
		return true
	}
	return false
}

// drop forgets everything.
func (s *shard) drop(why string) {
	if s.dead {
		return
	}
	s.w.say("worker %d drops shard %d: %s", s.k.number, s.hold.shard, why)
	s.dead = true
	k := s.k
	k.shards = slices.DeleteFunc(k.shards, func(o *shard) bool { return o == s })
	k.ready = slices.DeleteFunc(k.ready, func(l readyLane) bool { return l.s == s })
	k.inFlight -= len(s.inFlight)
	for _, r := range s.runs {
		if !r.freed {
			k.used--
		}
		if r.locked {
			s.w.redis.unlock(r.key, s)
		}
	}
	k.kick()
}

func (s *shard) beginHandover() {
	if s.closing {
		return
	}
	s.closing = true
	s.w.say("worker %d hands shard %d over", s.k.number, s.hold.shard)
	s.input(entity.Close{})
	s.after(grace, s.handover)
}

func (s *shard) handover() {
	if s.handed {
		return
	}
	s.handed = true
	keys := s.entity.Unbegun()
	slices.SortFunc(keys, compareKeys)
	hold, k := s.hold, s.k
	numbers := make([]int64, len(keys))
	for i := range keys {
		numbers[i] = s.next()
	}
	call(&s.life, redisServer, func() (nothing, error) {
		for i, key := range keys {
			_, _ = s.w.redis.deferRetry(hold, key, numbers[i], 0)
		}
		return nothing{}, nil
	}, func(nothing, error) {
		s.drop("it is handed over")
		call(&k.life, redisServer, answerless(func() { s.w.redis.release(hold) }), func(nothing, error) {})
	})
}

// input gives the machine an input and begins what it wants done.
func (s *shard) input(in entity.Input) {
	if !s.alive() {
		return
	}
	for _, e := range s.entity.Step(s.k.clock(), in) {
		s.see(e)
	}
}

func (s *shard) see(e entity.Effect) {
	k := s.k
	switch e := e.(type) {
	case entity.Ready:
		k.push(s, e)
	case entity.Begun:
		s.runs[e.Sync] = &run{s: s, number: e.Sync, key: e.Lane.Key}
		k.used++
	case entity.Free:
		s.runs[e.Sync].freed = true
		k.used--
		k.kick()
	case entity.End:
		delete(s.runs, e.Sync)
	case entity.Settle:
		if s.w.plan.Off == SettleOrder {
			s.after(0, func() { s.input(entity.Settled{Sync: e.Sync}) })
		}
		k.settler.add(settlement{s, e})
	case entity.Ack:
		s.ack(acking{e.Sync, e.Batch, hintOf(e.Batch[0].Signal.Ref.Key, e.Owed)})
	case entity.Rest:
		s.after(e.After, func() { s.input(entity.Woke{Lane: e.Lane}) })
	case entity.Lag:
		s.w.say("worker %d: a read of %v lags", k.number, e.Key)
	case entity.Charge:
		s.w.say("worker %d: an attempt of %v is charged", k.number, e.Key)
	case entity.Entered:
		if p := s.gate; p != nil {
			s.gate = nil
			s.after(0, p.resume)
		} else {
			s.entered = true
		}
	case entity.Quiet:
		s.after(0, s.handover)
	case entity.Park:
		if e.Sync == 0 {
			k.unready(s, e.Lane)
			s.spilled = append(s.spilled, e)
			return
		}
		s.runs[e.Sync].do(e)
	case entity.Task:
		s.runs[e.For()].do(e)
	}
}

// done gives the machine the result of what a sync waits for.
func (r *run) done(result entity.Result) {
	if err := result.Err; err != nil && (r.s.lost(err) || !r.s.ours()) {
		return
	}
	r.s.input(entity.Done{Sync: r.number, Result: result})
}

// soon gives a result after a moment.
func (r *run) soon(result entity.Result) {
	r.s.after(r.s.w.between(0, 500*time.Microsecond), func() { r.done(result) })
}

// failed is what a call failed with.
func failed(err error) entity.Result { return entity.Result{Err: err} }

// do does what the machine wants done for a sync.
func (r *run) do(e entity.Effect) {
	s, w := r.s, r.s.w
	switch e := e.(type) {
	case entity.Load:
		r.load(e, 0, entity.Result{})
	case entity.Lock:
		r.lock(w.now + leaseTTL)
	case entity.Unlock:
		r.locked = false
		call(&s.life, redisServer, answerless(func() { w.redis.unlock(r.key, s) }), func(nothing, error) { r.done(entity.Result{}) })
	case entity.Claim:
		r.takeClaim(e)
	case entity.Fetch:
		r.fetch(e)
	case entity.Report:
		r.soon(entity.Result{})
	case entity.Consult:
		result := entity.Result{Yes: errors.Is(e.Err, errOutage)}
		if e.Question == fate.Believable {
			result = entity.Result{Yes: w.calm || w.chance(2), After: 100 * time.Millisecond}
		}
		s.after(w.latency(), func() { r.done(result) })
	case entity.Time:
		call(&s.life, redisServer, func() (time.Time, error) { return w.wall(), nil }, func(now time.Time, err error) {
			r.done(entity.Result{Now: now, Err: err})
		})
	case entity.Record:
		call(&s.life, storeServer, answerless(func() {}), func(_ nothing, err error) { r.done(failed(err)) })
	case entity.Write:
		r.write(e.Write)
	case entity.LookAgain:
		w.say("worker %d: %v is to be looked at again in %v", s.k.number, e.Ref.Key, e.After)
		sig := event.Signal{Ref: e.Ref, Cause: event.CauseVerify, CauseID: e.CauseID, Class: event.Reconcile, NotBefore: s.k.clock().Add(e.After)}
		insist(&s.life, redisServer, answerless(func() { w.redis.append(sig, 10*e.After+time.Minute) }), func(_ nothing, err error) { r.done(failed(err)) })
	case entity.Page:
		call(&s.life, redisServer, func() ([]event.Entry, error) {
			_, entries, err := w.redis.look(s.hold, e.Key, e.From, e.Most)
			return entries, err
		}, func(entries []event.Entry, err error) { r.done(entity.Result{Entries: entries, Err: err}) })
	case entity.Unpark:
		r.unpark(e)
	case entity.Count:
		if len(e.Failures) == 0 {
			r.soon(entity.Result{})
			return
		}
		insist(&s.life, storeServer, answerless(func() { w.store.count(e.Failures) }), func(_ nothing, err error) { r.done(failed(err)) })
	case entity.Bury:
		if slices.ContainsFunc(e.Batch, func(x event.Entry) bool { return x.Signal.Cause != event.CauseEvent }) {
			w.provider.of(r.key).givenUp = true
		}
		insist(&s.life, storeServer, answerless(func() { w.store.bury(e.Letters) }), func(nothing, error) {
			call(&s.life, redisServer, answerless(func() {
				for _, l := range e.Letters {
					delete(w.redis.marks, l.EventID)
				}
			}), func(nothing, error) { r.done(entity.Result{}) })
		})
	case entity.Park:
		w.say("worker %d parks %v for %v, attempt %d: %d charged, %d waiting: %v", s.k.number, r.key, e.Delay, e.Attempt, len(e.Charged), len(e.Waiting), e.Cause)
		state, err := json.Marshal(e.State)
		if err != nil {
			panic(err)
		}
		entries := slices.Concat(e.Charged, e.Waiting)
		s.park(parking{key: r.key, attempt: e.Attempt, delay: e.Delay, earliest: e.Earliest, state: state, entries: entries, charged: len(e.Charged)}, e.Tried, func() {
			s.letGo(entries)
			r.done(entity.Result{})
		})
	}
}

// load reads what is parked, page by page.
func (r *run) load(e entity.Load, seen int, out entity.Result) {
	s, w := r.s, r.s.w
	most := w.plan.Page
	if seen > 0 {
		most = min(most, out.Parked.Len-seen)
	}
	type page struct {
		p       parkedEntity
		entries []event.Entry
	}
	call(&s.life, redisServer, func() (page, error) {
		p, entries, err := w.redis.look(s.hold, e.Key, seen, most)
		if err == nil {
			p.list = slices.Clone(p.list)
		}
		return page{p, entries}, err
	}, func(x page, err error) {
		if err != nil {
			r.done(failed(err))
			return
		}
		if seen == 0 {
			out.Parked = entity.Parked{Len: len(x.p.list), Attempt: x.p.attempt, Failed: !x.p.spilled}
			if len(x.p.state) > 0 {
				if err := json.Unmarshal(x.p.state, &out.Parked.State); err != nil {
					panic(err)
				}
			}
		}
		n := out.Batch.Add(e.Kind, x.entries)
		if seen == 0 {
			out.Entries = x.entries[:n]
		}
		seen += n
		if n < len(x.entries) || seen >= out.Parked.Len || len(x.entries) == 0 {
			out.Parked.Len = min(out.Parked.Len, seen)
			w.say("worker %d: a retry of %v with %d entries", s.k.number, e.Key, out.Parked.Len)
			r.done(out)
			return
		}
		r.load(e, seen, out)
	})
}

// lock waits for the entity's lock no longer than it lasts.
func (r *run) lock(until time.Duration) {
	s, w := r.s, r.s.w
	call(&s.life, redisServer, func() (bool, error) { return w.redis.lock(r.key, s), nil }, func(ok bool, err error) {
		switch {
		case ok:
			r.locked = true
			r.done(entity.Result{})
		case err != nil || w.now >= until:
			r.done(entity.Result{})
		default:
			s.after(20*time.Millisecond, func() { r.lock(until) })
		}
	})
}

func (r *run) takeClaim(e entity.Claim) {
	s, w := r.s, r.s.w
	claim := func() {
		call(&s.life, storeServer, func() (*storage.Document, error) { return w.store.claim(e.Ref) }, func(d *storage.Document, err error) {
			if err == nil {
				r.claim = d.Claim
				w.say("worker %d: claim %d of %v for %s", s.k.number, d.Claim, r.key, ids(e.Batch))
			}
			r.done(entity.Result{Document: d, Err: err})
		})
	}
	if len(e.Forget) == 0 {
		claim()
		return
	}
	call(&s.life, redisServer, answerless(func() {
		for _, c := range e.Forget {
			delete(w.redis.once, onceKey{c, e.Ref.Key})
		}
	}), func(_ nothing, err error) {
		if err != nil {
			r.done(failed(err))
			return
		}
		claim()
	})
}

func (r *run) fetch(e entity.Fetch) {
	s, w := r.s, r.s.w
	if e.Further && w.happening("paused") {
		r.soon(failed(fate.ErrPaused))
		return
	}
	w.asks(r.key, r.claim)
	r.sent = w.now
	sentAt := s.k.clock()
	back := w.latency()
	if w.happening("provider slow") {
		back += w.between(0, 3*time.Second)
	}
	w.after(w.latency(), func() {
		snap, err := w.provider.fetch(e.Ref, sentAt)
		s.after(back, func() {
			class, _ := fate.Of(err)
			if err != nil && class != fate.Gone && !errors.Is(err, errOutage) {
				d := w.store.doc(r.key)
				d.failed = append(d.failed, r.claim)
			}
			switch {
			case err != nil:
				w.say("worker %d: claim %d of %v is answered %v", s.k.number, r.claim, r.key, err)
			case w.verbose:
				w.say("worker %d: claim %d of %v is answered version %d", s.k.number, r.claim, r.key, w.provider.version(snap.Raw))
			}
			r.done(entity.Result{Snapshot: snap, Err: err})
		})
	})
}

func (r *run) write(x *storage.Write) {
	s, w := r.s, r.s.w
	sent := r.sent
	call(&s.life, storeServer, func() (storage.Written, error) { return w.store.write(x, sent) }, func(done storage.Written, err error) {
		switch {
		case err != nil:
			r.done(failed(err))
		case !done.Applied:
			w.say("worker %d: claim %d of %v is overtaken", s.k.number, x.Claim, r.key)
			r.done(failed(fate.ErrOvertaken))
		case done.OpenLetters:
			call(&s.life, storeServer, answerless(func() { w.store.supersede(r.key, x.Claim) }), func(_ nothing, err error) { r.done(failed(err)) })
		default:
			r.done(entity.Result{})
		}
	})
}

func (r *run) unpark(e entity.Unpark) {
	s := r.s
	number := s.next()
	call(&s.life, redisServer, func() (int, error) { return s.w.redis.unpark(s.hold, e.Key, number, e.Batch, hintOf(e.Key, e.Owed)) }, func(left int, err error) {
		if errors.Is(err, errAway) {
			s.after(200*time.Millisecond, func() { r.unpark(e) })
			return
		}
		r.done(entity.Result{Left: left, Err: err})
	})
}

// park moves entries page by page, and all again until Redis has it.
func (s *shard) park(p parking, tried int, then func()) {
	w := s.w
	again := func(err error) {
		if !s.lost(err) {
			s.after(200*time.Millisecond, func() { s.park(p, tried, then) })
		}
	}
	var page func(at int)
	page = func(at int) {
		one := p
		end := min(at+w.plan.Page, len(p.entries))
		one.entries, one.charged, one.step = p.entries[at:end], p.charged-at, s.next()
		call(&s.life, redisServer, func() (nothing, error) { return w.redis.park(s.hold, one) }, func(_ nothing, err error) {
			switch {
			case err != nil:
				again(err)
			case end < len(p.entries):
				page(end)
			default:
				then()
			}
		})
	}
	if tried == 0 {
		page(0)
		return
	}
	number := s.next()
	call(&s.life, redisServer, func() (nothing, error) { return w.redis.rebase(s.hold, p.key, number, tried, p.attempt) }, func(_ nothing, err error) {
		if err != nil {
			again(err)
			return
		}
		page(0)
	})
}

// ack removes what is settled, much at a time.
func (s *shard) ack(a acking) {
	s.acks = append(s.acks, a)
	if !s.acking {
		s.acking = true
		s.after(0, s.flushAcks)
	}
}

func (s *shard) flushAcks() {
	batch := s.acks
	s.acks = nil
	var entries []event.Entry
	var hints, late []storage.Item
	for _, a := range batch {
		entries, hints = append(entries, a.batch...), append(hints, a.hints...)
	}
	if s.w.plan.Off == FeedHints {
		hints, late = nil, hints
	}
	insist(&s.life, redisServer, func() (nothing, error) { return s.w.redis.ack(s.hold, entries, hints) }, func(_ nothing, err error) {
		if s.lost(err) {
			return
		}
		if len(late) > 0 {
			insist(&s.life, redisServer, func() (nothing, error) { return s.w.redis.ack(s.hold, nil, late) }, func(nothing, error) {})
		}
		s.letGo(entries)
		for _, a := range batch {
			if a.sync != 0 {
				s.input(entity.Acked{Sync: a.sync})
			}
		}
		if s.acking = len(s.acks) > 0; s.acking {
			s.flushAcks()
		}
	})
}

// hintOf is the hint of a version, none of 0.
func hintOf(k event.Key, version int64) []storage.Item {
	if version == 0 {
		return nil
	}
	return []storage.Item{{Key: k, Version: version}}
}

// letGo takes entries out of hand.
func (s *shard) letGo(entries []event.Entry) {
	for _, e := range entries {
		if s.inFlight[e.ID] {
			delete(s.inFlight, e.ID)
			s.k.inFlight--
		}
	}
	s.nudge()
}

// nudge makes an idle reader look again.
func (s *shard) nudge() {
	if s.idle != nil {
		s.after(0, s.idle)
	}
}

// ids are those of entries, for the transcript.
func ids(entries []event.Entry) string {
	var out string
	for i, e := range entries {
		if i > 0 {
			out += " "
		}
		out += e.Signal.CauseID + "@" + e.ID
	}
	return out
}
