package reconciler

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/mirror"
)

// derived are those of the differences that are about a kind without events of
// its own and explained by an event that makes the kind stale: the refresh was
// being held back. The log cannot be asked for those, so all events of the time
// are read, once for the page.
func (f *finder) derived(ctx context.Context, found []*mirror.Discrepancy) (map[string]bool, error) {
	wanted := map[event.Key][]*mirror.Discrepancy{}
	var from, to time.Time
	for _, d := range found {
		k := f.def.Kind(d.Entity.Kind)
		if k == nil || k.Every <= 0 {
			continue
		}
		wanted[d.Entity] = append(wanted[d.Entity], d)
		if since := d.FoundAt.Add(-heldFor(k.Every)); from.IsZero() || since.Before(from) {
			from = since
		}
		if until := d.FoundAt.Add(f.settings.Grace); until.After(to) {
			to = until
		}
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	explained := map[string]bool{}
	filter := mirror.EventFilter{Source: f.name, From: from, To: to, Limit: 200}
	for {
		var page mirror.Page[*mirror.EventRow]
		err := f.persist(ctx, "read events", func() (err error) {
			page, err = f.store.Events(ctx, filter)
			return err
		})
		if err != nil {
			return nil, err
		}
		f.loop.Turn()
		for _, row := range page.Items {
			e, err := f.def.Stored(f.name, row.ID, row.Payload, row.ReceivedAt)
			if err != nil {
				continue
			}
			for _, ref := range e.Derived {
				for _, d := range wanted[ref.Key] {
					if row.ReceivedAt.After(d.FoundAt.Add(-heldFor(f.def.Kind(ref.Key.Kind).Every))) {
						explained[d.ID] = true
					}
				}
			}
		}
		if filter.Cursor = page.NextCursor; filter.Cursor == "" {
			return explained, nil
		}
	}
}

// heldFor is how long after an event a refresh or second look may be on its
// way: what it is held back, and then some for the queue.
func heldFor(d time.Duration) time.Duration { return d + 30*time.Second }
