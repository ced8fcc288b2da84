package stream

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
)

// MaxState is the longest state kept with a parked entity, in bytes.
const MaxState = 64 << 10

// Park is an entity to be parked with all its entries.
type Park struct {
	Key event.Key
	// Charged and Waiting are the entries in flight, in stream order: those the
	// failed attempt was for, then those that came since. Both are moved. A
	// wait that costs no attempt has no Charged, only Waiting.
	// None when the entity is parked already and a retry has failed.
	Charged, Waiting []event.Entry
	// Tried is how many of what is parked a failed retry was for: what came
	// meanwhile is not charged. 0: all of it.
	Tried int
	// Attempt counts the charged attempts of the entity since it was parked;
	// an uncharged wait leaves it.
	Attempt int
	// Delay is how long until it is due, by Redis' clock.
	Delay time.Duration
	// Earliest is how long until a new live signal may make it due; never more
	// than Delay.
	Earliest time.Duration
	// State is the worker's own record, opaque here, at most MaxState bytes.
	State []byte
	// Spilled marks an entity that has not failed: too much is in flight, so it
	// waits for its turn in Redis. Fleet counts its entries like those of the
	// stream. It has no Charged entries, no Attempt and no State.
	Spilled bool
}

// Parked is an entity that waits.
type Parked struct {
	Key event.Key
	// Len is how many entries wait.
	Len     int
	Attempt int
	State   []byte
	// Spilled reports whether the entity waits for its turn and has not failed.
	Spilled bool
}

// Park moves what waits for an entity from its streams into its parked list,
// with ack and delete, in pages of at most 1,000 entries: Redis does
// nothing else while it moves one.
//
// The head goes first. Should the worker die between two pages, its successor
// finds the rest pending and the entity parked, and ParkBehind moves the rest
// behind its head. Entries of Charged that were not moved then have one more attempt
// left. While the worker lives the caller lets nothing else of the entity be read,
// tried or moved. After an error it calls Park with the same again, or has lost the
// lease.
func (l *Lease) Park(ctx context.Context, p Park) error {
	if len(p.State) > MaxState {
		return fmt.Errorf("park %s: state has %d bytes, more than %d", p.Key, len(p.State), MaxState)
	}
	if p.Spilled && (len(p.Charged) > 0 || p.Attempt > 0 || len(p.State) > 0) {
		return fmt.Errorf("park %s: a spilled entity has not failed: it has neither an attempt nor a state", p.Key)
	}
	if err := l.rebase(ctx, p); err != nil {
		return err
	}
	entries := slices.Concat(p.Charged, p.Waiting)
	for at := 0; at == 0 || at < len(entries); at += l.s.parkPage {
		page := entries[at:min(at+l.s.parkPage, len(entries))]
		if err := l.parkPage(ctx, p, page, len(p.Charged)-at); err != nil {
			return err
		}
	}
	return nil
}

// parkPage moves one page, of which the attempt was for the first charged.
func (l *Lease) parkPage(ctx context.Context, p Park, page []event.Entry, charged int) error {
	entity := p.Key.String()
	kind := "failed"
	if p.Spilled {
		kind = "spilled"
	}
	args := make([]any, 0, 8+4*len(page))
	args = append(args, group, entity, l.next(), p.Attempt,
		milliseconds(p.Delay), milliseconds(min(p.Earliest, p.Delay)), p.State, kind)
	for i, e := range page {
		packed, err := pack(e)
		if err != nil {
			return fmt.Errorf("park %s: %w", p.Key, err)
		}
		base := p.Attempt
		if i < charged {
			base-- // an attempt is charged to an entry when the entity's count passes its base
		}
		args = append(args, streamIndex(e.Tier), e.ID, max(base, 0), packed)
	}
	_, err := l.runShared(ctx, parkScript, "park "+entity+" on",
		append(l.parkingKeys(p.Key.Source), l.entityKeys(entity)...), args...)
	l.due.within(p.Key.Source, p.Delay)
	return err
}

// rebase keeps entries that came during a retry from being charged for it. It runs
// before the attempt is counted: a worker that dies between the two leaves entries
// whose count starts at an attempt to come, not entries charged for nothing.
func (l *Lease) rebase(ctx context.Context, p Park) error {
	if p.Tried <= 0 {
		return nil
	}
	entity := p.Key.String()
	for from := p.Tried; ; from += l.s.parkPage {
		v, err := l.run(ctx, rebaseScript, "spare what came for "+entity+" on", l.entityKeys(entity),
			l.next(), from, l.s.parkPage, p.Attempt)
		if err != nil {
			return err
		}
		if from+l.s.parkPage >= int(asInt(v)) {
			return nil
		}
	}
}

// ParkBehind moves entries, each behind its parked entity, in the given order.
// Those whose entity is not parked (any more) are left where they are and
// returned. On an error some may have been moved; to call it again with the
// same entries is safe.
func (l *Lease) ParkBehind(ctx context.Context, entries []event.Entry) (notParked []event.Entry, err error) {
	for _, source := range sourcesOf(entries) {
		own := slices.DeleteFunc(slices.Clone(entries), func(e event.Entry) bool { return e.Signal.Ref.Key.Source != source })
		for page := range slices.Chunk(own, maxIDs) {
			left, err := l.parkPageBehind(ctx, source, page)
			if err != nil {
				return notParked, err
			}
			notParked = append(notParked, left...)
		}
	}
	return notParked, nil
}

func (l *Lease) parkPageBehind(ctx context.Context, source string, page []event.Entry) ([]event.Entry, error) {
	args := make([]any, 0, 3+4*len(page))
	args = append(args, group, l.s.keys.parkedPrefix(l.shard), l.s.keys.recordPrefix(l.shard))
	for _, e := range page {
		packed, err := pack(e)
		if err != nil {
			return nil, fmt.Errorf("park behind %s: %w", e.Signal.Ref.Key, err)
		}
		args = append(args, streamIndex(e.Tier), e.ID, e.Signal.Ref.Key.String(), packed)
	}
	v, err := l.runShared(ctx, parkBehindScript, "park behind on", l.parkingKeys(source), args...)
	l.due.within(source, 0) // a live signal may have made its entity due
	if err != nil {
		return nil, err
	}
	var left []event.Entry
	for _, position := range asList(v) {
		left = append(left, page[asInt(position)-1])
	}
	return left, nil
}

// Defer moves the due time of a parked entity, and the time from which a live signal
// may make it due: Due names it again only after delay, even if signals come for it. It
// moves no entry and counts no attempt. A retry begins with Defer, so that the
// entity is due again if the worker dies.
func (l *Lease) Defer(ctx context.Context, k event.Key, delay time.Duration) error {
	entity := k.String()
	_, err := l.runShared(ctx, deferScript, "defer "+entity+" on",
		append(l.dueKeys(k.Source), l.s.keys.recordPrefix(l.shard)+entity),
		entity, l.next(), milliseconds(delay))
	l.due.within(k.Source, delay)
	return err
}

// Parked returns a parked entity and up to n of its entries, from a position
// counted from 0. Not parked: Len 0. What the log row of an event has, its
// payload and entities, is not in the signals. An entry that cannot be read has
// Err and is for Discard.
func (l *Lease) Parked(ctx context.Context, k event.Key, from, n int) (Parked, []event.Entry, error) {
	p, items, err := l.look(ctx, k.String(), from, n)
	if err != nil {
		return Parked{}, nil, err
	}
	p.Key = k
	var entries []event.Entry
	for _, item := range items {
		e, err := parkedEntry(item, p.Attempt)
		if err == nil && e.Signal.Ref.Key != k {
			err = fmt.Errorf("it is of %s", e.Signal.Ref.Key)
		}
		if err != nil {
			e = unreadable(item, fmt.Errorf("parked entry of %s: %w", k, err))
		}
		entries = append(entries, e)
	}
	return p, entries, nil
}

// look returns a parked entity without its key, and entries as they stand in its
// list.
func (l *Lease) look(ctx context.Context, entity string, from, n int) (Parked, []string, error) {
	v, err := l.runShared(ctx, parkedScript, "look at parked "+entity+" on", l.entityKeys(entity), from, n)
	if err != nil {
		return Parked{}, nil, err
	}
	answer := asList(v)
	p := Parked{
		Len: int(asInt(answer[0])), Attempt: int(asInt(answer[1])), State: []byte(asText(answer[2])),
		Spilled: asInt(answer[4]) == 1,
	}
	return p, texts(answer[3]), nil
}

// Unpark removes the named entries, which must be the head of the parked list,
// and un-parks the entity when none is left; else it is due again after delay.
// events and hints as in Ack. It returns how many are left.
func (l *Lease) Unpark(ctx context.Context, k event.Key, ids, events []string, delay time.Duration, hints ...Hint) (left int, err error) {
	entity := k.String()
	for {
		page := ids[:min(maxIDs, len(ids))]
		ids = ids[len(page):]
		keys := append(append(l.dueKeys(k.Source), l.entityKeys(entity)...), l.s.keys.hints(l.shard, k.Source))
		if len(ids) == 0 {
			keys = l.addMarks(keys, k.Source, events)
		}
		args := []any{entity, l.next(), milliseconds(delay), maxHints, len(hints)}
		for _, h := range hints {
			args = append(args, h.text())
		}
		hints = nil
		args = append(args, anys(page)...)
		v, err := l.runShared(ctx, unparkScript, "unpark "+entity+" on", keys, args...)
		left = int(asInt(v))
		if err != nil || left > 0 {
			l.due.within(k.Source, delay)
		}
		if err != nil {
			return 0, err
		}
		if len(ids) == 0 {
			return left, nil
		}
	}
}

// dueKeys, parkingKeys and entityKeys are the keys of the parking scripts, in
// their order.
func (l *Lease) dueKeys(source string) []string {
	return []string{l.s.keys.due(l.shard, source), l.s.keys.earliest(l.shard, source)}
}

func (l *Lease) parkingKeys(source string) []string {
	return append([]string{
		l.s.keys.stream(l.shard, source, event.TierLive),
		l.s.keys.stream(l.shard, source, event.TierBackground),
	}, l.dueKeys(source)...)
}

func (l *Lease) entityKeys(entity string) []string {
	return []string{l.s.keys.parkedPrefix(l.shard) + entity, l.s.keys.recordPrefix(l.shard) + entity}
}

// streamIndex is the position of a tier's stream in KEYS of the scripts.
func streamIndex(t event.Tier) int {
	if t == event.TierLive {
		return 2
	}
	return 3
}

func sourcesOf(entries []event.Entry) []string {
	var sources []string
	for _, e := range entries {
		if s := e.Signal.Ref.Key.Source; !slices.Contains(sources, s) {
			sources = append(sources, s)
		}
	}
	return sources
}

// parkedEntry reads "id base packed", as the scripts write it.
func parkedEntry(item string, attempt int) (event.Entry, error) {
	id, rest, _ := strings.Cut(item, " ")
	number, packed, ok := strings.Cut(rest, " ")
	base, err := strconv.Atoi(number)
	if !ok || err != nil {
		return event.Entry{}, fmt.Errorf("%.40q: want id, base and signal", item)
	}
	fields, err := unpack(packed)
	if err != nil {
		return event.Entry{}, err
	}
	signal, err := event.ParseSignal(fields)
	if err != nil {
		return event.Entry{}, err
	}
	return event.Entry{ID: id, Tier: signal.Class.Tier(), Signal: signal, Attempts: max(attempt-base, 0)}, nil
}
