package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/tarn-sync/tarn/shared/storage"
)

// Bells: change streams say that there may be something to read, and nothing else. What they
// miss is found by reading, so no resume token is kept, and none can be too old.

// Codes with which a server says that it has no change streams, or none for this user.
const (
	codeUnauthorized     = 13
	codeUnknownStage     = 40324
	codeOnlyOnReplicaSet = 40573
)

// WatchOutbox calls ring once it listens and for each row that is inserted, while the change
// stream lasts.
func (s *Store) WatchOutbox(ctx context.Context, ring func()) error {
	return s.watch(ctx, s.outbox, bson.D{}, ring)
}

// WatchFeed calls ring once it listens and for each batch of a source that is inserted, while
// the change stream lasts.
func (s *Store) WatchFeed(ctx context.Context, source string, ring func()) error {
	return s.watch(ctx, s.feed, bson.D{{Key: "fullDocument.source", Value: source}}, ring)
}

// watch calls ring for each document that is inserted and selected.
func (s *Store) watch(ctx context.Context, c *mongo.Collection, only bson.D, ring func()) error {
	stream, err := c.Watch(ctx, mongo.Pipeline{
		{{Key: "$match", Value: append(bson.D{{Key: "operationType", Value: "insert"}}, only...)}},
		{{Key: "$project", Value: bson.D{{Key: "_id", Value: 1}}}},
	})
	if hasNoStreams(err) {
		return fmt.Errorf("%w: %w", storage.ErrNoBell, err)
	}
	if err != nil {
		return classify(ctx, err)
	}
	ring()
	// Next would end with the client's time-out where nothing comes for so long. TryNext
	// returns after one question, to which the server answers after a second at the latest.
	for stream.ID() != 0 {
		if stream.TryNext(ctx) {
			ring()
		} else if stream.Err() != nil {
			break
		}
	}
	err = errors.Join(stream.Err(), stream.Close(context.WithoutCancel(ctx)))
	if err == nil {
		err = fmt.Errorf("the change stream of %s has ended", c.Name()) // the collection was dropped
	}
	return classify(ctx, err)
}

// hasNoStreams reports whether a server will not have change streams until it is another, or
// set up otherwise: it is a standalone server, or none of MongoDB's, or the user may not.
func hasNoStreams(err error) bool {
	return isUnsupported(err) || hasCode(err, codeCommandNotFound, codeUnknownStage, codeOnlyOnReplicaSet, codeUnauthorized)
}
