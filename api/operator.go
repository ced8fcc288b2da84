package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// operator serves the routes that need an operator's token. It leaves long work to the
// reconciler, as a task, so restarting the api stops none.
type operator struct {
	*reader
	now    func() time.Time
	tracer trace.Tracer
	// within bounds one act, as it bounds the append of a webhook.
	within time.Duration
}

// acting returns the context of an act. It does not end with the request: a client that
// hangs up must not leave half an act behind.
func (o *operator) acting(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), o.within)
}

// act is what an operator did.
type act struct {
	// id names it in the audit. "": a new one.
	id string
	// source it was done to; "" if to several.
	source string
	// did is the verb, to what it was done to, why the reason given.
	did, to, why string
	// before and after are what it changed. Nil: not known.
	before, after any
}

// recordWithin bounds the writing of an act: the client waits for it.
const recordWithin = 2 * time.Second

// record writes an act to the log and the audit. The audit is in the store. While the
// store is away, the act goes there through Redis, as notes do: pausing a source is
// needed then most of all. If no record can be made, the answer to the act is still that
// it is done.
func (o *operator) record(ctx context.Context, a act) {
	by := actor(ctx)
	o.log.InfoContext(ctx, "operator acted", "by", by, "did", a.did, "to", a.to, "source", a.source, "why", a.why)
	if a.id == "" {
		a.id = newID("act_")
	}
	n := storage.Note{
		ID: storage.ActID(a.id), At: o.now().UTC(), Source: a.source,
		Kind: storage.NoteOperator, Reason: a.text(by), Count: 1,
		By: by, Did: a.did, To: a.to, Why: a.why, Before: jsonText(a.before), After: jsonText(a.after),
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*recordWithin)
	defer cancel()
	store, done := context.WithTimeout(ctx, recordWithin)
	defer done()
	err := o.store.Note(store, []storage.Note{n})
	if err == nil {
		return
	}
	err = o.queue.AddNotes(ctx, []stream.Note{{At: n.At, Source: n.Source, Kind: n.Kind, Reason: n.Reason, Count: 1}})
	if err != nil {
		o.log.ErrorContext(ctx, "what an operator did is in this log only: neither the store nor redis takes a record of it",
			"by", by, "did", a.did, "to", a.to, "error", err)
	}
}

// text is the act as the audit has it: "ops: pause lemon: maintenance".
func (a act) text(by string) string {
	text := by + ": " + a.did
	if a.to != "" {
		text += " " + a.to
	}
	if a.why != "" {
		text += ": " + a.why
	}
	return text
}

// jsonText is a value as JSON, "" for nil.
func jsonText(v any) string {
	if v == nil {
		return ""
	}
	return string(toJSON(v))
}

// newID makes a unique id, of 80 random bits.
func newID(prefix string) string { return prefix + strings.ToLower(rand.Text()[:16]) }

// toJSON encodes structs of strings, numbers and times, which always encode.
func toJSON(v any) []byte {
	b, _ := json.Marshal(v)
	return b
}
