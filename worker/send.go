package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/outbound"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// sendWithin is how long after it was known whose the lease is a request may be sent.
const sendWithin = 2 * time.Second

// recordWithin is how long it is tried to store an answer once the shard is lost.
const recordWithin = 5 * time.Second

// point marks a step between two of a command. Those of a sync are called by their name,
// since every run comes to them; see package fault.
func point(name string) { fault.Point(name) }

// send sends a command: for the first time, again since it is not done, or again since
// it is not known whether it is and that tells.
func (p *performer) send(ctx context.Context, c *storage.Command) error {
	writer := p.src.writer()
	if writer == nil {
		return errWait
	}
	request, err := p.render(ctx, c)
	if err != nil || request.Method == "" {
		return err
	}
	if err := p.spend(ctx); err != nil {
		return err
	}
	if fault.Off("command-begin") { // nothing says that it may have been sent
		answer := deliver(ctx, writer, c, request)
		outbound.Begin(c, request, "", p.now(), p.src.Definition.WriteTimeout())
		return p.record(ctx, writer, c, answer)
	}
	was, begun := *c, p.s.w.ID+"/"+rand.Text()
	outbound.Begin(c, request, begun, p.now(), p.src.Definition.WriteTimeout())
	p.s.w.unsent.Store(begun, true)
	if err := p.move(ctx, c); err != nil {
		*c = was
		if errors.Is(err, errAgain) {
			p.s.w.unsent.Delete(begun)
		}
		return err
	}
	point("after-sending")
	from := time.Now()
	at, err := p.s.lease.Begin(ctx)
	if err != nil {
		if back := p.giveBack(c, &was, begun); !errors.Is(back, errAgain) {
			err = errors.Join(err, back)
		}
		return fromRedis(err)
	}
	point("after-begin")
	// A request that is sent now must have ended when the attempt counts as lost. Storing the
	// attempt may have taken long.
	late := time.Since(from) > sendWithin || p.now().Sub(c.SentAt) > outbound.Overdue
	if late || !p.s.ours() {
		return p.giveBack(c, &was, begun)
	}
	point("before-socket")
	// Who takes the attempt out of unsent has it: to send it, or to give it back.
	if _, mine := p.s.w.unsent.LoadAndDelete(begun); !mine {
		return errAgain
	}
	c.SentAt = at
	return p.record(ctx, writer, c, deliver(ctx, writer, c, provider.Request(*c.Request)))
}

// deliver sends the request of a command that was begun.
func deliver(ctx context.Context, writer Writer, c *storage.Command, request provider.Request) provider.Answer {
	if request.Key != "" && fault.Off("command-key") {
		request.Key += "-" + rand.Text()
	}
	traced := telemetry.Remote(context.WithoutCancel(ctx), c.Trace)
	answer := writer.Send(traced, outbound.Command(c), request, "command-"+c.ID)
	point("after-send")
	return answer
}

// render returns the request of a command. A command that cannot be rendered is moved to
// where it waits or is dead, and the request is empty.
func (p *performer) render(ctx context.Context, c *storage.Command) (provider.Request, error) {
	if c.Request != nil {
		return provider.Request(*c.Request), nil
	}
	var failed error
	request, err := p.src.Definition.Render(outbound.Command(c), p.lookup(ctx, &failed))
	var unbound *provider.UnboundError
	switch {
	case failed != nil:
		return request, fromStore(failed)
	case err == nil:
		return request, nil
	case errors.As(err, &unbound):
		way, err := p.cycle(ctx, c, unbound.Refs)
		if err != nil {
			return provider.Request{}, err
		}
		if way != nil {
			outbound.Cycle(c, p.op(c), way, p.now())
		} else {
			outbound.Missing(c, p.op(c), unbound.Refs, p.now())
		}
	default:
		outbound.Die(c, p.op(c), err.Error(), p.now())
	}
	return provider.Request{}, p.move(ctx, c)
}

// lookup returns what finds the ids of refs. It keeps the last error of the store.
func (p *performer) lookup(ctx context.Context, failed *error) provider.Lookup {
	return func(name provider.RefName) (id string, ok bool) {
		r, err := p.commands().Ref(ctx, storage.RefLane(p.src.Name, name.Kind, name.Ref))
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			*failed = err
		}
		if r == nil {
			return "", false
		}
		return r.Entity.ID, !r.Entity.IsZero()
	}
}

// longestWay bounds how far it is looked for what waits for itself.
const longestWay = 16

// cycle returns the way from a command to itself, over the creates that each wait for the
// first id which the next lacks. Nil: there is none.
func (p *performer) cycle(ctx context.Context, c *storage.Command, refs []provider.RefName) ([]string, error) {
	if c.Op != provider.OpCreate {
		return nil, nil // nothing waits for its id
	}
	self := provider.RefName{Kind: c.Kind, Ref: c.Ref}.String()
	for _, first := range refs {
		way := []string{self}
		for name := first.String(); len(way) < longestWay; {
			if way = append(way, name); name == self {
				return way, nil
			}
			kind, ref, ok := cutName(name)
			if !ok {
				break
			}
			rows, err := p.commands().Open(ctx, storage.RefLane(c.Source, kind, ref), 1)
			if err != nil {
				return nil, fromStore(err)
			}
			if len(rows) == 0 || len(rows[0].WaitsFor) == 0 {
				break
			}
			name = rows[0].WaitsFor[0]
		}
	}
	return nil, nil
}

// spend takes a token for a request. The sync has begun with one.
func (p *performer) spend(ctx context.Context) error {
	if !p.spent {
		p.spent = true
		return nil
	}
	err := p.src.token(ctx, p.class)
	if errors.Is(err, fate.ErrPaused) {
		return errWait
	}
	return err
}

// giveBack makes a command as it was before it was begun: nothing was sent. It returns
// errAgain once that is stored.
func (p *performer) giveBack(c, was *storage.Command, begun string) error {
	outbound.GiveBack(c, was, p.now())
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.s.ctx), recordWithin)
	defer cancel()
	if err := p.move(ctx, c); err != nil && !errors.Is(err, errAgain) {
		return err // it is taken back when the lane is read again
	}
	p.s.w.unsent.Delete(begun)
	return errAgain
}

// record stores what came of an attempt by a writer. It does so also if the shard was lost
// meanwhile: unless its new owner was faster, it is the truth.
func (p *performer) record(ctx context.Context, writer Writer, c *storage.Command, a provider.Answer) error {
	free := false
	switch a.Outcome {
	case provider.Throttled:
		p.src.condition.Overasked(ctx, c.Lane, a.Err, p.src.condition.Prober.Recent)
	case provider.Unsent, provider.Misrouted, provider.Unknown:
		free = p.src.isDown(ctx) // it is not this command's fault
	}
	outbound.Record(c, p.op(c), a, p.now(), free)
	if a.Outcome == provider.Refused && c.Doubt == nil && writer.Probe(ctx, c.Request.Scope) == nil {
		outbound.Refused(c, p.op(c), p.now()) // the key is good for everything else
	}
	p.noteNotDone(c, a)
	moved := false
	err := p.s.w.persist(p.s.ctx, nil, "record the answer to a command", func() (err error) {
		moved, err = p.store(context.WithoutCancel(ctx), c)
		return err
	})
	if err != nil && p.s.ctx.Err() != nil {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordWithin)
		defer cancel()
		moved, err = p.store(late, c)
	}
	switch {
	case err != nil:
		return fromStore(err)
	case !moved:
		p.s.log.Info("the answer to a command came too late: another has found out what became of it", "command", c.ID, "outcome", a.Outcome.String())
		return errAgain
	}
	point("after-record")
	p.s.w.noteCommand(c)
	if c.State == storage.CommandAnswered {
		p.s.w.Metrics.CommandAnswerSeconds.WithLabelValues(p.src.Name).Observe(p.s.w.Now().Sub(c.At).Seconds())
	}
	return nil
}

// findOut finds out what became of a command, by the strategy whose turn it is.
func (p *performer) findOut(ctx context.Context, c *storage.Command) error {
	op := p.op(c)
	strategy := outbound.Strategy(c, op, p.now())
	var verdict string
	switch strategy {
	case provider.ByKey, provider.ByRepeat:
		p.s.w.Metrics.CommandUnclear.WithLabelValues(p.src.Name, string(strategy), "again").Inc()
		return p.send(ctx, c)
	case provider.ByLook, provider.ByFind:
		if p.src.writer() == nil {
			return errWait
		}
		if err := p.spend(ctx); err != nil {
			return err
		}
		ask := p.look
		if strategy == provider.ByFind {
			ask = p.find
		}
		found, err := ask(ctx, c, op)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case storage.IsAway(err):
			return err
		case fate.Is(err, fate.Permanent), fate.Is(err, fate.Gone): // it would be so again
			p.s.log.Warn("the provider cannot be asked what became of a command", "command", c.ID, "strategy", strategy, "error", err)
			outbound.Seen(c, op, provider.Finding{}, p.now())
			verdict = provider.CannotTell.String()
		case err != nil:
			outbound.NotSeen(c, p.now())
			verdict = "not asked"
		default:
			outbound.Seen(c, op, found, p.now())
			verdict = found.Verdict.String()
		}
	default:
		outbound.Question(c, p.now())
		verdict = "asked"
	}
	p.s.w.Metrics.CommandUnclear.WithLabelValues(p.src.Name, string(strategy), verdict).Inc()
	return p.move(ctx, c)
}

// look asks for the entity.
func (p *performer) look(ctx context.Context, c *storage.Command, op *provider.Op) (provider.Finding, error) {
	ref := event.Ref{Key: c.Lane, Parents: c.Parents}
	if c.Op == provider.OpCreate {
		ref = p.created(c, c.Ref)
	}
	seen, err := p.src.Client.Fetch(telemetry.Remote(ctx, c.Trace), ref, "command-"+c.ID)
	if fate.Is(err, fate.Gone) {
		seen, err = nil, nil
	}
	if err != nil {
		return provider.Finding{}, err
	}
	found := provider.Finding{Verdict: op.Look(seen)}
	if found.Verdict == provider.There && op.Creates() {
		found.ID = c.Ref
	}
	return found, nil
}

// Finder is a Fetcher that asks for the list which shows what a create has made;
// *provider.Client is one.
type Finder interface {
	// FindPage asks for one page of it; cursor is "" for the first.
	FindPage(ctx context.Context, source string, cmd provider.Command, cursor, why string) (*provider.ListPage, error)
}

// mostPages bounds the pages of a list that is searched for one entity.
const mostPages = 50

// find reads the list that shows what a create has made.
func (p *performer) find(ctx context.Context, c *storage.Command, op *provider.Op) (provider.Finding, error) {
	finder, ok := p.src.Client.(Finder)
	if !ok {
		return provider.Finding{}, nil
	}
	sent, err := p.resolved(ctx, c)
	if err != nil {
		return provider.Finding{}, err
	}
	var items []provider.Item
	proves := true
	for cursor, n := "", 0; ; n++ {
		if n > 0 {
			if err := p.spend(ctx); err != nil {
				return provider.Finding{}, err
			}
		}
		page, err := finder.FindPage(telemetry.Remote(ctx, c.Trace), c.Source, sent, cursor, "command-"+c.ID)
		if err != nil {
			return provider.Finding{}, err
		}
		items, proves = append(items, page.Items...), proves && len(page.Unread) == 0
		if cursor = page.Next; cursor == "" {
			break
		}
		if n == mostPages {
			proves = false
			break
		}
	}
	// They are read once the list is: what one of them has made may be in it.
	others, taken, err := p.others(ctx, c)
	if err != nil {
		return provider.Finding{}, err
	}
	// Any attempt since the doubt began may have made it, not only the last.
	s := provider.Search{Sent: sent, Others: others, Since: p.theirTime(ctx, c.Doubt.Since)}
	s.Bound = func(id string) bool {
		if taken[id] {
			return true
		}
		_, e := p.commands().RefTo(ctx, p.created(c, id).Key)
		if e != nil && !errors.Is(e, storage.ErrNotFound) {
			err = fromStore(e)
		}
		return e == nil
	}
	found := op.Find(items, s)
	if found.Verdict == provider.NotThere && !proves {
		found.Verdict = provider.CannotTell
	}
	return found, err
}

// resolved returns a command that was sent, with the ids that are bound to the refs in its
// body. An error that is not the store's is Permanent: a ref is not bound any more.
func (p *performer) resolved(ctx context.Context, c *storage.Command) (provider.Command, error) {
	var failed error
	sent, err := p.src.Definition.Resolve(outbound.Command(c), p.lookup(ctx, &failed))
	if failed != nil {
		return sent, fromStore(failed)
	}
	if err != nil {
		return sent, fate.New(fate.Permanent, err)
	}
	return sent, nil
}

// theirTime is the earliest time that the provider's clock can have shown at a time of
// Redis'. Zero: that is not known.
func (p *performer) theirTime(ctx context.Context, at time.Time) time.Time {
	writer := p.src.writer()
	if writer == nil {
		return time.Time{}
	}
	ours := time.Now().Add(at.Sub(p.now()))
	since, known := writer.ProviderTime(ours)
	if !known && writer.Probe(ctx, "") == nil { // whose answer has a date
		since, known = writer.ProviderTime(ours)
	}
	if !known {
		return time.Time{}
	}
	return since
}

// others are the other creates of the kind under the same parents of which it is not known
// either what became of them, and taken the ids of what those have made that are answered:
// their refs may not be bound yet.
func (p *performer) others(ctx context.Context, c *storage.Command) (others []provider.Command, taken map[string]bool, err error) {
	taken = map[string]bool{}
	for f := (storage.CommandFilter{
		States: []storage.CommandState{storage.CommandSending, storage.CommandUnclear, storage.CommandAsked, storage.CommandAnswered},
		Source: c.Source, Kind: c.Kind, Op: provider.OpCreate, Limit: 200,
	}); ; {
		page, err := p.commands().List(ctx, f)
		if err != nil {
			return nil, nil, fromStore(err)
		}
		for _, other := range page.Items {
			switch {
			case other.ID == c.ID || !maps.Equal(other.Parents, c.Parents):
			case other.State == storage.CommandAnswered:
				taken[other.Result.ID] = true
			default:
				sent, err := p.resolved(ctx, other)
				if err != nil && !fate.Is(err, fate.Permanent) {
					return nil, nil, err
				}
				others = append(others, sent)
			}
		}
		if f.Cursor = page.NextCursor; f.Cursor == "" {
			return others, taken, nil
		}
	}
}
