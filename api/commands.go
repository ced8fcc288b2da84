package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// longestCommandWait is the most a client may wait for the end of a command, which is
// sent to the provider and fetched again.
const longestCommandWait = 60 * time.Second

// command is a change asked for at the provider, as the API shows it.
type command = feed.Command

// newCommand shows a command as a list does, without bodies.
func (r *reader) newCommand(c *storage.Command) command { return r.view().Short(c) }

// wholeCommand shows a command with its bodies.
func (r *reader) wholeCommand(c *storage.Command) command { return r.view().Whole(c) }

// view shows commands.
func (r *reader) view() feed.View { return feed.View{Operation: r.operation, Traces: r.traces} }

// presentCommand shows a command with its bodies, and whether it is held. What was done to
// it is answered also if the latter cannot be read.
func (r *reader) presentCommand(ctx context.Context, c *storage.Command) command {
	out := r.wholeCommand(c)
	if holds, err := r.holdsOf(ctx, c.Source); err == nil {
		out.Held = isHeld(c, holds)
	}
	return out
}

// operation returns what a command does, nil if its definition no longer says so.
func (r *reader) operation(c *storage.Command) *provider.Op {
	src := r.sources.get(c.Source)
	if src == nil {
		return nil
	}
	kind := src.Provider.Kind(c.Kind)
	if kind == nil {
		return nil
	}
	return kind.Op(c.Op)
}

type commandList struct {
	Items      []command     `json:"items" nullable:"false"`
	NextCursor string        `json:"next_cursor,omitempty" doc:"Absent on the last page."`
	Holds      []commandHold `json:"holds,omitempty" doc:"The sources whose commands wait until an operator releases them, of those that were asked for."`
}

func (r *reader) registerCommands(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "list-commands", Method: http.MethodGet, Path: "/v1/commands",
		Summary: "List changes asked for at the provider, newest first", Tags: []string{"commands"},
		Description: "Those that wait for an operator's word are `state=asked`; those that were refused or given up `state=dead`.",
		Security:    needs(Viewer), Errors: listErrors,
	}, r.listCommands)
	huma.Register(api, huma.Operation{
		OperationID: "get-command", Method: http.MethodGet, Path: "/v1/commands/{id}",
		Summary: "Read one command", Tags: []string{"commands"},
		Description: "With `wait` the request waits up to that long until the command is over, and answers it as it is then.",
		Metadata:    waits(longestCommandWait), Security: needs(Viewer), Errors: itemErrors,
	}, r.getCommand)
}

type listCommandsInput struct {
	State  string `query:"state" enum:"queued,sending,unclear,asked,answered,done,dead,cancelled,discarded" doc:"Only commands in this state."`
	Source string `query:"source" doc:"Only commands of this source."`
	Kind   string `query:"kind" doc:"Only commands on entities of this kind."`
	Op     string `query:"op" doc:"Only commands that do this." example:"cancel"`
	Entity string `query:"entity" doc:"Only commands on this entity, as source/kind/id." example:"lemon/order/bord_1"`
	Ref    string `query:"ref" doc:"Only commands that were asked for by this ref."`
	Between
	Page
}

type listCommandsOutput struct{ Body commandList }

func (r *reader) listCommands(ctx context.Context, in *listCommandsInput) (*listCommandsOutput, error) {
	key, err := r.entityKey(ctx, "query.entity", in.Entity)
	if err := errors.Join(err, in.check()); err != nil {
		return nil, err
	}
	if err := r.mustKnow(ctx, r.inCommands, mentions("query", in.Source, in.Kind, "", key)); err != nil {
		return nil, err
	}
	if err := r.knownOp(ctx, in); err != nil {
		return nil, err
	}
	f := storage.CommandFilter{
		Source: in.Source, Kind: in.Kind, Op: in.Op, Entity: key, Ref: in.Ref, From: in.From, To: in.To, Limit: in.Limit, Cursor: in.Cursor,
	}
	if in.State != "" {
		f.States = []storage.CommandState{storage.CommandState(in.State)}
	}
	found, err := r.store.Commands().List(ctx, f)
	if err != nil {
		return nil, r.storeProblem(ctx, "list commands", err)
	}
	holds, err := r.holdsOf(ctx, in.Source)
	if err != nil {
		return nil, r.storeProblem(ctx, "list commands", err)
	}
	out := &listCommandsOutput{Body: commandList{Items: make([]command, len(found.Items)), NextCursor: found.NextCursor, Holds: holds}}
	for i, c := range found.Items {
		out.Body.Items[i] = r.newCommand(c)
		out.Body.Items[i].Held = isHeld(c, holds)
	}
	return out, nil
}

// inCommands looks into the list of commands.
func (r *reader) inCommands(ctx context.Context, m mention) (bool, error) {
	found, err := r.store.Commands().List(ctx, storage.CommandFilter{Source: m.source, Kind: m.kind, Limit: 1})
	return hasItems(ctx, r, found, err)
}

// knownOp refuses an operation that no definition has and no command was.
func (r *reader) knownOp(ctx context.Context, in *listCommandsInput) error {
	if in.Op == "" {
		return nil
	}
	var known []string
	for _, name := range r.sources.names() {
		src := r.sources.get(name)
		if src == nil || in.Source != "" && in.Source != name {
			continue
		}
		for _, k := range src.Provider.Kinds() {
			if in.Kind == "" || in.Kind == k.Name {
				known = append(known, opNames(k)...)
			}
		}
	}
	slices.Sort(known)
	if known = slices.Compact(known); slices.Contains(known, in.Op) {
		return nil
	}
	found, err := r.store.Commands().List(ctx, storage.CommandFilter{Source: in.Source, Kind: in.Kind, Op: in.Op, Limit: 1})
	there, err := hasItems(ctx, r, found, err)
	if err != nil || there {
		return err
	}
	return unknownValue("query.op", "operation", in.Op, known)
}

// opNames are the names of what can be done with a kind.
func opNames(k *provider.Kind) []string {
	ops := k.Ops()
	names := make([]string, len(ops))
	for i, op := range ops {
		names[i] = op.Name
	}
	return names
}

// CommandPath names a command in a path.
type CommandPath struct {
	ID string `path:"id" maxLength:"255" doc:"Id of the command." example:"cmd_0af7651916cd43dd8448eb211c80319c"`
}

// CommandWait says how long to wait for the end of a command.
type CommandWait struct {
	Wait string `query:"wait" doc:"How long to wait until it is over, as a duration up to 60s." example:"10s"`
}

type commandOutput struct{ Body command }

func (r *reader) getCommand(ctx context.Context, in *struct {
	CommandPath
	CommandWait
},
) (*commandOutput, error) {
	wait, err := parseWait(in.Wait, longestCommandWait)
	if err != nil {
		return nil, err
	}
	c, err := r.awaitCommand(ctx, in.ID, wait)
	if err != nil {
		return nil, err
	}
	return &commandOutput{Body: r.presentCommand(ctx, c)}, nil
}

// awaitCommand reads a command repeatedly until it is over or the time is up.
func (r *reader) awaitCommand(ctx context.Context, id string, wait time.Duration) (*storage.Command, error) {
	c, err := await(ctx, r, wait,
		func(ctx context.Context) (*storage.Command, error) { return r.store.Commands().Command(ctx, id) },
		func(c *storage.Command, err error) bool { return err != nil || c.State.Final() })
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, problem(http.StatusNotFound, "", "there is no command %q", id)
	case err != nil:
		return nil, r.storeProblem(ctx, "read command", err)
	}
	return c, nil
}

// refOf returns the ref of an entity that can be changed, "" if it has none.
func (r *reader) refOf(ctx context.Context, key event.Key) (string, error) {
	src := r.sources.get(key.Source)
	if src == nil {
		return "", nil
	}
	if kind := src.Provider.Kind(key.Kind); kind == nil || len(kind.Ops()) == 0 {
		return "", nil
	}
	found, err := r.store.Commands().RefTo(ctx, key)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return "", nil
	case err != nil:
		return "", r.storeProblem(ctx, "read the ref of an entity", err)
	}
	ref, _ := storage.RefOfLane(found.Lane)
	return ref, nil
}
