package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/outbound"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/worker/entity"
)

// lanePage is how many commands of a lane are read at a time.
const lanePage = 32

// errAgain says that a command was changed by another, so that its lane is read again.
var errAgain = errors.New("the command was changed by another")

// errWait says that the commands of a lane wait: for the end of a pause, of a handover or of
// a hold, or for a key that the source lacks.
var errWait = errors.New("the commands of the lane wait")

// performer performs the commands of one lane, within a sync of it.
type performer struct {
	*run
	lane  event.Key
	class event.Class
	// began was the time by Redis' clock when it was at by ours.
	began, at time.Time
	// rows are the commands of the lane that were not final when it was read last.
	rows []*storage.Command
}

// perform performs the commands of a lane, one after the other, as far as they can be.
// Whatever becomes of them, an error is about Redis, the store or the lease alone.
func (r *run) perform(ctx context.Context, e entity.Perform) (result entity.Result) {
	// A command that comes after its lane was read gets in by another hint.
	if err := r.s.w.Streams.ForgetOnce(ctx, event.CauseCommand, e.Key); err != nil {
		return entity.Result{Err: fromRedis(err)}
	}
	p := &performer{run: r, lane: e.Key, class: e.Class}
	var err error
	if p.began, err = r.s.w.Streams.Now(ctx); err != nil {
		return entity.Result{Err: fromRedis(err)}
	}
	p.at = time.Now()
	for err = errAgain; errors.Is(err, errAgain); {
		if err = ctx.Err(); err == nil {
			err = p.read(ctx)
		}
	}
	if err != nil && !errors.Is(err, errWait) {
		return entity.Result{Err: err}
	}
	r.answered = outbound.Uncovered(p.rows)
	if _, ref := storage.RefOfLane(p.lane); ref {
		r.answered = nil // they are covered in the lane of what they have created
	}
	if err := p.putOff(ctx); err != nil {
		return entity.Result{Err: err}
	}
	if len(r.answered) > 0 {
		return entity.Result{Yes: true}
	}
	result.Owed, result.Err = p.owed(ctx)
	return result
}

// owed is the version of the entity that the change feed may lack. Its hints leave without
// a sync, and the worker that has synced it may have died before it told the feed.
func (p *performer) owed(ctx context.Context) (int64, error) {
	if _, ref := storage.RefOfLane(p.lane); ref || p.s.w.WithoutFeed {
		return 0, nil
	}
	debts, err := p.s.w.Store.DebtsOf(ctx, []event.Key{p.lane})
	switch {
	case err != nil:
		return 0, fromStore(err)
	case len(debts) == 0:
		return 0, nil
	}
	return debts[0].Version, nil
}

func (p *performer) commands() storage.Commands { return p.s.w.Store.Commands() }

// now is the time by Redis' clock.
func (p *performer) now() time.Time { return p.began.Add(time.Since(p.at)) }

// read reads the lane and does what is to be done in it. It returns errAgain if there
// is more to be done with what it has read last.
func (p *performer) read(ctx context.Context) (err error) {
	if p.rows, err = p.commands().Open(ctx, p.lane, lanePage); err != nil {
		return fromStore(err)
	}
	if _, ref := storage.RefOfLane(p.lane); ref && len(p.rows) > 0 {
		bound, err := p.commands().Ref(ctx, p.lane)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return fromStore(err)
		}
		if err == nil && !bound.Entity.IsZero() {
			return p.forward(ctx, bound)
		}
	}
	if err := p.takeBack(ctx); err != nil {
		return err
	}
	for {
		step := outbound.Next(p.lane, p.rows, p.now())
		switch {
		case step.Do == outbound.Nothing && len(p.rows) == lanePage && len(outbound.Uncovered(p.rows)) < lanePage:
			return errAgain // others may be behind them
		case step.Do == outbound.Nothing:
			return nil
		case step.Do == outbound.Wait:
			return p.deferBehind(ctx, step.Command)
		case p.s.isClosing() || p.src.paused() || !p.s.ours():
			return errWait
		}
		held, err := p.src.fuse.blown(ctx)
		if err != nil {
			return err
		}
		if held {
			return errWait
		}
		if err := p.step(ctx, step); err != nil {
			return err
		}
	}
}

// step does what is to be done next.
func (p *performer) step(ctx context.Context, s outbound.Step) error {
	c := s.Command
	switch s.Do {
	case outbound.Send:
		return p.send(ctx, c)
	case outbound.Lose:
		outbound.Lost(c, p.now())
		return p.move(ctx, c)
	case outbound.FindOut:
		return p.findOut(ctx, c)
	case outbound.Bind:
		return p.bind(ctx, c)
	default:
		return p.orphan(ctx, c)
	}
}

// op is the operation of a command, nil if the definition no longer has it.
func (p *performer) op(c *storage.Command) *provider.Op {
	op, _ := p.src.Definition.Op(c.Kind, c.Op)
	return op
}

// store stores a command that was changed, and reports whether no other was faster. One
// that is over keeps nothing of the content of an erased entity. If the marker is written
// just now, the second look of the job that erases finds the command. A document that
// cannot be read keeps no answer from being stored.
func (p *performer) store(ctx context.Context, c *storage.Command) (bool, error) {
	if entity := c.Entity(); c.State.Final() && !entity.IsZero() {
		switch doc, err := p.s.w.Store.Entity(ctx, entity); {
		case storage.IsAway(err):
			return false, err
		case err == nil && doc.Erased != nil:
			c.Empty()
		}
	}
	return p.commands().Move(ctx, c)
}

// move stores a command that was changed.
func (p *performer) move(ctx context.Context, c *storage.Command) error {
	moved, err := p.store(ctx, c)
	switch {
	case err != nil:
		return fromStore(err)
	case !moved:
		return errAgain
	}
	p.s.w.noteCommand(c)
	return nil
}

// takeBack gives back the commands that this worker moved to sending and did not send,
// since it did not learn that they were moved.
func (p *performer) takeBack(ctx context.Context) error {
	for _, c := range p.rows {
		if c.State != storage.CommandSending {
			continue
		}
		if _, unsent := p.s.w.unsent.LoadAndDelete(c.Begun); unsent {
			outbound.Unsent(c, p.now())
			if err := p.move(ctx, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// deferBehind has what waits behind a command that is not due wait as long.
func (p *performer) deferBehind(ctx context.Context, c *storage.Command) error {
	until, needed := outbound.Behind(p.rows, c, p.now())
	if !needed {
		return nil
	}
	if err := p.commands().Defer(ctx, p.lane, c.N, until); err != nil {
		return fromStore(err)
	}
	return nil
}

// putOff has answered commands hinted again later: the fetch that covers them follows now.
func (p *performer) putOff(ctx context.Context) error {
	for _, c := range p.answered {
		if p.now().Before(c.DueAt) {
			continue
		}
		outbound.PutOff(c, p.now())
		moved, err := p.commands().Move(ctx, c)
		if err != nil {
			return fromStore(err)
		}
		if !moved {
			c.Rev = -1 // another has covered it
		}
	}
	return nil
}

// cover makes the commands done that were answered before the sync's claim.
func (r *run) cover(ctx context.Context, e entity.Cover) error {
	for _, c := range r.answered {
		op, _ := r.src.Definition.Op(c.Kind, c.Op)
		outbound.Cover(c, op, e.By, r.s.w.Now().UTC())
		moved, err := r.s.w.Store.Commands().Move(ctx, c)
		if err != nil {
			return fromStore(err)
		}
		if moved {
			r.s.w.noteCommand(c)
		}
	}
	r.answered = nil
	return nil
}

// bind has the lane's ref name what a create has created, and forwards the lane.
func (p *performer) bind(ctx context.Context, c *storage.Command) error {
	entity := p.created(c, c.Result.ID)
	bound, err := p.commands().Bind(ctx, storage.Ref{Lane: p.lane, Entity: entity.Key, Parents: entity.Parents, By: c.ID, At: p.now()})
	if err != nil {
		return fromStore(err)
	}
	point("after-bind")
	if bound.Entity != entity.Key {
		if err := p.doubled(ctx, entity.Key, p.lane); err != nil {
			return err
		}
	}
	return p.forward(ctx, bound)
}

// created is the reference to what a command has created.
func (p *performer) created(c *storage.Command, id string) event.Ref {
	ref, err := p.src.Definition.Ref(event.Key{Source: c.Source, Kind: c.Kind, ID: id}, c.Parents)
	if err != nil { // the definition has changed: the fetch says what is wrong
		return event.Ref{Key: event.Key{Source: c.Source, Kind: c.Kind, ID: id}, Parents: c.Parents}
	}
	return ref
}

// forward moves what waits in the lane of a ref to that of the entity which it names, in
// its order, each only once the one before it is there.
func (p *performer) forward(ctx context.Context, bound *storage.Ref) error {
	hinted := map[event.Key]*storage.Command{}
	for _, c := range p.rows {
		to := bound.Entity
		if c.Op == provider.OpCreate {
			switch {
			case c.State == storage.CommandAnswered:
				to = p.created(c, c.Result.ID).Key
			case bound.By == c.ID || c.State != storage.CommandQueued: // else it is known not to be done
				outbound.Answer(c, &storage.CommandResult{ID: bound.Entity.ID, At: p.now()}, p.now())
			default:
				outbound.Die(c, p.op(c), fmt.Sprintf("the ref names %s already", bound.Entity), p.now())
				if err := p.move(ctx, c); err != nil {
					return err
				}
				continue
			}
		}
		moved, err := p.commands().Forward(ctx, c, to)
		if err != nil {
			return fromStore(err)
		}
		if !moved {
			return errAgain
		}
		point("after-forward")
		if last := hinted[to]; last == nil || last.Bulk { // one that may wait hints for none that may not
			hinted[to] = c
		}
	}
	more := len(p.rows) == lanePage
	p.rows = nil
	for _, c := range hinted {
		if err := p.s.hint(c); err != nil {
			return err
		}
	}
	if more {
		return errAgain
	}
	return nil
}

// orphan makes a command dead for which nothing creates what it changes.
func (p *performer) orphan(ctx context.Context, c *storage.Command) error {
	ref, _ := storage.RefOfLane(p.lane)
	creates, err := p.commands().List(ctx, storage.CommandFilter{Ref: ref, Source: c.Source, Kind: c.Kind, Op: provider.OpCreate, Limit: 1})
	if err != nil {
		return fromStore(err)
	}
	reason := fmt.Sprintf("nothing before it creates %s/%s", c.Kind, ref)
	if len(creates.Items) > 0 {
		reason = outbound.ReasonCreate
	}
	outbound.Die(c, p.op(c), reason, p.now())
	return p.move(ctx, c)
}

// doubled records that the provider has a further entity with a ref.
func (r *run) doubled(ctx context.Context, entity, lane event.Key) error {
	now := r.s.w.Now().UTC()
	d := storage.Discrepancy{
		ID: fmt.Sprintf("doubled/%s/%s", entity, lane), Source: entity.Source, Entity: entity,
		Type: storage.Doubled, Status: storage.Confirmed, FoundAt: now, JudgedAt: now,
	}
	if err := r.s.w.Store.Record(ctx, []storage.Discrepancy{d}); err != nil {
		return fromStore(fmt.Errorf("record an entity with the ref of another: %w", err))
	}
	return nil
}

// echo binds the ref that an answer carries, and answers the command that has created it.
func (r *run) echo(ctx context.Context, e entity.Echo) error {
	if r.src.writer() == nil {
		return nil // nothing is created through this source
	}
	key := e.Ref.Key
	lane := storage.RefLane(key.Source, key.Kind, e.Name)
	commands := r.s.w.Store.Commands()
	rows, err := commands.Open(ctx, lane, 1)
	if err != nil {
		return fromStore(err)
	}
	now, err := r.s.w.Streams.Now(ctx)
	if err != nil {
		return fromRedis(err)
	}
	by := "echo"
	if len(rows) > 0 && rows[0].Op == provider.OpCreate {
		by = rows[0].ID
	}
	bound, err := commands.Bind(ctx, storage.Ref{Lane: lane, Entity: key, Parents: e.Ref.Parents, By: by, At: now})
	if err != nil {
		return fromStore(err)
	}
	if bound.Entity != key {
		return r.doubled(ctx, key, lane)
	}
	if len(rows) == 0 {
		return nil
	}
	if c := rows[0]; c.Op == provider.OpCreate && c.State != storage.CommandAnswered {
		outbound.Answer(c, &storage.CommandResult{ID: key.ID, At: now}, now)
		if moved, err := commands.Move(ctx, c); err != nil {
			return fromStore(err)
		} else if moved {
			r.s.w.noteCommand(c)
		} // else its own worker has, or forwards it so
	}
	return r.s.hint(rows[0])
}

// noteNotDone logs what a provider said that needs a person.
func (p *performer) noteNotDone(c *storage.Command, a provider.Answer) {
	if a.Outcome == provider.Answered || a.Outcome == provider.Throttled || a.Outcome == provider.Busy {
		return
	}
	class, _ := fate.Of(a.Err)
	p.s.log.Warn("a command was not done", "command", c.ID, "op", c.Kind+" "+c.Op, "lane", p.lane.String(), "outcome", a.Outcome.String(),
		"state", string(c.State), "class", class.String(), "error", short(a.Err))
}
