package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite" // the driver
)

const bodyField = "body"

func fillPlain(ctx context.Context, o options, bodies [][]byte) error {
	client := redis.NewClient(o.redis)
	defer client.Close()
	const page = 500
	for from := 0; from < len(bodies); from += page {
		pipe := client.Pipeline()
		for _, body := range bodies[from:min(from+page, len(bodies))] {
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: topic, Values: []any{bodyField, body}})
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("append: %w", err)
		}
	}
	return nil
}

// plainWorker is what one would write first: a consumer group, a goroutine for each
// entry, a lock for each entity while it is fetched and written.
type plainWorker struct {
	client *redis.Client
	locks  *redsync.Redsync
	http   *http.Client
	api    string
	db     *sql.DB // nil: nothing is written
}

func runPlain(ctx context.Context, o options) error {
	o.redis.PoolSize = o.concurrency
	client := redis.NewClient(o.redis)
	defer client.Close()
	w := &plainWorker{
		client: client, locks: redsync.New(goredis.NewPool(client)), api: o.api,
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: o.concurrency}, Timeout: 10 * time.Second},
	}
	if o.store != "" {
		db, err := openStore(ctx, o.store)
		if err != nil {
			return err
		}
		defer db.Close()
		w.db = db
	}
	if err := client.XGroupCreateMkStream(ctx, topic, group, "0").Err(); err != nil {
		return fmt.Errorf("make the group: %w", err)
	}
	var left atomic.Int64
	left.Store(int64(o.n))
	slots := make(chan struct{}, o.concurrency)
	for left.Load() > 0 {
		read, err := client.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: group, Consumer: "worker", Streams: []string{topic, ">"}, Count: 100, Block: 100 * time.Millisecond,
		}).Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		for _, entry := range read[0].Messages {
			slots <- struct{}{}
			go func() {
				defer func() { <-slots }()
				if err := w.handle(ctx, entry); err != nil {
					log.Fatalf("entry %s: %v", entry.ID, err) // a benchmark has no use for a retry
				}
				left.Add(-1)
			}()
		}
	}
	return nil
}

func openStore(ctx context.Context, file string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: file, RawQuery: "_pragma=journal_mode(wal)&_pragma=synchronous(full)"}).String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	db.SetMaxOpenConns(1) // SQLite has one writer
	if _, err := db.ExecContext(ctx, "CREATE TABLE mirror (kind TEXT, id TEXT, state TEXT, PRIMARY KEY (kind, id))"); err != nil {
		return nil, errors.Join(fmt.Errorf("make the table: %w", err), db.Close())
	}
	return db, nil
}

// handle fetches and writes what an event names, and acks it.
func (w *plainWorker) handle(ctx context.Context, entry redis.XMessage) error {
	var body struct{ Context map[string]string }
	text, _ := entry.Values[bodyField].(string) // fillPlain appended it
	if err := json.Unmarshal([]byte(text), &body); err != nil {
		return err
	}
	ids := body.Context
	for kind, id := range ids {
		path := "/accounts/" + id
		switch kind {
		case "order":
			path = "/accounts/" + ids["account"] + "/orders/" + id
		case "corporate_action":
			path = "/corporate_actions/" + id
		}
		if err := w.sync(ctx, kind, id, path); err != nil {
			return fmt.Errorf("%s/%s: %w", kind, id, err)
		}
	}
	return w.client.XAck(ctx, topic, group, entry.ID).Err()
}

// sync fetches and writes one entity under its lock.
func (w *plainWorker) sync(ctx context.Context, kind, id, path string) (err error) {
	lock := w.locks.NewMutex("lock:"+kind+"/"+id, redsync.WithTries(1000), redsync.WithRetryDelay(5*time.Millisecond))
	if err := lock.LockContext(ctx); err != nil {
		return err
	}
	defer func() {
		_, failed := lock.UnlockContext(ctx)
		err = errors.Join(err, failed)
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.api+path, nil)
	if err != nil {
		return err
	}
	res, err := w.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	state, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	if w.db == nil {
		return nil
	}
	_, err = w.db.ExecContext(ctx, "INSERT INTO mirror VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET state = excluded.state", kind, id, string(state))
	return err
}
