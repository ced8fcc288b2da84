package api

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// sweepWaits says what a sweep waits for: a reconciler, a paused source, workers, or
// entities. "": it is at work, or over.
func (r *reader) sweepWaits(ctx context.Context, t *storage.Task) string {
	if t.Status.Final() || standing(t) {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, waitingWithin)
	defer cancel()
	source, err := r.queue.Source(ctx, t.Source)
	switch {
	case err != nil:
		return "redis, which does not answer"
	case source.Paused:
		return pauseWords(t.Source, source)
	case t.Status == storage.TaskWaiting:
		return "a reconciler that takes it up"
	}
	var state struct {
		Phase string `json:"phase"`
		storage.SweepOutcome
	}
	if json.Unmarshal(t.State, &state) != nil || state.Phase != storage.PhaseFill {
		return ""
	}
	shards, workers, err := r.queue.Fleet(ctx, []string{t.Source})
	if err != nil {
		return "redis, which does not answer"
	}
	queued := stream.Totals(shards, []string{t.Source})[t.Source]
	switch n := queued.Background - queued.Scheduled; {
	case n > 0 && len(workers) == 0:
		return fmt.Sprintf("workers: none are running, and %d signals are queued", n)
	case n > 0:
		return fmt.Sprintf("workers: %d signals are queued for the background", n)
	case len(state.NotFetched) > 0:
		first := state.NotFetched[0]
		return fmt.Sprintf("%d entities that are not fetched yet, such as %s/%s: %s", t.Counts["not_fetched"], first.Kind, first.ID, first.Reason)
	}
	return ""
}

// pauseWords says that a source is paused, by whom, until when and why.
func pauseWords(name string, s condition.State) string {
	until := "until it is resumed"
	if s.EndsByItself() {
		until = "until " + momentOf(s.Until).Text() + " at least"
	}
	return fmt.Sprintf("source %s, which is paused by %s %s: %s", name, s.By, until, s.Reason)
}
