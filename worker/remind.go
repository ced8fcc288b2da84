package worker

import (
	"context"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/outbound"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
	"github.com/tarn-sync/tarn/worker/entity"
)

// Writer sends changes to a provider; *provider.Writer is one.
type Writer interface {
	// Send sends a request once.
	Send(ctx context.Context, cmd provider.Command, req provider.Request, why string) provider.Answer
	// Probe asks something that any accepted caller may ask, with the key for changes.
	Probe(ctx context.Context, scope string) error
	// ProviderTime returns the earliest time that the provider's clock can have shown at a
	// time of ours, and whether that is known.
	ProviderTime(at time.Time) (time.Time, bool)
}

const (
	// remindEvery is how often the commands that are due are looked for, remindAtOnce how
	// many at a time.
	remindEvery  = 500 * time.Millisecond
	remindAtOnce = 1000
)

// reminder hints the commands of all sources that are due: those whose hint was lost, those
// whose worker died, and those that wait for a time. The worker that holds shard 0 does
// it. A hint that is on its way keeps others out.
type reminder struct{ *shard }

func (s reminder) run() {
	loop := s.w.Health.Loop("commands")
	defer loop.Done()
	cursors := map[string]string{}
	for {
		loop.Turn()
		for _, name := range s.w.names {
			src := s.w.sources[name]
			if src.writer() == nil || src.paused() || s.ctx.Err() != nil {
				continue
			}
			held, err := src.fuse.blown(s.ctx)
			next := ""
			if err == nil && !held {
				next, err = s.remind(loop, name, cursors[name])
			}
			if err != nil && s.ctx.Err() == nil {
				s.common.Warn("could not look for commands that are due; trying again", "source", name, "error", err)
			}
			cursors[name] = next
		}
		if !loops.Tick(s.ctx, remindEvery) {
			return
		}
	}
}

// remind hints one page of what is due of a source, once for each lane, and returns where the
// next page begins. However many wait for budget, those behind them have their turn.
func (s reminder) remind(loop *telemetry.Loop, source, cursor string) (next string, err error) {
	now, err := s.w.Streams.Now(s.ctx)
	if err != nil {
		return "", err
	}
	due, next, err := s.w.Store.Commands().Due(s.ctx, source, now, remindAtOnce, cursor)
	if err != nil {
		return "", err
	}
	type hinted struct {
		lane event.Key
		bulk bool
	}
	lanes := map[hinted]bool{}
	var hints []stream.Draft
	for _, d := range due {
		if h := (hinted{d.Lane, d.Bulk}); !lanes[h] {
			lanes[h] = true
			hints = append(hints, outbound.Hint(d))
		}
	}
	return next, s.appendAll(loop, hints)
}

// hint tells the worker of a command's lane.
func (s *shard) hint(c *storage.Command) error {
	return s.appendAll(nil, []stream.Draft{outbound.HintOf(c)})
}

// call makes the parked entities due at once that hints are for, and takes the hints out
// of Redis: their commands are in the store. It returns the other entries.
func (r *intake) call(src *source, parked []event.Entry) (rest []event.Entry, err error) {
	var hints []event.Entry
	called := map[event.Key]bool{}
	for _, e := range parked {
		if e.Signal.Cause != event.CauseCommand {
			rest = append(rest, e)
			continue
		}
		hints = append(hints, e)
		if called[e.Signal.Ref.Key] {
			continue
		}
		called[e.Signal.Ref.Key] = true
		r.step(entity.Call{Key: e.Signal.Ref.Key})
		err := r.insist(r.ctx, r.loop, "make a parked entity due", func() error { return r.lease.Defer(r.ctx, e.Signal.Ref.Key, 0) })
		if err != nil {
			return nil, err
		}
	}
	debts, err := debtsOf(r.shard, r.loop, hints)
	if err != nil {
		return nil, err
	}
	r.acks.add(src.Name, hints, debts, nil)
	return rest, nil
}

// noteCommand counts a command that has come to a state, rings for one that the change feed
// lacks, and alerts of one that waits for an operator.
func (w *Worker) noteCommand(c *storage.Command) {
	w.Metrics.Commands.WithLabelValues(c.Source, c.Kind, c.Op, string(c.State)).Inc()
	if c.Owed {
		w.bells.ring(c.Source, stream.BellOfCommands)
	}
	switch c.State {
	case storage.CommandDone:
		w.Metrics.CommandCoverSeconds.WithLabelValues(c.Source).Observe(w.Now().Sub(c.At).Seconds())
	case storage.CommandAsked:
		w.Alerts.Raise(alert.Alert{
			At: c.Asked.Since, Kind: alert.Asked, Source: c.Source, ID: c.ID, Entity: c.Lane.String(), Reason: firstLine(c.Asked.Reason), TraceID: telemetry.TraceID(c.Trace),
		})
	case storage.CommandDead:
		w.Logger.Error("a command is dead", "command", c.ID, "op", c.Kind+" "+c.Op, "lane", c.Lane.String(), "reason", c.Reason)
	}
}

// cutName reads KIND/REF.
func cutName(name string) (kind, ref string, ok bool) { return strings.Cut(name, "/") }
