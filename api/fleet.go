package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/stream"
)

// fleet is the state of the fleet, as the API shows it.
type fleet struct {
	Workers      []worker             `json:"workers" nullable:"false"`
	Shards       []shard              `json:"shards" nullable:"false"`
	Sources      []fleetSource        `json:"sources" nullable:"false"`
	Unconfigured []unconfiguredSource `json:"unconfigured,omitempty" doc:"Sources that are not configured and whose work waits. No worker does this work: configure the source again to finish it, or discard it."`
}

type worker struct {
	ID     string `json:"id"`
	Shards int    `json:"shards" doc:"How many it holds."`
	Since  moment `json:"since,omitzero" doc:"Since when it has held the one it has held longest."`
}

type shard struct {
	Shard      int      `json:"shard"`
	Owner      string   `json:"owner,omitempty" doc:"The worker that holds it. Absent: it has none and waits."`
	Epoch      int64    `json:"epoch,omitempty" doc:"Grows at each handover."`
	Backlog    int64    `json:"backlog" doc:"Entries not settled, of all sources."`
	OldestAgeS float64  `json:"oldest_age_s" doc:"Age of its oldest live entry, in seconds."`
	Parked     int64    `json:"parked" doc:"Entities that wait for their next attempt."`
	WrongKeys  []string `json:"wrong_keys,omitempty" doc:"Keys of Redis that another program has written: what belongs under them is refused and not counted."`
}

type fleetSource struct {
	SourceState
	Budget     float64 `json:"budget" minimum:"0" maximum:"1" doc:"Share of the budget that is left; near 0 the fleet wants more than the rate."`
	Live       int64   `json:"live" doc:"Live entries: webhooks, syncs, what was redriven."`
	Background int64   `json:"background" doc:"Background entries: sweeps, backfills, what events make stale."`
	Parked     int64   `json:"parked" doc:"Entities that wait for their next attempt."`
	OldestAgeS float64 `json:"oldest_age_s" doc:"Age of its oldest live entry, in seconds."`
	// Noted is absent if there are none.
	Noted map[string]int64 `json:"noted,omitempty" doc:"Events of the last hour that lead to less than others do, by note: names_nothing, unknown_type, require_unmet, unreadable, scope_unusable. See /v1/events?note="`
}

type unconfiguredSource struct {
	Source     string  `json:"source"`
	Live       int64   `json:"live" doc:"Live entries."`
	Background int64   `json:"background" doc:"Background entries."`
	Parked     int64   `json:"parked" doc:"Entities that wait for their next attempt."`
	OldestAgeS float64 `json:"oldest_age_s" doc:"Age of its oldest entry, in seconds."`
}

// overviewAge is how old an answer may be: an open page asks again and again, and each
// look runs a script on every shard.
const overviewAge = time.Second

// lookWithin bounds a look.
const lookWithin = 5 * time.Second

// overview reads the state of the fleet, at most once a second for all callers.
type overview struct {
	*reader
	now func() time.Time
	// last is in the channel, except during a look.
	last chan look
}

type look struct {
	at  time.Time
	got *fleet
	// ages are the live entries by the age of the oldest one of their shard and source.
	ages ageClasses
}

func newOverview(r *reader, now func() time.Time) *overview {
	o := &overview{reader: r, now: now, last: make(chan look, 1)}
	o.last <- look{}
	return o
}

func (o *overview) register(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "get-fleet", Method: http.MethodGet, Path: "/v1/fleet",
		Summary: "What works and what waits: workers, shards, sources", Tags: []string{"sources"},
		Description: "At most a second old.",
		Security:    needs(Viewer), Errors: startErrors,
	}, o.get)
}

type fleetOutput struct{ Body *fleet }

func (o *overview) get(ctx context.Context, _ *struct{}) (*fleetOutput, error) {
	last, err := o.latest(ctx)
	if err != nil {
		return nil, o.queueProblem(ctx, "look at the fleet", err)
	}
	return &fleetOutput{Body: last.got}, nil
}

// latest returns the last look, or a new one if that is too old. What it returns is
// shared and must not be changed.
func (o *overview) latest(ctx context.Context) (look, error) {
	var last look
	select {
	case last = <-o.last:
	case <-ctx.Done():
		return look{}, ctx.Err()
	}
	defer func() { o.last <- last }()
	now := o.now()
	if age := now.Sub(last.at); last.got != nil && age >= 0 && age < overviewAge {
		return last, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookWithin) // others wait for this look
	defer cancel()
	got, ages, err := o.look(ctx)
	if err != nil {
		return look{}, err
	}
	last = look{at: now, got: got, ages: ages}
	return last, nil
}

func (o *overview) look(ctx context.Context) (*fleet, ageClasses, error) {
	names := o.sources.names()
	shards, workers, err := o.queue.Fleet(ctx, names)
	if err != nil {
		return nil, ageClasses{}, err
	}
	f := &fleet{Workers: make([]worker, len(workers)), Shards: make([]shard, len(shards)), Sources: make([]fleetSource, len(names))}
	for i, st := range shards {
		f.Shards[i] = newShard(st)
	}
	for i, id := range workers {
		f.Workers[i] = newWorker(id, shards)
	}
	for i, name := range names {
		if f.Sources[i], err = o.lookAt(ctx, name, shards); err != nil {
			return nil, ageClasses{}, err
		}
	}
	unconfigured, err := o.queue.Unconfigured(ctx, names)
	if err != nil {
		return nil, ageClasses{}, err
	}
	for _, w := range unconfigured {
		f.Unconfigured = append(f.Unconfigured, unconfiguredSource{
			Source: w.Source, Live: w.Live, Background: w.Background, Parked: w.Parked, OldestAgeS: w.Waits().Seconds(),
		})
	}
	return f, agesOf(shards), nil
}

func newShard(st stream.ShardState) shard {
	s := shard{Shard: st.Shard, Owner: st.Owner, Epoch: st.Epoch, WrongKeys: st.Wrong}
	for _, q := range st.Sources {
		s.Backlog += q.Live + q.Background
		s.Parked += q.Parked
		s.OldestAgeS = max(s.OldestAgeS, q.Oldest.Seconds())
	}
	return s
}

// newWorker counts what a worker holds. An epoch is the time in milliseconds at
// which it was taken.
func newWorker(id string, shards []stream.ShardState) worker {
	w := worker{ID: id}
	for _, st := range shards {
		if st.Owner != id {
			continue
		}
		w.Shards++
		if took := momentOf(time.UnixMilli(st.Epoch)); w.Since.IsZero() || took.Before(w.Since.Time) {
			w.Since = took
		}
	}
	return w
}

func (o *overview) lookAt(ctx context.Context, name string, shards []stream.ShardState) (fleetSource, error) {
	st, err := sourceState(ctx, o.queue, name)
	if err != nil {
		return fleetSource{}, err
	}
	s := fleetSource{SourceState: st}
	if src := o.sources.get(name); src != nil { // otherwise it was just removed
		if s.Budget, err = o.queue.Budget(ctx, name, src.Rate); err != nil {
			return fleetSource{}, err
		}
	}
	for _, sh := range shards {
		q := sh.Sources[name]
		s.Live += q.Live
		s.Background += q.Background
		s.Parked += q.Parked
		s.OldestAgeS = max(s.OldestAgeS, q.Oldest.Seconds())
	}
	t, err := o.queue.Counted(ctx, name, o.now(), int(time.Hour/stream.TallyPeriod))
	if err != nil {
		return fleetSource{}, err
	}
	for note, n := range t.Noted {
		if s.Noted == nil {
			s.Noted = map[string]int64{}
		}
		s.Noted[note.String()] = n
	}
	return s, nil
}
