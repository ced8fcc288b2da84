package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/mirror"
)

// letter is a dead letter as stored.
type letter struct {
	LetterID string              `bson:"_id"`
	Source   string              `bson:"source"`
	Event    string              `bson:"event"`
	Entity   string              `bson:"entity"` // source/kind/id
	Kind     string              `bson:"kind"`
	EntityID string              `bson:"entity_id"`
	Parents  map[string]string   `bson:"parents,omitempty"`
	Signal   signal              `bson:"signal"`
	Class    string              `bson:"class"`
	Attempts []attempt           `bson:"attempts"`
	Claim    int64               `bson:"claim"`
	TraceID  string              `bson:"trace_id,omitempty"`
	At       time.Time           `bson:"at"`
	Status   mirror.LetterStatus `bson:"status"`
}

type attempt struct {
	At    time.Time `bson:"at"`
	Error string    `bson:"error"`
}

func newLetter(l *mirror.Letter) *letter {
	k := l.Ref.Key
	out := &letter{
		LetterID: l.ID(), Source: l.Source, Event: l.EventID, Entity: k.String(), Kind: k.Kind, EntityID: k.ID,
		Parents: escapeKeys(l.Ref.Parents), Signal: signal(l.Signal), Class: l.Class, Attempts: []attempt{},
		Claim: l.Claim, TraceID: l.TraceID, At: l.At, Status: mirror.LetterOpen,
	}
	for _, a := range l.Attempts {
		out.Attempts = append(out.Attempts, attempt(a))
	}
	return out
}

// Bury writes a dead letter for each. The order closes every gap: the letter
// first, so that a sync which ends from now on finds it; then the outcome;
// then the comparison with what was synced before.
func (s *Store) Bury(ctx context.Context, letters []mirror.Letter) ([]bool, error) {
	if len(letters) == 0 {
		return nil, nil
	}
	superseded, err := s.bury(ctx, letters)
	if err != nil {
		return nil, fmt.Errorf("bury: %w", err)
	}
	return superseded, nil
}

func (s *Store) bury(ctx context.Context, letters []mirror.Letter) ([]bool, error) {
	for i := range letters {
		k := letters[i].Ref.Key
		if err := checkText(letters[i].EventID, k.Source, k.Kind, k.ID); err != nil {
			return nil, err
		}
	}
	superseded, fresh, err := s.sortOut(ctx, letters)
	if err != nil {
		return nil, err
	}
	if err := s.putLetters(ctx, fresh); err != nil {
		return nil, err
	}
	moves := make([]move, len(fresh))
	for i, l := range fresh {
		moves[i] = move{row: rowID(l.Source, l.EventID), entity: l.Ref.Key, from: mirror.Pending, to: mirror.Dead,
			set: bson.D{{Key: "processed_at", Value: l.At}}}
	}
	if err := s.move(ctx, moves); err != nil {
		return nil, err
	}
	synced, err := s.compare(ctx, fresh)
	if err != nil {
		return nil, err
	}
	for i := range letters {
		superseded[i] = superseded[i] || synced[letters[i].Ref.Key] > letters[i].Claim
	}
	return superseded, nil
}

// sortOut separates letters that are to be written from those that are there
// and whose outcome is settled: their burial was done before, and what has
// become of them since must stand. Of those it says which are superseded.
func (s *Store) sortOut(ctx context.Context, letters []mirror.Letter) (superseded []bool, fresh []*mirror.Letter, err error) {
	rowIDs, letterIDs := make([]string, len(letters)), make([]string, len(letters))
	for i := range letters {
		rowIDs[i], letterIDs[i] = rowID(letters[i].Source, letters[i].EventID), letters[i].ID()
	}
	rows, err := s.rowsByID(ctx, rowIDs, bson.D{{Key: "payload", Value: 0}})
	if err != nil {
		return nil, nil, err
	}
	known, err := s.letterStatuses(ctx, letterIDs)
	if err != nil {
		return nil, nil, err
	}
	superseded = make([]bool, len(letters))
	for i := range letters {
		l := &letters[i]
		status, there := known[l.ID()]
		if r := rows[rowID(l.Source, l.EventID)]; there && r != nil && r.Outcomes[outcomeField(l.Ref.Key)].Status.Final() {
			superseded[i] = status == mirror.LetterSuperseded
			if status != mirror.LetterOpen {
				continue
			}
		}
		fresh = append(fresh, l)
	}
	return superseded, fresh, nil
}

func (s *Store) letterStatuses(ctx context.Context, ids []string) (map[string]mirror.LetterStatus, error) {
	out := map[string]mirror.LetterStatus{}
	for len(ids) > 0 {
		n := min(len(ids), s.bulkSize)
		found, err := find[letter](ctx, s.letters, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids[:n]}}}},
			options.Find().SetProjection(bson.D{{Key: "status", Value: 1}}))
		if err != nil {
			return nil, err
		}
		for _, l := range found {
			out[l.LetterID] = l.Status
		}
		ids = ids[n:]
	}
	return out, nil
}

func (s *Store) putLetters(ctx context.Context, letters []*mirror.Letter) error {
	models := make([]mongo.WriteModel, len(letters))
	for i, l := range letters {
		models[i] = mongo.NewReplaceOneModel().SetFilter(bson.D{{Key: "_id", Value: l.ID()}}).
			SetReplacement(newLetter(l)).SetUpsert(true)
	}
	_, err := s.bulk(ctx, s.letters, models)
	return err
}

// compare supersedes what a sync of a higher claim has made needless, and
// recounts the letters of the entities. It returns the entities' synced claims.
func (s *Store) compare(ctx context.Context, letters []*mirror.Letter) (map[event.Key]int64, error) {
	first := map[event.Key]time.Time{}
	for _, l := range letters {
		if at, ok := first[l.Ref.Key]; !ok || l.At.Before(at) {
			first[l.Ref.Key] = l.At
		}
	}
	synced := map[event.Key]int64{}
	for k, at := range first {
		doc, err := s.recount(ctx, k, at)
		if err != nil {
			return nil, err
		}
		synced[k] = doc.SyncedClaim
		n, err := s.supersede(ctx, k, doc.SyncedClaim)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			continue
		}
		if _, err := s.recount(ctx, k, time.Time{}); err != nil {
			return nil, err
		}
	}
	return synced, nil
}

// Supersede marks the entity's open letters of a lower claim superseded.
func (s *Store) Supersede(ctx context.Context, k event.Key, claim int64) (int, error) {
	n, err := s.supersede(ctx, k, claim)
	if err == nil {
		_, err = s.recount(ctx, k, time.Time{})
	}
	if err != nil {
		return 0, fmt.Errorf("supersede letters of %s: %w", k, err)
	}
	return n, nil
}

// supersede changes the outcomes first: as long as a letter is open, whoever
// repeats this finds it.
func (s *Store) supersede(ctx context.Context, k event.Key, claim int64) (int, error) {
	open := bson.D{
		{Key: "entity", Value: k.String()}, {Key: "status", Value: mirror.LetterOpen},
		{Key: "claim", Value: bson.D{{Key: "$lt", Value: claim}}},
	}
	letters, err := find[letter](ctx, s.letters, open, options.Find())
	if err != nil || len(letters) == 0 {
		return 0, err
	}
	moves, models := make([]move, len(letters)), make([]mongo.WriteModel, len(letters))
	for i, l := range letters {
		moves[i] = move{row: rowID(l.Source, l.Event), entity: k, from: mirror.Dead, to: mirror.Superseded}
		models[i] = mongo.NewUpdateOneModel().
			SetFilter(append(bson.D{{Key: "_id", Value: l.LetterID}}, open[1:]...)).
			SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "status", Value: mirror.LetterSuperseded}}}})
	}
	if err := s.move(ctx, moves); err != nil {
		return 0, err
	}
	_, err = s.bulk(ctx, s.letters, models)
	return len(letters), err
}

// recount counts the entity's open letters into its document and returns that
// as it was before. Since counting and writing are two steps, the write is
// fenced as a fetch is by its claim: whoever began a later recount has counted
// everything this one saw. With letters the entity is behind since the given
// time; without, it no longer is, unless the provider's answers are in doubt.
func (s *Store) recount(ctx context.Context, k event.Key, since time.Time) (*document, error) {
	doc, err := s.upsert(ctx, event.Ref{Key: k}, bson.D{{Key: "$inc", Value: bson.D{{Key: "letters_rev", Value: int64(1)}, {Key: "claim", Value: int64(0)}}}})
	if err != nil {
		return nil, err
	}
	n, err := s.letters.CountDocuments(ctx, bson.D{{Key: "entity", Value: k.String()}, {Key: "status", Value: mirror.LetterOpen}})
	if err != nil {
		return nil, classify(ctx, err)
	}
	fence := bson.D{{Key: "_id", Value: k.ID}, {Key: "letters_rev", Value: doc.LettersRev}}
	and := func(field string, exists bool) bson.D {
		return append(fence[:2:2], bson.E{Key: field, Value: bson.D{{Key: "$exists", Value: exists}}})
	}
	models := []mongo.WriteModel{mongo.NewUpdateOneModel().SetFilter(fence).
		SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "open_letters", Value: int(n)}}}})}
	if n == 0 {
		models = append(models, mongo.NewUpdateOneModel().SetFilter(and("doubted_at", false)).
			SetUpdate(bson.D{{Key: "$unset", Value: bson.D{{Key: "behind", Value: ""}}}}))
	} else if !since.IsZero() {
		models = append(models,
			mongo.NewUpdateOneModel().SetFilter(and("behind", false)).
				SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "behind.since", Value: since}}}}),
			mongo.NewUpdateOneModel().SetFilter(fence).
				SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "behind.reason", Value: mirror.ReasonDeadLetter}}}}))
	}
	_, err = s.bulk(ctx, s.db.Collection(mirrorName(k.Source, k.Kind)), models)
	return doc, err
}
