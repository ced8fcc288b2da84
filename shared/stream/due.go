package stream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
)

// lookAgain is the longest time between two looks at the due times of a source that has
// parked entities. An entity is tried up to that much late if Redis' clock was set back,
// or if RetryParked ended before it changed the text in SourceNews.
const lookAgain = 15 * time.Second

// dueTimes knows, by source, when the next of a shard's parked entities is due, so that
// Redis need not be asked before. Only the commands of the leaseholder make one due
// sooner, and each of them says so; RetryParked does too, see Lease.Overdue.
type dueTimes struct {
	mu sync.Mutex
	at map[string]time.Time // without an entry: not known
	// sooner has an element after a time was set sooner than it was.
	sooner chan struct{}
}

// never is when an entity is due that is not there.
var never = time.Unix(1<<40, 0)

func newDueTimes() *dueTimes {
	return &dueTimes{at: map[string]time.Time{}, sooner: make(chan struct{}, 1)}
}

// within notes that an entity of a source is due after d, or may be.
func (t *dueTimes) within(source string, d time.Duration) {
	at := time.Now().Add(min(d, lookAgain))
	t.mu.Lock()
	defer t.mu.Unlock()
	if known, ok := t.at[source]; ok && at.Before(known) {
		t.at[source] = at
		select {
		case t.sooner <- struct{}{}:
		default:
		}
	}
}

// begin forgets what is known of sources that are about to be asked for, so that what
// is noted until the answer came counts beside it.
func (t *dueTimes) begin(asked []DueOf) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range asked {
		t.at[a.Source] = never
	}
}

// NextDue returns when a parked entity of a source is due next, or may be: the zero
// time if that is not known.
func (l *Lease) NextDue(source string) time.Time {
	l.due.mu.Lock()
	defer l.due.mu.Unlock()
	return l.due.at[source]
}

// SoonerDue gets an element when NextDue of a source became sooner than it was.
func (l *Lease) SoonerDue() <-chan struct{} { return l.due.sooner }

// Overdue notes that any parked entity of a source may be due: of all sources, if it
// is "".
func (l *Lease) Overdue(source string) {
	if source != "" {
		l.due.within(source, 0)
		return
	}
	l.due.mu.Lock()
	defer l.due.mu.Unlock()
	clear(l.due.at)
}

// DueOf asks for up to Most parked entities of a source that are due.
type DueOf struct {
	Source string
	Most   int
}

// Due are the parked entities of a source that are due, longest first.
type Due struct {
	Source string
	Keys   []event.Key
	// Unreadable are names among them that are no entity keys of the source.
	Unreadable []string
	// Next is how long until a further one is due, 0 if none waits.
	Next time.Duration
	// Err says why those of this source cannot be read: another program has written
	// their key.
	Err error
}

// Due returns the parked entities of sources that are due, in one call. NextDue knows
// afterwards when to ask again, if each entity that it names is deferred, parked or
// removed; for one that is not, the caller calls Overdue.
func (l *Lease) Due(ctx context.Context, asked ...DueOf) ([]Due, error) {
	var keys []string
	var most []any
	for _, a := range asked {
		keys, most = append(keys, l.dueKeys(a.Source)...), append(most, a.Most)
	}
	l.due.begin(asked)
	v, err := l.run(ctx, dueScript, "look for due entities on", keys, most...)
	if err != nil {
		for _, a := range asked {
			l.due.within(a.Source, 0)
		}
		return nil, err
	}
	answers := asList(v)
	found := make([]Due, len(asked))
	for i, a := range asked {
		d := readDue(a.Source, answers[i])
		found[i] = d
		switch {
		case d.Err != nil, len(d.Keys)+len(d.Unreadable) >= a.Most: // there may be more
			l.due.within(a.Source, 0)
		case d.Next > 0:
			l.due.within(a.Source, d.Next)
		}
	}
	return found, nil
}

// readDue reads the part of a source of what due.lua answers.
func readDue(source string, part any) Due {
	d := Due{Source: source}
	if err, failed := part.(error); failed {
		d.Err = explain(err, "look for due entities of "+source)
		return d
	}
	answer := asList(part)
	d.Next = time.Duration(asInt(answer[1])) * time.Millisecond
	for _, entity := range texts(answer[0]) {
		if k, err := event.ParseKey(entity); err == nil && k.Source == source {
			d.Keys = append(d.Keys, k)
		} else {
			d.Unreadable = append(d.Unreadable, entity)
		}
	}
	return d
}

// RetryParked makes everything parked of a source due now, in all shards, and
// returns how many entities were not due yet. It needs no lease: due times say
// when to try, not in which order. The leaseholders learn of it from Sources.
func (s *Streams) RetryParked(ctx context.Context, source string) (n int, err error) {
	for shard := range s.opts.Shards {
		v, failed := run(ctx, s.client, retryScript, "retry what is parked of "+source,
			[]string{s.keys.due(shard, source), s.keys.earliest(shard, source)})
		if err = failed; err != nil {
			break
		}
		n += int(asInt(v))
	}
	// After the due times: who learns of it looks at them.
	return n, errors.Join(err, s.sayRetried(ctx, source))
}
