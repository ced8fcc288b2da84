package mongo

import (
	"cmp"
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

const discrepanciesList = "discrepancies"

// discrepancy is a discrepancy as stored.
type discrepancy struct {
	ID       string                    `bson:"_id"`
	Source   string                    `bson:"source"`
	Entity   string                    `bson:"entity"` // source/kind/id
	Kind     string                    `bson:"kind"`
	EntityID string                    `bson:"entity_id"`
	Type     storage.DiscrepancyType   `bson:"type"`
	Status   storage.DiscrepancyStatus `bson:"status"`
	Event    string                    `bson:"event,omitempty"`
	Sweep    string                    `bson:"sweep,omitempty"`
	Patch    bson.RawValue             `bson:"patch,omitempty"`
	FoundAt  time.Time                 `bson:"found_at"`
	// StateHash is of what the provider showed, SyncedClaim and SyncedAt of the
	// document it was compared with.
	StateHash   string    `bson:"state_hash,omitempty"`
	SyncedClaim int64     `bson:"synced_claim,omitempty"`
	SyncedAt    time.Time `bson:"synced_at,omitempty"`
	JudgedAt    time.Time `bson:"judged_at,omitempty"`
	// Judgement is of the call that judged it, which reads by it what it did.
	Judgement bson.ObjectID `bson:"judgement,omitempty"`
	// Repair is how its repair ended: repaired or failed. "" until then. A
	// suspected one has it before its status shows it.
	Repair     storage.DiscrepancyStatus `bson:"repair,omitempty"`
	RepairedAt time.Time                 `bson:"repaired_at,omitempty"`
}

func newDiscrepancy(d *storage.Discrepancy) discrepancy {
	out := discrepancy{
		ID: d.ID, Source: cmp.Or(d.Source, d.Entity.Source), Entity: d.Entity.String(), Kind: d.Entity.Kind, EntityID: d.Entity.Local(),
		Type: d.Type, Status: cmp.Or(d.Status, storage.Suspected), Event: d.EventID, Sweep: d.SweepID, Patch: optionalBody(d.Patch),
		FoundAt: d.FoundAt, StateHash: d.StateHash, SyncedClaim: d.SyncedClaim, SyncedAt: d.SyncedAt, JudgedAt: d.JudgedAt, RepairedAt: d.RepairedAt,
	}
	if out.Status == storage.Repaired || out.Status == storage.Failed {
		out.Repair = out.Status
	}
	return out
}

func (d *discrepancy) mirror() *storage.Discrepancy {
	return &storage.Discrepancy{
		ID: d.ID, Source: d.Source, Entity: event.LocalKey(d.Source, d.Kind, d.EntityID), Type: d.Type, Status: d.Status,
		EventID: d.Event, SweepID: d.Sweep, Patch: bodyBytes(d.Patch), FoundAt: d.FoundAt,
		StateHash: d.StateHash, SyncedClaim: d.SyncedClaim, SyncedAt: d.SyncedAt, JudgedAt: d.JudgedAt, RepairedAt: d.RepairedAt,
	}
}

// Record adds discrepancies, and opens dropped ones that were found again.
func (s *Store) Record(ctx context.Context, found []storage.Discrepancy) error {
	keys := make([]event.Key, len(found))
	for i := range found {
		keys[i] = found[i].Entity
	}
	before, err := s.erasedAmong(ctx, keys)
	if err != nil {
		return fmt.Errorf("record discrepancies: %w", err)
	}
	found = slices.DeleteFunc(slices.Clone(found), func(d storage.Discrepancy) bool { return before[d.Entity] })
	if err := s.recordAll(ctx, found); err != nil {
		return err
	}
	// One that is erased meanwhile may be cleared already.
	after, err := s.erasedAmong(ctx, keys)
	for k := range after {
		if err == nil && !before[k] {
			err = s.clearRecords(ctx, k, s.now())
		}
	}
	if err != nil {
		return fmt.Errorf("record discrepancies: %w", err)
	}
	return nil
}

func (s *Store) recordAll(ctx context.Context, found []storage.Discrepancy) error {
	found = inOrder(found, func(d storage.Discrepancy) string { return d.ID })
	for chunk := range slices.Chunk(found, s.bulkSize) {
		docs := make([]discrepancy, len(chunk))
		for i := range chunk {
			docs[i] = newDiscrepancy(&chunk[i])
		}
		_, err := s.discrepancies.InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
		there, err := duplicates(err)
		if err != nil {
			return fmt.Errorf("record discrepancies: %w", classify(ctx, err))
		}
		var again []mongo.WriteModel
		for i := range docs {
			if there[i] {
				again = append(again, foundAgain(&docs[i]))
			}
		}
		if _, err := s.bulk(ctx, s.discrepancies, again); err != nil {
			return fmt.Errorf("record discrepancies found again: %w", err)
		}
	}
	return nil
}

// foundAgain opens a dropped discrepancy again if it was found after that: the
// event that explained it has not repaired it.
func foundAgain(d *discrepancy) mongo.WriteModel {
	return mongo.NewReplaceOneModel().SetReplacement(d).SetFilter(bson.D{
		{Key: "_id", Value: d.ID}, {Key: "status", Value: storage.Dropped}, {Key: "found_at", Value: bson.D{{Key: "$lt", Value: d.FoundAt}}},
	})
}

// Judge confirms or drops suspected discrepancies and returns those it judged.
func (s *Store) Judge(ctx context.Context, confirmed, dropped []string, at time.Time) ([]storage.Discrepancy, error) {
	// What this call judges bears its mark, so two that judge at once do not
	// both count the same.
	mark := bson.NewObjectID()
	var judged []storage.Discrepancy
	for _, part := range []struct {
		to  storage.DiscrepancyStatus
		ids []string
	}{{storage.Confirmed, confirmed}, {storage.Dropped, dropped}} {
		for ids := range slices.Chunk(part.ids, maxIDs) {
			got, err := s.judge(ctx, ids, part.to, mark, at)
			if err != nil {
				return nil, fmt.Errorf("judge discrepancies: %w", err)
			}
			judged = append(judged, got...)
		}
	}
	return judged, nil
}

func (s *Store) judge(ctx context.Context, ids []string, to storage.DiscrepancyStatus, mark bson.ObjectID, at time.Time) ([]storage.Discrepancy, error) {
	these := among(ids)
	models := []mongo.WriteModel{mongo.NewUpdateManyModel().
		SetFilter(bson.D{these, {Key: "status", Value: storage.Suspected}}).
		SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "status", Value: to}, {Key: "judged_at", Value: at}, {Key: "judgement", Value: mark}}}})}
	if _, err := s.bulk(ctx, s.discrepancies, append(models, followRepair(these)...)); err != nil {
		return nil, err
	}
	found, err := find[discrepancy](ctx, s.discrepancies, bson.D{these, {Key: "judgement", Value: mark}}, options.Find())
	if err != nil {
		return nil, err
	}
	out := make([]storage.Discrepancy, len(found))
	for i, d := range found {
		out[i] = *d.mirror()
	}
	return out, nil
}

// Repair records how the repair of discrepancies ended.
func (s *Store) Repair(ctx context.Context, ids []string, ok bool, at time.Time) error {
	end, unless := storage.Failed, bson.E{Key: "repair", Value: bson.D{{Key: "$exists", Value: false}}}
	if ok {
		end, unless.Value = storage.Repaired, bson.D{{Key: "$ne", Value: storage.Repaired}}
	}
	for ids := range slices.Chunk(ids, maxIDs) {
		these := among(ids)
		models := []mongo.WriteModel{mongo.NewUpdateManyModel().
			SetFilter(bson.D{these, {Key: "status", Value: bson.D{{Key: "$ne", Value: storage.Dropped}}}, unless}).
			SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "repair", Value: end}, {Key: "repaired_at", Value: at}}}})}
		if _, err := s.bulk(ctx, s.discrepancies, append(models, followRepair(these)...)); err != nil {
			return fmt.Errorf("note repairs: %w", err)
		}
	}
	return nil
}

// followRepair lets the status of judged discrepancies follow from how their repair
// ended. Judge and Repair both do it last, so whichever comes second sees what the
// other did.
func followRepair(these bson.E) []mongo.WriteModel {
	to := func(end storage.DiscrepancyStatus, from ...storage.DiscrepancyStatus) mongo.WriteModel {
		filter := append(bson.D{these, {Key: "repair", Value: end}}, oneOf("status", from...)...)
		return mongo.NewUpdateManyModel().SetFilter(filter).SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "status", Value: end}}}})
	}
	return []mongo.WriteModel{to(storage.Repaired, storage.Confirmed, storage.Failed), to(storage.Failed, storage.Confirmed)}
}

// Discrepancies lists them, newest found_at first.
func (s *Store) Discrepancies(ctx context.Context, f storage.DiscrepancyFilter) (storage.Page[*storage.Discrepancy], error) {
	filter := appendEqual(bson.D{}, "status", string(f.Status))
	filter = appendEqual(filter, "type", string(f.Type))
	filter = appendEqual(filter, "source", f.Source)
	filter = appendEqual(filter, "kind", f.Kind)
	filter = appendEqual(filter, "sweep", f.SweepID)
	if !f.Entity.IsZero() {
		filter = append(filter, bson.E{Key: "entity", Value: f.Entity.String()})
	}
	found, err := newestFirst[discrepancy]{
		name: discrepanciesList, collection: s.discrepancies, time: "found_at",
		place: func(d discrepancy) (time.Time, string) { return d.FoundAt, d.ID },
	}.read(ctx, appendRange(filter, "found_at", f.From, f.To), f.Limit, f.Cursor)
	if err != nil {
		return storage.Page[*storage.Discrepancy]{}, fmt.Errorf("list discrepancies: %w", err)
	}
	return convert(found, (*discrepancy).mirror), nil
}

// among selects documents by their ids.
func among(ids []string) bson.E { return bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}} }
