package worker

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/worker/entity"
)

// run is one sync of an entity under way. It executes the effects of the entity's
// machine one after the other.
type run struct {
	s      *shard
	src    *source
	number entity.Number
	lane   entity.ID
	// todo is what the machine waits for; it has at most one. free is closed once
	// the run's slot is free.
	todo chan entity.Effect
	free chan struct{}

	unlock func()
	asked  time.Time // when the provider was first asked, by a clock that is never set
	trace  syncTrace
}

// machine holds the state machine of the shard's entities, and executes its effects.
// The shard's mu guards it.
type machine struct {
	s        *shard
	entities *entity.Shard
	runs     map[entity.Number]*run
	spilled  []entity.Park // to be parked by the reader that holds the gate
}

// forgetEntities starts a machine without entities. The caller holds s.mu, if others
// have s.
func (m *machine) forgetEntities() {
	m.runs, m.spilled = map[entity.Number]*run{}, nil
	m.entities = entity.NewShard(entity.Config{
		Shard:      m.s.number,
		Definition: func(source string) *provider.Definition { return m.s.w.sources[source].Definition },
		Retry:      m.s.w.Retry, LagPauses: m.s.w.LagPauses, Rewritten: m.s.w.Rewritten, Split: fault.Off("lanes"), Logger: m.s.w.Logger,
	})
}

// step gives the machine an input and executes or distributes its effects.
func (m *machine) step(in entity.Input) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	m.stepLocked(in)
}

func (m *machine) stepLocked(in entity.Input) {
	if m.s.ctx != nil && m.s.ctx.Err() != nil {
		return // dropped, or about to be
	}
	for _, e := range m.entities.Step(m.s.w.Now(), in) {
		m.see(e)
	}
}

// see begins effects that the machine does not wait for, and queues each other one for
// its run. It never waits, for its caller holds s.mu.
func (m *machine) see(e entity.Effect) {
	switch e := e.(type) {
	case entity.Ready:
		m.s.w.sources[e.Lane.Key.Source].ready.push(readyLane{shard: m.s, id: e.Lane, class: e.Class, failed: e.Failed}, m.s.w.since(e.Oldest))
	case entity.Begun:
		m.runs[e.Sync] = &run{
			s: m.s, src: m.s.w.sources[e.Lane.Key.Source], number: e.Sync, lane: e.Lane,
			todo: make(chan entity.Effect, 1), free: make(chan struct{}), unlock: func() {},
		}
	case entity.Free:
		close(m.runs[e.Sync].free)
	case entity.End:
		m.runs[e.Sync].trace.end(e.Err)
		delete(m.runs, e.Sync)
	case entity.Settle:
		m.settle(m.runs[e.Sync], e)
	case entity.Ack:
		m.s.acks.add(e.Source, e.Batch, func() { m.step(entity.Acked{Sync: e.Sync}) })
	case entity.Rest:
		time.AfterFunc(e.After, func() { m.step(entity.Woke{Lane: e.Lane}) })
	case entity.Lag:
		m.s.w.Metrics.Lagging.WithLabelValues(e.Key.Source).Inc()
	case entity.Charge:
		m.s.w.Metrics.Retries.WithLabelValues(e.Key.Source, e.Class.String()).Inc()
	case entity.Entered:
		m.s.entered <- struct{}{}
	case entity.Quiet:
		close(m.s.quiet)
	case entity.Park:
		if e.Sync == 0 {
			m.s.w.sources[e.Lane.Key.Source].ready.remove(m.s, e.Lane)
			m.spilled = append(m.spilled, e)
			return
		}
		m.runs[e.Sync].todo <- e
	case entity.Task:
		m.runs[e.For()].todo <- e
	}
}

// startSync begins a sync of a lane whose turn has come. Nil: the lane is gone, or its
// shard is being handed over.
func (m *machine) startSync(lane entity.ID) (begun *run) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if m.s.ctx.Err() != nil {
		return nil
	}
	for _, e := range m.entities.Step(m.s.w.Now(), entity.Start{Lane: lane}) {
		m.see(e)
		if b, ok := e.(entity.Begun); ok {
			begun = m.runs[b.Sync]
		}
	}
	return begun
}

// retries counts the lanes of a source's parked entities, all and those of
// classes below live.
func (m *machine) retries(src *source) (all, lower int) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	return m.entities.Retries(src.Name)
}

// hasLane reports whether an entity has a lane.
func (m *machine) hasLane(k event.Key) bool {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	return m.entities.Has(k)
}

// work executes the effects for the sync, until it no longer needs its slot or the
// shard is not ours any more. A panic in an effect is its result: see do. After a panic
// in the machine, or one that do lets through, the shard starts over.
func (r *run) work() {
	s := r.s
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("a sync panicked in its end; its shard starts over", "entity", r.lane.Key.String(), "error", panicError(p))
			s.startOver()
		}
	}()
	for {
		select {
		case e := <-r.todo:
			result := r.do(s.ctx, e)
			if result.Err != nil && (s.lost(result.Err) || s.ctx.Err() != nil || !s.ours()) {
				r.drop(result.Err)
				return
			}
			s.step(entity.Done{Sync: r.number, Result: result})
		case <-r.free:
			return
		case <-s.ctx.Done():
			r.drop(context.Cause(s.ctx))
			return
		}
	}
}

// drop ends a run whose shard is not ours any more.
func (r *run) drop(err error) {
	r.unlock()
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.trace.end(err)
}

// do executes one effect and returns its result. A panic is an error, except where the
// machine would answer it by the same effect again.
func (r *run) do(ctx context.Context, e entity.Effect) (result entity.Result) {
	defer func() {
		switch e.(type) {
		case entity.Bury, entity.Park, entity.Unpark:
			return
		}
		if p := recover(); p != nil {
			result = entity.Result{Err: panicError(p)}
		}
	}()
	s := r.s
	switch e := e.(type) {
	case entity.Load:
		return s.parked.load(ctx, e)
	case entity.Lock:
		r.lock(ctx)
	case entity.Unlock:
		r.unlock()
		r.unlock = func() {}
	case entity.Claim:
		result.Document, result.Err = r.claim(ctx, e)
	case entity.Fetch:
		result.Snapshot, result.Err = r.fetch(ctx, e)
	case entity.Report:
		r.report(ctx, e)
	case entity.Consult:
		return r.consult(ctx, e)
	case entity.Time:
		now, err := s.w.Streams.Now(ctx)
		if err != nil {
			return entity.Result{Err: fromRedis(err)}
		}
		result.Now = now
	case entity.Record:
		result.Err = r.record(ctx, e)
	case entity.Write:
		result.Err = r.write(e.Write)
	case entity.LookAgain:
		result.Err = r.lookAgain(e)
	case entity.Page:
		var err error
		if _, result.Entries, result.Gone, err = s.parked.page(ctx, nil, e.Key, e.From, e.Most); err != nil {
			result.Err = fromRedis(err)
		}
	case entity.Unpark:
		result.Left, result.Err = s.parked.unpark(ctx, e)
	case entity.Count:
		result.Err = r.count(ctx, e)
	case entity.Bury:
		result.Err = r.bury(ctx, e)
	case entity.Park:
		result.Err = r.parkFailed(e)
	}
	return result
}
