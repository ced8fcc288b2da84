package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/storage"
)

// SourceState is the state of a source in the fleet, as the API shows it.
type SourceState struct {
	Source  string `json:"source"`
	Paused  bool   `json:"paused" doc:"Whether it is paused: no sync and no sweep asks its provider for anything. Webhooks are taken all the same."`
	Kind    string `json:"kind,omitempty" doc:"What kind of pause it is: by_hand, throttled, used_up, down, refused, misconfigured."`
	Reason  string `json:"reason,omitempty" doc:"Why it is paused, in words."`
	By      string `json:"by,omitempty" doc:"Who paused it: a token, a worker or a reconciler."`
	Since   moment `json:"since,omitzero" doc:"Since when it is paused."`
	RetryAt moment `json:"retry_at,omitzero" doc:"When the provider may be tried again. Absent if only an operator can end the pause."`
	// DeletionsAcceptedForS is absent if they are not.
	DeletionsAcceptedForS float64 `json:"deletions_accepted_for_s,omitempty" doc:"For how many more seconds known entities that are not found count as deleted without proof, as an operator has asked."`
}

// sourceState reads the state of a source.
func sourceState(ctx context.Context, q Queue, name string) (SourceState, error) {
	st, err := q.Source(ctx, name)
	if err != nil {
		return SourceState{}, err
	}
	accepted, err := q.DeletionsAccepted(ctx, name)
	return SourceState{
		Source: name, Paused: st.Paused, Kind: string(st.Kind), Reason: st.Reason, By: st.By,
		Since: momentOf(st.Since), RetryAt: momentOf(st.Until), DeletionsAcceptedForS: accepted.Seconds(),
	}, err
}

func (o *operator) registerSources(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "pause-source", Method: http.MethodPost, Path: "/v1/sources/{source}/pause",
		Summary: "Ask a provider for nothing until resumed", Tags: []string{"sources"},
		Description: "For the whole fleet, within a second. Webhooks are taken and wait; waiting costs no attempts. A pause that " +
			"only an operator can end keeps its first reason.",
		Security: needs(Operator), Errors: itemErrors,
	}, o.pause)
	huma.Register(api, huma.Operation{
		OperationID: "resume-source", Method: http.MethodPost, Path: "/v1/sources/{source}/resume",
		Summary: "End a pause, made by hand or by a worker", Tags: []string{"sources"},
		Description: "A source that is paused as misconfigured is paused again at the next known entity that is not found, unless its " +
			"deletions are accepted. A resume without accept_deletions ends what one with it began.",
		Security: needs(Operator), Errors: itemErrors,
	}, o.resume)
	huma.Register(api, huma.Operation{
		OperationID: "retry-source", Method: http.MethodPost, Path: "/v1/sources/{source}/retry",
		Summary: "Make all parked work of a source due now", Tags: []string{"sources"},
		Description: "Attempts are counted as usual. A source that is paused stays so.",
		Security:    needs(Operator), Errors: itemErrors,
	}, o.retry)
	huma.Register(api, huma.Operation{
		OperationID: "discard-source", Method: http.MethodPost, Path: "/v1/sources/{source}/discard",
		Summary: "Discard all open work of a source that is not configured any more", Tags: []string{"sources"},
		Description: "A job: what waits is removed, and every event that was not settled is discarded, which its row and the audit " +
			"show. The mirror stays as it is. For a source that is configured: 409 of type `configured`. A name that was never configured is a 404.",
		DefaultStatus: http.StatusAccepted, Security: needs(Operator), Errors: actErrors,
	}, o.discardSource)
}

// SourcePath names a source in a path.
type SourcePath struct {
	Source string `path:"source" doc:"Name of the source, as configured." example:"lemon"`
}

type pauseInput struct {
	SourcePath
	Body struct {
		Reason string `json:"reason" minLength:"1" maxLength:"500" pattern:"\\S" patternDescription:"text that is not blank" doc:"Why, for the next reader."`
	}
}

type sourceOutput struct{ Body SourceState }

func (o *operator) pause(ctx context.Context, in *pauseInput) (*sourceOutput, error) {
	return o.change(ctx, in.SourcePath, "pause", in.Body.Reason, func(ctx context.Context) error {
		return o.queue.Pause(ctx, in.Source, 0, in.Body.Reason, actor(ctx))
	})
}

type resumeInput struct {
	SourcePath
	Body *struct {
		AcceptDeletions bool `json:"accept_deletions,omitempty" doc:"For the next hour, known entities that the provider does not find count as deleted, without proof that the right account is asked. For operators who have made sure that they were deleted."`
	}
}

func (o *operator) resume(ctx context.Context, in *resumeInput) (*sourceOutput, error) {
	accept, did := in.Body != nil && in.Body.AcceptDeletions, "resume"
	if accept {
		did = "accept deletions and resume"
	}
	return o.change(ctx, in.SourcePath, did, "", func(ctx context.Context) error {
		if accept {
			return o.queue.ResumeAccepting(ctx, in.Source, actor(ctx))
		}
		return o.queue.Resume(ctx, in.Source)
	})
}

// change changes a source's state and returns the state after it.
func (o *operator) change(ctx context.Context, p SourcePath, did, why string, do func(context.Context) error) (*sourceOutput, error) {
	if _, err := o.source(p.Source); err != nil {
		return nil, err
	}
	ctx, cancel := o.acting(ctx)
	defer cancel()
	var before any // nil if it cannot be read: the act needs no more than that it is done
	if was, err := sourceState(ctx, o.queue, p.Source); err == nil {
		before = was
	}
	if err := do(ctx); err != nil {
		return nil, o.queueProblem(ctx, did+" "+p.Source, err)
	}
	st, err := sourceState(ctx, o.queue, p.Source)
	a := act{source: p.Source, did: did, to: p.Source, why: why, before: before}
	if err == nil {
		a.after = st
	}
	o.record(ctx, a)
	if err != nil {
		return nil, o.queueProblem(ctx, "read the state of "+p.Source, err)
	}
	return &sourceOutput{Body: st}, nil
}

type retryOutput struct {
	Body struct {
		Source   string `json:"source"`
		Entities int    `json:"entities" doc:"How many waited and are due now."`
	}
}

func (o *operator) retry(ctx context.Context, in *struct{ SourcePath }) (*retryOutput, error) {
	if _, err := o.source(in.Source); err != nil {
		return nil, err
	}
	ctx, cancel := o.acting(ctx)
	defer cancel()
	n, err := o.queue.RetryParked(ctx, in.Source)
	if err != nil {
		return nil, o.queueProblem(ctx, "retry what is parked of "+in.Source, err)
	}
	o.record(ctx, act{source: in.Source, did: "retry", to: count(int64(n), "parked entity", "parked entities") + " of " + in.Source})
	out := &retryOutput{}
	out.Body.Source, out.Body.Entities = in.Source, n
	return out, nil
}

func (o *operator) discardSource(ctx context.Context, in *pauseInput) (*jobOutput, error) {
	if o.sources.get(in.Source) != nil {
		return nil, problem(http.StatusConflict, problems.Configured,
			"the source %s is configured: take it out of the settings of every process first", in.Source)
	}
	ctx, cancel := o.acting(ctx)
	defer cancel()
	switch was, err := o.wasConfigured(ctx, in.Source); {
	case err != nil:
		return nil, err
	case !was:
		return nil, problem(http.StatusNotFound, "", "no source %q was ever configured, and no work of that name waits", in.Source)
	}
	now := o.now().UTC()
	task := &storage.Task{
		ID: newID("job_"), Kind: taskDiscardSource, Source: in.Source, Status: storage.TaskWaiting, By: actor(ctx),
		Spec: toJSON(storage.RedriveSpec{Filter: storage.LetterFilter{Source: in.Source}, Reason: in.Body.Reason}), CreatedAt: now, UpdatedAt: now,
	}
	if err := o.start(ctx, task, "all open work of "+in.Source, in.Body.Reason); err != nil {
		return nil, err
	}
	return &jobOutput{Body: newJob(task)}, nil
}
