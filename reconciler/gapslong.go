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

// longOnce is how long a second look at the entities of an event too long for
// the log is kept out: each reading of the list comes upon the event again.
const longOnce = time.Hour

// setTooLongApart takes events whose payload is longer than the log keeps out of
// a page: they are told like events that cannot be read, and what they name is
// fetched by background signals.
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
