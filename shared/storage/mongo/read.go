package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/internal/page"
)

// The names of the lists, as in cursors.
const (
	entitiesList = "entities"
	eventsList   = "events"
)

// Entities lists documents of one source and kind by id.
func (s *Store) Entities(ctx context.Context, f storage.EntityFilter) (storage.Page[*storage.Document], error) {
	var none storage.Page[*storage.Document]
	after, ok, err := page.Parse(entitiesList, f.Cursor)
	if err != nil {
		return none, err
	}
	filter := bson.D{{Key: "synced_claim", Value: bson.D{{Key: "$gt", Value: 0}}}}
	if f.Status != "" {
		filter = append(filter, bson.E{Key: "status", Value: f.Status})
	}
	if f.Parent.Kind != "" {
		filter = append(filter, bson.E{Key: "parents." + escapeField(f.Parent.Kind), Value: f.Parent.ID})
	}
	filter = appendRange(filter, "synced_at", f.From, f.To)
	if ok {
		filter = append(filter, bson.E{Key: "_id", Value: bson.D{{Key: "$gt", Value: after.ID}}})
	}
	size := page.Size(f.Limit)
	docs, err := find[document](ctx, s.db.Collection(mirrorName(f.Source, f.Kind)), filter, options.Find().
		SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(size+1)).SetProjection(withoutState))
	if err != nil {
		return none, fmt.Errorf("list %s/%s: %w", f.Source, f.Kind, err)
	}
	out := make([]*storage.Document, len(docs))
	for i, d := range docs {
		out[i] = d.mirror()
	}
	return page.Cut(out, size, func(d *storage.Document) page.Place {
		return page.Place{List: entitiesList, ID: d.Key.Local()}
	}), nil
}

// Namesakes returns the fetched documents that have a plain id under qualifiers.
func (s *Store) Namesakes(ctx context.Context, source, kind, id string, limit int) ([]*storage.Document, error) {
	if err := checkText(source, kind, id); err != nil {
		return nil, err
	}
	from, to := event.Namesakes(id)
	docs, err := find[document](ctx, s.db.Collection(mirrorName(source, kind)),
		bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: from}, {Key: "$lt", Value: to}}}, {Key: "synced_claim", Value: bson.D{{Key: "$ne", Value: 0}}}},
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(max(limit, 1))).SetProjection(withoutState))
	if err != nil {
		return nil, fmt.Errorf("look for %s/%s/%s under its parents: %w", source, kind, id, err)
	}
	out := make([]*storage.Document, len(docs))
	for i, d := range docs {
		out[i] = d.mirror()
	}
	return out, nil
}

// EventByID returns the rows with that id.
func (s *Store) EventByID(ctx context.Context, source, id string) ([]*storage.EventRow, error) {
	filter := bson.D{{Key: "id", Value: id}}
	if source != "" {
		filter = bson.D{{Key: "_id", Value: rowID(source, id)}}
	}
	rows, err := find[row](ctx, s.events, filter, options.Find())
	if err != nil {
		return nil, fmt.Errorf("read event %s: %w", id, err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("read event %s: %w", id, storage.ErrNotFound)
	}
	return eventRows(rows), nil
}

// Events lists rows, newest received_at first.
func (s *Store) Events(ctx context.Context, f storage.EventFilter) (storage.Page[*storage.EventRow], error) {
	var none storage.Page[*storage.EventRow]
	after, ok, err := page.Parse(eventsList, f.Cursor)
	if err != nil {
		return none, err
	}
	if !f.Entity.IsZero() {
		if f.Source != "" && f.Source != f.Entity.Source {
			return none, nil
		}
		f.Source = f.Entity.Source
	}
	filter := eventFilter(f)
	if ok {
		filter = append(filter, behindPlace("received_at", "$lt", after))
	}
	size := page.Size(f.Limit)
	rows, err := find[row](ctx, s.events, filter, options.Find().
		SetSort(bson.D{{Key: "received_at", Value: -1}, {Key: "_id", Value: -1}}).SetLimit(int64(size+1)))
	if err != nil {
		return none, fmt.Errorf("list events: %w", err)
	}
	return page.Cut(eventRows(rows), size, func(r *storage.EventRow) page.Place {
		return page.Place{List: eventsList, At: r.ReceivedAt.UnixMilli(), ID: rowID(r.Source, r.ID)}
	}), nil
}

// CountEvents counts what a filter selects.
func (s *Store) CountEvents(ctx context.Context, f storage.EventFilter) (int64, error) {
	if !f.Entity.IsZero() {
		if f.Source != "" && f.Source != f.Entity.Source {
			return 0, nil
		}
		f.Source = f.Entity.Source
	}
	n, err := s.events.CountDocuments(ctx, eventFilter(f))
	if err != nil {
		return 0, fmt.Errorf("count events: %w", classify(ctx, err))
	}
	return n, nil
}

// passageFields are what Passages reads of a row.
var passageFields = bson.D{
	{Key: "_id", Value: 1}, {Key: "source", Value: 1}, {Key: "status", Value: 1}, {Key: "received_at", Value: 1}, {Key: "processed_at", Value: 1},
}

// Passages returns how the newest events have fared.
func (s *Store) Passages(ctx context.Context, n int) ([]storage.Passage, error) {
	rows, err := find[row](ctx, s.events, bson.D{}, options.Find().SetProjection(passageFields).
		SetSort(bson.D{{Key: "received_at", Value: -1}, {Key: "_id", Value: -1}}).SetLimit(int64(n)))
	if err != nil {
		return nil, fmt.Errorf("read the newest events: %w", err)
	}
	out := make([]storage.Passage, len(rows))
	for i, r := range rows {
		out[i] = storage.Passage{Source: r.Source, Status: r.Status, ReceivedAt: r.ReceivedAt}
		if r.Status.Final() {
			out[i].ProcessedAt = r.ProcessedAt
		}
	}
	return out, nil
}

// eventFilter selects rows. The source of an entity is that of the filter.
func eventFilter(f storage.EventFilter) bson.D {
	filter := bson.D{}
	if f.Status != "" {
		filter = append(filter, bson.E{Key: "status", Value: f.Status})
	}
	if f.Type != "" {
		filter = append(filter, bson.E{Key: "type", Value: f.Type})
	}
	if f.Source != "" {
		filter = append(filter, bson.E{Key: "source", Value: f.Source})
	}
	if f.Kind != "" {
		filter = append(filter, bson.E{Key: "kinds", Value: f.Kind})
	}
	if f.Note != 0 {
		filter = append(filter, bson.E{Key: "note", Value: f.Note.String()}, bson.E{Key: "noted", Value: true})
	}
	if !f.Entity.IsZero() {
		filter = append(filter, bson.E{Key: "keys", Value: entityName(f.Entity)})
	}
	return appendRange(filter, "received_at", f.From, f.To)
}

// appendRange adds from ≤ field < to, either end of which may be missing.
func appendRange(filter bson.D, field string, from, to time.Time) bson.D {
	var bounds bson.D
	if !from.IsZero() {
		bounds = append(bounds, bson.E{Key: "$gte", Value: from})
	}
	if !to.IsZero() {
		bounds = append(bounds, bson.E{Key: "$lt", Value: to})
	}
	if bounds == nil {
		return filter
	}
	return append(filter, bson.E{Key: field, Value: bounds})
}

func eventRows(rows []*row) []*storage.EventRow {
	out := make([]*storage.EventRow, len(rows))
	for i, r := range rows {
		out[i] = r.mirror()
	}
	return out
}

// find reads all documents a filter selects.
func find[T any](ctx context.Context, c *mongo.Collection, filter bson.D, opts *options.FindOptionsBuilder) ([]*T, error) {
	cursor, err := c.Find(ctx, filter, opts)
	if err != nil {
		return nil, classify(ctx, err)
	}
	defer func() { _ = cursor.Close(ctx) }()
	var out []*T
	for cursor.Next(ctx) {
		v := new(T)
		if err := decode(c, cursor.Current, v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, classify(ctx, cursor.Err())
}
