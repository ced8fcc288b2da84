package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/event"
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
	// Version and Fed are of the feed; Owed marks a document whose Version is higher.
	Version int64 `bson:"version,omitempty"`
	Fed     int64 `bson:"fed,omitempty"`
	Owed    bool  `bson:"owed,omitempty"`
	// LettersRev counts the recounts begun; see recount.
	LettersRev int64 `bson:"letters_rev"`
	// Erased is the marker of an erased entity.
	Erased *marker `bson:"erased,omitempty"`

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
		OpenLetters: d.OpenLetters, DoubtedAt: d.DoubtedAt, Version: d.Version, Fed: d.Fed, Damaged: d.damaged, Erased: d.Erased.mirror(),
	}
	if slices.Contains(d.damaged, "erased") { // only Unerase ends a marker
		out.Erased = &storage.Marker{}
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
