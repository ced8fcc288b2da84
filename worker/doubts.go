package worker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/stream"
)

const (
	// doubtsAgain is the pause between two rounds that append what is in doubt again.
	doubtsAgain = 5 * time.Second
	// doubtsPage is how many signals go in at once.
	doubtsPage = 256
	// mostDoubts is how many signals may be in doubt, about 400 bytes each. Further ones
	// wait for replicas.
	mostDoubts = 100_000
)

// doubts are signals that are in Redis and that too few replicas have confirmed. Should the
// master die, the replica that is promoted may lack them. A signal of an event has a row in
// the log, from which it comes back. Refreshes of derived kinds and second looks have none,
// so they are remembered here and appended again until replicas confirm them, to whatever
// is the master by then. That is idempotent by their marks: one that waits in its stream is
// a duplicate, and one that was followed meanwhile is one look more, held back like the
// first, so that a long lack of replicas costs no more than what events ask for anyway.
//
// A worker that dies takes its doubts along. For anything to be missed, the master must die
// too before a replica has caught up; the next event or sweep of the entity makes up for it.
type doubts struct {
	w *Worker

	mu    sync.Mutex
	all   map[doubtful]doubt
	count int64         // of additions
	added chan struct{} // has room for one
}

// doubtful names what a signal asks for. A further one asks for no more.
type doubtful struct {
	cause event.Cause
	key   event.Key
}

// doubt is a signal that may be lost.
type doubt struct {
	draft stream.Draft
	held  time.Duration // how long it was held back
	added int64         // its number among all additions
}

func newDoubts(w *Worker) *doubts {
	return &doubts{w: w, all: map[doubtful]doubt{}, added: make(chan struct{}, 1)}
}

// append appends signals without a row. It waits for replicas while none is in doubt; those
// that these do not confirm are.
func (d *doubts) append(ctx context.Context, drafts []stream.Draft) error {
	if len(drafts) == 0 {
		return nil
	}
	if d.none() {
		_, err := d.w.Streams.AppendFurther(ctx, drafts)
		if !errors.Is(err, stream.ErrReplicas) {
			return err
		}
	}
	if !d.room(len(drafts)) {
		_, err := d.w.Streams.AppendFurther(ctx, drafts)
		return err
	}
	if _, err := d.w.Streams.AppendFurther(ctx, unwaited(drafts)); err != nil {
		return err
	}
	d.add(drafts)
	return nil
}

// unwaited returns drafts for which no replica is waited for.
func unwaited(drafts []stream.Draft) []stream.Draft {
	drafts = slices.Clone(drafts)
	for i := range drafts {
		drafts[i].Recorded = true // by the doubts
	}
	return drafts
}

func (d *doubts) none() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.all) == 0
}

func (d *doubts) room(n int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.all)+n <= mostDoubts
}

func (d *doubts) add(drafts []stream.Draft) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, draft := range drafts {
		d.count++
		one := doubt{draft: draft, added: d.count}
		if at := draft.Signal.NotBefore; !at.IsZero() {
			one.held = max(0, at.Sub(d.w.Now()))
		}
		if draft.Once == 0 {
			one.draft.Once = onceFor(0) // each round would append one more
		}
		d.all[doubtful{draft.Signal.Cause, draft.Signal.Ref.Key}] = one
	}
	select {
	case d.added <- struct{}{}:
	default:
	}
}

// run appends what is in doubt again until ctx ends.
func (d *doubts) run(ctx context.Context) {
	loop := d.w.Health.Loop("doubts")
	defer loop.Done()
	for {
		loop.Waiting("replicas")
		if d.none() {
			select {
			case <-ctx.Done():
				return
			case <-d.added:
			}
		}
		if !loops.Sleep(ctx, doubtsAgain) {
			return
		}
		loop.Turn()
		d.round(ctx)
	}
}

// last makes a last round when the worker ends.
func (d *doubts) last(ctx context.Context) {
	if d.none() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	d.round(ctx)
	d.mu.Lock()
	left := len(d.all)
	d.mu.Unlock()
	if left > 0 {
		d.w.Logger.Warn("too few replicas of redis have confirmed some refreshes and second looks; "+
			"should the master be lost now, the next event or sweep makes up for them", "signals", left)
	}
}

// round appends all signals in doubt once. As long as replicas confirm, each page waits
// for them, and is in doubt no more. After the first that they do not confirm the others
// do not wait.
func (d *doubts) round(ctx context.Context) {
	waits := true
	for page := range slices.Chunk(d.now(), doubtsPage) {
		drafts := make([]stream.Draft, len(page))
		for i, one := range page {
			drafts[i] = one.draft
			if one.held > 0 {
				drafts[i].Signal.NotBefore = d.w.Now().Add(one.held)
			}
		}
		if !waits {
			drafts = unwaited(drafts)
		}
		_, err := d.w.Streams.AppendFurther(ctx, drafts)
		switch {
		case errors.Is(err, stream.ErrReplicas):
			waits = false
		case err != nil:
			return // Redis is away: the next round is soon
		case waits:
			d.confirmed(page)
		}
	}
}

// now returns what is in doubt.
func (d *doubts) now() []doubt {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]doubt, 0, len(d.all))
	for _, one := range d.all {
		all = append(all, one)
	}
	return all
}

// confirmed forgets doubts, unless they were added again meanwhile.
func (d *doubts) confirmed(page []doubt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range page {
		of := doubtful{one.draft.Signal.Cause, one.draft.Signal.Ref.Key}
		if d.all[of].added == one.added {
			delete(d.all, of)
		}
	}
}
