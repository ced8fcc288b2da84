package sqlite

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	subscriptionColumns = `source, consumer, form, kinds, after, position, at, by`

	saveSubscriptionSQL  = `INSERT OR REPLACE INTO subscriptions (` + subscriptionColumns + `) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)`
	subscriptionsSQL     = `SELECT ` + subscriptionColumns + ` FROM subscriptions ORDER BY at DESC, source, consumer LIMIT ?1`
	trimSubscriptionsSQL = `DELETE FROM subscriptions WHERE at < ?1`
)

// SaveSubscriptions saves how far consumers are.
func (s *Store) SaveSubscriptions(ctx context.Context, subs []storage.Subscription) error {
	for part := range slices.Chunk(subs, batchSize) {
		err := s.batch(ctx, "save subscriptions", len(part), func(t *tx) error {
			for _, c := range part {
				_, err := t.exec(saveSubscriptionSQL, c.Source, c.Consumer, c.Form, strings.Join(c.Kinds, ","), c.After, c.Position, millis(c.At), c.By)
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Subscriptions lists how far consumers are.
func (s *Store) Subscriptions(ctx context.Context) ([]storage.Subscription, error) {
	rows, err := s.reads.QueryContext(ctx, subscriptionsSQL, storage.MaxSubscriptions)
	var out []storage.Subscription
	if err == nil {
		out, err = collect(rows, scanSubscription)
	}
	if err != nil {
		return nil, fmt.Errorf("list subscriptions: %w", readError(ctx, err))
	}
	return out, nil
}

// TrimSubscriptions removes old ones.
func (s *Store) TrimSubscriptions(ctx context.Context, before time.Time) (removed int, err error) {
	err = s.writer.change(ctx, func(t *tx) error {
		n, err := t.exec(trimSubscriptionsSQL, millis(before))
		removed = int(n)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("trim subscriptions: %w", err)
	}
	return removed, nil
}

func scanSubscription(row scanner) (c storage.Subscription, err error) {
	var kinds string
	var at int64
	err = row.Scan(&c.Source, &c.Consumer, &c.Form, &kinds, &c.After, &c.Position, &at, &c.By)
	if kinds != "" {
		c.Kinds = strings.Split(kinds, ",")
	}
	c.At = fromMillis(at)
	return c, err
}
