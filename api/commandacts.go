package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/outbound"
	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// mostCommand is the longest body of a request for a command, in bytes.
const mostCommand = 1 << 20

// commandErrors are the errors of what is done to one command.
var commandErrors = append([]int{http.StatusBadRequest}, actErrors...)

func (o *operator) registerCommands(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "send-command", Method: http.MethodPost, Path: "/v1/commands",
		Summary: "Ask for a change at the provider", Tags: []string{"commands"},
		Description: "The change is durable when this is answered, and is made in the order of the entity's commands. " +
			"`tarn provider show` lists what a provider takes.\n\n" +
			"`Idempotency-Key` is required, and is the application's own name for the wish: the same key again is a 200 with the same command, " +
			"with another wish it is a 422 of type `key-reused`. So a request without an answer is sent again as it was.\n\n" +
			"What the definition does not have is a 400 of type `bad-command` or `unknown-value` with its path. A source without `write_key` is a 403 of type `no-write-key`. " +
			"A body may have 1 MiB.\n\n" +
			"With `wait` the request waits up to that long, and is answered 200 if the command is over by then.",
		DefaultStatus: http.StatusAccepted, Responses: alsoOK[command](api, "It is over, or was asked for before"),
		MaxBodyBytes: mostCommand, Metadata: waits(longestCommandWait), Security: needs(Writer),
		Errors: append([]int{http.StatusBadRequest, http.StatusRequestEntityTooLarge}, startErrors...),
	}, o.sendCommand)
	requireKey(api)
	huma.Register(api, huma.Operation{
		OperationID: "cancel-command", Method: http.MethodDelete, Path: "/v1/commands/{id}",
		Summary: "Take a command back", Tags: []string{"commands"},
		Description: "Only while it is queued, so that it was not sent. Else it is a 409 of type `in-state`.",
		Security:    needs(Writer), Errors: actErrors,
	}, o.cancelCommand)
	huma.Register(api, huma.Operation{
		OperationID: "retry-command", Method: http.MethodPost, Path: "/v1/commands/{id}/retry",
		Summary: "Ask for a dead command again", Tags: []string{"commands"},
		Description: "It has a new key at the provider and no attempts that count. Secrets were cut out when it ended: one that had any is asked for as a new command.",
		Security:    needs(Operator), Errors: commandErrors,
	}, o.retryCommand)
	huma.Register(api, huma.Operation{
		OperationID: "discard-command", Method: http.MethodPost, Path: "/v1/commands/{id}/discard",
		Summary: "Give up a command that is dead or asked", Tags: []string{"commands"},
		Description: "It is kept, with the reason. What waits behind one that was asked goes on.",
		Security:    needs(Operator), Errors: commandErrors,
	}, o.discardCommand)
	huma.Register(api, huma.Operation{
		OperationID: "resolve-command", Method: http.MethodPost, Path: "/v1/commands/{id}/resolve",
		Summary: "Say what became of a command that is asked", Tags: []string{"commands"},
		Description: "`done`: the provider has done it; of a create `id` says what it created. `absent`: it has not, and it is sent again. " +
			"Look at the provider first: `absent` of what was done makes it twice.",
		Security: needs(Operator), Errors: commandErrors,
	}, o.resolveCommand)
}

// requireKey has the document say that the key is required. The library is not told: it
// would answer a request without one before anything could say what a key is for.
func requireKey(api huma.API) {
	for _, p := range api.OpenAPI().Paths["/v1/commands"].Post.Parameters {
		if p.In == "header" && p.Name == "Idempotency-Key" {
			p.Required = true
		}
	}
}

// commandFields are the fields of a command as they come, every token as it was written.
type commandFields []byte

// UnmarshalJSON keeps the text.
func (f *commandFields) UnmarshalJSON(text []byte) error {
	*f = slices.Clone(text)
	return nil
}

// Schema is that of an object.
func (commandFields) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: true,
		Description: "The fields to be set, in the provider's words. Null unsets one; {\"$ref\": \"kind/ref\"} stands for the id of what was created under a ref.",
	}
}

type sendCommandInput struct {
	Key string `header:"Idempotency-Key" doc:"The application's own name for the wish, 1 to 255 bytes: an id of its own, and never a new one for a repeated request."`
	CommandWait
	Body struct {
		Source  string            `json:"source" doc:"Name of the source, as configured." example:"lemon"`
		Kind    string            `json:"kind" doc:"Kind of entity, as the provider's definition names it." example:"order"`
		Op      string            `json:"op" doc:"create, update, delete, or an action of the kind." example:"cancel"`
		ID      string            `json:"id,omitempty" doc:"Id of the entity to be changed. This or ref."`
		Ref     string            `json:"ref,omitempty" doc:"The application's own name for the entity: of a create always, later in the place of its id."`
		Parents map[string]string `json:"parents,omitempty" doc:"Ids of the entity's parents."`
		Fields  commandFields     `json:"body,omitempty"`
		Bulk    bool              `json:"bulk,omitempty" doc:"It may wait for everything more urgent."`
	}
}

type sendCommandOutput struct {
	Status   int
	Location string `header:"Location" doc:"Where the command is."`
	Body     command
}

func (o *operator) sendCommand(ctx context.Context, in *sendCommandInput) (*sendCommandOutput, error) {
	wait, err := parseWait(in.Wait, longestCommandWait)
	if err != nil {
		return nil, err
	}
	if in.Key == "" {
		return nil, badCommand("header.Idempotency-Key", nil,
			"is missing: send an id of your own for this wish, the same one whenever the request is repeated")
	}
	b := in.Body
	if err := o.takes(b.Source, b.Kind, b.Op); err != nil {
		return nil, err
	}
	c, isNew, err := o.admit(ctx, outbound.Wish{
		Source: b.Source, Key: in.Key, Kind: b.Kind, Op: b.Op, ID: b.ID, Ref: b.Ref, Parents: b.Parents, Body: b.Fields, Bulk: b.Bulk, By: actor(ctx),
	})
	if err != nil {
		return nil, err
	}
	if wait > 0 && !c.State.Final() {
		// It is durable, even if it cannot be read again.
		if later, err := o.awaitCommand(ctx, c.ID, wait); err == nil {
			c = later
		}
	}
	out := &sendCommandOutput{Status: http.StatusAccepted, Location: "/v1/commands/" + c.ID, Body: o.presentCommand(ctx, c)}
	if !isNew || c.State.Final() {
		out.Status = http.StatusOK
	}
	return out, nil
}

// takes refuses a source, a kind or an operation that there is not, with those that there
// are, and a source that changes nothing.
func (o *operator) takes(source, kind, op string) error {
	src := o.sources.get(source)
	if src == nil {
		return unknownValue("body.source", "source", source, o.sources.names())
	}
	var kinds []string
	for _, k := range src.Provider.Kinds() {
		if len(k.Ops()) > 0 {
			kinds = append(kinds, k.Name)
		}
	}
	k := src.Provider.Kind(kind)
	switch {
	case !src.Writes:
		return problem(http.StatusForbidden, problems.NoWriteKey,
			"source %q has no key for changes: set sources.%[1]s.write_key and send the processes a SIGHUP", source)
	case k == nil:
		return unknownValue("body.kind", "kind", kind, kinds)
	case k.Op(op) == nil:
		return unknownValue("body.op", "operation of "+kind, op, opNames(k))
	}
	return nil
}

// admit stores a wish as a command, and reports whether it is a new one.
func (o *operator) admit(ctx context.Context, w outbound.Wish) (c *storage.Command, isNew bool, err error) {
	ctx, cancel := o.acting(ctx)
	defer cancel()
	ctx, span := o.tracer.Start(ctx, "command", trace.WithNewRoot(), trace.WithAttributes(
		attribute.String("tarn.source", w.Source), attribute.String("tarn.kind", w.Kind), attribute.String("tarn.op", w.Op)))
	defer span.End()
	w.Trace = telemetry.Traceparent(ctx)
	desk := o.desk()
	// One that was there has the time at which it was asked for first.
	now := desk.Now()
	desk.Now = func() time.Time { return now }
	c, err = desk.Admit(ctx, w)
	if errors.Is(err, storage.ErrKeyReused) {
		p := newProblem(http.StatusUnprocessableEntity, problems.KeyReused, fmt.Sprintf(
			"the key %q is that of the command %s, which asks for something else (%s %s): take a new key for a new wish", w.Key, c.ID, c.Kind, c.Op))
		p.Errors = []*huma.ErrorDetail{{Message: "is that of " + c.ID, Location: "header.Idempotency-Key", Value: w.Key}}
		return nil, false, p
	}
	if err != nil {
		return nil, false, o.commandProblem(ctx, "store a command", err)
	}
	return c, c.At.Equal(now), nil
}

// desk is where commands are asked for and acted upon.
func (o *operator) desk() outbound.Desk {
	return outbound.Desk{
		Commands: o.store.Commands(), Hint: o.queue.AppendAll, Definition: o.sources.definition, Erased: o.isErased,
		Now: func() time.Time { return o.now().UTC().Truncate(time.Millisecond) }, // as the stores keep it
	}
}

// isErased reports whether an entity is erased. One that cannot be read is not.
func (o *operator) isErased(ctx context.Context, k event.Key) (bool, error) {
	doc, err := o.store.Entity(ctx, k)
	if storage.IsAway(err) {
		return false, err
	}
	return err == nil && doc.Erased != nil, nil
}

// commandProblem turns an error of the desk into an answer.
func (o *operator) commandProblem(ctx context.Context, doing string, err error) error {
	var wrong *provider.InvalidError
	var state *outbound.StateError
	switch {
	case errors.As(err, &wrong) && wrong.At == "key":
		return badCommand("header.Idempotency-Key", nil, wrong.Reason)
	case errors.As(err, &wrong):
		return badCommand("body."+wrong.At, nil, wrong.Reason)
	case errors.As(err, &state):
		return problem(http.StatusConflict, problems.InState, "%v", state)
	case errors.Is(err, storage.ErrNotFound):
		return problem(http.StatusNotFound, "", "there is no such command")
	}
	return o.storeProblem(ctx, doing, err)
}

// badCommand is the answer to a part of a request that no command can have.
func badCommand(location string, value any, reason string) *Problem {
	p := newProblem(http.StatusBadRequest, problems.BadCommand, location+" "+reason)
	p.Errors = []*huma.ErrorDetail{{Message: reason, Location: location, Value: value}}
	return p
}

// actOn changes one command, and puts that on record.
func (o *operator) actOn(ctx context.Context, id, did, why string, do func(context.Context, outbound.Desk) (*storage.Command, error)) (*commandOutput, error) {
	ctx, cancel := o.acting(ctx)
	defer cancel()
	desk := o.desk()
	before, err := desk.Commands.Command(ctx, id)
	if err == nil {
		var c *storage.Command
		if c, err = do(ctx, desk); err == nil {
			o.record(ctx, act{
				source: c.Source, did: did, to: fmt.Sprintf("%s (%s %s)", c.ID, c.Kind, c.Op), why: why,
				before: commandState(before), after: commandState(c),
			})
			return &commandOutput{Body: o.presentCommand(ctx, c)}, nil
		}
	}
	if errors.Is(err, storage.ErrNotFound) {
		return nil, problem(http.StatusNotFound, "", "there is no command %q", id)
	}
	return nil, o.commandProblem(ctx, did+" of "+id, err)
}

// commandState is what the audit has of a command before and after an act.
func commandState(c *storage.Command) map[string]string {
	state := map[string]string{"state": string(c.State)}
	if c.Result != nil && c.Result.ID != "" {
		state["id"] = c.Result.ID
	}
	return state
}

func (o *operator) cancelCommand(ctx context.Context, in *struct{ CommandPath }) (*commandOutput, error) {
	return o.actOn(ctx, in.ID, "cancel", "", func(ctx context.Context, d outbound.Desk) (*storage.Command, error) { return d.Cancel(ctx, in.ID) })
}

func (o *operator) retryCommand(ctx context.Context, in *struct{ CommandPath }) (*commandOutput, error) {
	return o.actOn(ctx, in.ID, "retry", "", func(ctx context.Context, d outbound.Desk) (*storage.Command, error) { return d.Retry(ctx, in.ID) })
}

type discardCommandInput struct {
	CommandPath
	Body struct {
		Reason string `json:"reason" minLength:"1" maxLength:"1000" pattern:"\\S" patternDescription:"text that is not blank" doc:"Why. Kept with the command."`
	}
}

func (o *operator) discardCommand(ctx context.Context, in *discardCommandInput) (*commandOutput, error) {
	return o.actOn(ctx, in.ID, "discard", in.Body.Reason, func(ctx context.Context, d outbound.Desk) (*storage.Command, error) {
		return d.Discard(ctx, in.ID, in.Body.Reason)
	})
}

type resolveCommandInput struct {
	CommandPath
	Body struct {
		Outcome string `json:"outcome" enum:"done,absent" doc:"done: the provider has done it. absent: it has not, and it is sent again."`
		ID      string `json:"id,omitempty" doc:"Of a create that was done: the id of what it created."`
	}
}

func (o *operator) resolveCommand(ctx context.Context, in *resolveCommandInput) (*commandOutput, error) {
	done := in.Body.Outcome == "done"
	if !done && in.Body.ID != "" {
		return nil, badCommand("body.id", nil, "is given, and nothing was created: leave it out, or say done")
	}
	return o.actOn(ctx, in.ID, "resolve", in.Body.Outcome, func(ctx context.Context, d outbound.Desk) (*storage.Command, error) {
		return d.Resolve(ctx, in.ID, done, in.Body.ID)
	})
}
