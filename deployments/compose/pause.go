package compose

import (
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/storage"
)

// settling returns the longest time in which a shard had work and settled none of it: with
// events that wait for one of the shards that were hit, and with those that do not. An event
// that names several entities is settled once all are, in whatever shards they have. A shard's
// time runs from the last event it settled, or from the receipt of the oldest event that waits
// if that came later.
func settling(rows []*storage.EventRow, hit []int) (own, others time.Duration) {
	var waiting, free []*storage.EventRow
	for _, r := range rows {
		if slices.ContainsFunc(r.Entities, func(o storage.Outcome) bool { return slices.Contains(hit, o.Signal.Shard) }) {
			waiting = append(waiting, r)
		} else {
			free = append(free, r)
		}
	}
	return pause(waiting), pause(free)
}

func pause(rows []*storage.EventRow) (longest time.Duration) {
	shards := map[int][]*storage.EventRow{}
	for _, r := range rows {
		if len(r.Entities) > 0 && !r.ProcessedAt.IsZero() {
			shards[r.Entities[0].Signal.Shard] = append(shards[r.Entities[0].Signal.Shard], r)
		}
	}
	for _, list := range shards {
		slices.SortFunc(list, func(a, b *storage.EventRow) int { return a.ProcessedAt.Compare(b.ProcessedAt) })
		oldest := make([]time.Time, len(list)) // receipt of the oldest that is settled here or later
		for i := len(list) - 1; i >= 0; i-- {
			oldest[i] = list[i].ReceivedAt
			if i+1 < len(list) && oldest[i+1].Before(oldest[i]) {
				oldest[i] = oldest[i+1]
			}
		}
		for i, r := range list {
			from := oldest[i]
			if i > 0 && list[i-1].ProcessedAt.After(from) {
				from = list[i-1].ProcessedAt
			}
			longest = max(longest, r.ProcessedAt.Sub(from))
		}
	}
	return longest
}

// intake returns the longest time between two events that were accepted.
func intake(rows []*storage.EventRow) (longest time.Duration) {
	at := make([]time.Time, len(rows))
	for i, r := range rows {
		at[i] = r.ReceivedAt
	}
	slices.SortFunc(at, time.Time.Compare)
	for i := 1; i < len(at); i++ {
		longest = max(longest, at[i].Sub(at[i-1]))
	}
	return longest
}
