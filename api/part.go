package api

import (
	"context"
	"slices"

	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
)

// part is what a consumer gets at once. It is shared and never changes.
type part struct {
	items []delivered
	// next is where the consumer is after it.
	next place
	// more: there is more behind next. Without it there may be.
	more bool
	// passed is how many items behind the last one delivered were not wanted.
	passed int
	// synced: a snapshot ends here.
	synced bool
}

// delivered is one change as JSON, and the place behind it.
type delivered struct {
	json []byte
	at   place
}

// wanted is what a consumer asks for.
type wanted struct {
	source string
	filter feed.Filter
	// walked are the kinds of a snapshot, sorted.
	walked []string
	// items and bytes bound a part. A single item may have more bytes.
	items, bytes int
}

// next reads what comes after a place. after is the ring that the caller has waited for
// since it was sent something last; nil: none.
func (h *hub) next(ctx context.Context, w *wanted, at place, after *ring) (*part, error) {
	if at.walk != nil {
		return h.alone(ctx, func(ctx context.Context) (*part, error) { return h.readWalk(ctx, w, at) })
	}
	key := readKey{source: w.source, filter: w.filter.String(), after: at.Cursor, items: w.items}
	do := func(ctx context.Context) (*part, error) { return h.readFeed(ctx, w, at.Cursor) }
	if after != nil {
		return h.afterRing(ctx, after, key, do)
	}
	return h.share(ctx, key, do)
}

// scanItems is how many items are looked at for one part where others are passed over.
const scanItems = 1000

// readFeed reads what comes after a position.
func (h *hub) readFeed(ctx context.Context, w *wanted, after feed.Cursor) (*part, error) {
	limit := w.items
	if !w.filter.All() {
		limit = max(limit, scanItems)
	}
	page, err := feed.Read(ctx, &sparing{h.store, int64(limit) + 1}, w.source, after, limit)
	if err != nil {
		return nil, err
	}
	p := &part{next: place{Cursor: page.Next}, more: page.More}
	var chosen []feed.Entry
	for i, e := range page.Entries {
		if !w.filter.Wants(e.Key) {
			p.passed++
			continue
		}
		p.passed = 0
		if chosen = append(chosen, e); len(chosen) == w.items && i < len(page.Entries)-1 {
			p.next, p.more = place{Cursor: e.Cursor}, true
			break
		}
	}
	return p, h.fill(ctx, w, p, chosen)
}

// fill adds entries to a part, as changes. The part ends earlier if they have too many
// bytes.
func (h *hub) fill(ctx context.Context, w *wanted, p *part, entries []feed.Entry) error {
	changes, err := feed.Changes(ctx, h.store, h.view, entries)
	if err != nil {
		return err
	}
	size := 0
	for i, c := range changes {
		text, err := c.Encode()
		if err != nil {
			return err
		}
		at := place{Cursor: c.Cursor}
		p.items = append(p.items, delivered{text, at})
		if size += len(text); size >= w.bytes && i < len(changes)-1 {
			p.next, p.more, p.passed = at, true, 0
			return nil
		}
	}
	return nil
}

// sparing reads no more batches than are needed for a number of items: a batch may have
// one item or a thousand.
type sparing struct {
	feed.Log
	items int64
}

// Batches returns the batch of a position alone if it has enough items.
func (l *sparing) Batches(ctx context.Context, source string, position int64, limit int) ([]*storage.Batch, error) {
	found, err := l.Log.Batches(ctx, source, position, 1)
	if err != nil || len(found) == 0 || found[0].Next()-position >= l.items {
		return found, err
	}
	return l.Log.Batches(ctx, source, position, limit)
}

// begin returns where a snapshot begins: the position is noted first, so that all that
// changes during the walk comes after it.
func (h *hub) begin(ctx context.Context, w *wanted) (place, error) {
	head, err := feed.Head(ctx, h.store, w.source)
	return place{head, &walkPlace{filter: w.filter.String()}}, err
}

// checkWalk returns an error if the position of a snapshot that goes on is not good any
// more.
func (h *hub) checkWalk(ctx context.Context, source string, at place) error {
	_, err := feed.Read(ctx, &sparing{h.store, 1}, source, at.Cursor, 1)
	return err
}

// readWalk reads a part of a snapshot.
func (h *hub) readWalk(ctx context.Context, w *wanted, at place) (p *part, err error) {
	p = &part{next: at, more: true}
	size := 0
	kind, after := at.walk.kind, at.walk.id
	for {
		i, found := slices.BinarySearch(w.walked, kind)
		if i == len(w.walked) {
			p.next, p.synced = place{Cursor: at.Cursor}, true
			if fault.Off("feed-head-first") {
				p.next.Cursor, err = feed.Head(ctx, h.store, w.source)
			}
			return p, err
		}
		if !found {
			kind, after = w.walked[i], ""
		}
		limit := w.items - len(p.items)
		docs, err := h.store.Walk(ctx, w.source, kind, after, limit)
		if err != nil {
			return nil, err
		}
		for _, d := range docs {
			text, err := feed.NewChange(d.Key, d, d.Version, d.SyncedAt).Encode()
			if err != nil {
				return nil, err
			}
			p.next = place{at.Cursor, &walkPlace{filter: w.filter.String(), kind: kind, id: d.Key.Local()}}
			p.items = append(p.items, delivered{text, p.next})
			if size += len(text); size >= w.bytes {
				return p, nil
			}
		}
		if len(docs) == limit {
			return p, nil
		}
		kind, after = kind+"\x00", "" // the next kind
	}
}
