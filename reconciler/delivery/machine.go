package delivery

import (
	"container/list"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

// Options configure a Machine.
type Options struct {
	// Concurrency is how many messages are on their way at most. Defaults to 1.
	Concurrency int
	// Batch is how many entities a message has at most. Defaults to 1.
	Batch int
	// Window is how many items may wait or be on their way. Defaults to 1,000.
	Window int
	// MaxParked is how many entities may be parked. Defaults to 1,000.
	MaxParked int
	// Streak is after how many refused messages in a row everything waits. Defaults to 10.
	Streak int
	// Retry is the back-off of a parked entity. Defaults to 5 s, 10 s, … 1 h.
	Retry fate.Backoff
	// Wait is the back-off of everything. Defaults to 1 s, 2 s, … 1 min.
	Wait fate.Backoff
}

func (o Options) withDefaults() Options {
	o.Concurrency, o.Batch = max(o.Concurrency, 1), max(o.Batch, 1)
	for n, usual := range map[*int]int{&o.Window: 1000, &o.MaxParked: 1000, &o.Streak: 10} {
		if *n <= 0 {
			*n = usual
		}
	}
	if o.Retry.First <= 0 {
		o.Retry.First = 5 * time.Second
	}
	if o.Wait.First <= 0 {
		o.Wait.First = time.Second
	}
	if o.Wait.Cap <= 0 {
		o.Wait.Cap = time.Minute
	}
	o.Retry, o.Wait = o.Retry.WithDefaults(), o.Wait.WithDefaults()
	return o
}

// Item is one item of the feed. P is a place in it.
type Item[P any] struct {
	Key     event.Key
	Version int64
	// Place is behind the item.
	Place P
}

// Want is an entity that is to be sent, in a version that is at least Version.
type Want[P any] struct {
	Key     event.Key
	Version int64
	// Place is that of its newest item. Zero: it was parked before the machine was made.
	Place P
}

// Message is what is sent at once: of each entity what is true then.
type Message[P any] struct {
	Wants []Want[P]
	// retry: it is a parked entity. probe: everything else waits for what comes of it.
	retry, probe bool
}

// mark is an item whose place is not passed yet.
type mark[P any] struct {
	place P
	done  bool
}

// entity is one that is not done, or parked.
type entity[P any] struct {
	key     event.Key
	version int64
	place   P // of its newest item
	// inLine is its place in the line. Nil: it is not in it.
	inLine *list.Element
	// waiting are the items that the next message covers, sent those that the one on its
	// way does.
	waiting, sent []*mark[P]
	// sending: it is on its way. covered is the version that was wanted then.
	sending bool
	covered int64
	// alone: it was in a message of several that was refused.
	alone bool
	// parked is nil unless it is parked.
	parked *Parked
}

// Machine is that of one subscription. It is for one goroutine.
type Machine[P any] struct {
	opts     Options
	done     P
	marks    []*mark[P]
	entities map[event.Key]*entity[P]
	line     *list.List // of *entity[P]
	parked   dueList[P]
	// sending is how many messages are on their way, retries how many of them are of
	// parked entities.
	sending, retries int
	// retried: the message taken last was a parked entity.
	retried bool
	// refused is how many messages were refused since one was accepted.
	refused int
	wait    Wait
}

// New returns a machine that has come to a place, with what is parked.
func New[P any](o Options, done P, parked []Parked) *Machine[P] {
	m := &Machine[P]{opts: o.withDefaults(), done: done, entities: map[event.Key]*entity[P]{}, line: list.New()}
	for _, p := range parked {
		e := &entity[P]{key: p.Key, version: p.Version, parked: &p}
		m.entities[p.Key] = e
		m.parked.add(e)
	}
	return m
}

// Room returns how many items may be added.
func (m *Machine[P]) Room() int { return max(0, m.opts.Window-len(m.marks)) }

// Idle reports whether nothing waits in line or is on its way.
func (m *Machine[P]) Idle() bool { return m.sending == 0 && m.line.Len() == 0 }

// Holds reports whether an entity waits, is on its way or is parked.
func (m *Machine[P]) Holds(k event.Key) bool { return m.entities[k] != nil }

// Sending returns how many messages are on their way.
func (m *Machine[P]) Sending() int { return m.sending }

// Done returns the place up to which all is done.
func (m *Machine[P]) Done() P { return m.done }

// Add adds an item, in the order of their places.
func (m *Machine[P]) Add(i Item[P]) {
	e := m.entities[i.Key]
	if e == nil {
		e = &entity[P]{key: i.Key}
		m.entities[i.Key] = e
	}
	e.version, e.place = max(e.version, i.Version), i.Place
	if e.parked != nil && !e.sending {
		e.parked.Version = e.version
		m.parked.bringForward(e, e.parked.Last.Add(m.opts.Retry.First))
		m.Pass(i.Place) // what is parked is on record
		return
	}
	mk := &mark[P]{place: i.Place}
	m.marks = append(m.marks, mk)
	e.waiting = append(e.waiting, mk)
	m.queue(e)
}

// Pass moves behind a place at which nothing is to be sent.
func (m *Machine[P]) Pass(place P) {
	if n := len(m.marks); n == 0 {
		m.done = place
	} else if last := m.marks[n-1]; last.done {
		last.place = place
	} else {
		m.marks = append(m.marks, &mark[P]{place: place, done: true})
	}
}

// queue puts an entity at the end of the line, unless it is there or elsewhere.
func (m *Machine[P]) queue(e *entity[P]) {
	if e.inLine == nil && !e.sending && e.parked == nil {
		e.inLine = m.line.PushBack(e)
	}
}

// Take returns what is to be sent next. False: nothing now; see Due.
func (m *Machine[P]) Take(now time.Time) (Message[P], bool) {
	probing := m.wait.Failed > 0
	if now.Before(m.wait.Until) || probing && m.sending > 0 || m.sending >= m.opts.Concurrency {
		return Message[P]{}, false
	}
	line := m.line.Len() > 0 && m.parked.len() < m.opts.MaxParked
	retry := m.parked.due(now) && m.retries < max(1, m.opts.Concurrency/2)
	if retry && line {
		retry = !m.retried && !probing
	}
	switch {
	case retry:
		m.retries++
		m.retried = true
		return m.take(Message[P]{retry: true, probe: probing}, m.parked.pop()), true
	case line:
		m.retried = false
		return m.takeLine(probing), true
	}
	return Message[P]{}, false
}

// takeLine takes from the line, one entity only if one says so: it is a probe, or
// was refused together with others.
func (m *Machine[P]) takeLine(probe bool) Message[P] {
	out := Message[P]{probe: probe}
	for len(out.Wants) < m.opts.Batch && m.line.Len() > 0 {
		e := m.line.Front().Value.(*entity[P])
		if e.alone && len(out.Wants) > 0 {
			break
		}
		m.line.Remove(e.inLine)
		e.inLine = nil
		out = m.take(out, e)
		if probe || e.alone {
			break
		}
	}
	return out
}

// take adds an entity to a message.
func (m *Machine[P]) take(out Message[P], e *entity[P]) Message[P] {
	if len(out.Wants) == 0 {
		m.sending++
	}
	e.sending, e.covered = true, e.version
	e.sent, e.waiting = e.waiting, nil
	out.Wants = append(out.Wants, Want[P]{e.key, e.version, e.place})
	return out
}

// Due returns when Take may have something that it has not now. Zero: not by the time
// alone.
func (m *Machine[P]) Due(now time.Time) time.Time {
	if now.Before(m.wait.Until) {
		return m.wait.Until
	}
	if due := m.parked.next(); due.After(now) {
		return due
	}
	return time.Time{}
}

// Accepted says that a message was accepted, with the versions that it had, in the order of
// its Wants.
func (m *Machine[P]) Accepted(sent Message[P], versions []int64) {
	m.landed(sent)
	if m.refused = 0; sent.probe {
		m.wait = Wait{}
	}
	for i, w := range sent.Wants {
		e := m.entities[w.Key]
		e.sending, e.alone, e.parked = false, false, nil
		finish(e.sent)
		e.sent = nil
		if e.version <= versions[i] {
			finish(e.waiting)
			e.waiting = nil
		}
		if len(e.waiting) == 0 {
			delete(m.entities, w.Key)
		} else {
			m.queue(e)
		}
	}
	m.advance()
}

// Refused says that a message was refused, and why.
func (m *Machine[P]) Refused(sent Message[P], now time.Time, why string) {
	m.landed(sent)
	switch m.refused++; {
	case sent.probe && !sent.retry:
		m.giveBack(sent, true)
	case len(sent.Wants) > 1:
		// Which one it was about is not known.
		for _, w := range sent.Wants {
			m.entities[w.Key].alone = true
		}
		m.giveBack(sent, false)
	default:
		m.park(m.entities[sent.Wants[0].Key], now, why)
	}
	if sent.probe || m.refused >= m.opts.Streak {
		m.pause(sent, now, 0, why)
	}
	m.advance()
}

// Returned says that the receiver is away or asks to be left alone, for retryAfter at least.
func (m *Machine[P]) Returned(sent Message[P], now time.Time, retryAfter time.Duration, why string) {
	m.landed(sent)
	m.giveBack(sent, sent.probe)
	m.pause(sent, now, retryAfter, why)
}

// Dropped says that a message was not sent at all.
func (m *Machine[P]) Dropped(sent Message[P]) {
	m.landed(sent)
	m.giveBack(sent, false)
}

// landed counts a message that is on its way no more.
func (m *Machine[P]) landed(sent Message[P]) {
	m.sending--
	if sent.retry {
		m.retries--
	}
}

// giveBack puts the entities of a message back: behind all others, or before them.
func (m *Machine[P]) giveBack(sent Message[P], behind bool) {
	for _, w := range slices.Backward(sent.Wants) {
		e := m.entities[w.Key]
		e.sending = false
		e.waiting = append(e.sent, e.waiting...)
		e.sent = nil
		switch {
		case e.parked != nil:
			e.parked.Version = e.version
			finish(e.waiting)
			e.waiting = nil
			m.parked.add(e)
		case behind:
			m.queue(e)
		default:
			e.inLine = m.line.PushFront(e)
		}
	}
	m.advance()
}

// park parks an entity. Its items are done: it is on record.
func (m *Machine[P]) park(e *entity[P], now time.Time, why string) {
	if e.parked == nil {
		e.parked = &Parked{Key: e.key, Since: now}
	}
	p := e.parked
	p.Attempts++
	p.Version, p.Last, p.Error = e.version, now, why
	p.Due = now.Add(m.opts.Retry.After(p.Attempts, 0))
	if e.version > e.covered { // it has changed meanwhile
		p.Due = minTime(p.Due, now.Add(m.opts.Retry.First))
	}
	e.sending, e.alone = false, false
	finish(e.sent)
	finish(e.waiting)
	e.sent, e.waiting = nil, nil
	m.parked.add(e)
}

// pause makes everything wait. Messages that were on their way when that began make the
// wait no longer, but for what the receiver asks.
func (m *Machine[P]) pause(sent Message[P], now time.Time, retryAfter time.Duration, why string) {
	pause := retryAfter
	if m.wait.Failed == 0 || sent.probe {
		if m.wait.Failed == 0 {
			m.wait.Since = now
		}
		m.wait.Failed++
		m.wait.Error = why
		pause = m.opts.Wait.After(m.wait.Failed, retryAfter)
	}
	if until := now.Add(pause); until.After(m.wait.Until) {
		m.wait.Until = until
	}
}

func finish[P any](marks []*mark[P]) {
	for _, mk := range marks {
		mk.done = true
	}
}

// advance moves the place as far as all is done.
func (m *Machine[P]) advance() {
	n := 0
	for n < len(m.marks) && m.marks[n].done {
		m.done = m.marks[n].place
		n++
	}
	if n > 0 {
		m.marks = slices.Clone(m.marks[n:]) // the rest must not keep what is done in memory
	}
}
