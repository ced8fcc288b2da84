package mongo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Log inserts a row for every arrival not in the log yet.
func (s *Store) Log(ctx context.Context, arrivals []storage.Arrival) ([]storage.Logged, error) {
	if len(arrivals) == 0 {
		return nil, nil
	}
	for i := range arrivals {
		if err := checkArrival(&arrivals[i]); err != nil {
			return nil, fmt.Errorf("log: %w", err)
		}
	}
	out, err := s.logs.call(ctx, arrivals)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	return out, nil
}

func checkArrival(a *storage.Arrival) error {
	if err := a.CheckPayload(); err != nil {
		return err
	}
	ids := []string{a.Event.Source, a.Event.ID, a.Event.Type, a.Signal.ID, a.TraceID}
	for _, r := range a.Event.Entities {
		ids = append(ids, r.Key.Source, r.Key.Kind, r.Key.Local())
	}
	return checkText(ids...)
}

// logBatch inserts a row for every id, and then takes what was there already,
// or came twice, through the rows as they are.
func (s *Store) logBatch(ctx context.Context, arrivals []storage.Arrival) ([]storage.Logged, error) {
	out := make([]storage.Logged, len(arrivals))
	var fresh []int // the first arrival of each id
	var again []int
	seen := map[string]bool{}
	for i := range arrivals {
		id := rowID(arrivals[i].Event.Source, arrivals[i].Event.ID)
		if seen[id] {
			again = append(again, i)
			continue
		}
		seen[id] = true
		fresh = append(fresh, i)
	}
	fresh = inOrder(fresh, func(i int) string { return rowID(arrivals[i].Event.Source, arrivals[i].Event.ID) })
	for chunk := range slices.Chunk(fresh, s.bulkSize) {
		there, err := s.insertRows(ctx, arrivals, chunk, out)
		if err != nil {
			return nil, err
		}
		again = append(again, there...)
	}
	slices.Sort(again) // in the order they came
	return out, s.logAgain(ctx, arrivals, again, out)
}

// insertRows inserts the rows of some arrivals and returns those that were in
// the log already.
func (s *Store) insertRows(ctx context.Context, arrivals []storage.Arrival, which []int, out []storage.Logged) (there []int, err error) {
	rows := make([]*row, len(which))
	for n, i := range which {
		rows[n] = newRow(&arrivals[i])
	}
	_, err = s.events.InsertMany(ctx, rows, options.InsertMany().SetOrdered(false))
	duplicate, err := duplicates(err)
	if err != nil {
		return nil, classify(ctx, err)
	}
	for n, i := range which {
		if duplicate[n] {
			there = append(there, i)
			continue
		}
		out[i] = storage.Logged{Inserted: true, Outcomes: rows[n].statuses()}
	}
	return there, nil
}

// duplicates returns which documents of an unordered insert were there
// already. Any other error of the insert is returned.
func duplicates(err error) (map[int]bool, error) {
	var bulk mongo.BulkWriteException
	if !errors.As(err, &bulk) {
		return nil, err
	}
	if bulk.WriteConcernError != nil {
		return nil, err
	}
	there := map[int]bool{}
	for _, e := range bulk.WriteErrors {
		if !mongo.IsDuplicateKeyError(e) {
			return nil, err
		}
		there[e.Index] = true
	}
	return there, nil
}

// againTries is how often rows are read again when others change them meanwhile.
const againTries = 20

// logAgain takes arrivals whose rows are there. The new state of a row is made
// from what was read and written if it has not changed since; otherwise it
// is read again. What an earlier try found out about an arrival stays true.
func (s *Store) logAgain(ctx context.Context, arrivals []storage.Arrival, which []int, out []storage.Logged) error {
	for range againTries {
		if len(which) == 0 {
			return nil
		}
		rows, err := s.rowsOf(ctx, arrivals, which)
		if err != nil {
			return err
		}
		changed := map[string]bool{}
		for _, i := range which {
			r := rows[rowID(arrivals[i].Event.Source, arrivals[i].Event.ID)]
			if r == nil {
				return fate.Errorf(fate.Unavailable, "event %s/%s vanished while it was logged: log it again",
					arrivals[i].Event.Source, arrivals[i].Event.ID)
			}
			if r.take(&arrivals[i], &out[i]) {
				changed[r.RowID] = true
			}
		}
		done, err := s.putRows(ctx, rows, changed)
		if err != nil || done {
			return err
		}
		which = slices.DeleteFunc(which, func(i int) bool {
			return !changed[rowID(arrivals[i].Event.Source, arrivals[i].Event.ID)]
		})
	}
	return fate.Errorf(fate.Unavailable, "rows of the log changed %d times while they were written: try again", againTries)
}

// rowsOf reads the rows of some arrivals.
func (s *Store) rowsOf(ctx context.Context, arrivals []storage.Arrival, which []int) (map[string]*row, error) {
	ids := make([]string, 0, len(which))
	for _, i := range which {
		ids = append(ids, rowID(arrivals[i].Event.Source, arrivals[i].Event.ID))
	}
	return s.rowsByID(ctx, ids, nil)
}

// rowsByID reads rows by their _id. projection may leave fields out.
func (s *Store) rowsByID(ctx context.Context, ids []string, projection bson.D) (map[string]*row, error) {
	slices.Sort(ids)
	out := make(map[string]*row, len(ids))
	for chunk := range slices.Chunk(slices.Compact(ids), s.bulkSize) {
		opts := options.Find()
		if projection != nil {
			opts.SetProjection(projection)
		}
		rows, err := find[row](ctx, s.events, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: chunk}}}}, opts)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			out[r.RowID] = r
		}
	}
	return out, nil
}

// take changes the row as an arrival demands, notes what it found, and reports
// whether the row is to be written.
func (r *row) take(a *storage.Arrival, out *storage.Logged) (changed bool) {
	opened := false
	isNew := r.saw(a.Signal)
	changed = isNew
	if r.Note != "" && r.Note != a.Event.Note.String() {
		r.Note, r.Unnamed, changed, isNew = a.Event.Note.String(), a.Event.Unnamed, true, false
		opened = r.open(a)
	}
	if isNew {
		out.Redelivered = true
		r.Duplicates++
		opened = r.reopen() || opened
		r.setEntry(a.Signal)
	}
	if was := bodyBytes(r.Payload); !bytes.Equal(was, a.Event.Payload) && !storage.IsErased(was) && !storage.IsErased(a.Event.Payload) {
		out.PayloadDiffers = true
		changed = changed || !r.PayloadDiffers
		r.PayloadDiffers = true
		opened = r.open(a) || opened
	}
	if opened && r.Status.Final() {
		r.Status = storage.Pending
	}
	out.Outcomes = r.statuses()
	return changed || opened
}

// putRows writes changed rows where they are still as they were read, and
// reports whether all were.
func (s *Store) putRows(ctx context.Context, rows map[string]*row, changed map[string]bool) (bool, error) {
	if len(changed) == 0 {
		return true, nil
	}
	models := make([]mongo.WriteModel, 0, len(changed))
	for _, id := range slices.Sorted(maps.Keys(changed)) {
		r := rows[id]
		models = append(models, mongo.NewUpdateOneModel().
			SetFilter(bson.D{{Key: "_id", Value: id}, {Key: "rev", Value: r.Rev}}).
			SetUpdate(bson.D{
				{Key: "$set", Value: bson.D{
					{Key: "status", Value: r.Status}, {Key: "open", Value: r.Open}, {Key: "tally", Value: r.Tally},
					{Key: "duplicates", Value: r.Duplicates}, {Key: "payload_differs", Value: r.PayloadDiffers},
					{Key: "signals", Value: r.Signals}, {Key: "keys", Value: r.Keys}, {Key: "kinds", Value: r.Kinds},
					{Key: "outcomes", Value: r.Outcomes}, {Key: "note", Value: r.Note}, {Key: "noted", Value: r.Note != ""}, {Key: "unnamed", Value: r.Unnamed},
				}},
				{Key: "$inc", Value: bson.D{{Key: "rev", Value: int64(1)}}},
			}))
	}
	matched, err := s.bulk(ctx, s.events, models)
	return matched == int64(len(models)), err
}
