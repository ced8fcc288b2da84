package simulation

import (
	"errors"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/worker/entity"
)

// intake reads the shard's streams into lanes.
func (s *shard) intake(p *proc) {
	for !s.closing {
		busy := s.pull(p)
		busy = s.releaseDelayed(p) || busy
		if !busy {
			s.await(p)
		}
	}
}

// check ends a loop whose shard is not ours any more.
func (p *proc) check() {
	if !p.l.alive() {
		panic(ended{})
	}
}

// await waits until there may be something to do.
func (s *shard) await(p *proc) {
	atMost := min(time.Second, s.dueAt-s.w.now)
	for _, d := range s.delayed {
		atMost = min(atMost, d.until-s.w.now)
	}
	if s.w.happening("paused") {
		atMost = 100 * time.Millisecond
	}
	var wake func()
	woken := false
	wake = func() {
		if !woken {
			woken = true
			s.idle = nil
			p.resume()
		}
	}
	s.idle = wake
	s.after(max(atMost, time.Millisecond), wake)
	p.wait()
}

// pull starts retries that are due and reads a batch, as far as it may be read.
func (s *shard) pull(p *proc) (busy bool) {
	w := s.w
	if w.happening("paused") {
		return false
	}
	if w.now >= s.dueAt {
		s.due(p)
	}
	if s.k.inFlight >= w.plan.InFlight {
		if !s.spill(p) {
			return false
		}
		s.dueAt = 0
		return true
	}
	if s.read(p, event.TierLive) {
		return true
	}
	return s.k.inFlight-len(s.delayed) < max(1, w.plan.InFlight/2) && s.read(p, event.TierBackground)
}

func (s *shard) enter(p *proc) {
	s.input(entity.Enter{})
	if !s.entered {
		s.gate = p
		p.wait()
	}
	s.entered = false
}

func (s *shard) leave() { s.input(entity.Leave{}) }

const mostRetries = 4

// due starts retries of parked entities.
func (s *shard) due(p *proc) {
	w := s.w
	all, _ := s.entity.Retries("acme")
	room := mostRetries - all
	if room <= 0 {
		s.dueAt = w.now + 100*time.Millisecond
		return
	}
	s.enter(p)
	defer s.leave()
	type answer struct {
		keys []event.Key
		next time.Duration
	}
	got, err := await(p, func(then func(answer, error)) {
		call(&s.life, redisServer, func() (answer, error) {
			keys, next, err := w.redis.due(s.hold, room)
			return answer{keys, next}, err
		}, then)
	})
	s.must(p, err)
	for _, k := range got.keys {
		if err := s.beginRetry(p, k); err == nil && s.closing {
			_ = s.deferRetry(p, k, 0)
		}
	}
	s.dueAt = w.now + max(time.Millisecond, min(time.Second, got.next))
	if len(got.keys) == room || err != nil {
		s.dueAt = w.now + 100*time.Millisecond
	}
}

// must ends the loop if the shard was lost.
func (s *shard) must(p *proc, err error) {
	s.lost(err)
	p.check()
}

func (s *shard) deferRetry(p *proc, k event.Key, d time.Duration) error {
	number := s.next()
	_, err := await(p, func(then func(nothing, error)) {
		call(&s.life, redisServer, func() (nothing, error) { return s.w.redis.deferRetry(s.hold, k, number, d) }, then)
	})
	s.must(p, err)
	return err
}

func (s *shard) beginRetry(p *proc, k event.Key) error {
	if err := s.deferRetry(p, k, leaseTTL); err != nil || s.entity.Has(k) {
		return err
	}
	type answer struct {
		failed bool
		first  []event.Entry
	}
	got, err := await(p, func(then func(answer, error)) {
		call(&s.life, redisServer, func() (answer, error) {
			at, entries, err := s.w.redis.look(s.hold, k, 0, s.w.plan.Page)
			return answer{!at.spilled, entries}, err
		}, then)
	})
	s.must(p, err)
	if err != nil || len(got.first) == 0 {
		return err
	}
	s.input(entity.Due{Key: k, Failed: got.failed, First: got.first})
	return nil
}

// spill parks lanes since too much is in flight.
func (s *shard) spill(p *proc) bool {
	s.enter(p)
	defer s.leave()
	s.input(entity.Spill{Source: "acme", Most: 3})
	lanes := s.spilled
	s.spilled = nil
	for _, l := range lanes {
		s.w.say("worker %d spills %v: %s", s.k.number, l.Lane.Key, ids(l.Waiting))
		_, _ = await(p, func(then func(nothing, error)) {
			s.park(parking{key: l.Lane.Key, entries: l.Waiting, spilled: true}, 0, func() { s.after(0, func() { then(nothing{}, nil) }) })
		})
		s.letGo(l.Waiting)
	}
	return len(lanes) > 0
}

// read takes one batch of a stream into lanes; true: there was something.
func (s *shard) read(p *proc, t event.Tier) bool {
	s.enter(p)
	defer s.leave()
	if s.closing {
		return false
	}
	w := s.w
	i := index(t)
	type answer struct {
		entries []event.Entry
		last    bool
	}
	n := 0
	if s.uncertain[i] {
		number := s.next()
		for behind := ""; ; {
			got, err := await(p, func(then func(answer, error)) {
				call(&s.life, redisServer, func() (answer, error) {
					entries, last, err := w.redis.takeOver(s.hold, t, number, behind, max(2, w.plan.Batch/2))
					return answer{entries, last}, err
				}, then)
			})
			s.must(p, err)
			if err != nil {
				p.sleep(200 * time.Millisecond)
				return true
			}
			if n += len(got.entries); len(got.entries) > 0 {
				behind = got.entries[len(got.entries)-1].ID
				s.admit(p, t, got.entries)
			}
			if got.last {
				break
			}
		}
		s.reads[i] = number
		s.uncertain[i] = false
	}
	seq, number := s.reads[i], s.next()
	got, err := await(p, func(then func(answer, error)) {
		call(&s.life, redisServer, func() (answer, error) {
			entries, ok, err := w.redis.read(s.hold, t, seq, number, min(w.plan.Batch, w.plan.InFlight))
			return answer{entries, ok}, err
		}, then)
	})
	s.must(p, err)
	if err != nil || !got.last {
		s.uncertain[i] = true
		if err != nil {
			p.sleep(200 * time.Millisecond)
		}
		return true
	}
	if len(got.entries) > 0 {
		s.reads[i] = number
		s.admit(p, t, got.entries)
	}
	return n+len(got.entries) > 0
}

// admit sees a batch to its lanes: log, fan out, route.
func (s *shard) admit(p *proc, t event.Tier, batch []event.Entry) {
	w := s.w
	batch = slices.DeleteFunc(batch, func(e event.Entry) bool { return s.inFlight[e.ID] })
	if len(batch) == 0 {
		return
	}
	for _, e := range batch {
		s.inFlight[e.ID] = true
		s.k.inFlight++
	}
	w.say("worker %d reads %s", s.k.number, ids(batch))
	if w.plan.Off == Acks {
		_, err := await(p, func(then func(nothing, error)) {
			call(&s.life, redisServer, func() (nothing, error) { return w.redis.ack(s.hold, batch, nil) }, then)
		})
		s.must(p, err)
	}
	batch = s.log(p, batch)
	var parked, free []event.Entry
	for _, e := range batch {
		switch wait := s.heldBack(e); {
		case wait > 0:
			s.delayed = append(s.delayed, delayed{e, w.now + wait})
		case e.Parked:
			parked = append(parked, e)
		default:
			free = append(free, e)
		}
	}
	s.input(entity.Route{Entries: free})
	s.parkBehind(p, parked)
}

// log writes the rows of a batch's events and appends signals for their further
// entities. It returns the entries whose entity is still to be looked at.
func (s *shard) log(p *proc, batch []event.Entry) (open []event.Entry) {
	w := s.w
	if !slices.ContainsFunc(batch, func(e event.Entry) bool { return e.Signal.Body != nil }) {
		return batch
	}
	rows, _ := await(p, func(then func([]logged, error)) {
		insist(&s.life, storeServer, func() ([]logged, error) { return w.store.log(batch) }, then)
	})
	var further []event.Signal
	var settled []event.Entry
	for i, e := range batch {
		b := e.Signal.Body
		if b == nil {
			open = append(open, e)
			continue
		}
		for _, ref := range b.Entities {
			if ref.Key != e.Signal.Ref.Key && rows[i][ref.Key] == storage.Pending {
				sig := e.Signal
				sig.Ref, sig.Body = ref, nil
				further = append(further, sig)
			}
		}
		if rows[i][e.Signal.Ref.Key] != storage.Pending {
			settled = append(settled, e)
			continue
		}
		e.Signal.Body = b.Logged()
		open = append(open, e)
	}
	if len(further) > 0 {
		_, _ = await(p, func(then func(nothing, error)) {
			insist(&s.life, redisServer, answerless(func() {
				for _, sig := range further {
					w.redis.append(sig, 0)
				}
			}), then)
		})
	}
	if len(settled) > 0 {
		var debts []storage.Item
		if w.plan.Off != FeedDebts {
			debts, _ = await(p, func(then func([]storage.Item, error)) {
				insist(&s.life, storeServer, func() ([]storage.Item, error) { return w.store.debtsOf(settled), nil }, then)
			})
		}
		s.ack(acking{batch: settled, hints: debts})
	}
	return open
}

// heldBack is how long an entry is still to be held back.
func (s *shard) heldBack(e event.Entry) time.Duration {
	if e.Signal.NotBefore.IsZero() {
		return 0
	}
	return min(e.Signal.NotBefore.Sub(s.k.clock()), time.Minute)
}

func (s *shard) parkBehind(p *proc, entries []event.Entry) {
	for len(entries) > 0 {
		free, err := await(p, func(then func([]event.Entry, error)) {
			call(&s.life, redisServer, func() ([]event.Entry, error) { return s.w.redis.parkBehind(s.hold, entries) }, then)
		})
		s.must(p, err)
		if errors.Is(err, errAway) {
			p.sleep(200 * time.Millisecond)
			continue
		}
		s.letGo(slices.DeleteFunc(slices.Clone(entries), func(e event.Entry) bool {
			return slices.ContainsFunc(free, func(f event.Entry) bool { return f.ID == e.ID })
		}))
		s.input(entity.Route{Entries: free})
		return
	}
}

// releaseDelayed lets go of signals whose time has come.
func (s *shard) releaseDelayed(p *proc) bool {
	var due []event.Entry
	s.delayed = slices.DeleteFunc(s.delayed, func(d delayed) bool {
		if d.until > s.w.now {
			return false
		}
		due = append(due, d.Entry)
		return true
	})
	if len(due) == 0 {
		return false
	}
	s.enter(p)
	defer s.leave()
	s.parkBehind(p, due)
	return true
}
