package mongo_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	drivevent "go.mongodb.org/mongo-driver/v2/event"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
)

// explained remembers the commands that MongoDB can explain.
type explained struct {
	mu       sync.Mutex
	commands []bson.D
}

// explainable are the fields of a command that its plan depends on. The others
// belong to the session and the call.
var explainable = map[string][]string{
	"find":          {"filter", "sort", "limit", "skip", "projection"},
	"aggregate":     {"pipeline", "cursor"},
	"update":        {"updates"},
	"delete":        {"deletes"},
	"findAndModify": {"query", "update", "new", "fields", "upsert"},
}

func (e *explained) monitor() *drivevent.CommandMonitor {
	return &drivevent.CommandMonitor{Started: func(_ context.Context, sent *drivevent.CommandStartedEvent) {
		fields, ok := explainable[sent.CommandName]
		if !ok {
			return
		}
		elements, err := sent.Command.Elements()
		if err != nil {
			return
		}
		var command bson.D
		for _, el := range elements {
			if el.Key() == sent.CommandName || slices.Contains(fields, el.Key()) {
				v := el.Value()
				v.Value = slices.Clone(v.Value)
				command = append(command, bson.E{Key: el.Key(), Value: v})
			}
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.commands = append(e.commands, command)
	}}
}

// requireIndexed asserts that the server finds what each command asks for by an
// index. Of a command with several updates it explains the first: MongoDB takes
// no more.
func (e *explained) requireIndexed(t *testing.T, db *driver.Database) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, command := range e.commands {
		for i, el := range command {
			values, is := el.Value.(bson.RawValue).ArrayOK()
			if !is || el.Key != "updates" && el.Key != "deletes" {
				continue
			}
			all, err := values.Values()
			require.NoError(t, err)
			command[i].Value = bson.A{all[0]}
		}
		var plan bson.Raw
		err := db.RunCommand(context.WithoutCancel(t.Context()), bson.D{{Key: "explain", Value: command}, {Key: "verbosity", Value: "queryPlanner"}}).Decode(&plan)
		require.NoError(t, err, "%v", command)
		require.False(t, scans(plan), "%v is found by reading the collection: %s", command, plan)
	}
}

// scans reports whether a stage of the winning plan, anywhere in the answer,
// reads a whole collection. Plans that lost do not count.
func scans(doc bson.Raw) bool {
	elements, err := doc.Elements()
	if err != nil {
		return false
	}
	for _, e := range elements {
		if stage, _ := e.Value().StringValueOK(); e.Key() == "stage" && stage == "COLLSCAN" {
			return true
		}
		if e.Key() == "rejectedPlans" {
			continue
		}
		if sub, ok := e.Value().DocumentOK(); ok && scans(sub) {
			return true
		}
		if sub, ok := e.Value().ArrayOK(); ok && scans(bson.Raw(sub)) {
			return true
		}
	}
	return false
}

func TestAScanIsFoundInAPlan(t *testing.T) {
	stage := func(name string, inputs ...bson.D) bson.D {
		return bson.D{{Key: "stage", Value: name}, {Key: "inputStages", Value: inputs}}
	}
	for name, c := range map[string]struct {
		winning, rejected bson.D
		want              bool
	}{
		"an index":          {stage("LIMIT", stage("FETCH", stage("IXSCAN"))), stage("SORT", stage("COLLSCAN")), false},
		"the collection":    {stage("LIMIT", stage("SORT_MERGE", stage("IXSCAN"), stage("COLLSCAN"))), stage("IXSCAN"), true},
		"no such documents": {stage("EOF"), bson.D{}, false},
	} {
		plan, err := bson.Marshal(bson.D{{Key: "queryPlanner", Value: bson.D{
			{Key: "winningPlan", Value: c.winning}, {Key: "rejectedPlans", Value: bson.A{c.rejected}},
		}}})
		require.NoError(t, err)
		require.Equal(t, c.want, scans(plan), name)
	}
}
