package stream

import (
	"context"
	"fmt"
	"maps"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
)

const (
	// maxIDs is the most ids given to one script: Lua's unpack ends below
	// 8,000, and Redis does nothing else meanwhile.
	maxIDs = 1000
	// takeOverPage is how many entries are taken over at once. An entry may
	// have 256 KiB.
	takeOverPage = 100

	defaultCount = 500
	defaultBytes = 1 << 20
)

// Limits bound one read.
type Limits struct {
	// Count is the most entries, at most 1,000. Bytes is where reading stops
	// once passed. Default 500 and 1 MiB.
	Count, Bytes int
}

func (l Limits) withDefaults() Limits {
	if l.Count <= 0 {
		l.Count = defaultCount
	}
	if l.Bytes <= 0 {
		l.Bytes = defaultBytes
	}
	l.Count = min(l.Count, maxIDs)
	return l
}

// reading is how far one stream has been read under a lease.
type reading struct {
	inStep bool
	seq    int64  // what the lease in Redis must hold
	last   string // id of the last entry delivered
	more   bool   // the last read left entries behind
}

// at returns a copy of a stream's state, out of step if there is none.
func (l *Lease) at(stream string) reading {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.reading[stream]; r != nil {
		return *r
	}
	return reading{last: "0-0"}
}

func (l *Lease) set(stream string, r reading) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reading[stream] = &r
}

// Read returns the next new entries of a stream, none if there are none.
// After any error other than ErrFenced, and after ErrResync, the caller must
// TakeOver before it reads again; so it must before the first read.
func (l *Lease) Read(ctx context.Context, source string, tier event.Tier, lim Limits) ([]event.Entry, error) {
	stream := l.s.keys.stream(l.shard, source, tier)
	at := l.at(stream)
	if !at.inStep && !l.fenced() {
		return nil, fmt.Errorf("read %s: %w", stream, ErrResync)
	}
	lim = lim.withDefaults()
	seq := l.next()
	v, err := l.run(ctx, readScript, "read "+string(tier)+" of "+source+" on",
		[]string{stream, l.s.keys.due(l.shard, source)},
		group, sequence(source, tier), at.seq, seq, lim.Count, lim.Bytes, event.FieldKey)
	if err != nil {
		at.inStep = false
		l.set(stream, at)
		return nil, err
	}
	answer := asList(v)
	entries := entriesOf(answer[1], tier)
	if at.more = asInt(answer[0]) == 1; len(entries) > 0 { // a read that delivered nothing has left the number
		at.seq, at.last = seq, entries[len(entries)-1].ID
	}
	l.set(stream, at)
	return entries, nil
}

// More reports whether the last Read of a stream may have left new entries behind.
func (l *Lease) More(source string, tier event.Tier) bool {
	return l.at(l.s.keys.stream(l.shard, source, tier)).more
}

// TakeOver claims all entries of a stream that were delivered to any worker and not
// acked, in stream order, page by page, and puts reads in step again. yield is
// called for each page; entries whose data is gone are counted in lost.
func (l *Lease) TakeOver(ctx context.Context, source string, tier event.Tier, yield func([]event.Entry) error) (lost int, err error) {
	stream := l.s.keys.stream(l.shard, source, tier)
	at := reading{seq: l.next(), last: "0-0"}
	l.set(stream, at)
	for cursor := "0-0"; ; {
		v, err := l.run(ctx, takeOverScript, "take over "+string(tier)+" of "+source+" on",
			[]string{stream, l.s.keys.due(l.shard, source)},
			group, sequence(source, tier), at.seq, cursor, takeOverPage, event.FieldKey)
		if err != nil {
			return lost, err
		}
		page := asList(v)
		lost += len(asList(page[2]))
		if entries := entriesOf(page[1], tier); len(entries) > 0 {
			at.last = entries[len(entries)-1].ID
			if err := yield(entries); err != nil {
				return lost, err
			}
		}
		if cursor = asText(page[0]); cursor == "0-0" {
			break
		}
	}
	at.inStep = true
	l.set(stream, at)
	return lost, nil
}

// Ack removes entries from their stream. events are the ids of events whose
// own entry is among them: their marks become "processed". hints are left for the
// sequencer of the change feed, each no later than the entries of its entity leave if
// there are no more hints before it than entries before those.
func (l *Lease) Ack(ctx context.Context, source string, tier event.Tier, ids []string, events []string, hints ...Hint) error {
	var late []Hint
	if fault.Off("feed-hints") {
		hints, late = nil, hints
	}
	stream := l.s.keys.stream(l.shard, source, tier)
	for len(ids) > 0 || len(events) > 0 || len(hints) > 0 {
		page := ids[:min(maxIDs, len(ids))]
		ids = ids[len(page):]
		left := hints[:min(maxIDs, len(hints))]
		hints = hints[len(left):]
		keys := []string{stream, l.s.keys.hints(l.shard, source)}
		if len(ids) == 0 { // marks last: "processed" is said when nothing is left
			marks := events[:min(maxIDs, len(events))]
			events = events[len(marks):]
			keys = l.addMarks(keys, source, marks)
		}
		args := make([]any, 0, 3+len(left)+len(page))
		args = append(args, group, maxHints, len(left))
		for _, h := range left {
			args = append(args, h.text())
		}
		_, err := l.runShared(ctx, ackScript, "ack on", keys, append(args, anys(page)...)...)
		if err != nil {
			return err
		}
	}
	if len(late) == 0 {
		return nil
	}
	fault.Point("after-ack-before-hints")
	return l.leaveHints(ctx, source, late)
}

// addMarks adds the keys of marks. An event's own entry is on the shard of its
// home, so its mark is on the same.
func (l *Lease) addMarks(keys []string, source string, events []string) []string {
	for _, id := range events {
		keys = append(keys, l.s.keys.mark(l.shard, source, id))
	}
	return keys
}

// entriesOf reads the entries of read.lua and takeover.lua.
func entriesOf(v any, tier event.Tier) []event.Entry {
	list := asList(v)
	entries := make([]event.Entry, len(list))
	fields := map[string]string{} // of one entry after the other
	for i, item := range list {
		parts := asList(item)
		clear(fields)
		addFields(fields, asList(parts[1]))
		e := event.Entry{ID: asText(parts[0]), Tier: tier, Parked: asInt(parts[2]) == 1}
		if e.Signal, e.Err = event.ParseSignal(fields); e.Err != nil {
			e.Fields = maps.Clone(fields)
		}
		entries[i] = e
	}
	return entries
}

func addFields(fields map[string]string, flat []any) {
	for i := 0; i+1 < len(flat); i += 2 {
		fields[asText(flat[i])] = asText(flat[i+1])
	}
}
