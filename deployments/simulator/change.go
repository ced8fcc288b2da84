package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"sync/atomic"
	"time"
)

// change is one step of the world being made: the entities it moves and the
// events it makes become visible together, or not at all.
type change struct {
	w      *world
	drafts []*draft
	of     map[*entity]*draft
	events []*notice
	load   *loadState  // set if the change is part of a load
	write  *WriteFacts // set if a request has asked for the change
	err    error       // first thing that went wrong; nothing is committed then
}

// draft is the next version of an entity while a change is made.
type draft struct {
	entity  *entity
	state   json.RawMessage
	stage   string
	at      time.Time
	deleted bool
}

// notice is one event: what is sent, and what became of it. The facts of its
// delivery are the sender's.
type notice struct {
	Seq       int64
	ID        string
	Type      string
	CreatedAt time.Time
	Context   map[string]string
	Body      json.RawMessage
	Load      int // number of the load that made it, 0 none

	unsent   bool        // its webhook is lost, on purpose
	settled  atomic.Bool // nothing is left to send by itself
	delivery delivery    // guarded by the sender's lock
}

// change makes one step: f moves things, then all of it is journalled and
// published. It returns how many events came of it.
func (w *world) change(f func(c *change)) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &change{w: w, of: map[*entity]*draft{}}
	f(c)
	if c.err != nil {
		return 0, c.err
	}
	return len(c.events), c.commit()
}

// create begins a new entity. links are the ids it belongs to.
func (c *change) create(kindName, id string, links map[string]string, state any) *entity {
	k := c.w.dialect.kind(kindName)
	if k.parent != "" && links[k.parent] == "" {
		c.fail(fmt.Errorf("create %s %s: no %s among its links", kindName, id, k.parent))
	}
	e := &entity{kind: k, id: id, links: links, openAt: -1}
	c.draft(e).state = c.encode(state)
	return e
}

// set replaces the state of an entity.
func (c *change) set(e *entity, state any) { c.draft(e).state = c.encode(state) }

// edit changes the state of an entity. Edits of one change make one version.
func edit[T any](c *change, e *entity, f func(*T)) {
	if e == nil {
		return
	}
	d := c.draft(e)
	var state T
	if err := json.Unmarshal(d.state, &state); err != nil {
		c.fail(fmt.Errorf("read %s %s: %w", e.kind.name, e.id, err))
		return
	}
	f(&state)
	d.state = c.encode(state)
}

// look reads the state of an entity as the change has left it.
func look[T any](c *change, e *entity) (state T) {
	raw := json.RawMessage(nil)
	if d := c.of[e]; d != nil {
		raw = d.state
	} else {
		raw = e.current().State
	}
	if err := json.Unmarshal(raw, &state); err != nil {
		c.fail(fmt.Errorf("read %s %s: %w", e.kind.name, e.id, err))
	}
	return state
}

// next says what is next for an entity; "" is nothing.
func (c *change) next(e *entity, stage string) { c.draft(e).stage = stage }

// remove takes an entity away: the API answers 404 from now on.
func (c *change) remove(e *entity) {
	c.draft(e).deleted = true
	c.draft(e).stage = ""
}

// link makes an entity belong to one more id. The map is replaced, since
// readers may hold the old one.
func (c *change) link(e *entity, kind, id string) {
	c.draft(e)
	links := maps.Clone(e.links)
	if links == nil {
		links = map[string]string{}
	}
	links[kind] = id
	e.links = links
}

// emit makes an event about an entity.
func (c *change) emit(e *entity, eventType string) { c.emitNaming(e, eventType, e.link) }

// emitNaming makes an event about an entity, with what link says of each id that
// its type carries.
func (c *change) emitNaming(e *entity, eventType string, link func(word string) string) {
	n := &notice{
		Seq: c.w.eventSeq + int64(len(c.events)) + 1, ID: c.w.newID("event"), Type: eventType, CreatedAt: c.w.tick(),
	}
	if c.load != nil {
		n.Load = c.load.Number
	}
	c.w.dialect.writeEvent(c, n, e, link)
	c.events = append(c.events, n)
}

// draft returns the draft of an entity, begun from its current state.
func (c *change) draft(e *entity) *draft {
	if d := c.of[e]; d != nil {
		return d
	}
	d := &draft{entity: e, stage: e.stage, at: c.w.tick()}
	if len(e.versions) > 0 {
		d.state = e.current().State
	}
	c.of[e] = d
	c.drafts = append(c.drafts, d)
	return d
}

func (c *change) encode(state any) json.RawMessage {
	b, err := json.Marshal(state)
	if err != nil {
		c.fail(fmt.Errorf("encode state: %w", err))
	}
	return b
}

func (c *change) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// commit journals the change and then makes it visible. Only a journalled
// change is ever seen: a crash cannot take back what was served or sent.
func (c *change) commit() error {
	if len(c.drafts) == 0 && len(c.events) == 0 {
		return nil
	}
	versions := c.versions()
	if c.write != nil {
		c.write.At, c.write.Seq = c.w.tick(), c.w.writeSeq+1
	}
	if err := c.w.journal.append(c.record(versions)); err != nil {
		return err
	}
	for i, d := range c.drafts {
		if versions[i] != nil {
			c.w.put(d.entity, *versions[i])
		}
		c.w.relist(d.entity)
		c.w.setStage(d.entity, d.stage)
	}
	if c.load != nil {
		c.w.load = *c.load
	}
	if c.write != nil {
		c.w.addWrite(c.write)
	}
	c.w.addEvents(c.events)
	c.w.publish(c.events)
	return nil
}

// versions are the new versions, one for each draft; nil where the state is
// what it was and only something the API does not show has moved.
func (c *change) versions() []*version {
	seq := c.w.seq
	out := make([]*version, len(c.drafts))
	for i, d := range c.drafts {
		n := 1
		if len(d.entity.versions) > 0 {
			old := d.entity.current()
			if d.deleted == old.Deleted && bytes.Equal(d.state, old.State) {
				continue
			}
			n = old.N + 1
		}
		seq++
		out[i] = &version{N: n, Seq: seq, At: d.at, Deleted: d.deleted, State: d.state}
	}
	return out
}
