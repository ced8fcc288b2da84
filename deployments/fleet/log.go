package fleet

import (
	"context"
	"fmt"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Rows returns the whole event log.
func (f *Fleet) Rows(ctx context.Context) ([]*storage.EventRow, error) {
	var all []*storage.EventRow
	for filter := (storage.EventFilter{Limit: 200}); ; {
		page, err := f.Store.Events(ctx, filter)
		if err != nil {
			return nil, fmt.Errorf("read the event log: %w", err)
		}
		all = append(all, page.Items...)
		if filter.Cursor = page.NextCursor; filter.Cursor == "" {
			return all, nil
		}
	}
}

// Left is the work that is not done yet.
type Left struct {
	// Live and Background are entries in Redis, Parked are parked entities.
	Live, Background, Parked int64
	// HeldBack are those of the background entries that are not to be looked at
	// for more than a minute still, as a second look at an answer that lacked
	// history is. It explains what is left, and excuses nothing.
	HeldBack int64
	// Open: there are events in the log that are not settled. It is looked at
	// only when there are no live and no parked ones.
	Open bool
}

// Any reports whether anything is left.
func (l Left) Any() bool { return l.Live+l.Background+l.Parked > 0 || l.Open }

func (l Left) String() string {
	return fmt.Sprintf("%d live and %d background entries (%d of them for later), %d parked entities, open rows: %t",
		l.Live, l.Background, l.HeldBack, l.Parked, l.Open)
}

// Left looks at what is still to be done.
func (f *Fleet) Left(ctx context.Context) (Left, error) {
	var l Left
	shards, _, err := f.Streams.Fleet(ctx, []string{f.plan.Source})
	if err != nil {
		return l, err
	}
	for _, s := range shards {
		q := s.Sources[f.plan.Source]
		held, err := f.heldBack(ctx, s.Shard, q.Background)
		if err != nil {
			return l, err
		}
		l.Live, l.Background, l.Parked = l.Live+q.Live, l.Background+q.Background, l.Parked+q.Parked
		l.HeldBack += held
	}
	if l.Live+l.Parked > 0 {
		return l, nil
	}
	for _, status := range []storage.EventStatus{storage.Pending, storage.Retrying} {
		page, err := f.Store.Events(ctx, storage.EventFilter{Status: status, Limit: 1})
		if err != nil {
			return l, fmt.Errorf("look for open events: %w", err)
		}
		l.Open = l.Open || len(page.Items) > 0
	}
	return l, nil
}

// later is from when on an entry counts as held back for long.
const later = time.Minute

// heldBack counts the background entries of a shard whose time is far off.
func (f *Fleet) heldBack(ctx context.Context, shard int, n int64) (held int64, err error) {
	if n == 0 {
		return 0, nil
	}
	entries, err := f.Streams.Peek(ctx, shard, f.plan.Source, event.TierBackground, int(n))
	if err != nil {
		return 0, err
	}
	from := time.Now().Add(later)
	for _, e := range entries {
		if e.Signal.NotBefore.After(from) {
			held++
		}
	}
	return held, nil
}

// Drain waits until nothing is left, or returns what is.
func (f *Fleet) Drain(ctx context.Context, within time.Duration) error {
	var left Left
	return WaitFor(ctx, within, func() string { return "left: " + left.String() }, func() (bool, error) {
		now, err := f.Left(ctx)
		if err != nil {
			return false, nil // Redis or the store is away: to be asked again
		}
		left = now
		return !left.Any(), f.Died()
	})
}

// Unprocessed names the events whose status is not processed, or that are in
// the log twice.
func Unprocessed(rows []*storage.EventRow) []string {
	seen := map[string]bool{}
	var bad []string
	for _, r := range rows {
		if r.Status != storage.Processed || seen[r.ID] {
			bad = append(bad, fmt.Sprintf("%s %s: %s (listed before: %t)", r.ID, r.Type, r.Status, seen[r.ID]))
		}
		seen[r.ID] = true
	}
	return bad
}

// Lost names the events that were accepted and are not in the log.
func Lost(events []Event, rows []*storage.EventRow) []string {
	there := map[string]bool{}
	for _, r := range rows {
		there[r.ID] = true
	}
	var lost []string
	for _, e := range events {
		if e.Accepted > 0 && !there[e.ID] {
			lost = append(lost, e.ID+" "+e.Type)
		}
	}
	return lost
}

// Letters counts dead letters by what has become of them.
func (f *Fleet) Letters(ctx context.Context, status storage.LetterStatus) (int64, error) {
	n, err := f.Store.CountLetters(ctx, storage.LetterFilter{Status: status})
	if err != nil {
		return 0, fmt.Errorf("count dead letters: %w", err)
	}
	return n, nil
}
