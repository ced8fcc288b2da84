package reconciler

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/reconciler/delivery"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
)

// The types of the messages about the feed itself.
const (
	// typeReset: nothing can be read from where the receiver was. All that the mirror holds
	// follows, and then typeSynced.
	typeReset = "dev.tarn.feed.reset"
	// typeSynced ends a snapshot: what was not sent since it began the mirror does not
	// hold.
	typeSynced = "dev.tarn.feed.synced"
)

// readAtOnce is how many items, or documents of a snapshot, are read at once.
const readAtOnce = 500

// holdsEvent reports whether a message about the feed is not accepted yet. Nothing is read
// until it is.
func (d *deliverer) holdsEvent() bool { return d.state.Event != nil }

// announce sends a message about the feed before all else. Nothing else is on its way.
func (d *deliverer) announce(kind, reason string) {
	at := d.m.Done()
	d.state.Event = &storage.DeliveryEvent{
		ID: kind + "@" + at.String(), Type: kind, At: d.now().UTC().Truncate(time.Millisecond), Reason: reason,
	}
	d.changed, d.saved = true, time.Time{}
}

// fill gives the machine what the feed has next.
func (d *deliverer) fill(ctx context.Context) error {
	if d.holdsEvent() {
		if d.read.at.IsZero() { // not given yet
			d.read.at = d.state.Event.At
			d.m.Add(delivery.Item[feedPlace]{Key: d.to.event(), Version: 1, Place: d.read})
			return nil
		}
		if d.m.Holds(d.to.event()) {
			return nil
		}
		d.state.Event, d.read.at, d.changed = nil, time.Time{}, true
	}
	if d.m.Room() == 0 || d.lost != nil {
		return nil
	}
	if d.read.walk != nil {
		return d.readWalk(ctx)
	}
	return d.readFeed(ctx)
}

// readFeed reads items of the feed, if its head has moved.
func (d *deliverer) readFeed(ctx context.Context) error {
	if !d.behind {
		if time.Since(d.polled) < d.look() {
			return nil
		}
		d.polled = time.Now()
		head, err := d.head(ctx)
		if err != nil || head == d.read.Cursor {
			return err
		}
	}
	var page feed.Page
	var gone *feed.Gone
	err := d.persist(ctx, "read the change feed", func() (err error) {
		page, err = feed.Read(ctx, d.store, d.to.Source, d.read.Cursor, min(d.m.Room(), readAtOnce))
		if gone = nil; errors.As(err, &gone) {
			err = nil
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case gone != nil:
		d.lost = gone
		return nil
	}
	for _, e := range page.Entries {
		at := feedPlace{Cursor: e.Cursor, at: e.At}
		if d.filter.Wants(e.Key) {
			d.m.Add(delivery.Item[feedPlace]{Key: e.Key, Version: e.Version, Place: at})
		} else {
			d.m.Pass(at)
		}
	}
	if n := len(page.Entries); n == 0 && page.Next != d.read.Cursor || n > 0 && page.Next != page.Entries[n-1].Cursor {
		d.m.Pass(feedPlace{Cursor: page.Next})
	}
	d.changed = d.changed || page.Next != d.read.Cursor
	d.read, d.behind = feedPlace{Cursor: page.Next}, page.More
	return nil
}

// readWalk reads documents of a snapshot. Once all of them are done or parked, the
// receiver is told so.
func (d *deliverer) readWalk(ctx context.Context) error {
	kinds := d.walked()
	at := *d.read.walk
	i, found := slices.BinarySearch(kinds, at.Kind)
	if i == len(kinds) {
		if d.behind = false; d.m.Idle() {
			d.goTo(feedPlace{Cursor: d.read.Cursor}, d.m.Parked())
			d.announce(typeSynced, "")
		}
		return nil
	}
	if !found {
		at = storage.DeliveryWalk{Kind: kinds[i]}
	}
	var docs []*storage.Document
	limit := min(d.m.Room(), readAtOnce)
	err := d.persist(ctx, "read documents of a snapshot", func() (err error) {
		docs, err = d.store.Walk(ctx, d.to.Source, at.Kind, at.ID, limit)
		return err
	})
	if err != nil {
		return err
	}
	for _, doc := range docs {
		at.ID = doc.Key.Local()
		d.m.Add(delivery.Item[feedPlace]{Key: doc.Key, Version: doc.Version, Place: feedPlace{Cursor: d.read.Cursor, walk: &storage.DeliveryWalk{Kind: at.Kind, ID: at.ID}}})
	}
	if len(docs) < limit {
		at = storage.DeliveryWalk{Kind: at.Kind + "\x00"} // the next kind
		d.m.Pass(feedPlace{Cursor: d.read.Cursor, walk: &at})
	}
	d.read.walk, d.changed = &at, true
	return nil
}

// walked are the kinds of a snapshot, sorted.
func (d *deliverer) walked() (kinds []string) {
	for _, k := range d.def.Kinds() {
		if d.filter.Entities(k.Name) {
			kinds = append(kinds, k.Name)
		}
	}
	slices.Sort(kinds)
	return kinds
}

// reset goes on with a snapshot, since nothing can be read from where the delivery is. The
// receiver is told first.
func (d *deliverer) reset(ctx context.Context) error {
	if err := d.drain(ctx); err != nil {
		return err
	}
	reason := feed.Restored
	var gone *feed.Gone
	if errors.As(d.lost, &gone) {
		reason = gone.Reason
	}
	d.log.Warn("a webhook is sent all that the mirror holds: its place in the change feed is lost", "webhook", d.to.Name, "source", d.to.Source, "reason", reason, "error", d.lost)
	d.state.LastError, d.state.LastErrorAt = d.lost.Error(), d.now().UTC()
	head, err := d.head(ctx)
	if err != nil {
		return err
	}
	d.walkFrom(head)
	d.announce(typeReset, reason)
	return d.save(ctx)
}
