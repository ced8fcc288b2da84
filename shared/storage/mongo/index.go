package mongo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// The server's codes that index reads.
const (
	codeNamespaceNotFound    = 26
	codeIndexNotFound        = 27
	codeCommandNotFound      = 59
	codeCannotCreateIndex    = 67
	codeInvalidOptions       = 72
	codeIndexOptionsConflict = 85
	codeIndexKeyConflict     = 86
	codeCommandNotSupported  = 115
	codeNotImplemented       = 238
)

const (
	// retentionIndex is the name of the index by which MongoDB removes the old.
	retentionIndex = "retention"
	// ownPrefix begins the second name of an index whose first one the owner
	// has given to another.
	ownPrefix = "tarn_"
	// quorumVersion is the first wire version, of MongoDB 4.4, that knows a
	// commit quorum.
	quorumVersion = 9
)

// index makes what the queries of this package and the customer's need: each
// query has one that gives it its documents in order, or holds only such as it
// may select; conformance asserts so for every command. If the server lacks a
// kind of index, the log says so: the store works without it, only slower,
// or keeps the past for ever.
func (s *Store) index(ctx context.Context, keep storage.Retention) error {
	if err := s.learnQuorum(ctx); err != nil {
		return err
	}
	some := bson.D{{Key: "$gt", Value: 0}}
	// Neither open nor dead: what an operator may still redrive stays.
	settled := bson.D{{Key: "open", Value: 0}, {Key: "tally.dead", Value: 0}}
	// Filters with $in would need a server of 6.0 or later.
	closed := bson.D{{Key: "closed_at", Value: bson.D{{Key: "$exists", Value: true}}}}
	// Dropped, failed or repaired, between confirmed and suspected: what is not
	// settled yet stays.
	judged := bson.D{{Key: "status", Value: bson.D{{Key: "$gt", Value: storage.Confirmed}, {Key: "$lt", Value: storage.Suspected}}}}
	open := bson.D{{Key: "open", Value: true}}
	err := errors.Join(
		s.makeIndexes(ctx, s.events,
			on("received_at:-1", "_id:-1"),
			on("status", "received_at:-1", "_id:-1"),
			on("keys", "received_at:-1", "_id:-1"),
			on("source", "received_at:-1", "_id:-1"),
			on("type", "received_at:-1", "_id:-1"),
			on("kinds", "received_at:-1", "_id:-1"),
			on("id"),
			on("note", "received_at:-1", "_id:-1").as("noted").only(bson.D{{Key: "noted", Value: true}}),
			on("source", "received_at", "_id").as("open_by_source").only(bson.D{{Key: "open", Value: some}}),
			on("keys").as("retrying_by_entity").only(bson.D{{Key: "status", Value: storage.Retrying}})),
		s.makeIndexes(ctx, s.letters,
			on("entity", "status"), on("entity", "at:-1", "_id:-1"), on("status", "at:-1", "_id:-1"), on("at:-1", "_id:-1"), on("status", "source")),
		s.makeIndexes(ctx, s.discrepancies,
			on("found_at:-1", "_id:-1"), on("status", "found_at:-1", "_id:-1"),
			on("entity", "found_at:-1", "_id:-1"), on("sweep", "found_at:-1", "_id:-1")),
		s.makeIndexes(ctx, s.tasks,
			on("created_at:-1", "_id:-1"), on("status", "created_at:-1", "_id:-1"), on("kind", "created_at:-1", "_id:-1"),
			on("parent", "created_at:-1", "_id:-1"), on("parent", "status", "created_at:-1", "_id:-1"), on("parent", "finished_at")),
		s.makeIndexes(ctx, s.commands,
			on("lane", "n").as("open_by_lane").only(open),
			on("source", "due_at", "_id").as("due").only(open),
			on("source", "_id").as("owed").only(bson.D{owed()}),
			on("waits_on").as("waiting").only(bson.D{{Key: "waiting", Value: true}}),
			on("state", "source", "kind", "op"),
			on("at:-1", "_id:-1"), on("source", "at:-1", "_id:-1"), on("state", "at:-1", "_id:-1"),
			on("lane", "at:-1", "_id:-1"), on("ref", "at:-1", "_id:-1")),
		s.makeIndexes(ctx, s.refs, on("entity").as("bound").only(bson.D{{Key: "bound", Value: true}})),
		s.makeIndexes(ctx, s.outbox, on("source", "seq", "_id")),
		s.makeIndexes(ctx, s.audit,
			on("at:-1", "_id:-1").as("acts").only(bson.D{{Key: "kind", Value: storage.NoteOperator}})),
		s.makeIndexes(ctx, s.erasures, on("with")),
		s.retain(ctx, s.events, "received_at", keep.Events, settled),
		s.retain(ctx, s.letters, "at", keep.Events, closed),
		s.retain(ctx, s.commands, "ended_at", keep.Commands, bson.D{{Key: "open", Value: false}, {Key: "owed", Value: false}}),
		s.retain(ctx, s.audit, "at", keep.Audit, nil),
		s.retain(ctx, s.discrepancies, "found_at", keep.Discrepancies, judged),
	)
	if err == nil {
		s.dropReplaced(ctx, s.tasks, replacedIn(s.tasks, ""))
		s.dropReplaced(ctx, s.commands, replacedIn(s.commands, ""))
	}
	return err
}

// mirrorIndexes are those every collection of the mirror has.
func mirrorIndexes() []index {
	return []index{
		on("status", "_id"),
		// The stalest living document is the first that is neither deleted nor
		// terminal; those that became terminal last are the last that are not
		// deleted. What was never fetched has no verified_at and would come before
		// all others.
		on("deleted_at", "terminal_at", "verified_at", "_id").as("undeleted").
			only(bson.D{{Key: "synced_claim", Value: bson.D{{Key: "$gt", Value: 0}}}}),
		// Few: what was asked for and never had.
		on("synced_claim").as("unfetched").only(bson.D{{Key: "synced_claim", Value: 0}}),
		// Hardly ever more than the changes of a second: what the feed lacks.
		on("owed", "_id").as("owed").only(bson.D{owed()}),
	}
}

// mirrorOf returns the collection of an entity's kind and sees to its indexes
// when it is first written to: those every kind has, and one for each kind of
// parent, since lists are asked for by parent. On a collection that is large
// already, as after an upgrade that brings an index, they are built while it is
// written to.
func (s *Store) mirrorOf(ctx context.Context, ref event.Ref) (*mongo.Collection, error) {
	if err := checkText(ref.Key.Source, ref.Key.Kind, ref.Key.Local()); err != nil {
		return nil, err
	}
	c := s.db.Collection(mirrorName(ref.Key.Source, ref.Key.Kind))
	if err := s.seeTo(ctx, c, "", mirrorIndexes); err != nil {
		return nil, classify(ctx, err)
	}
	for kind := range ref.Parents {
		err := s.seeTo(ctx, c, kind, func() []index { return []index{on("parents."+escapeField(kind), "_id")} })
		if err != nil {
			return nil, classify(ctx, err)
		}
	}
	return c, nil
}

// seeTo has the indexes of a collection made for a kind of parent, or for none,
// and removes those they have replaced.
func (s *Store) seeTo(ctx context.Context, c *mongo.Collection, parent string, indexes func() []index) error {
	return s.built(ctx, c.Name()+" "+parent, false, func(ctx context.Context) error {
		if err := s.makeIndexes(ctx, c, indexes()...); err != nil {
			return err
		}
		s.dropReplaced(ctx, c, replacedIn(c, parent))
		return nil
	})
}

// index is an index to be made.
type index struct {
	keys bson.D
	name string
	// partial selects the documents that are in it. Nil: all.
	partial bson.D
	// expire is the age at which MongoDB removes documents. 0: never.
	expire time.Duration
}

// on is an index on fields in ascending order, or descending with ":-1", named
// as drivers name it.
func on(fields ...string) index {
	var x index
	var names []string
	for _, f := range fields {
		name, descending := strings.CutSuffix(f, ":-1")
		order := 1
		if descending {
			order = -1
		}
		x.keys = append(x.keys, bson.E{Key: name, Value: order})
		names = append(names, fmt.Sprintf("%s_%d", name, order))
	}
	x.name = strings.Join(names, "_")
	return x
}

func (x index) as(name string) index { x.name = name; return x }

func (x index) only(partial bson.D) index { x.partial = partial; return x }

func (x index) model() mongo.IndexModel {
	opts := options.Index().SetName(x.name)
	if x.partial != nil {
		opts.SetPartialFilterExpression(x.partial)
	}
	if x.expire > 0 {
		opts.SetExpireAfterSeconds(int32(x.expire / time.Second))
	}
	return mongo.IndexModel{Keys: x.keys, Options: opts}
}

// makeIndexes makes indexes of a collection in one command, so that a large one
// is read once for all of them. If the server refuses one of them, they are
// made one by one, so that it does not cost the others.
func (s *Store) makeIndexes(ctx context.Context, c *mongo.Collection, indexes ...index) error {
	err := s.create(ctx, c, indexes...)
	if !isConflict(err) && !isUnsupported(err) {
		return err
	}
	for _, x := range indexes {
		if err := s.makeIndex(ctx, c, x); err != nil {
			return err
		}
	}
	return nil
}

// makeIndex makes an index unless the owner has one on the same keys, under any
// name and with any options: that one is left and used. If only the name is taken,
// it gets another.
func (s *Store) makeIndex(ctx context.Context, c *mongo.Collection, x index) error {
	err := s.create(ctx, c, x)
	if isConflict(err) {
		renamed := x
		renamed.name = ownPrefix + x.name
		err = s.create(ctx, c, renamed)
	}
	switch {
	case isConflict(err):
		s.log.Warn("the collection has an index on the same keys with another name or other options, which is left as it is; "+
			"if it is sparse or partial, queries are slow", "collection", c.Name(), "index", x.keys, "error", err)
		return nil
	case isUnsupported(err):
		s.log.Warn("the server lacks a kind of index; the store works without it", "collection", c.Name(), "index", x.keys, "error", err)
		return nil
	}
	return err
}

// create makes indexes, and returns when they are built. Building takes a time
// of its own: under that of other calls a large collection would never have its
// indexes, since the server stops a build whose caller has gone. A majority of the
// members is enough to call them built: one that is down would else block them
// until it is back.
func (s *Store) create(ctx context.Context, c *mongo.Collection, indexes ...index) error {
	within, cancel := context.WithTimeout(ctx, buildWithin)
	defer cancel()
	models := make([]mongo.IndexModel, len(indexes))
	for i, x := range indexes {
		models[i] = x.model()
	}
	opts := options.CreateIndexes()
	if s.quorum.Load() {
		opts.SetCommitQuorumMajority()
	}
	_, err := c.Indexes().CreateMany(within, models, opts)
	if err != nil && strings.Contains(err.Error(), "commitQuorum") && s.quorum.CompareAndSwap(true, false) {
		// It looks like a replica set and does not know the option.
		_, err = c.Indexes().CreateMany(within, models)
	}
	return classify(ctx, err)
}

// learnQuorum finds out whether the deployment has members of which a majority
// can be asked for: a standalone server refuses to be asked.
func (s *Store) learnQuorum(ctx context.Context) error {
	var hello struct {
		SetName        string `bson:"setName"`
		Msg            string `bson:"msg"`
		MaxWireVersion int    `bson:"maxWireVersion"`
	}
	err := s.db.RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello)
	if hasCode(err, codeCommandNotFound) {
		return nil // older than any that knows a quorum
	}
	if err != nil {
		return classify(ctx, err)
	}
	sharded := hello.Msg == "isdbgrid"
	s.quorum.Store((hello.SetName != "" || sharded) && hello.MaxWireVersion >= quorumVersion)
	return nil
}

// oneOf is a filter on a field having one of some values.
func oneOf[T ~string](field string, values ...T) bson.D {
	return bson.D{{Key: field, Value: bson.D{{Key: "$in", Value: values}}}}
}

// retain makes MongoDB remove documents of that age which match the filter,
// or, for 0, none. MongoDB looks about once a minute.
func (s *Store) retain(ctx context.Context, c *mongo.Collection, field string, age time.Duration, only bson.D) error {
	if age <= 0 {
		return s.dropRetention(ctx, c)
	}
	x := on(field).as(retentionIndex).only(only)
	x.expire = age
	err := s.create(ctx, c, x)
	if !isConflict(err) {
		return s.unretained(c, x, err)
	}
	// It is there with another age.
	change := bson.D{{Key: "name", Value: retentionIndex}, {Key: "expireAfterSeconds", Value: int64(age / time.Second)}}
	err = s.db.RunCommand(ctx, bson.D{{Key: "collMod", Value: c.Name()}, {Key: "index", Value: change}}).Err()
	switch {
	case hasCode(err, codeIndexNotFound): // it is the owner's, on the same field
		return s.unretained(c, x, err)
	case !isUnsupported(err) && !hasCode(err, codeCommandNotFound, codeInvalidOptions):
		return classify(ctx, err)
	}
	// The server cannot change an index. It is small beside the collection, so
	// it is replaced.
	if err := s.dropRetention(ctx, c); err != nil {
		return err
	}
	return s.unretained(c, x, s.create(ctx, c, x))
}

// unretained says in the log why old documents stay, if it is for a reason that
// will not pass; any other error is returned.
func (s *Store) unretained(c *mongo.Collection, x index, err error) error {
	if !isConflict(err) && !isUnsupported(err) && !hasCode(err, codeIndexNotFound) {
		return err
	}
	s.log.Warn("old documents are not removed: the server lacks such an index, or another index on the same field prevents it",
		"collection", c.Name(), "index", x.keys, "error", err)
	return nil
}

func (s *Store) dropRetention(ctx context.Context, c *mongo.Collection) error {
	err := c.Indexes().DropOne(ctx, retentionIndex)
	if hasCode(err, codeIndexNotFound, codeNamespaceNotFound) {
		return nil
	}
	return classify(ctx, err)
}

// isConflict reports whether an index is refused because of one that is there:
// on the same keys, or of the same name.
func isConflict(err error) bool { return hasCode(err, codeIndexOptionsConflict, codeIndexKeyConflict) }

// isUnsupported reports whether the server does not know what was asked.
func isUnsupported(err error) bool {
	return hasCode(err, codeNotImplemented, codeCommandNotSupported, codeCannotCreateIndex)
}

func hasCode(err error, codes ...int) bool {
	var server mongo.ServerError
	if !errors.As(err, &server) {
		return false
	}
	for _, code := range codes {
		if server.HasErrorCode(code) {
			return true
		}
	}
	return false
}
