package mongo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/internal/page"
)

// clearPage is how many events one call of Clear handles.
const clearPage = 100

// clearingList is the name of the list of Clear in its cursors.
const clearingList = "clearing"

// Clear replaces what records hold of an entity's content.
func (s *Store) Clear(ctx context.Context, k event.Key, after string, at time.Time) (storage.Cleared, error) {
	out, err := s.clear(ctx, k, after, at)
	if err != nil {
		return storage.Cleared{}, fmt.Errorf("clear %s: %w", k, err)
	}
	return out, nil
}

func (s *Store) clear(ctx context.Context, k event.Key, after string, at time.Time) (out storage.Cleared, err error) {
	place, further, err := page.Parse(clearingList, after)
	if err != nil {
		return out, err
	}
	if err := checkText(k.Source, k.Kind, k.Local()); err != nil {
		return out, err
	}
	if !further {
		if err := storage.EmptyCommands(ctx, s.Commands(), k); err != nil {
			return out, err
		}
		if err := s.clearRecords(ctx, k, at); err != nil {
			return out, err
		}
	}
	filter := bson.D{{Key: "keys", Value: entityName(k)}, {Key: "source", Value: k.Source}}
	if further {
		filter = append(filter, behindPlace("received_at", "$gt", place))
	}
	rows, err := find[row](ctx, s.events, filter, options.Find().
		SetSort(bson.D{{Key: "received_at", Value: 1}, {Key: "_id", Value: 1}}).SetLimit(clearPage+1).SetProjection(withoutPayload))
	if err != nil {
		return out, err
	}
	found := page.Cut(rows, clearPage, func(r *row) page.Place {
		return page.Place{List: clearingList, At: r.ReceivedAt.UnixMilli(), ID: r.RowID}
	})
	if out.Events, err = s.clearRows(ctx, k, found.Items); err != nil {
		return out, err
	}
	var moves []move
	for _, r := range found.Items {
		if from := r.Outcomes[outcomeField(k)].Status; from == storage.Pending || from == storage.Dead {
			moves = append(moves, move{row: r.RowID, entity: k, from: from, to: storage.Erased, set: bson.D{{Key: "processed_at", Value: at}}})
		}
	}
	out.Next = found.NextCursor
	return out, s.move(ctx, moves)
}

// clearRecords clears what is not in the event log: dead letters, discrepancies, and why
// syncs by hand were given up.
func (s *Store) clearRecords(ctx context.Context, k event.Key, at time.Time) error {
	if err := s.clearLetters(ctx, k, at); err != nil {
		return err
	}
	if err := s.clearPatches(ctx, k, at); err != nil {
		return err
	}
	// Operators' acts are few, and have an index of their own.
	var ids []string
	for f := (storage.NoteFilter{Source: k.Source, Limit: clearPage}); ; {
		acts, err := s.Acts(ctx, f)
		if err != nil {
			return err
		}
		for _, n := range acts.Items {
			if n.To == k.String() {
				ids = append(ids, storage.GivenUpOf(n.ID))
			}
		}
		if f.Cursor = acts.NextCursor; f.Cursor == "" {
			break
		}
	}
	return s.emptyNotes(ctx, ids)
}

// clearPatches replaces what discrepancies hold of an entity, and drops those that are
// suspected.
func (s *Store) clearPatches(ctx context.Context, k event.Key, at time.Time) error {
	found, err := find[discrepancy](ctx, s.discrepancies, bson.D{{Key: "entity", Value: k.String()}}, options.Find().
		SetSort(bson.D{{Key: "found_at", Value: -1}, {Key: "_id", Value: -1}}).
		SetProjection(bson.D{{Key: "_id", Value: 1}, {Key: "patch", Value: 1}, {Key: "status", Value: 1}}))
	if err != nil {
		return err
	}
	var models []mongo.WriteModel
	for _, d := range inOrder(found, func(d *discrepancy) string { return d.ID }) {
		set := bson.D{{Key: "state_hash", Value: ""}}
		if !d.Patch.IsZero() {
			set = append(set, bson.E{Key: "patch", Value: storage.ErasedText})
		}
		models = append(models, mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: d.ID}}).SetUpdate(bson.D{{Key: "$set", Value: set}}))
		if d.Status == storage.Suspected {
			models = append(models, mongo.NewUpdateOneModel().
				SetFilter(bson.D{{Key: "_id", Value: d.ID}, {Key: "status", Value: storage.Suspected}}).
				SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "status", Value: storage.Dropped}, {Key: "judged_at", Value: at}}}}))
		}
	}
	_, err = s.bulk(ctx, s.discrepancies, models)
	return err
}

// clearLetters replaces the errors of an entity's dead letters, and closes the open ones.
// The outcomes of these are changed first: as long as a dead letter is open, a repetition
// finds it.
func (s *Store) clearLetters(ctx context.Context, k event.Key, at time.Time) error {
	letters, err := find[letter](ctx, s.letters, bson.D{{Key: "entity", Value: k.String()}}, options.Find().
		SetSort(bson.D{{Key: "at", Value: -1}, {Key: "_id", Value: -1}}))
	if err != nil || len(letters) == 0 {
		return err
	}
	letters = inOrder(letters, (*letter).id)
	var models []mongo.WriteModel
	for _, l := range letters {
		for i := range l.Attempts {
			l.Attempts[i].Error = storage.ErasedText
		}
		models = append(models, l.change(bson.D{{Key: "attempts", Value: l.Attempts}}, nil))
	}
	changed, err := s.bulk(ctx, s.letters, models)
	if err != nil {
		return err
	}
	if changed < int64(len(models)) {
		return fate.Errorf(fate.Unavailable, "dead letters of %s changed while they were cleared: try again", k)
	}
	_, err = s.closeOpen(ctx, letters, closing{letter: storage.LetterErased, outcome: storage.Erased, at: at})
	return err
}

// clearRows replaces the content of events, and what they say of their work on an entity.
// It returns how many still had a payload.
func (s *Store) clearRows(ctx context.Context, k event.Key, rows []*row) (had int, err error) {
	rows = inOrder(rows, func(r *row) string { return r.RowID })
	count := bson.E{Key: "$inc", Value: bson.D{{Key: "rev", Value: int64(1)}}}
	var rest []mongo.WriteModel
	var ids, notes []string
	for _, r := range rows {
		ids = append(ids, r.RowID)
		var set bson.D
		if r.Error != "" {
			set = append(set, bson.E{Key: "error", Value: storage.ErasedText})
		}
		o := r.Outcomes[outcomeField(k)]
		if o.Error != "" {
			set = append(set, bson.E{Key: outcomePath(k, "error"), Value: storage.ErasedText})
		}
		if o.CoveredBy != nil && o.CoveredBy.StateHash != "" {
			set = append(set, bson.E{Key: outcomePath(k, "covered_by.state_hash"), Value: ""})
		}
		if len(set) > 0 {
			rest = append(rest, mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: r.RowID}}).
				SetUpdate(bson.D{{Key: "$set", Value: set}, count}))
		}
		for _, sig := range r.Signals {
			entry := strconv.Itoa(sig.Shard) + "/" + sig.ID
			notes = append(notes, storage.NoteDiffering+"/"+entry, storage.NoteRefused+"/"+entry)
		}
	}
	for chunk := range slices.Chunk(ids, maxIDs) {
		res, err := s.events.UpdateMany(ctx,
			bson.D{among(chunk), {Key: "payload", Value: bson.D{{Key: "$ne", Value: storage.ErasedText}}}},
			bson.D{
				{Key: "$set", Value: bson.D{{Key: "payload", Value: storage.ErasedText}}},
				{Key: "$unset", Value: bson.D{{Key: "given", Value: ""}}}, count,
			})
		if err != nil {
			return had, classify(ctx, err)
		}
		had += int(res.MatchedCount)
	}
	if _, err := s.bulk(ctx, s.events, rest); err != nil {
		return had, err
	}
	return had, s.emptyNotes(ctx, notes)
}

// emptyNotes replaces the texts of notes, by id, as far as they are there.
func (s *Store) emptyNotes(ctx context.Context, ids []string) error {
	for chunk := range slices.Chunk(ids, maxIDs) {
		_, err := s.audit.UpdateMany(ctx, bson.D{among(chunk)}, bson.D{{Key: "$set", Value: bson.D{{Key: "reason", Value: storage.ErasedText}}}})
		if err != nil {
			return classify(ctx, err)
		}
	}
	return nil
}

// settleErased settles work on erased entities. The content of the events goes first: if
// this is cut off, their work is still open, and is settled again.
func (s *Store) settleErased(ctx context.Context, done []storage.Settlement) error {
	byEntity := map[event.Key][]string{}
	moves := make([]move, len(done))
	for i, d := range done {
		id := rowID(d.Source, d.EventID)
		byEntity[d.Entity] = append(byEntity[d.Entity], id)
		moves[i] = move{row: id, entity: d.Entity, from: storage.Pending, to: storage.Erased, set: bson.D{
			{Key: "processed_at", Value: d.At},
			{Key: outcomePath(d.Entity, "signal"), Value: signal(d.Signal)},
			{Key: outcomePath(d.Entity, "covered_by"), Value: covered{Claim: d.CoveredBy.Claim, Signal: d.CoveredBy.Signal}},
		}}
	}
	for k, ids := range byEntity {
		rows, err := s.rowsByID(ctx, ids, withoutPayload)
		if err != nil {
			return err
		}
		if _, err := s.clearRows(ctx, k, slices.Collect(maps.Values(rows))); err != nil {
			return err
		}
	}
	return s.move(ctx, moves)
}

// closeErased gives closed rows the status of their outcomes if these are all erased. One
// update cannot say so, so it reads them. That is done only where an outcome was erased.
func (s *Store) closeErased(ctx context.Context, ids []string) error {
	for range againTries {
		rows, err := s.rowsByID(ctx, ids, withoutPayload)
		if err != nil {
			return err
		}
		var models []mongo.WriteModel
		for _, r := range inOrder(slices.Collect(maps.Values(rows)), func(r *row) string { return r.RowID }) {
			if r.Open == 0 && r.Status != storage.Erased && r.Tally.Erased == len(r.Outcomes) {
				models = append(models, mongo.NewUpdateOneModel().
					SetFilter(bson.D{{Key: "_id", Value: r.RowID}, {Key: "rev", Value: r.Rev}}).
					SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "status", Value: storage.Erased}}}, {Key: "$inc", Value: bson.D{{Key: "rev", Value: int64(1)}}}}))
			}
		}
		matched, err := s.bulk(ctx, s.events, models)
		if err != nil || matched == int64(len(models)) {
			return err
		}
	}
	return fate.Errorf(fate.Unavailable, "rows of the log changed %d times while they were closed: try again", againTries)
}
