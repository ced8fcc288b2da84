package outbound

import (
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// hintOnce is for how long one hint of a lane keeps out others. The worker forgets it
// before it reads the lane's rows. It is another for bulk: a hint that may wait behind
// everything else keeps out none that may not.
const hintOnce, bulkOnce = 5 * time.Second, 6 * time.Second

// Hint is the signal that a lane has commands to be looked at.
func Hint(d storage.DueCommand) stream.Draft {
	class, once := event.Command, hintOnce
	if d.Bulk {
		class, once = event.Reconcile, bulkOnce
	}
	return stream.Draft{
		Signal: event.Signal{
			Ref: event.Ref{Key: d.Lane, Parents: d.Parents}, Cause: event.CauseCommand, CauseID: d.ID, Class: class, Trace: d.Trace,
		},
		Once: once,
	}
}

// HintOf is the signal that a lane has this command.
func HintOf(c *storage.Command) stream.Draft {
	return Hint(storage.DueCommand{ID: c.ID, Lane: c.Lane, Parents: c.Parents, Bulk: c.Bulk, Trace: c.Trace})
}
