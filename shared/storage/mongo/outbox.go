package mongo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/storage"
)

// outboxRow is a row as an application inserts it. A field may have any type: one that is
// of a wrong type must be answered, not lost.
type outboxRow struct {
	ID      bson.RawValue `bson:"_id"`
	Source  bson.RawValue `bson:"source"`
	Kind    bson.RawValue `bson:"kind"`
	Op      bson.RawValue `bson:"op"`
	Ref     bson.RawValue `bson:"ref"`
	Entity  bson.RawValue `bson:"id"`
	Parents bson.RawValue `bson:"parents"`
	Body    bson.RawValue `bson:"body"`
	Bulk    bson.RawValue `bson:"bulk"`
	Seq     bson.RawValue `bson:"seq"`
	// Others are fields that a row does not have.
	Others map[string]bson.RawValue `bson:",inline"`
}

// OutboxRows returns the first rows of a source.
func (s *Store) OutboxRows(ctx context.Context, source string, limit int) ([]storage.OutboxRow, error) {
	cursor, err := s.outbox.Find(ctx, bson.D{{Key: "source", Value: source}},
		options.Find().SetSort(bson.D{{Key: "seq", Value: 1}, {Key: "_id", Value: 1}}).SetLimit(int64(limit)))
	var docs []bson.Raw
	if err == nil {
		err = cursor.All(ctx, &docs)
	}
	out := make([]storage.OutboxRow, len(docs))
	for i, raw := range docs {
		var r outboxRow
		if err == nil {
			err = decode(s.outbox, raw, &r)
		}
		out[i] = r.read()
	}
	if err != nil {
		return nil, fmt.Errorf("read the outbox of %s: %w", source, classify(ctx, err))
	}
	return out, nil
}

// read returns what can be read of a row, and what is wrong with the rest.
func (r *outboxRow) read() storage.OutboxRow {
	var wrong []string
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	text := func(name string, v bson.RawValue) string {
		s, ok := v.StringValueOK()
		if !ok && !missing(v) {
			complain("%s is of type %s: want a text", name, v.Type)
		}
		return s
	}
	out := storage.OutboxRow{
		Handle: append([]byte{byte(r.ID.Type)}, r.ID.Value...), Key: r.ID.String(),
		Source: text("source", r.Source), Kind: text("kind", r.Kind), Op: text("op", r.Op), Ref: text("ref", r.Ref), ID: text("id", r.Entity),
	}
	switch r.ID.Type {
	case bson.TypeString:
		out.Key = r.ID.StringValue()
	case bson.TypeObjectID:
		out.Key = r.ID.ObjectID().Hex()
	default:
		complain("_id is of type %s: want a text, which is the key", r.ID.Type)
	}
	if parents, ok := r.Parents.DocumentOK(); ok {
		out.Parents = map[string]string{}
		elements, _ := parents.Elements() // it was read as a document before
		for _, e := range elements {
			out.Parents[e.Key()] = text("parents."+e.Key(), e.Value())
		}
	} else if !missing(r.Parents) {
		complain("parents is of type %s: want an object", r.Parents.Type)
	}
	var err error
	if out.Body, err = commandBody(r.Body); err != nil {
		complain("%v", err)
	}
	if out.Bulk, _ = r.Bulk.BooleanOK(); r.Bulk.Type != bson.TypeBoolean && !missing(r.Bulk) {
		complain("bulk is of type %s: want true or false", r.Bulk.Type)
	}
	if n, ok := r.Seq.AsInt64OK(); ok {
		out.Seq = n
	} else if !missing(r.Seq) {
		complain("seq is of type %s: want a whole number", r.Seq.Type)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Others)) {
		complain("%s is no field of a row", name)
	}
	out.Problem = strings.Join(wrong, "; ")
	return out
}

func missing(v bson.RawValue) bool { return v.IsZero() || v.Type == bson.TypeNull }

// commandBody returns the body of a row as JSON. A text is the JSON itself, so that an
// application can give every token as it means it.
func commandBody(v bson.RawValue) ([]byte, error) {
	if missing(v) {
		return nil, nil
	}
	if s, ok := v.StringValueOK(); ok {
		return []byte(s), nil
	}
	if v.Type != bson.TypeEmbeddedDocument {
		return nil, fmt.Errorf("body is of type %s: want an object, or JSON as a text", v.Type)
	}
	return appendJSON(nil, "body", v)
}

// appendJSON writes a value as JSON. Types that JSON does not have are errors: no guess is
// made how a provider wants them.
func appendJSON(out []byte, at string, v bson.RawValue) ([]byte, error) {
	switch v.Type {
	case bson.TypeEmbeddedDocument:
		return appendElements(out, at, v.Document(), '{', '}')
	case bson.TypeArray:
		return appendElements(out, at, bson.Raw(v.Value), '[', ']')
	case bson.TypeNull:
		return append(out, "null"...), nil
	case bson.TypeBoolean:
		return strconv.AppendBool(out, v.Boolean()), nil
	case bson.TypeInt32:
		return strconv.AppendInt(out, int64(v.Int32()), 10), nil
	case bson.TypeInt64:
		return strconv.AppendInt(out, v.Int64(), 10), nil
	case bson.TypeDouble:
		if text, err := json.Marshal(v.Double()); err == nil {
			return append(out, text...), nil
		}
	case bson.TypeDecimal128:
		if d := v.Decimal128(); !d.IsNaN() && d.IsInf() == 0 {
			return append(out, d.String()...), nil
		}
	case bson.TypeString:
		text, err := json.Marshal(v.StringValue())
		return append(out, text...), err
	}
	return nil, fmt.Errorf("%s is of type %s, and JSON has no such value: write it as the provider wants it", at, v.Type)
}

func appendElements(out []byte, at string, raw bson.Raw, open, end byte) ([]byte, error) {
	elements, err := raw.Elements()
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", at, err)
	}
	out = append(out, open)
	for i, e := range elements {
		if i > 0 {
			out = append(out, ',')
		}
		if open == '{' {
			name, err := json.Marshal(e.Key())
			if err != nil {
				return nil, err
			}
			out = append(append(out, name...), ':')
		}
		if out, err = appendJSON(out, at+"."+e.Key(), e.Value()); err != nil {
			return nil, err
		}
	}
	return append(out, end), nil
}

// RemoveOutbox removes a row.
func (s *Store) RemoveOutbox(ctx context.Context, handle []byte) error {
	if len(handle) == 0 {
		return fmt.Errorf("remove a row of the outbox: %w", storage.ErrNotFound)
	}
	id := bson.RawValue{Type: bson.Type(handle[0]), Value: handle[1:]}
	if _, err := s.outbox.DeleteOne(ctx, bson.D{{Key: "_id", Value: id}}); err != nil {
		return fmt.Errorf("remove row %s of the outbox: %w", id, classify(ctx, err))
	}
	return nil
}

// CountOutbox counts the rows of a source.
func (s *Store) CountOutbox(ctx context.Context, source string, most int) (int, error) {
	n, err := s.outbox.CountDocuments(ctx, bson.D{{Key: "source", Value: source}}, options.Count().SetLimit(int64(most)))
	if err != nil {
		return 0, fmt.Errorf("count the outbox of %s: %w", source, classify(ctx, err))
	}
	return int(n), nil
}

// OutboxSources names the sources that have rows. Each is looked up in the index.
func (s *Store) OutboxSources(ctx context.Context, most int) (names []string, err error) {
	for after := (bson.D{}); len(names) < most; {
		var row struct{ Source bson.RawValue }
		err := s.outbox.FindOne(ctx, after, options.FindOne().SetSort(bson.D{{Key: "source", Value: 1}}).SetProjection(bson.D{{Key: "source", Value: 1}})).Decode(&row)
		if errors.Is(err, mongo.ErrNoDocuments) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the sources of the outbox: %w", classify(ctx, err))
		}
		name, _ := row.Source.StringValueOK() // what is no text comes first, or last and is not found
		names = append(names, name)
		after = bson.D{{Key: "source", Value: bson.D{{Key: "$gt", Value: name}}}}
	}
	return names, nil
}
