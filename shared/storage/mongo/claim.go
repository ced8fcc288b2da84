package mongo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

// raise is the update of a claim.
var raise = bson.D{{Key: "$inc", Value: bson.D{{Key: "claim", Value: int64(1)}}}}

// Claim raises the entity's claim and returns its document.
func (s *Store) Claim(ctx context.Context, ref event.Ref) (*storage.Document, error) {
	doc, err := s.claim(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("claim %s: %w", ref.Key, err)
	}
	if len(doc.damaged) > 0 {
		if err := s.removeDamaged(ctx, ref, doc); err != nil {
			return nil, fmt.Errorf("claim %s: remove what is damaged: %w", ref.Key, err)
		}
	}
	return doc.mirror(), nil
}

// claim claims together with others, or alone if the group has no answer.
func (s *Store) claim(ctx context.Context, ref event.Ref) (*document, error) {
	c, err := s.mirrorOf(ctx, ref)
	if err != nil {
		return nil, err
	}
	out, err := s.mirror(ref.Key.Source, ref.Key.Kind).claims.call(ctx, []event.Ref{ref})
	if err != nil {
		return nil, err
	}
	if out[0].alone {
		return upsert(ctx, c, ref, raise)
	}
	return out[0].doc, out[0].err
}

// claimed is the answer to one claim of a group: a document, an error, or that
// the claim is to be made alone.
type claimed struct {
	doc   *document
	err   error
	alone bool
}

// claimGroup claims many entities. What it cannot claim is left to be claimed
// alone: a document that is damaged, that the server refuses to change, that
// others change again and again, or that is asked for twice.
func (m *mirror) claimGroup(ctx context.Context, refs []event.Ref) ([]claimed, error) {
	if len(refs) == 1 {
		doc, err := upsert(ctx, m.c, refs[0], raise)
		return []claimed{{doc: doc}}, err
	}
	out := make([]claimed, len(refs))
	left := make(map[string]int, len(refs)) // places in refs, by _id
	for i, ref := range refs {
		out[i].alone = true // until there is an answer
		if id := ref.Key.Local(); !has(left, id) {
			left[id] = i
		}
	}
	for range upsertTries {
		if len(left) == 0 {
			break
		}
		docs, err := m.claimRound(ctx, refs, left)
		for id, doc := range docs {
			out[left[id]] = claimed{doc: doc}
			delete(left, id)
		}
		if err != nil {
			if !isOfGroup(err) {
				for _, i := range left {
					out[i] = claimed{err: err}
				}
			}
			break
		}
	}
	return out, nil
}

func has(m map[string]int, key string) bool {
	_, there := m[key]
	return there
}

// claimRound reads the documents of the entities that are left, and raises the
// claim of each that is still as it was read. It returns those it has claimed,
// and drops from left what no further round can claim.
//
// The number of a claim is given to one caller only: the update from n to n+1
// matches for one. If all updates match, each has succeeded. If some do not, the
// count does not say which, and none is taken. Those that succeeded have raised a
// claim that no caller gets, like a claim whose reply is lost, and the next round
// raises it again. A driver that repeats the updates on a server that does not know
// repetitions does no harm for the same reason.
//
// The documents are as they were read, with the claim raised, since the update
// asks for what a write changes. (What else may have changed in between, such as
// verified_at or behind, may change as well after a claim.)
func (m *mirror) claimRound(ctx context.Context, refs []event.Ref, left map[string]int) (map[string]*document, error) {
	ids := slices.Sorted(maps.Keys(left))
	there, err := m.each(ctx, ids, withoutState)
	if err != nil {
		return nil, err
	}
	docs := make(map[string]*document, len(ids))
	var updates []mongo.WriteModel
	var births []bson.D
	var unborn []string
	for _, id := range ids {
		raw, known := there[id]
		if !known {
			births, unborn = append(births, newborn(refs[left[id]], raise)), append(unborn, id)
			continue
		}
		doc := &document{}
		if err := bson.Unmarshal(raw, doc); err != nil {
			delete(left, id)
			continue
		}
		updates = append(updates, mongo.NewUpdateOneModel().SetFilter(asRead(raw, "claim", "synced_claim", "synced_at", "open_letters")).SetUpdate(raise))
		doc.Claim++
		docs[id] = doc
	}
	if len(updates) > 0 {
		matched, err := m.update(ctx, updates)
		if err != nil {
			return nil, err
		}
		if matched != int64(len(updates)) {
			clear(docs)
		}
	}
	if len(births) == 0 {
		return docs, nil
	}
	_, err = m.c.InsertMany(ctx, births, options.InsertMany().SetOrdered(false))
	refused, err := refusedOf(err)
	if err != nil {
		return docs, classify(ctx, err)
	}
	for i, born := range births {
		if refused[i] {
			continue // another has made it, or it is refused alone too
		}
		if docs[unborn[i]], err = bornDocument(born); err != nil {
			return docs, err
		}
	}
	return docs, nil
}

// asRead selects a document if some fields are as they were read.
func asRead(raw bson.Raw, fields ...string) bson.D {
	filter := bson.D{{Key: "_id", Value: raw.Lookup("_id")}}
	for _, name := range fields {
		v, err := raw.LookupErr(name)
		if err != nil {
			filter = append(filter, bson.E{Key: name}) // null, which matches a field that is missing
			continue
		}
		filter = append(filter, bson.E{Key: name, Value: v})
	}
	return filter
}

// upsertTries is how often a change that met the document's making or removal
// is tried again.
const upsertTries = 3

// upsert changes the entity's document, making it if need be, and returns it as
// it is then, less its state. The update of a document that is not there makes
// one with its values: what $inc adds to is 0.
//
// It is not an upsert of the server's: on some that speak MongoDB's protocol
// two upserts at once of a new document lose one $inc, and two fetches would
// have one claim. An insert has one winner everywhere. Only what is newly born
// pays for it, with a round trip.
func upsert(ctx context.Context, c *mongo.Collection, ref event.Ref, update bson.D) (*document, error) {
	this := bson.D{{Key: "_id", Value: ref.Key.Local()}}
	born := newborn(ref, update)
	opts := options.FindOneAndUpdate().SetReturnDocument(options.After).SetProjection(withoutState)
	var err error
	for range upsertTries {
		var raw bson.Raw
		raw, err = c.FindOneAndUpdate(ctx, this, update, opts).Raw()
		if err == nil {
			var doc document
			return &doc, decode(c, raw, &doc)
		}
		if !errors.Is(err, mongo.ErrNoDocuments) {
			return nil, classify(ctx, err)
		}
		if _, err = c.InsertOne(ctx, born); err == nil {
			return bornDocument(born)
		}
		if !mongo.IsDuplicateKeyError(err) {
			break
		}
	}
	return nil, classify(ctx, err)
}

// newborn is the entity's first document, with the values of its first update.
func newborn(ref event.Ref, update bson.D) bson.D {
	born := append(bson.D{{Key: "_id", Value: ref.Key.Local()}}, onInsert(ref)...)
	for _, operator := range update {
		born = append(born, operator.Value.(bson.D)...)
	}
	return born
}

// bornDocument is a document as it was inserted.
func bornDocument(born bson.D) (*document, error) {
	raw, err := bson.Marshal(born)
	if err != nil {
		return nil, fate.New(fate.Permanent, err)
	}
	var doc document
	if err := bson.Unmarshal(raw, &doc); err != nil {
		return nil, fate.New(fate.Permanent, err)
	}
	return &doc, nil
}
