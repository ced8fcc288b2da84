package api

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

const (
	// tallyTick is how often the loop looks whether the minute has passed.
	tallyTick = 5 * time.Second
	// tallyWrite bounds the writing of sums.
	tallyWrite = 2 * time.Second
)

// tally sums refusals per source and reason, and requests without events per source,
// for a minute, and then records each sum as one note. There are at most as many sums as configured sources times reasons, so a
// stranger can make neither memory nor Redis grow.
//
// A sum that could not be written is kept and added to. One whose write was not
// confirmed may be recorded twice. A crash loses the record of the last minute's
// refusals; the senders have had their answers.
type tally struct {
	queue Queue
	log   *slog.Logger
	now   func() time.Time

	mu   sync.Mutex
	sums map[tallyKey]sum
}

type tallyKey struct{ source, kind, reason string }

// Kinds of notes that are sums.
const (
	noteRejected = "rejected"
	noteEmpty    = "empty"
)

type sum struct {
	since time.Time
	count int64
}

func newTally(q Queue, log *slog.Logger, now func() time.Time) *tally {
	return &tally{queue: q, log: log, now: now, sums: map[tallyKey]sum{}}
}

// add counts one refusal. The first of its kind is logged at once, the others
// only in the sum.
func (t *tally) add(ctx context.Context, source string, why *refusal) {
	if t.merge(tallyKey{source, noteRejected, why.reason}, sum{since: t.now(), count: 1}) {
		t.log.WarnContext(ctx, "webhook refused; more of the kind are summed for a minute",
			"source", source, "reason", why.reason, "status", why.status, "error", strings.TrimPrefix(why.Error(), why.reason+": "))
	}
}

// empty counts a request that is good and holds no event.
func (t *tally) empty(ctx context.Context, source string) {
	if t.merge(tallyKey{source, noteEmpty, ""}, sum{since: t.now(), count: 1}) {
		t.log.InfoContext(ctx, "a webhook holds no event; more of the kind are summed for a minute", "source", source)
	}
}

// merge adds to a sum and reports whether it is the first of its key.
func (t *tally) merge(k tallyKey, s sum) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	have, ok := t.sums[k]
	if ok && have.since.Before(s.since) {
		s.since = have.since
	}
	s.count += have.count
	t.sums[k] = s
	return !ok
}

// run flushes once a minute until ctx ends, and once more then.
func (t *tally) run(ctx context.Context, loop *telemetry.Loop) {
	defer loop.Done()
	tick := time.NewTicker(tallyTick)
	defer tick.Stop()
	minute := t.now().Truncate(time.Minute)
	for {
		select {
		case <-ctx.Done():
			t.flush(context.WithoutCancel(ctx))
			return
		case <-tick.C:
			loop.Turn()
		}
		if now := t.now().Truncate(time.Minute); now.After(minute) {
			minute = now
			t.flush(ctx)
		}
	}
}

// flush records all sums.
func (t *tally) flush(ctx context.Context) {
	t.mu.Lock()
	sums := t.sums
	t.sums = make(map[tallyKey]sum, len(sums))
	t.mu.Unlock()
	if len(sums) == 0 {
		return
	}
	notes := make([]stream.Note, 0, len(sums))
	for k, s := range sums {
		notes = append(notes, stream.Note{
			At: s.since.UTC(), Source: k.source, Kind: k.kind, Reason: k.reason, Count: s.count,
		})
	}
	ctx, cancel := context.WithTimeout(ctx, tallyWrite)
	defer cancel()
	if err := t.queue.AddNotes(ctx, notes); err != nil {
		t.log.WarnContext(ctx, "sums of refused webhooks could not be put on record yet; they are kept", "sums", len(sums), "error", err)
		for k, s := range sums {
			t.merge(k, s)
		}
	}
}
