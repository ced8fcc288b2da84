package mongo

import (
	"context"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Settle marks outcomes processed where they are open.
func (s *Store) Settle(ctx context.Context, done []storage.Settlement) error {
	if len(done) == 0 {
		return nil
	}
	if _, err := s.settles.call(ctx, done); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

func (s *Store) settleBatch(ctx context.Context, done []storage.Settlement) ([]struct{}, error) {
	moves := make([]move, 0, len(done))
	var erased []storage.Settlement
	for i := range done {
		if done[i].Erased {
			erased = append(erased, done[i])
			continue
		}
		moves = append(moves, settled(&done[i]))
	}
	if err := s.move(ctx, moves); err != nil || len(erased) == 0 {
		return nil, err
	}
	return nil, s.settleErased(ctx, erased)
}

// move takes one outcome from one status to another.
type move struct {
	row      string
	entity   event.Key
	from, to storage.EventStatus
	// set are further fields to set with it.
	set bson.D
}

func settled(d *storage.Settlement) move {
	m := move{row: rowID(d.Source, d.EventID), entity: d.Entity, from: storage.Pending, to: storage.Processed}
	m.set = bson.D{
		{Key: "processed_at", Value: d.At},
		{Key: outcomePath(d.Entity, "signal"), Value: signal(d.Signal)},
		{Key: outcomePath(d.Entity, "covered_by"), Value: covered(d.CoveredBy)},
	}
	for _, flag := range []struct {
		name string
		on   bool
	}{{"out_of_order", d.OutOfOrder}, {"overtaken", d.Overtaken}, {"lagging", d.Lagging}, {"parents_differ", d.ParentsDiffer}} {
		if flag.on {
			m.set = append(m.set, bson.E{Key: flag.name, Value: true})
		}
	}
	return m
}

// models are the update: filtered on the outcome's status, so that doing it
// twice does it once, and the counts stay true. Opening an outcome takes two,
// of which one matches: the status of a row that was closed is pending again,
// that of one with other open outcomes stays.
func (m move) models() []mongo.WriteModel {
	count := bson.D{{Key: "rev", Value: int64(1)}}
	if m.from == storage.Pending {
		count = append(count, bson.E{Key: "open", Value: -1})
	}
	if m.to == storage.Pending {
		count = append(count, bson.E{Key: "open", Value: 1})
	}
	if field, counted := tallyField(m.from); counted {
		count = append(count, bson.E{Key: field, Value: -1})
	}
	if field, counted := tallyField(m.to); counted {
		count = append(count, bson.E{Key: field, Value: 1})
	}
	status := outcomePath(m.entity, "status")
	filter := bson.D{{Key: "_id", Value: m.row}, {Key: status, Value: m.from}}
	set := append(bson.D{{Key: status, Value: m.to}}, m.set...)
	update := func(filter, set bson.D) mongo.WriteModel {
		return mongo.NewUpdateOneModel().SetFilter(filter).SetUpdate(bson.D{{Key: "$set", Value: set}, {Key: "$inc", Value: count}})
	}
	if m.to != storage.Pending {
		return []mongo.WriteModel{update(filter, set)}
	}
	return []mongo.WriteModel{
		update(append(filter[:2:2], bson.E{Key: "open", Value: 0}), append(set[:len(set):len(set)], bson.E{Key: "status", Value: storage.Pending})),
		update(filter, set),
	}
}

// tallyField is the count of outcomes of a status, for those that have one.
func tallyField(s storage.EventStatus) (string, bool) {
	switch s {
	case storage.Dead, storage.Discarded, storage.Superseded, storage.Erased:
		return "tally." + string(s), true
	}
	return "", false
}

// move makes the moves and lets the rows' status follow, a bulk at a time, in
// the order of the rows (see inOrder). If it is cut short between the two,
// a repetition finishes it.
func (s *Store) move(ctx context.Context, moves []move) error {
	moves = inOrder(moves, func(m move) string { return m.row })
	for chunk := range slices.Chunk(moves, s.bulkSize) {
		models := make([]mongo.WriteModel, 0, len(chunk))
		rows := make([]string, len(chunk))
		for i, m := range chunk {
			models, rows[i] = append(models, m.models()...), m.row
		}
		slices.Sort(rows)
		// A chunk of models and the four that follow are two commands, since the
		// driver does not mix updates of one document and of many.
		if _, err := s.bulk(ctx, s.events, models); err != nil {
			return err
		}
		if _, err := s.bulk(ctx, s.events, follow(slices.Compact(rows))); err != nil {
			return err
		}
		if err := s.closeErased(ctx, erasedRows(chunk)); err != nil {
			return err
		}
	}
	return nil
}

// erasedRows are the rows of which an outcome was erased.
func erasedRows(moves []move) (rows []string) {
	for _, m := range moves {
		if m.to == storage.Erased {
			rows = append(rows, m.row)
		}
	}
	return rows
}

// follow are the updates that give closed rows the first status that applies.
func follow(rows []string) []mongo.WriteModel {
	some, none := bson.D{{Key: "$gt", Value: 0}}, any(0)
	var models []mongo.WriteModel
	for _, f := range []struct {
		status storage.EventStatus
		tally  bson.D
	}{
		{storage.Dead, bson.D{{Key: "tally.dead", Value: some}}},
		{storage.Discarded, bson.D{{Key: "tally.dead", Value: none}, {Key: "tally.discarded", Value: some}}},
		{storage.Superseded, bson.D{
			{Key: "tally.dead", Value: none}, {Key: "tally.discarded", Value: none}, {Key: "tally.superseded", Value: some}}},
		{storage.Processed, bson.D{
			{Key: "tally.dead", Value: none}, {Key: "tally.discarded", Value: none}, {Key: "tally.superseded", Value: none}}},
	} {
		filter := bson.D{
			{Key: "_id", Value: bson.D{{Key: "$in", Value: rows}}},
			{Key: "open", Value: 0}, {Key: "status", Value: bson.D{{Key: "$ne", Value: f.status}}},
		}
		models = append(models, mongo.NewUpdateManyModel().SetFilter(append(filter, f.tally...)).SetUpdate(bson.D{
			{Key: "$set", Value: bson.D{{Key: "status", Value: f.status}}},
			{Key: "$inc", Value: bson.D{{Key: "rev", Value: int64(1)}}},
		}))
	}
	return models
}

// Fail notes a failure on every row with an open outcome for the entity.
func (s *Store) Fail(ctx context.Context, failed []storage.Failure) error {
	if len(failed) == 0 {
		return nil
	}
	models := make([]mongo.WriteModel, len(failed))
	for i, f := range inOrder(failed, func(f storage.Failure) string { return rowID(f.Source, f.EventID) }) {
		models[i] = failure(&f)
	}
	if _, err := s.bulk(ctx, s.events, models); err != nil {
		return fmt.Errorf("record failures: %w", err)
	}
	for k, f := range storage.FirstFailures(failed) {
		if err := s.markBehind(ctx, k, f); err != nil {
			return fmt.Errorf("mark %s behind: %w", k, err)
		}
	}
	return nil
}

// failure counts a failure once, however often it is recorded.
func failure(f *storage.Failure) mongo.WriteModel {
	failedAt, attempts := outcomePath(f.Entity, "failed_at"), 1
	if f.Uncharged {
		attempts = 0
	}
	return mongo.NewUpdateOneModel().
		SetFilter(bson.D{
			{Key: "_id", Value: rowID(f.Source, f.EventID)},
			{Key: outcomePath(f.Entity, "status"), Value: storage.Pending},
			{Key: failedAt, Value: bson.D{{Key: "$ne", Value: f.At}}},
		}).
		SetUpdate(bson.D{
			{Key: "$set", Value: bson.D{
				{Key: "status", Value: storage.Retrying}, {Key: "error", Value: f.Error}, {Key: failedAt, Value: f.At},
				{Key: outcomePath(f.Entity, "signal"), Value: signal(f.Signal)},
				{Key: outcomePath(f.Entity, "error"), Value: f.Error}, {Key: outcomePath(f.Entity, "next_at"), Value: f.Next},
			}},
			{Key: "$inc", Value: bson.D{{Key: "attempts", Value: attempts}, {Key: "rev", Value: int64(1)}}},
		})
}

// markBehind marks a document behind if it is not already and no later attempt
// has begun.
func (s *Store) markBehind(ctx context.Context, k event.Key, f storage.Failure) error {
	if err := checkText(k.Source, k.Kind, k.Local()); err != nil {
		return err
	}
	filter := bson.D{
		{Key: "_id", Value: k.Local()}, {Key: "claim", Value: f.Claim},
		{Key: "behind", Value: bson.D{{Key: "$exists", Value: false}}},
	}
	_, err := s.bulk(ctx, s.db.Collection(mirrorName(k.Source, k.Kind)), []mongo.WriteModel{
		mongo.NewUpdateOneModel().SetFilter(filter).SetUpdate(
			bson.D{{Key: "$set", Value: bson.D{{Key: "behind", Value: behind{Since: f.At, Reason: storage.ReasonRetrying}}}}}),
	})
	return err
}
