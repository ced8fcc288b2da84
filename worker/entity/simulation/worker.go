package simulation

import (
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/worker/entity"
)

const (
	leaseTTL = time.Second
	grace    = 2 * time.Second
)

// worker is one process: what package worker is around the entities' machines.
type worker struct {
	life
	number  int
	id      string
	skew    time.Duration // how far its clock is off
	beat    time.Duration // when it was last seen
	leaving bool
	shards  []*shard

	ready    []readyLane
	used     int // slots
	kicked   bool
	inFlight int

	settler settler
}

type readyLane struct {
	s *shard
	entity.Ready
}

// startWorker starts a process.
func (w *world) startWorker(number int) {
	w.seq++
	k := &worker{life: life{w: w}, number: number, id: "w" + string(rune('0'+number)) + "-" + time.Duration(w.now).String(), beat: w.now}
	k.settler.k = k
	w.workers[number] = k
	w.say("worker %d starts", number)
	k.tick()
}

// clock is the worker's time of day.
func (k *worker) clock() time.Time { return k.w.wall().Add(k.skew) }

// tick is the loop of a member of the fleet.
func (k *worker) tick() {
	if !k.w.happening("redis down") {
		k.beat = k.w.now
	}
	for n := range k.w.plan.Shards {
		s := k.held(n)
		mine := !k.leaving && (k.w.plan.Off == Leases || k.w.ownerOf(n) == k)
		switch {
		case s != nil && !mine:
			s.beginHandover()
		case s == nil && mine:
			k.acquire(n)
		}
	}
	k.after(k.w.between(50*time.Millisecond, 100*time.Millisecond), k.tick)
}

func (k *worker) held(n int) *shard {
	for _, s := range k.shards {
		if s.hold.shard == n {
			return s
		}
	}
	return nil
}

// ownerOf is who is to have a shard, as far as all have seen.
func (w *world) ownerOf(n int) (best *worker) {
	var live []*worker
	for _, k := range w.workers {
		if k != nil && !k.leaving && w.now-k.beat < leaseTTL {
			live = append(live, k)
		}
	}
	if len(live) == 0 {
		return nil
	}
	return live[n%len(live)]
}

func (k *worker) acquire(n int) {
	sent := k.w.now
	call(&k.life, redisServer, func() (hold, error) {
		h, ok := k.w.redis.acquire(n, k.id)
		if !ok {
			return h, errFenced
		}
		return h, nil
	}, func(h hold, err error) {
		if err == nil && k.held(n) == nil && !k.leaving {
			k.startShard(h, sent)
		}
	})
}

// leave hands everything over and ends the process.
func (k *worker) leave() {
	k.leaving = true
	for _, s := range slices.Clone(k.shards) {
		s.beginHandover()
	}
	var wait func()
	wait = func() {
		if len(k.shards) == 0 {
			k.w.say("worker %d has ended", k.number)
			k.dead = true
			return
		}
		k.after(10*time.Millisecond, wait)
	}
	wait()
}

// push makes a lane wait for its turn.
func (k *worker) push(s *shard, r entity.Ready) {
	k.unready(s, r.Lane)
	k.ready = append(k.ready, readyLane{s, r})
	k.kick()
}

func (k *worker) unready(s *shard, id entity.ID) {
	k.ready = slices.DeleteFunc(k.ready, func(l readyLane) bool { return l.s == s && l.Lane == id })
}

// kick has lanes started whose turn has come.
func (k *worker) kick() {
	if k.kicked {
		return
	}
	k.kicked = true
	k.after(k.w.between(0, 2*time.Millisecond), func() {
		k.kicked = false
		k.dispatch()
	})
}

func (k *worker) dispatch() {
	if k.w.happening("paused") {
		k.after(100*time.Millisecond, k.kick)
		return
	}
	for k.used < k.w.plan.Slots && len(k.ready) > 0 {
		i := 0
		if k.w.chance(3) {
			i = k.w.rng.IntN(len(k.ready))
		}
		l := k.ready[i]
		k.ready = slices.Delete(k.ready, i, i+1)
		l.s.input(entity.Start{Lane: l.Lane})
	}
}

// settler writes settlements in the order they came, many at a time.
type settler struct {
	k       *worker
	queue   []settlement
	busy    bool
	refused []settlement
	failed  int
}

type settlement struct {
	s *shard
	entity.Settle
}

var refusals = fate.Backoff{First: time.Second, Cap: 10 * time.Second}.WithDefaults()

func (t *settler) add(d settlement) {
	t.queue = append(t.queue, d)
	if !t.busy {
		t.busy = true
		t.k.after(0, t.flush)
	}
}

func (t *settler) flush() {
	batch := t.queue
	t.queue = nil
	t.write(batch, func() {
		if t.busy = len(t.queue) > 0; t.busy {
			t.flush()
		}
	})
}

// write writes a batch, but for what comes behind a refused settlement of the
// same entity.
func (t *settler) write(batch []settlement, then func()) {
	w := t.k.w
	batch = slices.DeleteFunc(batch, func(d settlement) bool { return !d.s.alive() || !d.s.ours() })
	if len(batch) == 0 {
		then()
		return
	}
	before := slices.Clone(t.refused)
	call(&t.k.life, settleServer, func() ([]bool, error) {
		out := make([]bool, len(batch))
		refused := slices.Clone(before)
		for i, d := range batch {
			behind := slices.ContainsFunc(refused, func(o settlement) bool { return o.s == d.s && o.Key == d.Key })
			if behind || len(d.Outcomes) > 0 && w.happeningTo("unsettleable", w.provider.of(d.Key).index) {
				out[i] = true
				refused = append(refused, d)
				continue
			}
			w.store.settle(d.Outcomes)
		}
		return out, nil
	}, func(refused []bool, err error) {
		if err != nil { // again, if the shards are still held
			t.k.after(200*time.Millisecond, func() { t.write(batch, then) })
			return
		}
		for i, d := range batch {
			if w.plan.Off == SettleOrder {
				continue
			}
			if refused[i] && !d.Waited {
				t.refused = append(t.refused, d)
				if len(t.refused) == 1 {
					t.retryLater()
				}
			}
			d.s.input(entity.Settled{Sync: d.Sync, Refused: refused[i]})
		}
		then()
	})
}

// retryLater tries what was refused again.
func (t *settler) retryLater() {
	t.failed++
	t.k.after(refusals.Spread(t.failed, 0, 0.5), func() {
		if t.busy {
			t.retryLater()
			return
		}
		again := t.refused
		t.refused, t.busy = nil, true
		t.write(again, func() {
			if len(t.refused) == 0 {
				t.failed = 0
			}
			if t.busy = len(t.queue) > 0; t.busy {
				t.flush()
			}
		})
	})
}
