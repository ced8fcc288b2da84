package feed

import (
	"encoding/json"

	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// Command is a change asked for at the provider.
type Command struct {
	ID       string            `json:"id"`
	Key      string            `json:"key" doc:"The key that it was asked for under."`
	Source   string            `json:"source"`
	Kind     string            `json:"kind"`
	Op       string            `json:"op" doc:"What is done: create, update, delete, or an action of the kind." example:"cancel"`
	Ref      string            `json:"ref,omitempty" doc:"The application's own name for the entity."`
	Entity   string            `json:"entity,omitempty" doc:"Id of the entity that is changed. Absent while it is not known."`
	Parents  map[string]string `json:"parents,omitempty" doc:"Ids of the entity's parents."`
	Fields   json.RawMessage   `json:"body,omitempty" doc:"The fields to be set, without secrets. Absent in lists."`
	Bulk     bool              `json:"bulk,omitempty" doc:"It may wait for everything more urgent."`
	N        int64             `json:"n" doc:"Its number among the commands of the entity, or of the ref until the id is known. They are performed in this order."`
	State    string            `json:"state" enum:"queued,sending,unclear,asked,answered,done,dead,cancelled,discarded" doc:"How far it is. Final are done, dead, cancelled and discarded."`
	Version  int64             `json:"version" doc:"Grows with every change of the command, as in the feed of changes."`
	Held     bool              `json:"held,omitempty" doc:"Nothing is done about it until an operator releases the source's commands: see the route release of its source. Not in changes."`
	By       string            `json:"by" doc:"Who asked for it: the name of the token, or outbox."`
	At       Moment            `json:"at" doc:"When it was asked for."`
	DueAt    Moment            `json:"due_at,omitzero" doc:"When it is looked at again. Absent: at once, or it is over."`
	WaitsFor []string          `json:"waits_for,omitempty" doc:"Refs that it names, as kind/ref, whose ids are not known yet."`
	Attempts []CommandAttempt  `json:"attempts" nullable:"false" doc:"The requests that were sent, oldest first, the newest 50."`
	Unclear  *CommandDoubt     `json:"unclear,omitempty" doc:"Present while it is being found out what became of an attempt without an answer."`
	Asked    *CommandQuestion  `json:"asked,omitempty" doc:"Present while an operator has to say what became of it: see the route resolve."`
	Result   *CommandResult    `json:"result,omitempty" doc:"The provider's answer."`
	Covered  *CoveredBy        `json:"covered_by,omitempty" doc:"The fetch by which the mirror shows the change."`
	Reason   string            `json:"reason,omitempty" doc:"Why it is dead or was discarded; create: what it changes was never created."`
	EndedAt  Moment            `json:"ended_at,omitzero" doc:"When it became final."`
	TraceID  string            `json:"trace_id,omitempty" doc:"Of the request that asked for it, and of all that was done for it."`
	TraceURL string            `json:"trace_url,omitempty" doc:"Where that trace is shown, by the setting telemetry.trace_url. Absent without one, and the trace need not have been kept."`
}

// CommandAttempt is one request of a command.
type CommandAttempt struct {
	At        Moment `json:"at"`
	Status    int    `json:"status,omitempty" doc:"HTTP status. Absent: there was no answer."`
	Error     string `json:"error,omitempty"`
	RequestID string `json:"request_id,omitempty" doc:"The provider's name for the request."`
}

// CommandDoubt says how it is being found out what became of an attempt.
type CommandDoubt struct {
	Since    Moment `json:"since" doc:"When the attempt was begun."`
	Strategy string `json:"strategy,omitempty" enum:"key,repeat,look,find,ask" doc:"How it is being found out: see unclear in the provider's definition."`
}

// CommandQuestion is the question to an operator what became of a command.
type CommandQuestion struct {
	Since      Moment   `json:"since"`
	Reason     string   `json:"reason"`
	Candidates []string `json:"candidates,omitempty" doc:"Ids of entities that it may have created."`
}

// CommandResult is the provider's answer to a command.
type CommandResult struct {
	Status    int             `json:"status,omitempty" doc:"HTTP status. Absent: it was found out without an answer."`
	ID        string          `json:"id,omitempty" doc:"Id of what was created."`
	At        Moment          `json:"at"`
	RequestID string          `json:"request_id,omitempty" doc:"The provider's name for the request."`
	Body      json.RawMessage `json:"body,omitempty" doc:"The answer without secrets, up to 64 KiB. Absent in lists."`
}

// View shows commands, of sources that it knows by their definitions.
type View struct {
	// Operation returns what a command does, nil if no definition says so any more.
	Operation func(*storage.Command) *provider.Op
	// Traces is where traces are shown. "": nowhere.
	Traces telemetry.TraceURL
}

// Short shows a command without bodies.
func (v View) Short(c *storage.Command) Command {
	out := Command{
		ID: c.ID, Key: c.Key, Source: c.Source, Kind: c.Kind, Op: c.Op, Ref: c.Ref, Entity: c.Entity().ID, Parents: c.Parents,
		Bulk: c.Bulk, N: c.N, State: string(c.State), Version: c.Rev, By: c.By, At: MomentOf(c.At), WaitsFor: c.WaitsFor,
		Attempts: make([]CommandAttempt, len(c.Attempts)), Reason: c.Reason, EndedAt: MomentOf(c.EndedAt),
	}
	if c.DueAt.After(c.At) { // else it was due from the beginning
		out.DueAt = MomentOf(c.DueAt)
	}
	for i, a := range c.Attempts {
		out.Attempts[i] = CommandAttempt{At: MomentOf(a.At), Status: a.Status, Error: a.Error, RequestID: a.RequestID}
	}
	if d := c.Doubt; d != nil {
		out.Unclear = &CommandDoubt{Since: MomentOf(d.Since)}
		if op := v.Operation(c); op != nil && d.Strategy < len(op.Unclear) {
			out.Unclear.Strategy = string(op.Unclear[d.Strategy])
		}
	}
	if q := c.Asked; q != nil {
		out.Asked = &CommandQuestion{Since: MomentOf(q.Since), Reason: q.Reason, Candidates: q.Candidates}
	}
	if a := c.Result; a != nil {
		out.Result = &CommandResult{Status: a.Status, ID: a.ID, At: MomentOf(a.At), RequestID: a.RequestID}
	}
	if by := c.CoveredBy; by != nil {
		out.Covered = &CoveredBy{Claim: by.Claim, FetchedAt: MomentOf(by.FetchedAt), Signal: by.Signal}
	}
	out.TraceID = telemetry.TraceID(c.Trace)
	out.TraceURL = v.Traces.Of(out.TraceID)
	return out
}

// Whole shows a command with its bodies. The secrets of one that is under way are cut out;
// of an operation that is not known nothing is shown, since anything may be secret.
func (v View) Whole(c *storage.Command) Command {
	out := v.Short(c)
	if op := v.Operation(c); op != nil {
		out.Fields = JSONOf(op.Redact(c.Body))
	}
	if out.Result != nil {
		out.Result.Body = JSONOf(c.Result.Body)
	}
	return out
}

// CoveredBy names the fetch by which the mirror shows what was to be shown.
type CoveredBy struct {
	Claim     int64  `json:"claim" doc:"Number of the fetch, growing per entity."`
	FetchedAt Moment `json:"fetched_at,omitzero" doc:"When it was sent. Absent of an outcome that is erased: nothing was."`
	Signal    string `json:"signal" doc:"Newest entry the same fetch settled: events that name one fetch were coalesced."`
}
