package mongotest

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Commands returns how many commands of each name a server has run since it started.
// Any MongoDB will do.
func Commands(ctx context.Context, uri string) (map[string]int64, error) {
	counts := map[string]int64{}
	err := connected(ctx, uri, func(c *mongo.Client) error {
		var status struct {
			Metrics struct {
				Commands map[string]bson.RawValue `bson:"commands"`
			} `bson:"metrics"`
		}
		if err := c.Database("admin").RunCommand(ctx, bson.D{{Key: "serverStatus", Value: 1}}).Decode(&status); err != nil {
			return fmt.Errorf("ask the server for its counts: %w", err)
		}
		for name, of := range status.Metrics.Commands {
			// Beside the commands there are counts of unknown ones, which are numbers.
			if doc, ok := of.DocumentOK(); ok {
				if total, ok := doc.Lookup("total").AsInt64OK(); ok && total > 0 {
					counts[name] = total
				}
			}
		}
		return nil
	})
	return counts, err
}

// Drop drops a database.
func Drop(ctx context.Context, uri, database string) error {
	return connected(ctx, uri, func(c *mongo.Client) error {
		if err := c.Database(database).Drop(ctx); err != nil {
			return fmt.Errorf("drop database %s: %w", database, err)
		}
		return nil
	})
}

func connected(ctx context.Context, uri string, do func(*mongo.Client) error) (err error) {
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		return fmt.Errorf("connect to MongoDB: %w", err)
	}
	defer func() { err = errors.Join(err, client.Disconnect(context.WithoutCancel(ctx))) }()
	return do(client)
}
