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

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

// letter is a dead letter as stored.
type letter struct {
	LetterID string               `bson:"_id"`
	Source   string               `bson:"source"`
	Event    string               `bson:"event"`
	Type     string               `bson:"type,omitempty"` // the event's
	Entity   string               `bson:"entity"`         // source/kind/id
	Kind     string               `bson:"kind"`
	EntityID string               `bson:"entity_id"`
	Parents  map[string]string    `bson:"parents,omitempty"`
	Signal   signal               `bson:"signal"`
	Class    string               `bson:"class"`
	Attempts []attempt            `bson:"attempts"`
	Claim    int64                `bson:"claim"`
	TraceID  string               `bson:"trace_id,omitempty"`
	At       time.Time            `bson:"at"`
	Status   storage.LetterStatus `bson:"status"`
	// How it was closed; absent while it is open.
	ClosedAt time.Time `bson:"closed_at,omitempty"`
	By       string    `bson:"by,omitempty"`
	Reason   string    `bson:"reason,omitempty"`
	// Rev counts the changes, for the step that reads a dead letter and writes it.
	Rev int64 `bson:"rev"`
}

type attempt struct {
	At    time.Time `bson:"at"`
	Error string    `bson:"error"`
}

// newLetter is a dead letter as buried for the first time; r is its event's row, nil
// if the log has none.
func newLetter(l *storage.Letter, r *row) *letter {
	k := l.Ref.Key
	out := &letter{
		LetterID: l.ID(), Source: l.Source, Event: l.EventID, Entity: k.String(), Kind: k.Kind, EntityID: k.Local(),
		Parents: escapeKeys(l.Ref.Parents), Signal: signal(l.Signal), Class: l.Class, Attempts: []attempt{},
		Claim: l.Claim, TraceID: l.TraceID, At: l.At, Status: storage.LetterOpen, Rev: 1,
	}
	if r != nil {
		out.Type = r.Type
	}
	for _, a := range l.Attempts {
		out.Attempts = append(out.Attempts, attempt(a))
	}
	return out
}

func (l *letter) key() event.Key { return event.LocalKey(l.Source, l.Kind, l.EntityID) }

func (l *letter) id() string { return l.LetterID }

func (l *letter) row() string { return rowID(l.Source, l.Event) }

func (l *letter) attempts() []storage.Attempt {
	out := make([]storage.Attempt, len(l.Attempts))
	for i, a := range l.Attempts {
		out[i] = storage.Attempt(a)
	}
	return out
}

// again is the update that opens a dead letter whose work has failed again, if
// it has not changed since it was read. Its class and error are those of the latest
// attempt; a late burial only adds its attempts.
func (l *letter) again(n *storage.Letter) mongo.WriteModel {
	var attempts []attempt
	for _, a := range storage.MergeAttempts(l.attempts(), n.Attempts) {
		attempts = append(attempts, attempt(a))
	}
	set := bson.D{
		{Key: "status", Value: storage.LetterOpen}, {Key: "attempts", Value: attempts}, {Key: "claim", Value: max(l.Claim, n.Claim)},
	}
	if !n.At.Before(l.At) {
		set = append(set, bson.E{Key: "signal", Value: signal(n.Signal)}, bson.E{Key: "class", Value: n.Class}, bson.E{Key: "at", Value: n.At})
	}
	return l.change(set, unclosed)
}

// unclosed are the fields an open dead letter does not have.
var unclosed = bson.D{{Key: "closed_at", Value: ""}, {Key: "by", Value: ""}, {Key: "reason", Value: ""}}

// change is an update of the dead letter if it has not changed since it was read.
func (l *letter) change(set, unset bson.D) mongo.WriteModel {
	update := bson.D{{Key: "$set", Value: set}, {Key: "$inc", Value: bson.D{{Key: "rev", Value: int64(1)}}}}
	if unset != nil {
		update = append(update, bson.E{Key: "$unset", Value: unset})
	}
	return mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: l.LetterID}, {Key: "rev", Value: l.Rev}}).SetUpdate(update)
}

// Bury writes a dead letter for each. The order closes every gap: the dead letter
// first, so that a sync which ends from now on finds it; then the outcome;
// then the comparison with what was synced before.
func (s *Store) Bury(ctx context.Context, letters []storage.Letter) ([]bool, error) {
	if len(letters) == 0 {
		return nil, nil
	}
	superseded, err := s.bury(ctx, letters)
	if err != nil {
		return nil, fmt.Errorf("bury: %w", err)
	}
	return superseded, nil
}

func (s *Store) bury(ctx context.Context, letters []storage.Letter) ([]bool, error) {
	for i := range letters {
		k := letters[i].Ref.Key
		if err := checkText(letters[i].EventID, k.Source, k.Kind, k.Local()); err != nil {
			return nil, err
		}
	}
	ends, err := s.putLetters(ctx, letters)
	if err != nil {
		return nil, err
	}
	var buried []*storage.Letter
	var ids []string
	var moves []move
	for i := range letters {
		if l := &letters[i]; !ends[i].settled {
			buried, ids = append(buried, l), append(ids, l.ID())
			moves = append(moves, move{row: rowID(l.Source, l.EventID), entity: l.Ref.Key, from: storage.Pending, to: storage.Dead,
				set: bson.D{{Key: "processed_at", Value: l.At}}})
		}
	}
	if err := s.move(ctx, moves); err != nil {
		return nil, err
	}
	if _, err := s.agree(ctx, ids); err != nil {
		return nil, err
	}
	synced, err := s.compare(ctx, buried)
	if err != nil {
		return nil, err
	}
	superseded := make([]bool, len(letters))
	for i := range letters {
		k := letters[i].Ref.Key
		if ends[i].settled {
			superseded[i] = ends[i].superseded
		} else if erased, is := synced[k]; is && erased == storage.ErasedClaim {
			superseded[i] = true
			if err := s.clearBuried(ctx, &letters[i]); err != nil {
				return nil, err
			}
		} else {
			superseded[i] = synced[letters[i].Ref.Key] > ends[i].claim
		}
	}
	return superseded, nil
}

// clearBuried clears a dead letter of an erased entity, whose marker was written while its
// work was under way, and its event.
func (s *Store) clearBuried(ctx context.Context, l *storage.Letter) error {
	rows, err := s.rowsByID(ctx, []string{rowID(l.Source, l.EventID)}, withoutPayload)
	if err != nil {
		return err
	}
	if _, err := s.clearRows(ctx, l.Ref.Key, slices.Collect(maps.Values(rows))); err != nil {
		return err
	}
	if err := s.clearLetters(ctx, l.Ref.Key, l.At); err != nil {
		return err
	}
	_, err = s.recount(ctx, l.Ref.Key, time.Time{}, false)
	return err
}

// burial is the result of writing one dead letter.
type burial struct {
	// settled: it is there and its outcome was settled: its burial was done
	// before, and its later status is kept.
	settled, superseded bool
	// claim is the one it has now.
	claim int64
}

// putLetters writes dead letters, or adds to those that are there. One that others
// change meanwhile is read again.
func (s *Store) putLetters(ctx context.Context, letters []storage.Letter) ([]burial, error) {
	out := make([]burial, len(letters))
	which := make([]int, len(letters))
	for i := range which {
		which[i] = i
	}
	which = inOrder(which, func(i int) string { return letters[i].ID() })
	for range againTries {
		if len(which) == 0 {
			return out, nil
		}
		rows, known, err := s.lettersAndRows(ctx, letters, which)
		if err != nil {
			return nil, err
		}
		if which, err = s.tryLetters(ctx, letters, which, rows, known, out); err != nil {
			return nil, err
		}
	}
	return nil, fate.Errorf(fate.Unavailable, "dead letters changed %d times while they were written: try again", againTries)
}

// tryLetters is one try; it returns those that must be tried again.
func (s *Store) tryLetters(
	ctx context.Context, letters []storage.Letter, which []int, rows map[string]*row, known map[string]*letter, out []burial,
) (again []int, err error) {
	var inserts []*letter
	var inserted, updated []int
	var updates []mongo.WriteModel
	seen := map[string]bool{}
	for _, i := range which {
		n := &letters[i]
		id, r := n.ID(), rows[rowID(n.Source, n.EventID)]
		l := known[id]
		switch {
		case seen[id]: // twice in one batch: as if in two calls
			again = append(again, i)
		case l == nil:
			inserts, inserted = append(inserts, newLetter(n, r)), append(inserted, i)
			out[i] = burial{claim: n.Claim}
		case r.settled(n.Ref.Key):
			out[i] = burial{settled: true, superseded: l.Status == storage.LetterSuperseded}
		default:
			updates, updated = append(updates, l.again(n)), append(updated, i)
			out[i] = burial{claim: max(l.Claim, n.Claim)}
		}
		seen[id] = true
	}
	for len(inserts) > 0 {
		n := min(len(inserts), s.bulkSize)
		_, err := s.letters.InsertMany(ctx, inserts[:n], options.InsertMany().SetOrdered(false))
		there, err := duplicates(err)
		if err != nil {
			return nil, classify(ctx, err)
		}
		for k := range there {
			again = append(again, inserted[k])
		}
		inserts, inserted = inserts[n:], inserted[n:]
	}
	matched, err := s.bulk(ctx, s.letters, updates)
	if err != nil {
		return nil, err
	}
	if matched < int64(len(updates)) {
		again = append(again, updated...) // an attempt is added once
	}
	slices.Sort(again) // those of one dead letter in the order they came
	return inOrder(again, func(i int) string { return letters[i].ID() }), nil
}

// settled reports whether the outcome of an entity has ended otherwise than
// dead.
func (r *row) settled(k event.Key) bool {
	if r == nil {
		return false
	}
	status := r.Outcomes[outcomeField(k)].Status
	return status.Final() && status != storage.Dead
}

func (s *Store) lettersAndRows(ctx context.Context, letters []storage.Letter, which []int) (map[string]*row, map[string]*letter, error) {
	rowIDs, letterIDs := make([]string, len(which)), make([]string, len(which))
	for n, i := range which {
		rowIDs[n], letterIDs[n] = rowID(letters[i].Source, letters[i].EventID), letters[i].ID()
	}
	rows, err := s.rowsByID(ctx, rowIDs, withoutPayload)
	if err != nil {
		return nil, nil, err
	}
	known, err := s.lettersByID(ctx, letterIDs)
	if err != nil {
		return nil, nil, err
	}
	byID := make(map[string]*letter, len(known))
	for _, l := range known {
		byID[l.LetterID] = l
	}
	return rows, byID, nil
}

// withoutPayload leaves the event's body out of a row.
var withoutPayload = bson.D{{Key: "payload", Value: 0}}

// lettersByID reads dead letters by their ids, in the order of these.
func (s *Store) lettersByID(ctx context.Context, ids []string) (out []*letter, err error) {
	for chunk := range slices.Chunk(ids, maxIDs) {
		found, err := find[letter](ctx, s.letters, bson.D{among(chunk)}, options.Find())
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return inOrder(out, (*letter).id), nil
}

// agree repairs what two steps made at once may leave: a dead letter closed by one
// while its outcome was made dead by the other, so that it would never be looked
// at again. The dead letter of a redriven or discarded one is opened; the
// outcome of a superseded one is superseded. Every step that closes dead letters or
// buries ends with it, so whichever comes second sees what the first did. It
// returns how many dead letters it opened.
func (s *Store) agree(ctx context.Context, ids []string) (opened int, err error) {
	letters, err := s.lettersByID(ctx, ids)
	if err != nil {
		return 0, err
	}
	letters = slices.DeleteFunc(letters, func(l *letter) bool { return l.Status == storage.LetterOpen })
	if len(letters) == 0 {
		return 0, nil
	}
	rowIDs := make([]string, len(letters))
	for i, l := range letters {
		rowIDs[i] = l.row()
	}
	rows, err := s.rowsByID(ctx, rowIDs, withoutPayload)
	if err != nil {
		return 0, err
	}
	var models []mongo.WriteModel
	var moves []move
	for _, l := range letters {
		r := rows[l.row()]
		switch {
		case r == nil || r.Outcomes[outcomeField(l.key())].Status != storage.Dead:
		case l.Status == storage.LetterSuperseded:
			moves = append(moves, move{row: l.row(), entity: l.key(), from: storage.Dead, to: storage.Superseded})
		case l.Status == storage.LetterErased:
			moves = append(moves, move{row: l.row(), entity: l.key(), from: storage.Dead, to: storage.Erased})
		default:
			models = append(models, l.change(bson.D{{Key: "status", Value: storage.LetterOpen}}, unclosed))
		}
	}
	if err := s.move(ctx, moves); err != nil {
		return 0, err
	}
	n, err := s.bulk(ctx, s.letters, models)
	return int(n), err
}

// compare supersedes what a sync of a higher claim has made needless, and
// recounts the dead letters of the entities. It returns the entities' synced claims.
func (s *Store) compare(ctx context.Context, letters []*storage.Letter) (map[event.Key]int64, error) {
	first := map[event.Key]time.Time{}
	for _, l := range letters {
		if at, ok := first[l.Ref.Key]; !ok || l.At.Before(at) {
			first[l.Ref.Key] = l.At
		}
	}
	synced := map[event.Key]int64{}
	for k, at := range first {
		doc, err := s.recount(ctx, k, at, false)
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
		if _, err := s.recount(ctx, k, time.Time{}, false); err != nil {
			return nil, err
		}
	}
	return synced, nil
}

// Supersede marks the entity's open dead letters of a lower claim superseded.
func (s *Store) Supersede(ctx context.Context, k event.Key, claim int64) (int, error) {
	n, err := s.supersede(ctx, k, claim)
	if err == nil {
		_, err = s.recount(ctx, k, time.Time{}, false)
	}
	if err != nil {
		return 0, fmt.Errorf("supersede dead letters of %s: %w", k, err)
	}
	return n, nil
}

// supersede changes the outcomes first: as long as a dead letter is open, a
// repetition finds it.
func (s *Store) supersede(ctx context.Context, k event.Key, claim int64) (int, error) {
	open := bson.D{
		{Key: "entity", Value: k.String()}, {Key: "status", Value: storage.LetterOpen},
		{Key: "claim", Value: bson.D{{Key: "$lt", Value: claim}}},
	}
	letters, err := find[letter](ctx, s.letters, open, options.Find())
	if err != nil || len(letters) == 0 {
		return 0, err
	}
	letters = inOrder(letters, (*letter).id)
	moves, models := make([]move, len(letters)), make([]mongo.WriteModel, len(letters))
	ids := make([]string, len(letters))
	for i, l := range letters {
		ids[i] = l.LetterID
		moves[i] = move{row: l.row(), entity: k, from: storage.Dead, to: storage.Superseded}
		models[i] = mongo.NewUpdateOneModel().
			SetFilter(append(bson.D{{Key: "_id", Value: l.LetterID}}, open[1:]...)).
			SetUpdate(closing{letter: storage.LetterSuperseded, at: s.now()}.update())
	}
	if err := s.move(ctx, moves); err != nil {
		return 0, err
	}
	if _, err = s.bulk(ctx, s.letters, models); err != nil {
		return 0, err
	}
	_, err = s.agree(ctx, ids)
	return len(letters), err
}

// recount counts the entity's open dead letters into its document and returns that
// as it was before. Since counting and writing are two steps, the write is
// fenced as a fetch is by its claim: a recount that began later has counted
// everything this one saw. With dead letters the entity is behind since the given
// time; without, it no longer is, unless the provider's answers are in doubt or
// other work on it is retrying.
func (s *Store) recount(ctx context.Context, k event.Key, since time.Time, retrying bool) (*document, error) {
	c, err := s.mirrorOf(ctx, event.Ref{Key: k})
	if err != nil {
		return nil, err
	}
	doc, err := upsert(ctx, c, event.Ref{Key: k}, bson.D{{Key: "$inc", Value: bson.D{{Key: "letters_rev", Value: int64(1)}, {Key: "claim", Value: int64(0)}}}})
	if err != nil {
		return nil, err
	}
	n, err := s.letters.CountDocuments(ctx, bson.D{{Key: "entity", Value: k.String()}, {Key: "status", Value: storage.LetterOpen}})
	if err != nil {
		return nil, classify(ctx, err)
	}
	update := func(do bson.D, and ...bson.E) mongo.WriteModel {
		fence := bson.D{{Key: "_id", Value: k.Local()}, {Key: "letters_rev", Value: doc.LettersRev}}
		return mongo.NewUpdateOneModel().SetFilter(append(fence, and...)).SetUpdate(do)
	}
	exists := func(field string, yes bool) bson.E {
		return bson.E{Key: field, Value: bson.D{{Key: "$exists", Value: yes}}}
	}
	reason := func(r string) bson.D {
		return bson.D{{Key: "$set", Value: bson.D{{Key: "behind.reason", Value: r}}}}
	}
	forLetters := bson.E{Key: "behind.reason", Value: storage.ReasonDeadLetter}
	models := []mongo.WriteModel{update(bson.D{{Key: "$set", Value: bson.D{{Key: "open_letters", Value: int(n)}}}})}
	switch {
	case n > 0 && !since.IsZero():
		models = append(models,
			update(bson.D{{Key: "$set", Value: bson.D{{Key: "behind.since", Value: since}}}}, exists("behind", false)),
			update(reason(storage.ReasonDeadLetter)))
	case n == 0:
		ended := bson.D{{Key: "$unset", Value: bson.D{{Key: "behind", Value: ""}}}}
		if retrying {
			ended = reason(storage.ReasonRetrying)
		}
		models = append(models,
			update(reason(storage.ReasonLagging), exists("doubted_at", true), forLetters),
			update(ended, exists("doubted_at", false), exists("behind", true)))
	}
	_, err = s.bulk(ctx, c, models)
	return doc, err
}
