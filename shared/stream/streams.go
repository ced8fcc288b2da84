package stream

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/redis/go-redis/v9"
)

// Options are the settings of Open.
type Options struct {
	// URLs are redis:// or rediss:// addresses; several are the nodes of a
	// cluster. "redis+sentinel://host:port,host:port/master" is a sentinel,
	// "redis+cluster://host:port" a cluster known by one node.
	URLs []string
	// TLS are the files of rediss:// addresses. Defaults to none.
	TLS TLS
	// Prefix starts every key. Defaults to "tarn". It may not hold braces.
	Prefix string
	// Shards is the number of shards, fixed when the fleet first starts.
	// Defaults to 64.
	Shards int
	// LeaseTTL is how long a lease outlives its last renewal. Defaults to 5 s.
	LeaseTTL time.Duration
	// DedupeTTL is how long the mark of an event id stays. Defaults to 1 h.
	DedupeTTL time.Duration
	// WaitReplicas is how many replicas must confirm an append. Defaults to 0.
	WaitReplicas int
	// OnLack is called when the appends that wait for replicas begin (true) and cease
	// (false) to lack some. It must not block. Defaults to nothing.
	OnLack func(lacking bool)
	// Pipelines is how many batches of appends may be on their way at once.
	// Defaults to 2: while Redis works on one, the next is on its way. More
	// make batches smaller, not appends faster.
	Pipelines int
	// Logger takes warnings. Defaults to slog.Default().
	Logger *slog.Logger
	// Now is the clock by which a holder judges its own lease. Defaults to
	// time.Now; what it returns should carry a monotonic reading.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Prefix == "" {
		o.Prefix = "tarn"
	}
	if o.Shards <= 0 {
		o.Shards = 64
	}
	if o.LeaseTTL <= 0 {
		o.LeaseTTL = 5 * time.Second
	}
	if o.DedupeTTL <= 0 {
		o.DedupeTTL = time.Hour
	}
	if o.Pipelines <= 0 {
		o.Pipelines = 2
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Streams is a connection to the queue. Safe for concurrent use.
type Streams struct {
	opts   Options
	keys   keys
	client redis.UniversalClient
	locks  *redsync.Redsync
	shared sharing

	// parkPage is how many entries one script parks. Tests make it smaller.
	parkPage int

	queue chan *appending // to the committers
	full  atomic.Bool     // used memory is past the high-water mark
	// asked is set when full or evicting has been asked for since the last look.
	asked atomic.Bool
	// evicting is set while a server may evict accepted events.
	evicting atomic.Pointer[error]
	// memory is what Redis showed of its memory, nil before.
	memory atomic.Pointer[Memory]
	warned sync.Map // by address of a server: what was last warned of its settings
	ages   ages     // of the oldest entries
	writes writes
	// account is who we log in as.
	account account

	// life ends with Close; batches run under it, not under a caller's context,
	// since they carry the appends of many.
	life    context.Context
	end     context.CancelFunc
	closed  chan struct{}
	closing sync.Once
	work    sync.WaitGroup
}

// Open connects, checks the number of shards against the fleet's (ErrShards)
// and Redis' settings (unsafe ones are warned about; an eviction policy other
// than noeviction is refused).
func Open(ctx context.Context, o Options) (*Streams, error) {
	o = o.withDefaults()
	if strings.ContainsAny(o.Prefix, "{}") {
		return nil, fmt.Errorf("redis key prefix %q: braces are the hash tag's; choose a prefix without", o.Prefix)
	}
	s := &Streams{
		opts:     o,
		keys:     newKeys(o.Prefix, o.Shards),
		parkPage: maxIDs,
		queue:    make(chan *appending, maxBatch),
		closed:   make(chan struct{}),
	}
	s.writes.onLack = s.lacks
	var err error
	if s.client, err = connect(o, &s.writes, &s.account); err != nil {
		return nil, err
	}
	s.locks = redsync.New(lockPool{s})
	s.shared.s = s
	s.life, s.end = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.prepare(ctx); err != nil {
		s.end()
		_ = s.disconnect() // the reason it could not be opened says more
		return nil, err
	}
	s.work.Go(s.commit)
	return s, nil
}

// prepare checks what must be right before the first append.
func (s *Streams) prepare(ctx context.Context) error {
	if err := s.checkServers(ctx); err != nil {
		return err
	}
	if err := s.checkRights(ctx); err != nil {
		return err
	}
	if err := s.checkShards(ctx); err != nil {
		return err
	}
	if err := appendScript.Load(ctx, s.client).Err(); err != nil {
		return fmt.Errorf("load the append script into redis: %w", err)
	}
	s.work.Go(s.watchServers)
	return nil
}

// Close waits for appends under way and closes all connections. Appends that
// come later fail with ErrClosed.
func (s *Streams) Close() error {
	var err error
	s.closing.Do(func() {
		close(s.closed)
		s.work.Wait()
		s.end()
		err = s.disconnect()
	})
	return err
}

func (s *Streams) disconnect() error {
	if err := s.client.Close(); err != nil {
		return fmt.Errorf("close connections to redis: %w", err)
	}
	return nil
}

// Now is the time by Redis' clock, the one that all members of the fleet share.
// Theirs may be set, each at another time.
func (s *Streams) Now(ctx context.Context) (time.Time, error) {
	now, err := s.client.Time(ctx).Result()
	if err != nil {
		return time.Time{}, fmt.Errorf("ask redis for the time: %w", err)
	}
	return now.UTC(), nil
}

// Shards returns the number of shards.
func (s *Streams) Shards() int { return s.opts.Shards }
