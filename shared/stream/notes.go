package stream

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// maxNotes is about how many notes are kept. They are tallies: if no
// worker drains them, the oldest are dropped before Redis is full.
const maxNotes = 1_000_000

// Note is a record for the audit. It needs no answer.
type Note struct {
	// ID is set by Notes.
	ID      string
	At      time.Time
	Source  string
	Kind    string
	EventID string
	Reason  string
	Count   int64
}

// AddNotes appends notes. Their stream is trimmed to about 1,000,000. A note is
// a tally: after an error, or a network error on a cluster, it may be there
// twice or not at all. Near the memory limit it answers ErrFull, like Append.
func (s *Streams) AddNotes(ctx context.Context, notes []Note) error {
	for page := range slices.Chunk(notes, maxBatch) {
		if s.isFull() {
			return fmt.Errorf("add %d notes: %w", len(page), ErrFull)
		}
		pipe := s.client.Pipeline()
		for _, n := range page {
			pipe.XAdd(ctx, &redis.XAddArgs{
				Stream: s.keys.notes(), MaxLen: maxNotes, Approx: true,
				Values: []any{
					"at", n.At.UnixMicro(), "source", n.Source, "kind", n.Kind,
					"event", n.EventID, "reason", n.Reason, "count", n.Count,
				},
			})
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return explain(err, fmt.Sprintf("add %d notes", len(page)))
		}
	}
	return nil
}

// Notes returns up to n notes after the one of the given id ("": from the
// start), oldest first. DropNotes removes them once they are in the audit.
func (s *Streams) Notes(ctx context.Context, after string, n int) ([]Note, error) {
	from := "-"
	if after != "" {
		from = "(" + after
	}
	found, err := s.client.XRangeN(ctx, s.keys.notes(), from, "+", int64(n)).Result()
	if err != nil {
		return nil, fmt.Errorf("read notes: %w", err)
	}
	notes := make([]Note, len(found))
	for i, m := range found {
		notes[i] = note(m)
	}
	return notes, nil
}

// note reads an entry back. Only AddNotes writes them, so what is not a
// number is 0.
func note(m redis.XMessage) Note {
	field := func(name string) string { v, _ := m.Values[name].(string); return v }
	number := func(name string) int64 { n, _ := strconv.ParseInt(field(name), 10, 64); return n }
	return Note{
		ID: m.ID, At: time.UnixMicro(number("at")).UTC(), Source: field("source"), Kind: field("kind"),
		EventID: field("event"), Reason: field("reason"), Count: number("count"),
	}
}

// DropNotes removes notes.
func (s *Streams) DropNotes(ctx context.Context, ids []string) error {
	for len(ids) > 0 {
		page := ids[:min(maxIDs, len(ids))]
		ids = ids[len(page):]
		if err := s.client.XDel(ctx, s.keys.notes(), page...).Err(); err != nil {
			return fmt.Errorf("drop notes: %w", err)
		}
	}
	return nil
}
