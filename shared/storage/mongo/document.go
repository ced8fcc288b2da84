package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/storage"
)

// document is a mirror document as stored. Field names are the customer's to
// query.
type document struct {
	ID          string            `bson:"_id"` // event.Key.Local
	Source      string            `bson:"source"`
	Kind        string            `bson:"kind"`
	Parents     map[string]string `bson:"parents,omitempty"`
	Raw         bson.RawValue     `bson:"raw,omitempty"`
	Status      string            `bson:"status"`
	Terminal    bool              `bson:"terminal"`
	TerminalAt  time.Time         `bson:"terminal_at,omitempty"`
	DeletedAt   time.Time         `bson:"deleted_at,omitempty"`
	Claim       int64             `bson:"claim"`
	SyncedClaim int64             `bson:"synced_claim"`
	StateHash   string            `bson:"state_hash"`
	SyncedAt    time.Time         `bson:"synced_at,omitempty"`
	VerifiedAt  time.Time         `bson:"verified_at,omitempty"`
	LastEvent   lastEvent         `bson:"last_event,omitempty"`
	Behind      *behind           `bson:"behind,omitempty"`
	DoubtedAt   time.Time         `bson:"doubted_at,omitempty"`
	OpenLetters int               `bson:"open_letters"`
	// LettersRev counts the recounts begun; see recount.
	LettersRev int64 `bson:"letters_rev"`

	damaged []string // fields that could not be read
}

// lastEvent has its time first: documents are compared field by field, so $max
// keeps the latest.
type lastEvent struct {
	CreatedAt time.Time `bson:"created_at"`
	ID        string    `bson:"id"`
	Type      string    `bson:"type"`
}

type behind struct {
	Since  time.Time `bson:"since"`
	Reason string    `bson:"reason"`
}

func (d *document) mirror() *storage.Document {
	out := &storage.Document{
		Key: event.LocalKey(d.Source, d.Kind, d.ID), Parents: unescapeKeys(d.Parents),
		Raw: bodyBytes(d.Raw), Status: d.Status, Terminal: d.Terminal, TerminalAt: d.TerminalAt, DeletedAt: d.DeletedAt,
		Claim: d.Claim, SyncedClaim: d.SyncedClaim, StateHash: d.StateHash,
		SyncedAt: d.SyncedAt, VerifiedAt: d.VerifiedAt, LastEvent: storage.LastEvent{ID: d.LastEvent.ID, Type: d.LastEvent.Type, CreatedAt: d.LastEvent.CreatedAt},
		OpenLetters: d.OpenLetters, DoubtedAt: d.DoubtedAt, Damaged: d.damaged,
	}
	if d.Behind != nil {
		out.Behind = &storage.Behind{Since: d.Behind.Since, Reason: d.Behind.Reason}
	}
	return out
}

// onInsert are the fields every document has from its first day, so that
// filters on them match; and the parents that were named for it, if any were.
func onInsert(ref event.Ref) bson.D {
	k := ref.Key
	fields := bson.D{{Key: "source", Value: k.Source}, {Key: "kind", Value: k.Kind}, {Key: "synced_claim", Value: int64(0)},
		{Key: "open_letters", Value: 0}, {Key: "status", Value: ""}, {Key: "terminal", Value: false}, {Key: "state_hash", Value: ""}}
	if len(ref.Parents) > 0 {
		fields = append(fields, bson.E{Key: "parents", Value: escapeKeys(ref.Parents)})
	}
	return fields
}

// withoutState leaves out what is for the customer's queries alone.
var withoutState = bson.D{{Key: "state", Value: 0}}

// Claim raises the entity's claim and returns its document.
func (s *Store) Claim(ctx context.Context, ref event.Ref) (*storage.Document, error) {
	doc, err := s.upsert(ctx, ref, bson.D{{Key: "$inc", Value: bson.D{{Key: "claim", Value: int64(1)}}}})
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
func (s *Store) upsert(ctx context.Context, ref event.Ref, update bson.D) (*document, error) {
	k := ref.Key
	if err := checkText(k.Source, k.Kind, k.Local()); err != nil {
		return nil, err
	}
	c, err := s.mirrorOf(ctx, ref)
	if err != nil {
		return nil, err
	}
	this := bson.E{Key: "_id", Value: k.Local()}
	born := append(bson.D{this}, onInsert(ref)...)
	for _, operator := range update {
		born = append(born, operator.Value.(bson.D)...)
	}
	opts := options.FindOneAndUpdate().SetReturnDocument(options.After).SetProjection(withoutState)
	for range upsertTries {
		var raw bson.Raw
		raw, err = c.FindOneAndUpdate(ctx, bson.D{this}, update, opts).Raw()
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

// Write applies the outcome of a fetch if its claim is still the newest.
func (s *Store) Write(ctx context.Context, w *storage.Write) (storage.Written, error) {
	k := w.Ref.Key
	if len(w.Raw) > maxDocument {
		return storage.Written{}, fate.Errorf(fate.Permanent, "write %s: a state of %d bytes is more than a MongoDB document holds (16 MiB)", k, len(w.Raw))
	}
	state, projected := bson.RawValue{}, false
	if w.NewState() {
		state, projected = project(w.Raw)
	}
	done, err := s.write(ctx, w, state, projected)
	if class, _ := fate.Of(err); err != nil && projected && class == fate.Permanent {
		// The server refused something in the projection: the state itself is
		// text and matters more.
		done, err = s.write(ctx, w, bson.RawValue{}, false)
	}
	if err != nil {
		return storage.Written{}, fmt.Errorf("write %s: %w", k, err)
	}
	return done, nil
}

// write sends the update and, in the same command, the end of being behind,
// which must not happen while dead letters are open. Both are fenced by the claim;
// the second matches only if the first did.
//
// The claim alone would do if counters never went back. They do when the
// database is restored from an older copy: then a fetch that is still under way
// from before may hold a number that is given out again. Of two fetches with
// one number the one sent later wins.
func (s *Store) write(ctx context.Context, w *storage.Write, state bson.RawValue, projected bool) (storage.Written, error) {
	entity := bson.E{Key: "_id", Value: w.Ref.Key.Local()}
	claim := bson.E{Key: "claim", Value: w.Claim}
	latest := bson.E{Key: "$or", Value: bson.A{
		bson.D{{Key: "synced_claim", Value: bson.D{{Key: "$lt", Value: w.Claim}}}},
		bson.D{{Key: "synced_at", Value: bson.D{{Key: "$lte", Value: w.SentAt}}}},
	}}
	fence := bson.D{entity, claim, latest}
	written := bson.D{entity, claim, {Key: "synced_at", Value: w.SentAt}}
	if fault.Off("claims") {
		fence, written = bson.D{entity}, bson.D{entity}
	}
	models := []mongo.WriteModel{mongo.NewUpdateOneModel().SetFilter(fence).SetUpdate(writeUpdate(w, state, projected))}
	if !w.Kept {
		models = append(models, mongo.NewUpdateOneModel().
			SetFilter(append(written, bson.E{Key: "open_letters", Value: 0})).
			SetUpdate(bson.D{{Key: "$unset", Value: bson.D{{Key: "behind", Value: ""}}}}))
	}
	matched, err := s.bulk(ctx, s.db.Collection(mirrorName(w.Ref.Key.Source, w.Ref.Key.Kind)), models)
	// Without dead letters both match.
	return storage.Written{Applied: matched > 0, OpenLetters: matched == 1 && len(models) == 2}, err
}

// writeUpdate is the update of a write. "Set if it was not" is $min, "if it is
// later" is $max: a missing field takes either.
func writeUpdate(w *storage.Write, state bson.RawValue, projected bool) bson.D {
	set := bson.D{{Key: "synced_claim", Value: w.Claim}, {Key: "synced_at", Value: w.SentAt}}
	var unset, lowest, highest bson.D
	if w.Kept {
		lowest = bson.D{{Key: "doubted_at", Value: w.DoubtedAt}, {Key: "behind.since", Value: w.DoubtedAt}}
		set = append(set, bson.E{Key: "behind.reason", Value: storage.ReasonLagging})
	} else {
		highest = bson.D{{Key: "verified_at", Value: w.SentAt}}
		unset = bson.D{{Key: "doubted_at", Value: ""}}
	}
	if len(w.Ref.Parents) > 0 && (w.Kept || !w.Deleted) {
		set = append(set, bson.E{Key: "parents", Value: escapeKeys(w.Ref.Parents)})
	}
	if w.Deleted && !w.Kept {
		lowest = append(lowest, bson.E{Key: "deleted_at", Value: w.SentAt})
	}
	if w.NewState() {
		set = append(set, bson.E{Key: "raw", Value: body(w.Raw)}, bson.E{Key: "state_hash", Value: w.StateHash},
			bson.E{Key: "status", Value: w.Status}, bson.E{Key: "terminal", Value: w.Terminal})
		unset = append(unset, bson.E{Key: "deleted_at", Value: ""})
		if w.Terminal {
			lowest = append(lowest, bson.E{Key: "terminal_at", Value: w.SentAt})
		} else {
			unset = append(unset, bson.E{Key: "terminal_at", Value: ""})
		}
		if projected {
			set = append(set, bson.E{Key: "state", Value: state})
		} else {
			unset = append(unset, bson.E{Key: "state", Value: ""})
		}
	}
	if e := w.LastEvent; !e.CreatedAt.IsZero() {
		last := bson.E{Key: "last_event", Value: lastEvent{CreatedAt: e.CreatedAt, ID: e.ID, Type: e.Type}}
		if w.ForgetLastEvent {
			set = append(set, last)
		} else {
			highest = append(highest, last)
		}
	}
	update := bson.D{{Key: "$set", Value: set}}
	for _, op := range []bson.E{{Key: "$unset", Value: unset}, {Key: "$min", Value: lowest}, {Key: "$max", Value: highest}} {
		if len(op.Value.(bson.D)) > 0 {
			update = append(update, op)
		}
	}
	return update
}

// Entity returns one document, or storage.ErrNotFound.
func (s *Store) Entity(ctx context.Context, k event.Key) (*storage.Document, error) {
	var doc document
	c := s.db.Collection(mirrorName(k.Source, k.Kind))
	raw, err := c.FindOne(ctx, bson.D{{Key: "_id", Value: k.Local()}}, options.FindOne().SetProjection(withoutState)).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, fmt.Errorf("read %s: %w", k, storage.ErrNotFound)
	}
	if err == nil {
		err = decode(c, raw, &doc)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", k, classify(ctx, err))
	}
	return doc.mirror(), nil
}
