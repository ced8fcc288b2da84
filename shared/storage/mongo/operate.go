package mongo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// What operators do with dead letters.

const lettersList = "dead letters"

// LetterByID returns one dead letter, or storage.ErrNotFound.
func (s *Store) LetterByID(ctx context.Context, id string) (*storage.LetterRecord, error) {
	found, err := s.lettersByID(ctx, []string{id})
	if err == nil && len(found) == 0 {
		err = storage.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read dead letter %s: %w", id, err)
	}
	records, err := s.records(ctx, found)
	if err != nil {
		return nil, fmt.Errorf("read dead letter %s: %w", id, err)
	}
	return records[0], nil
}

// Letters lists dead letters, newest first.
func (s *Store) Letters(ctx context.Context, f storage.LetterFilter) (storage.Page[*storage.LetterRecord], error) {
	var none storage.Page[*storage.LetterRecord]
	found, err := newestFirst[letter]{
		name: lettersList, collection: s.letters, time: "at",
		place: func(l letter) (time.Time, string) { return l.At, l.LetterID },
	}.read(ctx, letterFilter(f), f.Limit, f.Cursor)
	if err != nil {
		return none, fmt.Errorf("list dead letters: %w", err)
	}
	records, err := s.records(ctx, found.Items)
	if err != nil {
		return none, fmt.Errorf("list dead letters: %w", err)
	}
	return storage.Page[*storage.LetterRecord]{Items: records, NextCursor: found.NextCursor}, nil
}

// CountLetters counts what a filter selects.
func (s *Store) CountLetters(ctx context.Context, f storage.LetterFilter) (int64, error) {
	n, err := s.letters.CountDocuments(ctx, letterFilter(f))
	if err != nil {
		return 0, fmt.Errorf("count dead letters: %w", classify(ctx, err))
	}
	return n, nil
}

// OpenLetters counts open dead letters by source.
func (s *Store) OpenLetters(ctx context.Context) (map[string]int64, error) {
	counts, err := stringCounts(ctx, s.letters, bson.D{{Key: "status", Value: storage.LetterOpen}}, "source")
	if err != nil {
		return nil, fmt.Errorf("count open letters: %w", err)
	}
	return counts, nil
}

func letterFilter(f storage.LetterFilter) bson.D {
	filter := appendEqual(bson.D{}, "status", string(f.Status))
	filter = appendEqual(filter, "source", f.Source)
	filter = appendEqual(filter, "type", f.Type)
	filter = appendEqual(filter, "kind", f.Kind)
	filter = appendEqual(filter, "class", f.Class)
	if !f.Entity.IsZero() {
		filter = append(filter, bson.E{Key: "entity", Value: f.Entity.String()})
	}
	return appendRange(filter, "at", f.From, f.To)
}

// records adds to dead letters what their events' rows have.
func (s *Store) records(ctx context.Context, letters []*letter) ([]*storage.LetterRecord, error) {
	ids := make([]string, len(letters))
	for i, l := range letters {
		ids[i] = l.row()
	}
	rows, err := s.rowsByID(ctx, ids, bson.D{{Key: "type", Value: 1}, {Key: "payload", Value: 1}})
	if err != nil {
		return nil, err
	}
	out := make([]*storage.LetterRecord, len(letters))
	for i, l := range letters {
		out[i] = l.record()
		if r := rows[l.row()]; r != nil {
			out[i].EventType, out[i].Payload = r.Type, bodyBytes(r.Payload)
		}
	}
	return out, nil
}

func (l *letter) record() *storage.LetterRecord {
	return &storage.LetterRecord{
		Letter: storage.Letter{
			Source: l.Source, EventID: l.Event, Ref: event.Ref{Key: l.key(), Parents: unescapeKeys(l.Parents)},
			Signal: storage.SignalID(l.Signal), Class: l.Class, Attempts: l.attempts(), Claim: l.Claim, TraceID: l.TraceID, At: l.At,
		},
		Status: l.Status, EventType: l.Type, ClosedAt: l.ClosedAt, By: l.By, Reason: l.Reason,
	}
}

// Redriven closes open dead letters whose work was appended again.
func (s *Store) Redriven(ctx context.Context, ids []string, by string, at time.Time) (int, error) {
	n, err := s.closeLetters(ctx, ids, closing{letter: storage.LetterRedriven, outcome: storage.Pending, by: by, at: at})
	if err != nil {
		return n, fmt.Errorf("mark dead letters redriven: %w", err)
	}
	return n, nil
}

// Discard gives open dead letters up.
func (s *Store) Discard(ctx context.Context, ids []string, by, reason string, at time.Time) (int, error) {
	n, err := s.closeLetters(ctx, ids, closing{letter: storage.LetterDiscarded, outcome: storage.Discarded, by: by, reason: reason, at: at})
	if err != nil {
		return n, fmt.Errorf("discard letters: %w", err)
	}
	return n, nil
}

// closing is how dead letters end, and what becomes of their outcomes.
type closing struct {
	letter     storage.LetterStatus
	outcome    storage.EventStatus
	by, reason string
	at         time.Time
}

func (c closing) update() bson.D {
	set := bson.D{{Key: "status", Value: c.letter}, {Key: "closed_at", Value: c.at}}
	set = appendEqual(appendEqual(set, "by", c.by), "reason", c.reason)
	return bson.D{{Key: "$set", Value: set}, {Key: "$inc", Value: bson.D{{Key: "rev", Value: int64(1)}}}}
}

// closeLetters changes the outcomes first: as long as a dead letter is open, a
// repetition of this call or of the work finds it. The counts come last and for every
// dead letter named, so that a repetition makes them even if nothing else is left
// to do.
func (s *Store) closeLetters(ctx context.Context, ids []string, end closing) (n int, err error) {
	for chunk := range slices.Chunk(ids, maxIDs) {
		letters, err := s.lettersByID(ctx, chunk)
		if err != nil {
			return n, err
		}
		closed, err := s.closeOpen(ctx, letters, end)
		if err != nil {
			return n, err
		}
		n += closed
		opened, err := s.agree(ctx, chunk)
		if err != nil {
			return n, err
		}
		n = max(n-opened, 0)
		if err := s.recountAll(ctx, letters); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (s *Store) closeOpen(ctx context.Context, letters []*letter, end closing) (int, error) {
	var moves []move
	var models []mongo.WriteModel
	for _, l := range letters {
		if l.Status != storage.LetterOpen {
			continue
		}
		moves = append(moves, move{row: l.row(), entity: l.key(), from: storage.Dead, to: end.outcome})
		models = append(models, mongo.NewUpdateOneModel().
			SetFilter(bson.D{{Key: "_id", Value: l.LetterID}, {Key: "status", Value: storage.LetterOpen}}).
			SetUpdate(end.update()))
	}
	if err := s.move(ctx, moves); err != nil {
		return 0, err
	}
	n, err := s.bulk(ctx, s.letters, models)
	return int(n), err
}

func (s *Store) recountAll(ctx context.Context, letters []*letter) error {
	seen := map[event.Key]bool{}
	for _, l := range letters {
		k := l.key()
		if seen[k] {
			continue
		}
		seen[k] = true
		retrying, err := s.retrying(ctx, k)
		if err != nil {
			return err
		}
		if _, err := s.recount(ctx, k, time.Time{}, retrying); err != nil {
			return err
		}
	}
	return nil
}

// retrying reports whether work on an entity is open that has failed.
func (s *Store) retrying(ctx context.Context, k event.Key) (bool, error) {
	found, err := find[row](ctx, s.events, bson.D{
		{Key: "source", Value: k.Source}, {Key: "keys", Value: entityName(k)},
		{Key: "status", Value: storage.Retrying}, {Key: outcomePath(k, "status"), Value: storage.Pending},
		{Key: outcomePath(k, "failed_at"), Value: bson.D{{Key: "$exists", Value: true}}},
	}, options.Find().SetLimit(1).SetProjection(bson.D{{Key: "_id", Value: 1}}))
	return len(found) > 0, err
}
