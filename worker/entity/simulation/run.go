package simulation

import (
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Outcome is what came of a run.
type Outcome struct {
	// Broken is the first broken invariant, nil if none is.
	Broken *Violation
	// Settled is how many outcomes of events were settled.
	Settled int
	// Lines are the transcript, if it was asked for.
	Lines []string
}

// calmFor is how long a run may take to settle everything once nothing goes wrong
// any more.
const calmFor = 3 * time.Minute

// Run runs a plan. verbose: with a transcript.
func Run(p *Plan, verbose bool) Outcome {
	w := &world{plan: p, verbose: verbose}
	w.rng = newRandom(p.Seed)
	w.redis, w.store, w.provider = newRedis(w), newStore(w), newUpstream(w)
	w.outside.w = w
	w.feed = feed{w: w, told: map[event.Key]int64{}}
	w.after(50*time.Millisecond, w.feed.turn)
	w.workers = make([]*worker, p.Workers)
	defer func() {
		for _, stop := range w.stops {
			stop()
		}
	}()
	for i := range p.Workers {
		w.after(w.between(0, 100*time.Millisecond), func() { w.startWorker(i) })
	}
	var last time.Duration
	for _, d := range p.Deeds {
		w.undone++
		last = max(last, d.At)
		w.after(d.At, func() { w.undone--; w.provider.act(d) })
	}
	for _, o := range p.Operators {
		w.undone++
		last = max(last, o.At)
		w.after(o.At, func() { w.operates(o) })
	}
	for _, f := range p.Faults {
		last = max(last, f.At+f.For)
		w.after(f.At, func() { w.begin(f) })
	}
	w.after(time.Second, w.recover)
	w.after(last+time.Millisecond, w.calmDown)
	for len(w.todo) > 0 && w.broken == nil && !w.over {
		next := w.todo.pop()
		w.now = next.at
		next.f()
	}
	if w.broken == nil {
		w.judge()
	}
	return Outcome{w.broken, w.store.settled, w.lines}
}

// shardOf spreads entities over the shards.
func (w *world) shardOf(k event.Key) int { return w.provider.of(k).index % w.plan.Shards }

func (w *world) happening(what string) bool {
	for i := range w.active {
		if f := &w.active[i]; f.What == what && f.At <= w.now && w.now < f.At+f.For {
			return true
		}
	}
	return false
}

func (w *world) happeningTo(what string, of int) bool {
	for i := range w.active {
		if f := &w.active[i]; f.What == what && f.Of == of && f.At <= w.now && w.now < f.At+f.For {
			return true
		}
	}
	return false
}

// begin lets something go wrong.
func (w *world) begin(f Fault) {
	w.say("FAULT %v", f)
	switch f.What {
	case "kill":
		w.kill(f)
	case "stop":
		if k := w.workers[f.Of]; k != nil {
			k.stopped = w.now + f.For
		}
	case "end":
		if k := w.workers[f.Of]; k != nil && !k.dead {
			k.leave()
			w.after(f.For, func() { w.startWorker(f.Of) })
		}
	case "clock":
		if k := w.workers[f.Of]; k != nil {
			k.skew = w.between(-10*time.Minute, 10*time.Minute)
		}
	case "flush":
		w.redis.flush()
		w.after(w.between(0, time.Second), w.recoverLoss)
		if w.redis.losses == 2 { // the first time; making it counts as one
			w.after(time.Second, w.feed.lookThrough)
		}
	case "api killed":
		w.apiKilled = w.now
	default:
		w.active = append(w.active, f)
	}
}

func (w *world) kill(f Fault) {
	if k := w.workers[f.Of]; k != nil {
		k.dead = true
		w.after(f.For, func() { w.startWorker(f.Of) })
	}
}

// appended wakes those who wait for something new in a shard.
func (w *world) appended(n int) {
	for _, k := range w.workers {
		if k == nil || k.dead {
			continue
		}
		for _, s := range k.shards {
			if s.hold.shard == n && s.idle != nil {
				s.after(w.latency(), s.nudge)
			}
		}
	}
}

// deliver brings an event to the api, again until it is accepted.
func (w *world) deliver(e *event.Event) {
	one := *e
	one.ReceivedAt = w.wall()
	send := answerless(func() { w.redis.append(event.Own(&one, ""), 0) })
	accepted := func() {
		w.undone--
		w.say("api: event %s is accepted", e.ID)
		w.provider.accept(&one)
	}
	if w.plan.Off == Append {
		accepted()
		at := w.now
		w.after(100*time.Millisecond, func() {
			if w.apiKilled < at {
				call(&w.outside, redisServer, send, func(nothing, error) {})
			}
		})
		return
	}
	call(&w.outside, redisServer, send, func(_ nothing, err error) {
		if err != nil {
			w.after(300*time.Millisecond, func() { w.deliver(e) })
			return
		}
		accepted()
	})
}

// recover is the reconciler's: every few seconds it appends again what is open and
// not in Redis.
func (w *world) recover() {
	w.putBack(w.wall().Add(-5 * time.Second))
	w.findMissed(w.now - 5*time.Second)
	w.after(w.between(4*time.Second, 6*time.Second), w.recover)
}

func (w *world) putBack(before time.Time) {
	if w.plan.Off == Recover {
		return
	}
	open, known := w.store.unsettled(before)
	for i, of := range open {
		call(&w.outside, redisServer, func() (string, error) { return w.redis.recover(w.signal(of, event.Live), known[i]), nil }, func(id string, err error) {
			if err == nil && id != "" {
				if o := w.store.rows[of.event].outcomes[of.key]; o.status == storage.Pending {
					o.signal = id
				}
			}
		})
	}
}

// signal is what has an event's work on an entity done.
func (w *world) signal(of work, class event.Class) event.Signal {
	e := w.store.rows[of.event].event
	sig := event.Signal{Cause: event.CauseEvent, CauseID: e.ID, EventType: e.Type, CreatedAt: event.OrderTime(e.CreatedAt, e.ReceivedAt), Class: class}
	for _, ref := range e.Entities {
		if ref.Key == of.key {
			sig.Ref = ref
		}
	}
	return sig
}

// recoverLoss puts back everything once Redis has lost it: open work, second
// looks, and events that were accepted and not logged.
func (w *world) recoverLoss() {
	w.putBack(w.wall())
	if w.plan.Off == Recover {
		return
	}
	for _, t := range w.provider.things {
		if t.told && t.kind.VerifyAfter > 0 {
			sig := event.Signal{Ref: t.ref(), Cause: event.CauseVerify, CauseID: "loss", Class: event.Reconcile, NotBefore: w.wall().Add(t.kind.VerifyAfter)}
			insist(&w.outside, redisServer, answerless(func() { w.redis.append(sig, 10*t.kind.VerifyAfter+time.Minute) }), func(nothing, error) {})
		}
	}
	w.findMissed(w.now)
}

// findMissed appends events that were accepted before a time and are neither in
// the log nor in Redis, as the reconciler does with the provider's list of them.
func (w *world) findMissed(before time.Duration) {
	if w.plan.Off == Recover || w.plan.Off == Append || w.redis.losses == 1 {
		return
	}
	for i, e := range w.provider.accepted {
		if w.provider.acceptedAt[i] > before || w.store.rows[e.ID] != nil {
			continue
		}
		sig := event.Own(e, "")
		if !w.redis.stands(stored{signal: sig}) {
			call(&w.outside, redisServer, answerless(func() { w.redis.add(sig) }), func(nothing, error) {})
		}
	}
}

// calmDown ends everything that goes wrong.
func (w *world) calmDown() {
	w.say("calm")
	w.calm, w.active = true, nil
	ends := w.now + calmFor
	for _, k := range w.workers {
		if k != nil {
			k.stopped = 0
		}
	}
	var look func()
	look = func() {
		switch {
		case w.settled(), w.now >= ends:
			w.over = true
		default:
			w.after(time.Second, look)
		}
		w.operate()
	}
	w.after(time.Second, look)
}

// operate does what operators do after an outage: parked entities are made due,
// dead letters redriven, and entities synced of which a signal was given up.
func (w *world) operate() {
	for _, t := range w.provider.things {
		if t.givenUp {
			t.givenUp = false
			sig := event.Signal{Ref: t.ref(), Cause: event.CauseOperator, CauseID: "operator", Class: event.Live}
			insist(&w.outside, redisServer, answerless(func() { w.redis.add(sig) }), func(nothing, error) {})
		}
	}
	for _, s := range w.redis.shards {
		for _, p := range s.parked {
			p.due = min(p.due, w.now)
		}
	}
	for _, of := range w.store.open() {
		call(&w.outside, redisServer, func() (string, error) { return w.redis.add(w.signal(of, event.Redrive)), nil }, func(id string, err error) {
			if err == nil {
				w.store.redriven(of)
			}
		})
	}
}

// settled reports whether nothing waits any more.
func (w *world) settled() bool {
	if slices.ContainsFunc(w.provider.things, func(t *thing) bool { return t.givenUp }) {
		return false
	}
	if w.undone > 0 || w.redis.left() > 0 || len(w.store.open()) > 0 || !w.feed.idle() {
		return false
	}
	if w.redis.losses > 1 && w.feed.untold() != nil { // it is looked for
		return false
	}
	for _, e := range w.provider.accepted {
		if w.store.rows[e.ID] == nil {
			return false
		}
	}
	open, _ := w.store.unsettled(w.wall())
	return len(open) == 0
}
