package simulator

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
)

// rewriteAt is the usual journal length from which it may be rewritten to hold
// only what the world still keeps.
const rewriteAt = 64 << 20

// record is the change as a line of the journal.
func (c *change) record(versions []*version) *record {
	if c.w.journal == nil {
		return nil
	}
	rec := &changeRecord{Load: c.load}
	if c.write != nil {
		rec.Write = recordOf(c.write)
	}
	for i, d := range c.drafts {
		rec.Versions = append(rec.Versions, versionRecordOf(d.entity, versions[i], d.stage))
	}
	for _, n := range c.events {
		rec.Events = append(rec.Events, eventRecord{Seq: n.Seq, Load: n.Load, Body: n.Body})
	}
	return &record{Change: rec}
}

func versionRecordOf(e *entity, v *version, stage string) versionRecord {
	r := versionRecord{Kind: e.kind.name, ID: e.id, Links: e.links, Stage: stage}
	if v != nil {
		r.N, r.Seq, r.At, r.Deleted, r.State = v.N, v.Seq, v.At, v.Deleted, v.State
	}
	return r
}

// apply makes one record of the journal part of the world.
func (w *world) apply(rec *record) error {
	switch {
	case rec.Change != nil:
		return w.applyChange(rec.Change)
	case rec.Settled != nil:
		w.applySettled(rec.Settled)
	case rec.Hook != nil:
		w.applyHook(*rec.Hook)
	case rec.Load != nil:
		w.load = *rec.Load
	case rec.Write != nil:
		w.applyWrite(rec.Write)
	default:
		return errors.New("record says nothing")
	}
	return nil
}

func (w *world) applyChange(rec *changeRecord) error {
	for _, v := range rec.Versions {
		if err := w.applyVersion(v); err != nil {
			return err
		}
	}
	events := make([]*notice, len(rec.Events))
	for i, r := range rec.Events {
		n, err := w.dialect.readEvent(r.Body)
		if err != nil {
			return fmt.Errorf("event %d: %w", r.Seq, err)
		}
		n.Seq, n.Load, n.Body = r.Seq, r.Load, r.Body
		events[i] = n
	}
	w.addEvents(events)
	if rec.Load != nil {
		w.load = *rec.Load
	}
	if rec.Write != nil {
		w.applyWrite(rec.Write)
	}
	return nil
}

func (w *world) applyVersion(v versionRecord) error {
	e := w.find(v.Kind, v.ID)
	if e == nil {
		k := w.dialect.kind(v.Kind)
		if k == nil {
			return fmt.Errorf("unknown kind %q: is this the world of another provider than %s?", v.Kind, w.dialect.name)
		}
		e = &entity{kind: k, id: v.ID, links: v.Links}
	}
	e.links = v.Links
	if v.N > 0 {
		w.put(e, version{N: v.N, Seq: v.Seq, At: v.At, Deleted: v.Deleted, State: v.State})
	}
	if len(e.versions) == 0 {
		return fmt.Errorf("%s %s: a stage without a version", v.Kind, v.ID)
	}
	w.relist(e)
	w.setStage(e, v.Stage)
	return nil
}

func (w *world) applySettled(settled []settledRecord) {
	for _, r := range settled {
		if n := w.eventBySeq(r.Seq); n != nil {
			n.delivery.Accepted, n.delivery.Lost, n.delivery.GaveUp = r.Accepted, r.Lost, r.GaveUp
			n.settled.Store(true)
		}
	}
}

// eventBySeq returns an event, or nil once it was let go.
func (w *world) eventBySeq(seq int64) *notice {
	i, ok := slices.BinarySearchFunc(w.events, seq, func(n *notice, seq int64) int { return int(n.Seq - seq) })
	if !ok {
		return nil
	}
	return w.events[i]
}

// reseed gives a world that was read back randomness of its own: repeating
// what came after the start would give out the same ids again.
func (w *world) reseed(seed uint64) {
	w.rng = rand.New(rand.NewPCG(seed, uint64(w.seq+w.eventSeq)))
}

// settledOf reads the facts of a settled event without the sender's lock:
// they are not written any more, unless an operator sends the event again,
// and then an old count does no harm.
func settledOf(n *notice) settledRecord {
	return settledRecord{n.Seq, n.delivery.Accepted, n.delivery.Lost, n.delivery.GaveUp}
}

// settle records events that have nothing left to send, so that a restart
// does not send them again. Losing the record only means that: webhooks are
// delivered at least once.
func (w *world) settle(settled []settledRecord) error {
	if len(settled) == 0 {
		return nil
	}
	return w.journal.append(&record{Settled: settled})
}

// tidy rewrites the journal once it is long and half of it is what the world
// has let go of. It holds the world still: about a second for 100 MB.
func (w *world) tidy() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.journal.bytes() < max(w.tidyAt, w.bounds.journal) {
		return nil
	}
	// What is kept is counted only when the journal has grown as much again.
	if w.tidyAt = 2 * w.kept(); w.journal.bytes() < w.tidyAt {
		return nil
	}
	return w.journal.rewrite(w.write)
}

// kept estimates the bytes of a journal of what the world holds now.
func (w *world) kept() (bytes int64) {
	const envelope = 250 // of a record around a state, measured
	for _, e := range w.entities {
		for _, v := range e.versions {
			bytes += int64(len(v.State)) + envelope
		}
	}
	for _, n := range w.events {
		bytes += int64(len(n.Body)) + envelope/4
	}
	for _, f := range w.writes {
		bytes += int64(len(f.Body)) + int64(len(f.stored.Body)) + envelope
	}
	return bytes
}

// write gives the whole world as records: webhooks, versions in the order
// they were made (so that lists keep theirs), events, load.
func (w *world) write(emit func(*record) error) error {
	for _, h := range w.hooks {
		if err := emit(&record{Hook: &h.hookRecord}); err != nil {
			return err
		}
	}
	if err := w.writeVersions(emit); err != nil {
		return err
	}
	for _, n := range w.events {
		e := eventRecord{Seq: n.Seq, Load: n.Load, Body: n.Body}
		if err := emit(&record{Change: &changeRecord{Events: []eventRecord{e}}}); err != nil {
			return err
		}
		if !n.settled.Load() {
			continue
		}
		if err := emit(&record{Settled: []settledRecord{settledOf(n)}}); err != nil {
			return err
		}
	}
	for _, f := range w.writes {
		if err := emit(&record{Write: recordOf(f)}); err != nil {
			return err
		}
	}
	return emit(&record{Load: &w.load})
}

func (w *world) writeVersions(emit func(*record) error) error {
	for _, k := range w.dialect.kinds {
		for l, list := range w.lists {
			if l.kind != k.name {
				continue
			}
			for _, e := range list {
				if e == elsewhere {
					continue
				}
				for i := range e.versions {
					r := versionRecordOf(e, &e.versions[i], e.stage)
					if err := emit(&record{Change: &changeRecord{Versions: []versionRecord{r}}}); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}
