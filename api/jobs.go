package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Kinds of the tasks that are jobs.
const (
	taskRedrive       = storage.KindRedrive
	taskDiscard       = storage.KindDiscard
	taskDiscardSource = storage.KindDiscardSource
	taskReread        = storage.KindReread
	taskErase         = storage.KindErase
	taskRestore       = storage.KindRestore
)

var jobKinds = []string{taskRedrive, taskDiscard, taskDiscardSource, taskReread, taskErase, taskRestore}

// job is a task on dead letters, on events with a note, on a discarded source or on what is
// erased, as the API shows it.
type job struct {
	ID         string     `json:"id"`
	Kind       string     `json:"kind" enum:"redrive,discard,abandon,reread,erase,restore"`
	Source     string     `json:"source,omitempty" doc:"Absent if it is on dead letters of every source."`
	Status     string     `json:"status" enum:"waiting,running,done,failed,cancelled"`
	Cancelling bool       `json:"cancelling,omitempty" doc:"It was asked to end and has not yet."`
	By         string     `json:"by,omitempty" doc:"Who started it."`
	Filter     *jobFilter `json:"filter,omitempty" doc:"What it selects."`
	Rate       float64    `json:"rate,omitempty" doc:"Most dead letters, or events, a second."`
	Reason     string     `json:"reason,omitempty" doc:"Why dead letters are discarded."`
	Total      int64      `json:"total" doc:"Dead letters, or events, selected when it was started; entities found so far, of a job that erases or restores."`
	Done       int64      `json:"done" doc:"How many of them it is through with: dead letters whose work was queued again, or that were discarded; events that were read again; entities that were erased or restored. Work that was queued again may fail again: its dead letter is open again then, with the new attempts, and /v1/dead-letters?status=open has it."`
	Failed     int64      `json:"failed" doc:"How many it could not do that with. Work that was queued again and fails later is not among them."`
	Error      string     `json:"error,omitempty" doc:"The last thing that went wrong."`
	CreatedAt  moment     `json:"created_at"`
	StartedAt  moment     `json:"started_at,omitzero"`
	UpdatedAt  moment     `json:"updated_at,omitzero" doc:"When it last saved its progress."`
	FinishedAt moment     `json:"finished_at,omitzero"`
}

type jobFilter struct {
	Source   string `json:"source,omitempty"`
	Type     string `json:"type,omitempty"`
	Kind     string `json:"kind,omitempty"`
	Entity   string `json:"entity,omitempty"`
	Class    string `json:"class,omitempty"`
	Note     string `json:"note,omitempty"`
	Children bool   `json:"children,omitempty" doc:"Of a job that erases or restores: with all that is under the entity."`
	From     moment `json:"from,omitzero"`
	To       moment `json:"to,omitzero"`
}

func newJob(t *storage.Task) job {
	j := job{
		ID: t.ID, Kind: t.Kind, Source: t.Source, Status: string(t.Status), Cancelling: cancelling(t), By: t.By,
		Total: t.Counts["total"], Done: t.Counts["done"], Failed: t.Counts["failed"], Error: t.Error,
		CreatedAt: momentOf(t.CreatedAt), StartedAt: momentOf(t.StartedAt), UpdatedAt: momentOf(t.UpdatedAt), FinishedAt: momentOf(t.FinishedAt),
	}
	if t.Kind == taskErase || t.Kind == taskRestore {
		var spec storage.ErasureSpec
		if err := json.Unmarshal(t.Spec, &spec); err == nil {
			j.Filter = &jobFilter{Entity: spec.Entity.Key.String(), Children: spec.Below}
		}
		return j
	}
	var spec storage.RedriveSpec
	if err := json.Unmarshal(t.Spec, &spec); err == nil { // of another version: shown without
		f := spec.Filter
		j.Rate, j.Reason = spec.Rate, spec.Reason
		j.Filter = &jobFilter{Source: f.Source, Type: f.Type, Kind: f.Kind, Class: f.Class, Note: spec.Note, From: momentOf(f.From), To: momentOf(f.To)}
		if !f.Entity.IsZero() {
			j.Filter.Entity = f.Entity.String()
		}
	}
	return j
}

func cancelling(t *storage.Task) bool { return t.Cancel && !t.Status.Final() }

type jobList struct {
	Items      []job  `json:"items" nullable:"false"`
	NextCursor string `json:"next_cursor,omitempty" doc:"Absent on the last page."`
}

func (r *reader) registerJobs(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "list-jobs", Method: http.MethodGet, Path: "/v1/jobs",
		Summary: "List jobs on dead letters, events and what is erased, newest first", Tags: []string{"jobs"},
		Description: "Jobs that are over are forgotten after a while.",
		Security:    needs(Viewer), Errors: listErrors,
	}, r.listJobs)
	huma.Register(api, huma.Operation{
		OperationID: "get-job", Method: http.MethodGet, Path: "/v1/jobs/{id}",
		Summary: "Read a job's progress", Tags: []string{"jobs"},
		Security: needs(Viewer), Errors: itemErrors,
	}, r.getJob)
}

func (o *operator) registerJobs(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "cancel-job", Method: http.MethodDelete, Path: "/v1/jobs/{id}",
		Summary: "End a job", Tags: []string{"jobs"},
		Description: "What it has done stays done. One that runs ends within seconds: until then it is `cancelling`. " +
			"One that is over is a 409 of type `over`. One that erases or restores is a 409 of type `erasing`: half of it must not stay.",
		DefaultStatus: http.StatusAccepted, Security: needs(Operator), Errors: actErrors,
	}, o.cancelJob)
}

// TaskPage selects one page of a list of tasks.
type TaskPage struct {
	Status string `query:"status" enum:"waiting,running,done,failed,cancelled" doc:"Only those in this status."`
	Source string `query:"source" doc:"Only those of this source."`
	Page
}

// filter selects among tasks of the given kinds; of one only, if only is not "".
func (p TaskPage) filter(kinds []string, only string) storage.TaskFilter {
	f := storage.TaskFilter{Kinds: kinds, Source: p.Source, Limit: p.Limit, Cursor: p.Cursor}
	if only != "" {
		f.Kinds = []string{only}
	}
	if p.Status != "" {
		f.Statuses = []storage.TaskStatus{storage.TaskStatus(p.Status)}
	}
	return f
}

type listJobsInput struct {
	Kind string `query:"kind" enum:"redrive,discard,abandon,reread,erase,restore" doc:"Only jobs of this kind."`
	TaskPage
}

type listJobsOutput struct{ Body jobList }

func (r *reader) listJobs(ctx context.Context, in *listJobsInput) (*listJobsOutput, error) {
	if err := r.mustKnow(ctx, r.inTasks(jobKinds), mentions("query", in.Source, "", "", event.Key{})); err != nil {
		return nil, err
	}
	found, err := r.store.Tasks(ctx, in.filter(jobKinds, in.Kind))
	if err != nil {
		return nil, r.storeProblem(ctx, "list jobs", err)
	}
	out := &listJobsOutput{Body: jobList{Items: make([]job, len(found.Items)), NextCursor: found.NextCursor}}
	for i, t := range found.Items {
		out.Body.Items[i] = newJob(t)
	}
	return out, nil
}

// TaskPath names a job or a sweep in a path.
type TaskPath struct {
	ID string `path:"id" maxLength:"765" doc:"Its id."`
}

type jobOutput struct{ Body job }

func (r *reader) getJob(ctx context.Context, in *struct{ TaskPath }) (*jobOutput, error) {
	t, err := r.task(ctx, in.TaskPath, "job", jobKinds)
	if err != nil {
		return nil, err
	}
	return &jobOutput{Body: newJob(t)}, nil
}

func (o *operator) cancelJob(ctx context.Context, in *struct{ TaskPath }) (*jobOutput, error) {
	t, err := o.cancel(ctx, in.TaskPath, "job", jobKinds)
	if err != nil {
		return nil, err
	}
	return &jobOutput{Body: newJob(t)}, nil
}

// task reads a task of one of the kinds; noun names these in errors.
func (r *reader) task(ctx context.Context, p TaskPath, noun string, kinds []string) (*storage.Task, error) {
	id, err := pathID(p.ID)
	if err != nil {
		return nil, err
	}
	t, err := r.store.Task(ctx, storedID(id))
	switch {
	case errors.Is(err, storage.ErrNotFound) || err == nil && !slices.Contains(kinds, t.Kind):
		return nil, noTask(noun, id)
	case err != nil:
		return nil, r.storeProblem(ctx, "read "+noun, err)
	}
	return t, nil
}

// start creates a task, which the reconciler runs.
func (o *operator) start(ctx context.Context, t *storage.Task, what, why string) error {
	if err := o.store.CreateTasks(ctx, []*storage.Task{t}); err != nil {
		return o.storeProblem(ctx, "start "+t.ID, err)
	}
	o.record(ctx, act{source: t.Source, did: "start " + t.Kind, to: what, why: why})
	return nil
}

// cancel requests the end of a task and returns the task as it is then.
func (o *operator) cancel(ctx context.Context, p TaskPath, noun string, kinds []string) (*storage.Task, error) {
	ctx, cancel := o.acting(ctx)
	defer cancel()
	t, err := o.task(ctx, p, noun, kinds)
	if err != nil {
		return nil, err
	}
	if standing(t) {
		return nil, problem(http.StatusConflict, problems.Standing,
			"%s is standing work that never ends; pause its source to stop calls of the provider", shownID(t.ID))
	}
	if (t.Kind == taskErase || t.Kind == taskRestore) && !t.Status.Final() {
		return nil, problem(http.StatusConflict, problems.Erasing, "%s is carried through: half of it must not stay", t.ID)
	}
	ends, err := o.store.CancelTask(ctx, t.ID)
	if err != nil {
		return nil, o.storeProblem(ctx, "cancel "+t.ID, err)
	}
	if !ends {
		if t, err = o.task(ctx, p, noun, kinds); err != nil {
			return nil, err
		}
		return nil, problem(http.StatusConflict, problems.Over, "the %s %s is over: %s", noun, t.ID, t.Status)
	}
	o.record(ctx, act{source: t.Source, did: "cancel", to: t.ID, before: map[string]string{"status": string(t.Status)}})
	return o.task(ctx, p, noun, kinds)
}

// standing reports whether a task is a standing one, which never ends. Its id is its
// kind and source, such as gaps/lemon.
func standing(t *storage.Task) bool { return t.ID == t.Kind+"/"+t.Source }
