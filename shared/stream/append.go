package stream

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/tarn-sync/tarn/shared/event"
)

// Draft is a signal on its way into a stream.
type Draft struct {
	Signal event.Signal
	// Once, for signals that carry no event, suppresses a further one of the
	// same cause and with the same Once for the same entity for that long, or until
	// ForgetOnce. One with another Once is meant for another time, and is appended.
	// A signal that carries its event is always marked by the event's id, with a
	// hash of its body: the same id with another body is no duplicate.
	Once time.Duration
	// Recorded: the store has a row that is open until the signal has been followed, and
	// Recover appends it again should Redis lose it. AppendFurther does not wait for
	// replicas then.
	Recorded bool
}

// Receipt says where an append went.
type Receipt struct {
	Shard int
	// ID is the stream id; of the earlier entry, if known, for a duplicate.
	ID string
	// Duplicate: the mark was there, nothing was appended.
	Duplicate bool
	// Processed: the mark says that the earlier one is done.
	Processed bool
}

// Append appends one signal and returns when Redis (and WaitReplicas
// replicas) confirmed it. Concurrent calls share pipelines. On an error the
// signal may or may not have been appended. Above 80 % of maxmemory it answers
// ErrFull.
func (s *Streams) Append(ctx context.Context, d Draft) (Receipt, error) {
	a := takeAppending(1)
	s.draft(&d, &a.entries[0], a)
	if err := s.submit(ctx, a); err != nil {
		return Receipt{}, fmt.Errorf("append a signal of %s: %w", d.Signal.Ref.Key, err)
	}
	r, err := a.entries[0].receipt()
	a.free()
	return r, err
}

// AppendAll appends many signals, in order per shard. On an error the receipts
// are those of the signals before the first one in doubt; later ones may have
// been appended.
func (s *Streams) AppendAll(ctx context.Context, ds []Draft) ([]Receipt, error) {
	return s.appendPages(ctx, ds, appending{waits: true})
}

// AppendFurther is AppendAll for the signals that entries already read lead to:
// further entities of an event, refreshes, second looks. They go in however full
// Redis is. An entry cannot leave before its further signals are
// in, so refusing those would keep Redis full for ever. Nor do Recorded ones wait for
// replicas: what would be lost with them is in the store. ErrReplicas is about one
// that is not Recorded; it and those before it have been appended.
func (s *Streams) AppendFurther(ctx context.Context, ds []Draft) ([]Receipt, error) {
	receipts := make([]Receipt, 0, len(ds))
	for len(ds) > 0 {
		n := 1
		for n < len(ds) && ds[n].Recorded == ds[0].Recorded {
			n++
		}
		got, err := s.appendPages(ctx, ds[:n], appending{further: true, waits: !ds[0].Recorded})
		if receipts = append(receipts, got...); err != nil {
			return receipts, err
		}
		ds = ds[n:]
	}
	return receipts, nil
}

// appendPages appends signals in the way that how has, at most a batch at a time.
func (s *Streams) appendPages(ctx context.Context, ds []Draft, how appending) ([]Receipt, error) {
	receipts := make([]Receipt, 0, len(ds))
	for len(ds) > 0 {
		page := ds[:min(maxBatch, len(ds))]
		ds = ds[len(page):]
		got, err := s.appendPage(ctx, page, how)
		if receipts = append(receipts, got...); err != nil {
			return receipts, err
		}
	}
	return receipts, nil
}

func (s *Streams) appendPage(ctx context.Context, ds []Draft, how appending) ([]Receipt, error) {
	a := takeAppending(len(ds))
	a.further, a.waits = how.further, how.waits
	for i := range ds {
		s.draft(&ds[i], &a.entries[i], a)
	}
	if err := s.submit(ctx, a); err != nil {
		return nil, fmt.Errorf("append %d signals, first of %s: %w", len(ds), ds[0].Signal.Ref.Key, err)
	}
	defer a.free()
	receipts := make([]Receipt, 0, len(ds))
	for i := range a.entries {
		r, err := a.entries[i].receipt()
		if err != nil {
			return receipts, err
		}
		receipts = append(receipts, r)
	}
	return receipts, nil
}

// entry is a stream entry on its way, as append.lua takes it.
type entry struct {
	shard        int
	stream, mark value // mark is the stream's name if there is none
	remembers    value // what the mark remembers
	// key, causeID, head and, if own, payload are the values of the fields.
	key, causeID, head, payload value
	own                         bool // it is an event's own entry
	further                     bool // goes in however full Redis is

	answer string
	err    error
}

// size is about how many bytes an entry has. Only payloads are large.
func (e *entry) size() int { return len(e.payload) }

// value is an argument of a script. A pointer to it goes into a command without the
// allocation that a string or a slice of bytes needs there.
type value []byte

// MarshalBinary returns the bytes, for the client.
func (v *value) MarshalBinary() ([]byte, error) { return *v, nil }

// onceMark begins what the mark of a signal without an event remembers.
const onceMark = '@'

// draft fills in what appends a signal. One without a mark that the client
// repeats means one look too many at an entity, which changes nothing.
func (s *Streams) draft(d *Draft, e *entry, a *appending) {
	signal := &d.Signal
	key := signal.Ref.Key
	e.shard, e.further = key.Shard(s.opts.Shards), a.further
	a.text = s.keys.appendStream(a.text, e.shard, key.Source, signal.Class.Tier())
	e.stream = a.cut()
	switch {
	case signal.Body != nil:
		a.text = s.keys.appendMark(a.text, e.shard, key.Source, signal.Body.ID)
		e.mark = a.cut()
		a.text = strconv.AppendUint(a.text, xxhash.Sum64(signal.Body.Payload), 16)
		e.own, e.payload = true, signal.Body.Payload
	case d.Once > 0:
		a.text = s.keys.appendOnce(a.text, e.shard, signal.Cause, key)
		e.mark = a.cut()
		a.text = strconv.AppendInt(append(a.text, onceMark), milliseconds(d.Once), 16)
	default:
		e.mark = e.stream
	}
	e.remembers = a.cut()
	a.text = key.AppendTo(a.text)
	e.key = a.cut()
	a.text = append(a.text, signal.CauseID...)
	e.causeID = a.cut()
	a.text = signal.AppendHead(a.text)
	e.head = a.cut()
}

// receipt reads the answer of append.lua for one entry.
func (e *entry) receipt() (Receipt, error) {
	if e.err != nil {
		return Receipt{}, explain(e.err, "append to shard "+strconv.Itoa(e.shard))
	}
	answer, _, _ := strings.Cut(e.answer, " ") // without the hash of a body
	value, duplicate := strings.CutPrefix(answer, "=")
	if !duplicate {
		return Receipt{Shard: e.shard, ID: answer}, nil
	}
	id, queued := strings.CutPrefix(value, "queued:")
	if !queued {
		id = ""
	}
	return Receipt{Shard: e.shard, ID: id, Duplicate: true, Processed: !queued}, nil
}

// ForgetEvents removes the marks of events, so that the provider's sending them
// again is accepted. homes are the events' Home keys, by the event's id. Cut off,
// it may have removed some.
func (s *Streams) ForgetEvents(ctx context.Context, homes map[string]event.Key) error {
	marks := make([]string, 0, len(homes))
	for id, home := range homes {
		marks = append(marks, s.keys.mark(home.Shard(s.opts.Shards), home.Source, id))
		if home.Under != "" { // the event may not have named its qualifiers
			home.Under = ""
			marks = append(marks, s.keys.mark(home.Shard(s.opts.Shards), home.Source, id))
		}
	}
	for page := range slices.Chunk(marks, maxIDs) {
		pipe := s.client.Pipeline()
		for _, mark := range page {
			pipe.Del(ctx, mark)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("remove the marks of %d events: %w", len(page), err)
		}
	}
	return nil
}

// ForgetOnce removes the mark of Drafts with Once, whatever their Once.
func (s *Streams) ForgetOnce(ctx context.Context, cause event.Cause, k event.Key) error {
	mark := s.keys.once(k.Shard(s.opts.Shards), cause, k)
	if err := s.client.Del(ctx, mark).Err(); err != nil {
		return fmt.Errorf("remove mark %s: %w", mark, err)
	}
	return nil
}

// milliseconds rounds up, so that nothing short becomes nothing.
func milliseconds(d time.Duration) int64 {
	return int64((max(d, 0) + time.Millisecond - 1) / time.Millisecond)
}
