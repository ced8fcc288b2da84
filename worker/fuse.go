package worker

import (
	"context"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
)

// fuseEvery is how long it is relied upon whether the commands of a source are held.
const fuseEvery = 500 * time.Millisecond

// fuse says whether the commands of a source may be performed. They may not while they are
// held, nor while the database lacks what Redis knows of the change feed: then it was
// restored from an older copy, in which commands that are done are queued. The sequencer
// finds that too and holds them, until an operator releases them. The look of each worker
// is for the time until then. Without a change feed only holds are looked at.
type fuse struct {
	w      *Worker
	source string
	// last is in the channel, except during a look.
	last chan fuseLook
}

// fuseLook is what was seen. The zero value is too old to be relied upon.
type fuseLook struct {
	at   time.Time
	held bool
}

func newFuse(w *Worker, source string) *fuse {
	f := &fuse{w: w, source: source, last: make(chan fuseLook, 1)}
	f.last <- fuseLook{}
	return f
}

// blown reports whether the commands of the source wait for an operator, or may have to.
func (f *fuse) blown(ctx context.Context) (bool, error) {
	var last fuseLook
	select {
	case last = <-f.last:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { f.last <- last }()
	now := time.Now()
	if now.Sub(last.at) < fuseEvery {
		return last.held, nil
	}
	held, err := f.look(ctx)
	if err != nil {
		return false, err
	}
	if held != last.held {
		f.w.Logger.Info("whether commands of a source wait for an operator has changed", "source", f.source, "held", held)
	}
	last = fuseLook{now, held}
	return held, nil
}

// look asks Redis before the store: once Redis knows the generation that begins after
// a restore, the hold is there.
func (f *fuse) look(ctx context.Context) (bool, error) {
	if fault.Off("command-fuse") {
		return false, nil
	}
	if !f.w.WithoutFeed {
		told, err := f.w.Streams.FeedHead(ctx, f.source)
		if err != nil {
			return false, fromRedis(err)
		}
		if told.Position > 0 {
			switch lacks, err := feed.Lacks(ctx, f.w.Store, f.source, feed.Cursor(told)); {
			case err != nil:
				return false, fromStore(err)
			case lacks:
				return true, nil
			}
		}
	}
	holds, err := f.w.Store.Commands().Holds(ctx)
	if err != nil {
		return false, fromStore(err)
	}
	return slices.ContainsFunc(holds, func(h storage.CommandHold) bool { return h.Source == f.source }), nil
}
