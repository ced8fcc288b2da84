package mongo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/internal/page"
)

const (
	// defaultBulkSize keeps one command well under MongoDB's 48 MB.
	defaultBulkSize = 1000
	// defaultScanSize documents of a few KB are read well within the time-out.
	defaultScanSize = 5000
	// timeout bounds a call whose context has no deadline.
	timeout = 10 * time.Second
	// buildWithin bounds the building of an index, which takes hours on a
	// collection of hundreds of millions.
	buildWithin = 6 * time.Hour
	// closeTimeout bounds how long Close waits for calls under way.
	closeTimeout = 5 * time.Second
)

// The collections beside the mirror's own.
const (
	eventsCollection        = "events"
	lettersCollection       = "dead_letters"
	discrepanciesCollection = "discrepancies"
	auditCollection         = "audit"
	tasksCollection         = "tasks"
	commandsCollection      = "commands"
	refsCollection          = "refs"
	holdsCollection         = "command_holds"
	outboxCollection        = "outbox"
	fleetCollection         = "fleet"
	erasuresCollection      = "erasures"
	feedCollection          = "feed"
	subscriptionsCollection = "subscriptions"
)

// Options are the settings of a Store.
type Options struct {
	// Retention is how long the past is kept. Defaults to for ever.
	Retention storage.Retention
	// BulkSize is how many documents or updates one command carries at most.
	// Defaults to 1,000.
	BulkSize int
	// ScanSize is how many documents one step of a scan reads at most. Defaults
	// to 5,000.
	ScanSize int
	// Now is the clock for times that no caller passes: when dead letters were
	// superseded and waiting tasks cancelled. Defaults to time.Now.
	Now func() time.Time
	// Monitor hears of every command. Defaults to none.
	Monitor *event.CommandMonitor
	// Logger hears of indexes that could not be made, or are built for long.
	// Defaults to slog.Default.
	Logger *slog.Logger

	// heldBy is how long indexes are waited for. Defaults to the constant.
	heldBy time.Duration
}

// Store is a storage.Store in a MongoDB database.
type Store struct {
	client        *mongo.Client
	db            *mongo.Database
	events        *mongo.Collection
	letters       *mongo.Collection
	discrepancies *mongo.Collection
	audit         *mongo.Collection
	tasks         *mongo.Collection
	commands      *mongo.Collection
	refs          *mongo.Collection
	holds         *mongo.Collection
	outbox        *mongo.Collection
	fleet         *mongo.Collection
	erasures      *mongo.Collection
	feed          *mongo.Collection
	subscriptions *mongo.Collection

	bulkSize int
	scanSize int
	now      func() time.Time
	log      *slog.Logger

	logs    combiner[storage.Arrival, storage.Logged]
	settles combiner[storage.Settlement, struct{}]
	mirrors sync.Map // by the collection's name, *mirror

	builds   sync.Map       // of indexes, by name: see built
	building sync.WaitGroup // those under way
	life     context.Context
	end      context.CancelFunc // of life
	heldBy   time.Duration      // see the constant
	quorum   atomic.Bool        // a majority of the members can be asked for; see learnQuorum
	steps    page.Steps         // of scans, by collection
}

var _ storage.Store = (*Store)(nil)

// Open connects to the database a mongodb:// or mongodb+srv:// URI names and
// sees to its indexes. It waits 5 seconds at most for them to be built, which
// goes on afterwards; the log says when it has ended. The URI may set everything the driver knows but the concerns and the preference: writes
// wait for a majority, reads ask the primary for what a majority has. A read
// from elsewhere, or of what a failover would undo, could turn the mirror back.
func Open(ctx context.Context, uri string, o Options) (*Store, error) {
	if o.BulkSize <= 0 {
		o.BulkSize = defaultBulkSize
	}
	if o.ScanSize <= 0 {
		o.ScanSize = defaultScanSize
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.heldBy <= 0 {
		o.heldBy = heldBy
	}
	parsed, err := connstring.ParseAndValidate(uri)
	if err != nil {
		return nil, fmt.Errorf("read the store's URL: %w", err)
	}
	if parsed.Database == "" {
		return nil, errors.New("the store's URL names no database: want mongodb://host:27017/database")
	}
	opts := options.Client().ApplyURI(uri).SetAppName("tarn").
		SetWriteConcern(writeconcern.Majority()).SetReadConcern(readconcern.Majority()).SetReadPreference(readpref.Primary())
	if opts.Timeout == nil {
		opts.SetTimeout(timeout)
	}
	opts.SetLoggerOptions(options.Logger().SetSink(newDriverLog(o.Logger)))
	if o.Monitor != nil {
		opts.SetMonitor(o.Monitor)
	}
	client, err := mongo.Connect(opts)
	if err != nil {
		return nil, fmt.Errorf("connect to the store: %w", err)
	}
	s := newStore(client, client.Database(parsed.Database), o)
	// First, under the usual time: a server that is away is not waited for as
	// long as an index is.
	if err := s.Ping(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.built(ctx, "the store", true, func(ctx context.Context) error { return s.index(ctx, o.Retention) }); err != nil {
		return nil, errors.Join(fmt.Errorf("make the store's indexes: %w", err), s.Close())
	}
	return s, nil
}

func newStore(client *mongo.Client, db *mongo.Database, o Options) *Store {
	s := &Store{
		client: client, db: db, bulkSize: o.BulkSize, scanSize: o.ScanSize, now: o.Now, log: o.Logger,
		events:        db.Collection(eventsCollection),
		letters:       db.Collection(lettersCollection),
		discrepancies: db.Collection(discrepanciesCollection),
		audit:         db.Collection(auditCollection),
		tasks:         db.Collection(tasksCollection),
		commands:      db.Collection(commandsCollection),
		refs:          db.Collection(refsCollection),
		holds:         db.Collection(holdsCollection),
		outbox:        db.Collection(outboxCollection),
		fleet:         db.Collection(fleetCollection),
		erasures:      db.Collection(erasuresCollection),
		feed:          db.Collection(feedCollection),
		subscriptions: db.Collection(subscriptionsCollection),
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.heldBy = o.heldBy
	s.logs.do, s.logs.most = s.logBatch, o.BulkSize
	s.settles.do, s.settles.most = s.settleBatch, o.BulkSize
	return s
}

// Ping reports whether a primary, which takes writes, answers.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.client.Ping(ctx, readpref.Primary()); err != nil {
		return fmt.Errorf("ping the store: %w", classify(ctx, err))
	}
	return nil
}

// Close lets calls under way finish for up to 5 seconds and disconnects. Indexes
// that are being built are left: the next start goes on.
func (s *Store) Close() error {
	s.end()
	s.building.Wait()
	s.logs.close()
	s.settles.close()
	s.mirrors.Range(func(_, m any) bool {
		m.(*mirror).close()
		return true
	})
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := s.client.Disconnect(ctx)
	if errors.Is(err, mongo.ErrClientDisconnected) {
		return nil // closed before
	}
	return err
}

// bulk sends updates in order, in commands of the bulk size.
func (s *Store) bulk(ctx context.Context, c *mongo.Collection, models []mongo.WriteModel) (matched int64, err error) {
	for len(models) > 0 {
		n := min(len(models), s.bulkSize)
		res, err := c.BulkWrite(ctx, models[:n], options.BulkWrite().SetOrdered(true))
		if err != nil {
			return matched, classify(ctx, err)
		}
		matched += res.MatchedCount
		models = models[n:]
	}
	return matched, nil
}
