package reconciler

import (
	"context"
	"fmt"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// longOnce is for how long the entities of an event too long for the log are not
// fetched again: each reading of the list finds the event again.
const longOnce = time.Hour

// setTooLongApart removes events from a page whose payload is longer than the log
// keeps. It reports them like events that cannot be read, and signals workers to fetch
// the entities they name.
func (g *gaps) setTooLongApart(ctx context.Context, page *provider.EventsPage) error {
	var drafts []stream.Draft
	kept := page.Events[:0]
	for _, e := range page.Events {
		n := len(e.Payload)
		if n <= storage.MaxPayload {
			kept = append(kept, e)
			continue
		}
		page.Unread = append(page.Unread, &provider.EnvelopeError{
			Reason: fmt.Sprintf("event %s: a payload of %d bytes is more than the log keeps (%d)", e.ID, n, storage.MaxPayload),
		})
		for _, ref := range e.Entities {
			drafts = append(drafts, stream.Draft{Once: longOnce, Signal: event.Signal{
				Ref: ref, Cause: event.CauseSweep, CauseID: g.task, Class: event.Reconcile,
			}})
		}
	}
	page.Events = kept
	if len(drafts) == 0 {
		return nil
	}
	return g.append(ctx, drafts)
}
