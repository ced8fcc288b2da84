package reconciler

import (
	"context"
	"fmt"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream"
)

// unmetWatch raises an alert when all events of a source lack a value that its
// definition requires: then a setting of the source is wrong, and nothing is mirrored
// by events.
type unmetWatch struct {
	*finder
	// alerted: all events were like that when there were some last.
	alerted bool
}

// look looks at the last ten minutes that are over. Workers have counted their events
// in Redis; if it does not answer, the next look does.
func (u *unmetWatch) look(ctx context.Context) {
	if !u.def.Requires() {
		return
	}
	t, err := u.streams.Counted(ctx, u.name, u.now().Add(-stream.TallyPeriod), 1)
	if err != nil || t.All == 0 {
		return
	}
	all := t.Noted[event.RequireUnmet] >= t.All
	if all && !u.alerted {
		u.alert(alert.Alert{Kind: alert.RequireUnmet, Source: u.name, Reason: fmt.Sprintf(
			"all %d events of ten minutes lack a value that the definition requires (envelope.require): compare one of /v1/events?source=%s&note=%s with the settings of the source; once these are right, POST /v1/events/redrive follows them",
			t.All, u.name, event.RequireUnmet)})
	}
	u.alerted = all
}
