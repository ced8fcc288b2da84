package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/storage"
)

const tasksList = "tasks"

// task is a task as stored.
type task struct {
	ID     string             `bson:"_id"`
	Kind   string             `bson:"kind"`
	Parent string             `bson:"parent"`
	Source string             `bson:"source"`
	Status storage.TaskStatus `bson:"status"`
	By     string             `bson:"by"`
	Spec   bson.RawValue      `bson:"spec,omitempty"`
	State  bson.RawValue      `bson:"state,omitempty"`
	Counts map[string]int64   `bson:"counts,omitempty"`
	Error  string             `bson:"error,omitempty"`
	Cancel bool               `bson:"cancel"`
	Epoch  int64              `bson:"epoch"`

	CreatedAt  time.Time `bson:"created_at"`
	StartedAt  time.Time `bson:"started_at,omitempty"`
	UpdatedAt  time.Time `bson:"updated_at,omitempty"`
	FinishedAt time.Time `bson:"finished_at,omitempty"`
}

func newTask(t *storage.Task) *task {
	return &task{
		ID: t.ID, Kind: t.Kind, Parent: t.Parent, Source: t.Source, Status: t.Status, By: t.By,
		Spec: optionalBody(t.Spec), State: optionalBody(t.State), Counts: mapKeys(t.Counts, escapeField), Error: t.Error,
		Cancel: t.Cancel, Epoch: t.Epoch,
		CreatedAt: t.CreatedAt, StartedAt: t.StartedAt, UpdatedAt: t.UpdatedAt, FinishedAt: t.FinishedAt,
	}
}

func (t *task) mirror() *storage.Task {
	return &storage.Task{
		ID: t.ID, Kind: t.Kind, Parent: t.Parent, Source: t.Source, Status: t.Status, By: t.By,
		Spec: bodyBytes(t.Spec), State: bodyBytes(t.State), Counts: mapKeys(t.Counts, unescapeField), Error: t.Error,
		Cancel: t.Cancel, Epoch: t.Epoch,
		CreatedAt: t.CreatedAt, StartedAt: t.StartedAt, UpdatedAt: t.UpdatedAt, FinishedAt: t.FinishedAt,
	}
}

// The statuses of tasks that are over.
var over = []storage.TaskStatus{storage.TaskDone, storage.TaskFailed, storage.TaskCancelled}

// notOver selects tasks that are not.
var notOver = bson.E{Key: "status", Value: bson.D{{Key: "$nin", Value: over}}}

// CreateTasks adds tasks; one whose id is there is left as it is.
func (s *Store) CreateTasks(ctx context.Context, tasks []*storage.Task) error {
	for chunk := range slices.Chunk(tasks, s.bulkSize) {
		docs := make([]*task, len(chunk))
		for i, t := range chunk {
			docs[i] = newTask(t)
		}
		_, err := s.tasks.InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
		if _, err := duplicates(err); err != nil {
			return fmt.Errorf("create tasks: %w", classify(ctx, err))
		}
	}
	return nil
}

// Task returns one, or storage.ErrNotFound.
func (s *Store) Task(ctx context.Context, id string) (*storage.Task, error) {
	t, err := s.task(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read task %s: %w", id, err)
	}
	return t.mirror(), nil
}

func (s *Store) task(ctx context.Context, id string) (*task, error) {
	var t task
	raw, err := s.tasks.FindOne(ctx, bson.D{{Key: "_id", Value: id}}).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, storage.ErrNotFound
	}
	if err == nil {
		err = decode(s.tasks, raw, &t)
	}
	if err != nil {
		return nil, classify(ctx, err)
	}
	return &t, nil
}

// Tasks lists them, newest created_at first.
func (s *Store) Tasks(ctx context.Context, f storage.TaskFilter) (storage.Page[*storage.Task], error) {
	filter := appendEqual(bson.D{}, "parent", f.Parent)
	filter = appendEqual(filter, "source", f.Source)
	if len(f.Kinds) > 0 {
		filter = append(filter, oneOf("kind", f.Kinds...)...)
	}
	if len(f.Statuses) > 0 {
		filter = append(filter, oneOf("status", f.Statuses...)...)
	}
	found, err := newestFirst[task]{
		name: tasksList, collection: s.tasks, time: "created_at",
		place: func(t task) (time.Time, string) { return t.CreatedAt, t.ID },
	}.read(ctx, filter, f.Limit, f.Cursor)
	if err != nil {
		return storage.Page[*storage.Task]{}, fmt.Errorf("list tasks: %w", err)
	}
	return convert(found, (*task).mirror), nil
}

// SaveTask writes how far a task has come, unless a later lease has.
func (s *Store) SaveTask(ctx context.Context, t *storage.Task) (bool, error) {
	filter := bson.D{{Key: "_id", Value: t.ID}, {Key: "epoch", Value: bson.D{{Key: "$lte", Value: t.Epoch}}}, notOver}
	var saved task
	err := s.tasks.FindOneAndUpdate(ctx, filter, saveUpdate(t),
		options.FindOneAndUpdate().SetReturnDocument(options.After).SetProjection(bson.D{{Key: "cancel", Value: 1}})).Decode(&saved)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return s.savedBefore(ctx, t)
	}
	if err != nil {
		return false, fmt.Errorf("save task %s: %w", t.ID, classify(ctx, err))
	}
	t.Cancel = saved.Cancel
	return true, nil
}

func saveUpdate(t *storage.Task) bson.D {
	doc := newTask(t)
	set := bson.D{{Key: "status", Value: doc.Status}, {Key: "epoch", Value: doc.Epoch}}
	var unset bson.D
	for _, f := range []struct {
		name  string
		there bool
		value any
	}{
		{"state", !doc.State.IsZero(), doc.State},
		{"counts", len(doc.Counts) > 0, doc.Counts},
		{"error", doc.Error != "", doc.Error},
		{"started_at", !doc.StartedAt.IsZero(), doc.StartedAt},
		{"updated_at", !doc.UpdatedAt.IsZero(), doc.UpdatedAt},
		{"finished_at", !doc.FinishedAt.IsZero(), doc.FinishedAt},
	} {
		if f.there {
			set = append(set, bson.E{Key: f.name, Value: f.value})
		} else {
			unset = append(unset, bson.E{Key: f.name, Value: ""})
		}
	}
	update := bson.D{{Key: "$set", Value: set}}
	if len(unset) > 0 {
		update = append(update, bson.E{Key: "$unset", Value: unset})
	}
	return update
}

// savedBefore reports whether a refused save repeats one that succeeded before and
// whose answer was lost.
func (s *Store) savedBefore(ctx context.Context, t *storage.Task) (bool, error) {
	there, err := s.task(ctx, t.ID)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("save task %s: %w", t.ID, err)
	}
	t.Cancel = there.Cancel
	return t.Status.Final() && there.Status == t.Status && there.Epoch == t.Epoch, nil
}

// CancelTask asks for a task to end.
func (s *Store) CancelTask(ctx context.Context, id string) (bool, error) {
	this := bson.E{Key: "_id", Value: id}
	cancel := bson.E{Key: "cancel", Value: true}
	matched, err := s.bulk(ctx, s.tasks, []mongo.WriteModel{
		mongo.NewUpdateOneModel().SetFilter(bson.D{this, {Key: "status", Value: storage.TaskWaiting}}).
			SetUpdate(bson.D{{Key: "$set", Value: bson.D{
				cancel, {Key: "status", Value: storage.TaskCancelled}, {Key: "finished_at", Value: s.now()},
			}}}),
		mongo.NewUpdateOneModel().SetFilter(bson.D{this, notOver}).SetUpdate(bson.D{{Key: "$set", Value: bson.D{cancel}}}),
	})
	if err == nil && matched == 0 {
		_, err = s.task(ctx, id)
	}
	if err != nil {
		return false, fmt.Errorf("cancel task %s: %w", id, err)
	}
	return matched > 0, nil
}

// ForgetTasks removes final tasks that finished before a time. Partitions go
// first: while their task is there they are found again.
func (s *Store) ForgetTasks(ctx context.Context, before time.Time) (int, error) {
	filter := append(oneOf("status", over...), bson.E{Key: "parent", Value: ""},
		bson.E{Key: "finished_at", Value: bson.D{{Key: "$lt", Value: before}}})
	n := 0
	for {
		old, err := find[task](ctx, s.tasks, filter, options.Find().SetLimit(maxIDs).SetProjection(bson.D{{Key: "_id", Value: 1}}))
		if err != nil || len(old) == 0 {
			return n, err
		}
		ids := make([]string, len(old))
		for i, t := range old {
			ids[i] = t.ID
		}
		for _, which := range []bson.D{oneOf("parent", ids...), {among(ids)}} {
			res, err := s.tasks.DeleteMany(ctx, which)
			if err != nil {
				return n, fmt.Errorf("forget tasks: %w", classify(ctx, err))
			}
			n += int(res.DeletedCount)
		}
	}
}
