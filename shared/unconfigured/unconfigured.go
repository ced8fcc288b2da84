// Package unconfigured finds work of sources that are not configured any more: a
// source was renamed or removed while its work waited. No worker does such work, and
// figures about the configured sources do not count it.
package unconfigured

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// countUpTo bounds how many unsettled events of a source are counted. Whether
// there are more changes nothing about what is to be done.
const countUpTo = 100

// ahead is how far the clock that stamped an event may be ahead of this one.
const ahead = time.Hour

// Queue is the side of Redis; a *stream.Streams.
type Queue interface {
	Former(ctx context.Context, configured []string) ([]string, error)
	Unconfigured(ctx context.Context, configured []string) ([]stream.UnconfiguredSource, error)
}

// Log is the event log; a storage.Store.
type Log interface {
	Unsettled(ctx context.Context, source string, before time.Time, limit int, cursor string) ([]*storage.EventRow, string, error)
}

// Work is what is left to do of one source that is not configured.
type Work struct {
	stream.UnconfiguredSource
	// Unsettled is how many events of the log are not settled, at most 100. It is
	// counted only where nothing waits in Redis, since the events of what waits
	// there are unsettled too.
	Unsettled int
}

// Total returns the sum of the counts.
func (w Work) Total() int64 { return w.Live + w.Background + w.Parked + int64(w.Unsettled) }

// Find returns the work of sources other than those configured, by name of the
// source. The log costs one indexed query for each source that was configured
// once and has nothing in Redis.
func Find(ctx context.Context, q Queue, log Log, configured []string) ([]Work, error) {
	former, err := q.Former(ctx, configured)
	if err != nil || len(former) == 0 {
		return nil, err
	}
	queued, err := q.Unconfigured(ctx, configured)
	if err != nil {
		return nil, err
	}
	waits := map[string]stream.UnconfiguredSource{}
	for _, o := range queued {
		waits[o.Source] = o
	}
	var found []Work
	for _, name := range former {
		if o, ok := waits[name]; ok {
			found = append(found, Work{UnconfiguredSource: o})
			continue
		}
		rows, _, err := log.Unsettled(ctx, name, time.Now().Add(ahead), countUpTo, "")
		if err != nil {
			return nil, fmt.Errorf("count unsettled events of %s: %w", name, err)
		}
		if len(rows) > 0 {
			w := Work{UnconfiguredSource: stream.UnconfiguredSource{Source: name}, Unsettled: len(rows)}
			w.Oldest = max(0, time.Since(rows[0].ReceivedAt))
			found = append(found, w)
		}
	}
	return found, nil
}

// Warn logs the work and what an operator can do about it.
func (w Work) Warn(log *slog.Logger) {
	log.Warn("work of a source that is not configured waits, and no worker does it: configure the source again to finish it, "+
		"or discard it with POST /v1/sources/{source}/discard", "source", w.Source, "live", w.Live, "background", w.Background,
		"parked", w.Parked, "unsettled_events", w.Unsettled, "oldest", w.Waits().Round(time.Millisecond).String())
}
