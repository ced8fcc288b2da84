package worker

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/worker/entity"
)

// run is one sync of an entity under way. It executes the effects of the entity's
// machine one after the other.
type run struct {
	s      *shard
	src    *source
	number entity.Number
	lane   entity.ID
	// todo is what the machine waits for; it has at most one. free is closed once
	// the run's slot is free.
	todo chan entity.Effect
	free chan struct{}

	unlock func()
	asked  time.Time // when the provider was first asked, by a clock that is never set
	// spent: a command has had the token that the sync began with. answered are the
	// commands that wait for the fetch.
	spent    bool
	answered []*storage.Command
	trace    syncTrace
}

// work executes the effects for the sync, until it no longer needs its slot or the
// shard is not ours any more. A panic in an effect is its result: see do. After a panic
// in the machine, or one that do lets through, the shard starts over.
func (r *run) work() {
	s := r.s
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("a sync panicked in its end; its shard starts over", "entity", r.lane.Key.String(), "error", panicError(p))
			s.startOver()
		}
	}()
	for {
		select {
		case e := <-r.todo:
			result := r.do(s.ctx, e)
			if result.Err != nil && (s.lost(result.Err) || s.ctx.Err() != nil || !s.ours()) {
				r.drop(result.Err)
				return
			}
			s.step(entity.Done{Sync: r.number, Result: result})
		case <-r.free:
			return
		case <-s.ctx.Done():
			r.drop(context.Cause(s.ctx))
			return
		}
	}
}

// drop ends a run whose shard is not ours any more.
func (r *run) drop(err error) {
	r.unlock()
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.trace.end(err)
}

// do executes one effect and returns its result. A panic is an error, except where the
// machine would answer it by the same effect again.
func (r *run) do(ctx context.Context, e entity.Effect) (result entity.Result) {
	defer func() {
		switch e.(type) {
		case entity.Bury, entity.Park, entity.Unpark:
			return
		}
		if p := recover(); p != nil {
			result = entity.Result{Err: panicError(p)}
		}
	}()
	s := r.s
	switch e := e.(type) {
	case entity.Load:
		return s.parked.load(ctx, e)
	case entity.Lock:
		r.lock(ctx)
	case entity.Unlock:
		r.unlock()
		r.unlock = func() {}
	case entity.Perform:
		return r.perform(ctx, e)
	case entity.Cover:
		result.Err = r.cover(ctx, e)
	case entity.Echo:
		result.Err = r.echo(ctx, e)
	case entity.Claim:
		result.Document, result.Err = r.claim(ctx, e)
	case entity.Fetch:
		result.Snapshot, result.Err = r.fetch(ctx, e)
	case entity.Report:
		r.report(ctx, e)
	case entity.Consult:
		return r.consult(ctx, e)
	case entity.Time:
		now, err := s.w.Streams.Now(ctx)
		if err != nil {
			return entity.Result{Err: fromRedis(err)}
		}
		result.Now = now
	case entity.Record:
		result.Err = r.record(ctx, e)
	case entity.Write:
		result.Err = r.write(e.Write)
	case entity.LookAgain:
		result.Err = r.lookAgain(e)
	case entity.Page:
		var err error
		if _, result.Entries, result.Gone, err = s.parked.page(ctx, nil, e.Key, e.From, e.Most); err != nil {
			result.Err = fromRedis(err)
		}
	case entity.Unpark:
		result.Left, result.Err = s.parked.unpark(ctx, e)
	case entity.Count:
		result.Err = r.count(ctx, e)
	case entity.Bury:
		result.Err = r.bury(ctx, e)
	case entity.Park:
		result.Err = r.parkFailed(e)
	}
	return result
}
