package worker

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// hintsOf returns the hint of a version that the change feed may lack, none of 0.
func hintsOf(w *Worker, k event.Key, version int64) []stream.Hint {
	if version == 0 || w.WithoutFeed {
		return nil
	}
	return []stream.Hint{{Key: k, Version: version}}
}

// debtsOf asks the store what the change feed lacks of entities whose work on some events
// is settled already. Their entries leave without a sync, and the worker that settled them
// may have died before it left a hint: without this look the last change of such an entity
// would be told only when the sequencer looks through the store.
func debtsOf(s *shard, loop *telemetry.Loop, settled []event.Entry) (hints []stream.Hint, err error) {
	if len(settled) == 0 || s.w.WithoutFeed || fault.Off("feed-debts") {
		return nil, nil
	}
	seen := map[event.Key]bool{}
	for i := range settled {
		seen[settled[i].Signal.Ref.Key] = true
	}
	keys := slices.Collect(maps.Keys(seen))
	err = s.w.persist(s.ctx, loop, "look for what the feed lacks", func() error {
		debts, err := s.w.Store.DebtsOf(s.ctx, keys)
		hints = make([]stream.Hint, len(debts))
		for i, d := range debts {
			hints[i] = stream.Hint(d)
		}
		return err
	})
	return hints, err
}

const (
	// ringAtMost is the pause between two commands that wake sequencers. What comes
	// meanwhile goes with the next.
	ringAtMost = 10 * time.Millisecond
	// ringAgain is the pause after one that failed.
	ringAgain = time.Second
)

// bells wakes the sequencers of the change feed once hints were left for them, beside
// the way of the syncs. A ring that is lost delays what it was for until the next ring of
// its shard, or until the sequencer looks through the store.
type bells struct {
	w     *Worker
	mu    sync.Mutex
	due   map[string][]int
	added chan struct{}
}

func newBells(w *Worker) *bells {
	return &bells{w: w, due: map[string][]int{}, added: make(chan struct{}, 1)}
}

// ring wakes the sequencer of a source for the hints in a shard. It does not wait.
func (b *bells) ring(source string, shard int) {
	if b.w.WithoutFeed {
		return
	}
	b.mu.Lock()
	if !slices.Contains(b.due[source], shard) {
		b.due[source] = append(b.due[source], shard)
	}
	b.mu.Unlock()
	select {
	case b.added <- struct{}{}:
	default:
	}
}

// run rings until ctx ends.
func (b *bells) run(ctx context.Context) {
	loop := b.w.Health.Loop("bells")
	defer loop.Done()
	for {
		loop.Waiting("hints")
		select {
		case <-ctx.Done():
			return
		case <-b.added:
		}
		loop.Turn()
		pause := ringAtMost
		if !b.send(ctx) {
			pause = ringAgain
		}
		if !loops.Sleep(ctx, pause) {
			return
		}
	}
}

// last rings what is left when the worker ends.
func (b *bells) last(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	b.send(ctx)
}

// send sends all rings that are due, and reports whether they arrived. If not, they are
// due again.
func (b *bells) send(ctx context.Context) bool {
	b.mu.Lock()
	due := b.due
	b.due = map[string][]int{}
	b.mu.Unlock()
	if len(due) == 0 {
		return true
	}
	err := b.w.Streams.Ring(ctx, due)
	if err == nil || ctx.Err() != nil {
		return true
	}
	b.w.Logger.Debug("could not wake the sequencers of the change feed; trying again", "error", err)
	for source, shards := range due {
		for _, shard := range shards {
			b.ring(source, shard)
		}
	}
	return false
}
