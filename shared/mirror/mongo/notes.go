package mongo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/mirror"
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
}

// Note adds to the audit; duplicates are counted on their event's row. A crash
// between the two leaves a duplicate noted and not counted: the count is for
// the eye, the audit is the record.
func (s *Store) Note(ctx context.Context, notes []mirror.Note) error {
	notes = inOrder(notes, func(n mirror.Note) string { return n.ID })
	for chunk := range slices.Chunk(notes, s.bulkSize) {
		if err := s.noteChunk(ctx, chunk); err != nil {
			return fmt.Errorf("note: %w", err)
		}
	}
	return nil
}

func (s *Store) noteChunk(ctx context.Context, notes []mirror.Note) error {
	docs := make([]note, len(notes))
	for i, n := range notes {
		docs[i] = note(n)
		docs[i].Count = max(n.Count, 1)
	}
	_, err := s.audit.InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
	known, err := duplicates(err)
	if err != nil {
		return classify(ctx, err)
	}
	counts := map[string]int64{}
	for i, n := range docs {
		if !known[i] && n.Kind == mirror.NoteDuplicate {
			counts[rowID(n.Source, n.EventID)] += n.Count
		}
	}
	models := make([]mongo.WriteModel, 0, len(counts))
	for _, row := range slices.Sorted(maps.Keys(counts)) {
		n := counts[row]
		models = append(models, mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: row}}).SetUpdate(
			bson.D{{Key: "$inc", Value: bson.D{{Key: "duplicates", Value: n}, {Key: "rev", Value: int64(1)}}}}))
	}
	_, err = s.bulk(ctx, s.events, models)
	return err
}
