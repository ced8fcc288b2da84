package stream

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tarn-sync/tarn/shared/event"
)

// ErrCursor is returned for a cursor that Waiting did not give out.
var ErrCursor = errors.New("cursor is not one this list gave out: start again without it")

// Waiting is a parked entity as an operator sees it.
type Waiting struct {
	Parked
	// Due is when it is tried again, by Redis' clock. It is in the past if the entity is
	// due already, and 1970 after RetryParked.
	Due time.Time
}

// WaitingFilter selects parked entities of sources.
type WaitingFilter struct {
	Sources []string
	// Kind selects entities of a kind. "": of all kinds.
	Kind string
	// Want selects by what is known of an entity. Nil: all.
	Want func(*Waiting) bool
	// Limit is the page size, at least 1.
	Limit int
	// Cursor is the NextCursor of the page before. "": the first page.
	Cursor string
}

// filters reports whether the filter may leave entities of its sources out.
func (f *WaitingFilter) filters() bool { return f.Kind != "" || f.Want != nil }

// WaitingPage is a page of parked entities.
type WaitingPage struct {
	Items []Waiting
	// NextCursor is "" on the last page. A page of which the filter left out many may
	// have fewer items than its limit, and still a next one.
	NextCursor string
}

const (
	// waitsLooked is how many names a filter looks at in one go, waitsRounds how often
	// for one page.
	waitsLooked, waitsRounds = 1000, 20
)

// place is where a parked entity stands in the list.
type place struct {
	At   int64  `json:"t"`
	Name string `json:"i"`
}

func (p place) compare(o place) int {
	return cmp.Or(cmp.Compare(p.At, o.At), strings.Compare(p.Name, o.Name))
}

func (p place) cursor() string {
	b, _ := json.Marshal(p) // a number and a text always encode
	return base64.RawURLEncoding.EncodeToString(b)
}

// parsePlace reads a cursor. Nil for "".
func parsePlace(cursor string) (*place, error) {
	if cursor == "" {
		return nil, nil
	}
	var p place
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || json.Unmarshal(b, &p) != nil || p.Name == "" {
		return nil, ErrCursor
	}
	return &p, nil
}

// Waiting lists parked entities, those that are due first before others. An entity that
// is parked again meanwhile may be listed twice, or be passed over.
func (s *Streams) Waiting(ctx context.Context, f WaitingFilter) (WaitingPage, error) {
	var page WaitingPage
	after, err := parsePlace(f.Cursor)
	if err != nil {
		return page, err
	}
	looked := f.Limit + 1
	if f.filters() {
		looked = max(looked, waitsLooked)
	}
	for range waitsRounds {
		places, err := s.placesAfter(ctx, f.Sources, after, looked)
		if err != nil {
			return page, err
		}
		more := len(places) == looked
		for chunk := range slices.Chunk(places, f.Limit) {
			found, err := s.waitingAt(ctx, f.Kind, chunk)
			if err != nil {
				return page, err
			}
			for i := range found {
				if f.Want == nil || f.Want(&found[i]) {
					page.Items = append(page.Items, found[i])
				}
				last := place{At: found[i].Due.UnixMilli(), Name: found[i].Key.String()}
				if len(page.Items) == f.Limit && (more || last.compare(places[len(places)-1]) < 0) {
					page.NextCursor = last.cursor()
				}
				if len(page.Items) == f.Limit {
					return page, nil
				}
			}
		}
		if !more {
			return page, nil
		}
		after = &places[len(places)-1]
	}
	page.NextCursor = after.cursor()
	return page, nil
}

// placesAfter returns the first n places after one, of all shards and sources. A key that
// another program has written counts as empty.
func (s *Streams) placesAfter(ctx context.Context, sources []string, after *place, n int) ([]place, error) {
	args := []any{"", "", n}
	if after != nil {
		args[0], args[1] = after.At, after.Name
	}
	var calls []scriptCall
	for shard := range s.opts.Shards {
		for _, source := range sources {
			calls = append(calls, scriptCall{waitsScript, "list what is parked of " + source, []string{s.keys.due(shard, source)}, args})
		}
	}
	replies, errs := runCalls(ctx, s.client, calls...)
	var places []place
	for i, reply := range replies {
		if err := errs[i]; wrongType(errors.Unwrap(err)) {
			continue
		} else if err != nil {
			return nil, err
		}
		named := texts(reply)
		for j := 0; j+1 < len(named); j += 2 {
			places = append(places, place{At: asInt(named[j+1]), Name: named[j]})
		}
	}
	slices.SortFunc(places, place.compare)
	return places[:min(n, len(places))], nil
}

// waitingAt reads the entities of a kind at some places, "" for any kind. Names that
// are no keys are left out, and so are entities that are not parked any more.
func (s *Streams) waitingAt(ctx context.Context, kind string, places []place) ([]Waiting, error) {
	var found []Waiting
	for _, p := range places {
		k, err := event.ParseKey(p.Name)
		if err == nil && (kind == "" || k.Kind == kind) {
			found = append(found, Waiting{Parked: Parked{Key: k}, Due: time.UnixMilli(p.At).UTC()})
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	pipe := s.client.Pipeline()
	records := make([]*redis.SliceCmd, len(found))
	lengths := make([]*redis.IntCmd, len(found))
	for i := range found {
		records[i], lengths[i] = s.lookAtParked(ctx, pipe, found[i].Key)
	}
	if _, err := pipe.Exec(ctx); err != nil && !wrongType(err) {
		return nil, fmt.Errorf("look at parked entities: %w", err)
	}
	for i := range found {
		found[i].read(records[i], lengths[i])
	}
	return slices.DeleteFunc(found, func(w Waiting) bool { return w.Len == 0 }), nil
}

func (s *Streams) lookAtParked(ctx context.Context, pipe redis.Pipeliner, k event.Key) (*redis.SliceCmd, *redis.IntCmd) {
	shard, entity := k.Shard(s.opts.Shards), k.String()
	return pipe.HMGet(ctx, s.keys.recordPrefix(shard)+entity, "attempt", "state", "kind"),
		pipe.LLen(ctx, s.keys.parkedPrefix(shard)+entity)
}

// read reads the record of a parked entity and how many entries it has.
func (w *Waiting) read(record *redis.SliceCmd, length *redis.IntCmd) {
	w.Len = int(length.Val())
	fields := record.Val()
	if len(fields) < 3 {
		return
	}
	w.Attempt, w.State = int(asInt(fields[0])), []byte(asText(fields[1]))
	// As scripts/spilled.lua decides it.
	w.Spilled = (fields[2] == nil || asText(fields[2]) == "spilled") && w.Attempt == 0 && len(w.State) == 0
}

// WaitingOf returns a parked entity. Not parked: nil.
func (s *Streams) WaitingOf(ctx context.Context, k event.Key) (*Waiting, error) {
	pipe := s.client.Pipeline()
	due := pipe.ZScore(ctx, s.keys.due(k.Shard(s.opts.Shards), k.Source), k.String())
	record, length := s.lookAtParked(ctx, pipe, k)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("look at parked %s: %w", k, err)
	}
	if errors.Is(due.Err(), redis.Nil) {
		return nil, nil
	}
	w := &Waiting{Parked: Parked{Key: k}, Due: time.UnixMilli(int64(due.Val())).UTC()}
	if w.read(record, length); w.Len == 0 {
		return nil, nil
	}
	return w, nil
}

// RetryEntities makes parked entities due now and returns how many were not due yet.
// Those that are not parked are left out. It needs no lease, as RetryParked.
func (s *Streams) RetryEntities(ctx context.Context, keys []event.Key) (n int, err error) {
	type part struct {
		source string
		shard  int
	}
	parts := map[part][]any{}
	sources := map[string]bool{}
	for _, k := range keys {
		p := part{k.Source, k.Shard(s.opts.Shards)}
		parts[p], sources[k.Source] = append(parts[p], k.String()), true
	}
	var calls []scriptCall
	for p, entities := range parts {
		for page := range slices.Chunk(entities, maxIDs) {
			calls = append(calls, scriptCall{
				retrySomeScript, "retry what is parked of " + p.source,
				[]string{s.keys.due(p.shard, p.source), s.keys.earliest(p.shard, p.source)}, page,
			})
		}
	}
	if len(calls) == 0 {
		return 0, nil
	}
	replies, errs := runCalls(ctx, s.client, calls...)
	for i := range replies {
		n += int(asInt(replies[i]))
		err = errors.Join(err, errs[i])
	}
	for source := range sources { // after the due times, as RetryParked
		err = errors.Join(err, s.sayRetried(ctx, source))
	}
	return n, err
}

// sayRetried tells the leaseholders, by Sources, that entities of a source were made due.
func (s *Streams) sayRetried(ctx context.Context, source string) error {
	_, err := run(ctx, s.client, retriedScript, "say that what is parked of "+source+" is due",
		[]string{s.keys.retried()}, source, rand.Text())
	return err
}
