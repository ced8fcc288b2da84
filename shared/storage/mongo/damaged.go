package mongo

import (
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

// decode reads one stored document. Of a mirror document, fields that cannot be
// read are left out, as if never written: the entity is synced all the same, and
// that writes them. Anything else that cannot be read is a permanent error, which
// names it: it will not become readable by waiting.
func decode(c *mongo.Collection, raw bson.Raw, into any) error {
	err := bson.Unmarshal(raw, into)
	if err == nil {
		return nil
	}
	if d, ok := into.(*document); ok {
		if err = d.readable(raw); err == nil {
			return nil
		}
	}
	return fate.Errorf(fate.Permanent, "document %s of %s cannot be read: %w", raw.Lookup("_id"), c.Name(), err)
}

// readable reads what can be read of a document and names the rest. Without an
// _id or a claim it is of no use.
func (d *document) readable(raw bson.Raw) error {
	*d = document{}
	elements, err := raw.Elements()
	if err != nil {
		return err
	}
	for _, e := range elements {
		one, err := bson.Marshal(bson.D{{Key: e.Key(), Value: e.Value()}})
		if err != nil {
			return err
		}
		next := *d
		if err = bson.Unmarshal(one, &next); err == nil {
			*d = next
			continue
		}
		if e.Key() == "_id" || e.Key() == "claim" {
			return err
		}
		d.damaged = append(d.damaged, e.Key())
	}
	return nil
}

// removeDamaged gives the fields of a document that could not be read the values
// they have in a new one, so that a write can set them.
func (s *Store) removeDamaged(ctx context.Context, ref event.Ref, d *document) error {
	born := onInsert(event.Ref{Key: ref.Key})
	set, unset := bson.D{}, bson.D{}
	for _, name := range d.damaged {
		if name == "erased" { // it stays a marker
			continue
		}
		if i := slices.IndexFunc(born, func(e bson.E) bool { return e.Key == name }); i >= 0 {
			set = append(set, born[i])
		} else {
			unset = append(unset, bson.E{Key: name, Value: ""})
		}
		if name == "terminal_at" { // which is set as a document becomes terminal
			set, d.Terminal = append(set, bson.E{Key: "terminal", Value: false}), false
		}
	}
	update := bson.D{}
	if len(set) > 0 {
		update = append(update, bson.E{Key: "$set", Value: set})
	}
	if len(unset) > 0 {
		update = append(update, bson.E{Key: "$unset", Value: unset})
	}
	if len(update) == 0 {
		return nil
	}
	_, err := s.db.Collection(mirrorName(ref.Key.Source, ref.Key.Kind)).UpdateOne(ctx, bson.D{{Key: "_id", Value: d.ID}}, update)
	return classify(ctx, err)
}
