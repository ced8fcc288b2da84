package mongo

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

// mostWritten is how many bytes of states the writes of one group have at most
// before no more are added. With one more, of the largest size, they still fit
// MongoDB's 48 MB.
const mostWritten = 16 << 20

// mirror is the collection of one source and kind, and the claims and writes
// in it that share commands.
type mirror struct {
	c      *mongo.Collection
	claims combiner[event.Ref, claimed]
	writes combiner[*statement, written]
}

// mirror returns the mirror of a source and kind. It is the same one each time:
// only what waits at one place is grouped.
func (s *Store) mirror(source, kind string) *mirror {
	name := mirrorName(source, kind)
	if m, known := s.mirrors.Load(name); known {
		return m.(*mirror)
	}
	m := &mirror{c: s.db.Collection(name)}
	m.claims.do, m.claims.most = m.claimGroup, s.bulkSize
	m.writes.do, m.writes.most = m.writeGroup, s.bulkSize
	m.writes.size, m.writes.mostBytes = func(st *statement) int { return st.size }, mostWritten
	first, _ := s.mirrors.LoadOrStore(name, m)
	return first.(*mirror)
}

func (m *mirror) close() {
	m.claims.close()
	m.writes.close()
}

// each reads documents by their _id, in one command unless they are many
// megabytes: a first batch is of 101 documents if nothing else is asked for.
func (m *mirror) each(ctx context.Context, ids []string, projection bson.D) (map[string]bson.Raw, error) {
	cursor, err := m.c.Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}},
		options.Find().SetProjection(projection).SetBatchSize(int32(len(ids)+1)))
	if err != nil {
		return nil, classify(ctx, err)
	}
	defer func() { _ = cursor.Close(ctx) }()
	out := make(map[string]bson.Raw, len(ids))
	for cursor.Next(ctx) {
		if id, ok := cursor.Current.Lookup("_id").StringValueOK(); ok {
			out[id] = append(bson.Raw(nil), cursor.Current...) // the cursor reuses its own
		}
	}
	return out, classify(ctx, cursor.Err())
}

// update sends updates of different documents, and returns how many matched.
// One that the server refuses is none of them and costs no other.
func (m *mirror) update(ctx context.Context, models []mongo.WriteModel) (matched int64, err error) {
	res, err := m.c.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	if _, err = refusedOf(err); err != nil {
		return 0, classify(ctx, err)
	}
	return res.MatchedCount, nil
}

// refusedOf returns which documents or updates of an unordered command the
// server refused. An error that is not theirs alone is returned.
func refusedOf(err error) (map[int]bool, error) {
	var bulk mongo.BulkWriteException
	if !errors.As(err, &bulk) || bulk.WriteConcernError != nil {
		return nil, err
	}
	which := make(map[int]bool, len(bulk.WriteErrors))
	for _, e := range bulk.WriteErrors {
		which[e.Index] = true
	}
	return which, nil
}

// isOfGroup reports whether an error of a group may be due to its size or to one
// element of it, so that each may have another answer alone. A database that is
// away answers none.
func isOfGroup(err error) bool {
	class, _ := fate.Of(err)
	return class == fate.Permanent || errors.Is(err, storage.ErrTimeout)
}
