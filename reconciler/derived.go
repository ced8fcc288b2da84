package reconciler

import (
	"context"
	"maps"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// A derived kind has no events of its own. An event that makes it stale requests a
// refresh, which is delayed: at most one runs per Every. A refresh on its way explains
// a difference. A refresh that has not come in time is overdue, and then later events
// explain nothing.
//
//	event        event   event                found
//	──┼────────────┼───────┼────────────────────┼──▶
//	  │◀─ overdue ────────▶│◀──── heldFor ─────▶│
//	      unless synced since    may be on its way

// heldBack returns the ids of the differences that a refresh on its way explains.
// The log has no index by derived kind, so all events of the time are read, once for
// all differences.
func (f *finder) heldBack(ctx context.Context, found []*storage.Discrepancy) (map[string]bool, error) {
	wanted := map[event.Key][]*storage.Discrepancy{}
	filter := storage.EventFilter{Source: f.name, Limit: 200}
	for _, d := range found {
		held := f.refreshedWithin(d.Entity.Kind)
		if held == 0 {
			continue
		}
		wanted[d.Entity] = append(wanted[d.Entity], d)
		if since := d.FoundAt.Add(-2 * held); filter.From.IsZero() || since.Before(filter.From) {
			filter.From = since
		}
		if until := d.FoundAt.Add(f.settings.Grace); until.After(filter.To) {
			filter.To = until
		}
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	onItsWay, overdue := map[string]bool{}, map[string]bool{}
	for {
		page, err := f.eventsPage(ctx, filter)
		if err != nil {
			return nil, err
		}
		f.loop.Turn()
		for _, row := range page.Items {
			e, err := f.def.Stored(row.Kept())
			if err != nil {
				continue
			}
			for _, ref := range e.Derived {
				held := f.refreshedWithin(ref.Key.Kind)
				for _, d := range wanted[ref.Key] {
					switch at := row.ReceivedAt; {
					case at.After(d.FoundAt.Add(-held)):
						onItsWay[d.ID] = true
					case at.After(d.FoundAt.Add(-2*held)) && at.After(d.SyncedAt):
						overdue[d.ID] = true
					}
				}
			}
		}
		if filter.Cursor = page.NextCursor; filter.Cursor == "" {
			break
		}
	}
	maps.DeleteFunc(onItsWay, func(id string, _ bool) bool { return overdue[id] })
	return onItsWay, nil
}

// refreshedWithin is how long after an event the refresh of a kind comes at the
// latest. 0: the kind is not derived.
func (f *finder) refreshedWithin(kind string) time.Duration {
	k := f.def.Kind(kind)
	if k == nil || k.Every <= 0 {
		return 0
	}
	return heldFor(k.Every)
}

// heldFor is how long after an event a refresh or second look may be on its way: its
// delay, and some time for the queue.
func heldFor(d time.Duration) time.Duration { return d + 30*time.Second }

// events returns the events of the log that a filter selects, up to its limit.
func (f *finder) events(ctx context.Context, filter storage.EventFilter) ([]*storage.EventRow, error) {
	page, err := f.eventsPage(ctx, filter)
	return page.Items, err
}

func (f *finder) eventsPage(ctx context.Context, filter storage.EventFilter) (page storage.Page[*storage.EventRow], err error) {
	err = f.persist(ctx, "read events", func() (err error) {
		page, err = f.store.Events(ctx, filter)
		return err
	})
	return page, err
}
