package worker

import (
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/worker/entity"
)

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
	if m.s.ctx.Err() != nil {
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
		m.s.acks.add(e.Source, e.Batch, hintsOf(m.s.w, e.Batch[0].Signal.Ref.Key, e.Owed), func() { m.step(entity.Acked{Sync: e.Sync}) })
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
