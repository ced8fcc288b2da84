package mongo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/storage"
)

// note is an entry of the audit as stored.
type note struct {
	ID      string    `bson:"_id"`
	At      time.Time `bson:"at"`
	Source  string    `bson:"source"`
	Kind    string    `bson:"kind"`
	EventID string    `bson:"event,omitempty"`
	Reason  string    `bson:"reason,omitempty"`
	Count   int64     `bson:"count"`
	By      string    `bson:"by,omitempty"`
	Did     string    `bson:"did,omitempty"`
	To      string    `bson:"to,omitempty"`
	Why     string    `bson:"why,omitempty"`
	Before  string    `bson:"before,omitempty"`
	After   string    `bson:"after,omitempty"`
}

// countedNotes is how many notes a row remembers to have counted: a page of them
// that are all of one event, noted again within moments, and what came between.
const countedNotes = 2 * storage.MaxNotes

// Note adds to the audit; duplicates are counted on their event's row, which
// remembers the notes it has counted: whatever fails between the two, a note that
// comes again is counted once.
func (s *Store) Note(ctx context.Context, notes []storage.Note) error {
	notes = inOrder(notes, func(n storage.Note) string { return n.ID })
	for chunk := range slices.Chunk(notes, s.bulkSize) {
		if err := s.noteChunk(ctx, chunk); err != nil {
			return fmt.Errorf("note: %w", err)
		}
	}
	return nil
}

func (s *Store) noteChunk(ctx context.Context, notes []storage.Note) error {
	docs := make([]note, len(notes))
	for i, n := range notes {
		docs[i] = note(n)
		docs[i].Count = max(n.Count, 1)
	}
	_, err := s.audit.InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
	if _, err = duplicates(err); err != nil {
		return classify(ctx, err)
	}
	var models []mongo.WriteModel
	for _, n := range inOrder(docs, func(n note) string { return rowID(n.Source, n.EventID) }) {
		if n.Kind != storage.NoteDuplicate {
			continue
		}
		models = append(models, mongo.NewUpdateOneModel().
			SetFilter(bson.D{{Key: "_id", Value: rowID(n.Source, n.EventID)}, {Key: "counted", Value: bson.D{{Key: "$ne", Value: n.ID}}}}).
			SetUpdate(bson.D{
				{Key: "$inc", Value: bson.D{{Key: "duplicates", Value: n.Count}, {Key: "rev", Value: int64(1)}}},
				{Key: "$push", Value: bson.D{{Key: "counted", Value: bson.D{
					{Key: "$each", Value: bson.A{n.ID}}, {Key: "$slice", Value: -countedNotes},
				}}}},
			}))
	}
	_, err = s.bulk(ctx, s.events, models)
	return err
}

// actsList is the name of the list in cursors.
const actsList = "acts"

// Acts lists operators' actions, newest first.
func (s *Store) Acts(ctx context.Context, f storage.NoteFilter) (storage.Page[*storage.Note], error) {
	filter := appendEqual(bson.D{{Key: "kind", Value: storage.NoteOperator}}, "source", f.Source)
	filter = appendEqual(filter, "by", f.By)
	found, err := newestFirst[note]{
		name: actsList, collection: s.audit, time: "at",
		place: func(n note) (time.Time, string) { return n.At, n.ID },
	}.read(ctx, appendRange(filter, "at", f.From, f.To), f.Limit, f.Cursor)
	if err != nil {
		return storage.Page[*storage.Note]{}, fmt.Errorf("list acts: %w", err)
	}
	return convert(found, func(n *note) *storage.Note {
		out := storage.Note(*n)
		return &out
	}), nil
}

// NoteByID returns a note.
func (s *Store) NoteByID(ctx context.Context, id string) (*storage.Note, error) {
	found, err := find[note](ctx, s.audit, bson.D{{Key: "_id", Value: id}}, options.Find().SetLimit(1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read note %s: %w", id, err)
	case len(found) == 0:
		return nil, fmt.Errorf("read note %s: %w", id, storage.ErrNotFound)
	}
	n := storage.Note(*found[0])
	return &n, nil
}
