package api

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/trace"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// The routes of webhooks: the second is for sources whose webhooks are not signed.
const (
	webhookRoute       = "/webhooks/{source}"
	secretWebhookRoute = "/webhooks/{source}/{secret}"
)

// Header values shared by all answers: assigning a slice costs nothing, Set
// allocates one.
var plainJSON = []string{"application/json"}

// Queue is what the api needs of *stream.Streams.
type Queue interface {
	// Append returns once the signal is durable.
	Append(ctx context.Context, d stream.Draft) (stream.Receipt, error)
	// AppendAll returns once all signals are durable. After an error the receipts are
	// of those before the first in doubt.
	AppendAll(ctx context.Context, ds []stream.Draft) ([]stream.Receipt, error)
	// AddNotes returns once the notes are on record.
	AddNotes(ctx context.Context, notes []stream.Note) error
	// Ping reports whether Redis answers.
	Ping(ctx context.Context) error

	// The rest is for operators.

	// Source, Pause and Resume are the state of a source in the whole fleet.
	Source(ctx context.Context, source string) (condition.State, error)
	Pause(ctx context.Context, source string, d time.Duration, reason, by string) error
	Resume(ctx context.Context, source string) error
	// ResumeAccepting also accepts deletions for a while; DeletionsAccepted is for
	// how long still.
	ResumeAccepting(ctx context.Context, source, by string) error
	DeletionsAccepted(ctx context.Context, source string) (time.Duration, error)
	// RetryParked makes everything parked of a source due now.
	RetryParked(ctx context.Context, source string) (int, error)
	// Waiting lists parked entities, WaitingOf returns one, nil if it is not parked, and
	// RetryEntities makes some due now.
	Waiting(ctx context.Context, f stream.WaitingFilter) (stream.WaitingPage, error)
	WaitingOf(ctx context.Context, k event.Key) (*stream.Waiting, error)
	RetryEntities(ctx context.Context, keys []event.Key) (int, error)
	// Fleet returns all shards and live workers, Budget how much of a source's
	// budget is there.
	Fleet(ctx context.Context, sources []string) ([]stream.ShardState, []string, error)
	Budget(ctx context.Context, source string, r stream.Rate) (float64, error)
	// Counted returns how many events were logged in some ten minutes, by note.
	Counted(ctx context.Context, source string, at time.Time, periods int) (stream.Tally, error)
	// Unconfigured returns the unconfigured sources whose work waits.
	Unconfigured(ctx context.Context, configured []string) ([]stream.UnconfiguredSource, error)
	// Former returns sources that were configured before, other than those now.
	Former(ctx context.Context, configured []string) ([]string, error)
}

// receiver receives webhooks.
type receiver struct {
	sources *accounts
	queue   Queue
	bodies  *bodies
	tally   *tally
	metrics *telemetry.Metrics
	tracer  trace.Tracer
	log     *slog.Logger
	now     func() time.Time
	// deadlines bound the append and the note of a duplicate.
	deadlines *deadlines
}

// serve answers POST /webhooks/{source} and POST /webhooks/{source}/{secret}. The order
// of its checks is part of the contract: a sender that sees 400 knows that its signature
// was good.
func (r *receiver) serve(c *gin.Context) {
	began := r.now()
	src, secret := r.sources.get(c.Param("source")), c.Param("secret")
	if src == nil || secret != "" && !src.SecretInPath {
		r.refuse(c.Request.Context(), c.Writer, unknownSource, refuseUnknownSource)
		return
	}
	ctx, span := r.startWebhook(c.Request, src.Name, secret != "")
	r.take(ctx, c.Writer, incoming{Request: c.Request, src: src, secret: secret})
	endWebhook(span, c.Writer.Status())
	telemetry.Observe(ctx, src.seconds, r.now().Sub(began))
}

// incoming is a webhook of a known source.
type incoming struct {
	*http.Request
	src *account
	// secret is the last step of the path, "" for sources that sign.
	secret string
}

// take appends one webhook to the stream of its source and answers it.
func (r *receiver) take(ctx context.Context, w http.ResponseWriter, in incoming) {
	src := in.src
	body, no := r.bodies.read(w, in.Request)
	if no != nil {
		r.refuse(ctx, w, src.Name, no)
		return
	}
	if no := r.admit(in, body); no != nil {
		r.bodies.free(body)
		r.refuse(ctx, w, src.Name, no)
		return
	}
	if echo, ok := src.Provider.Challenge(in.Header, body.Bytes()); ok {
		answerText(w, http.StatusOK, echo)
		r.bodies.free(body)
		return
	}
	if src.Provider.Batches() {
		if r.takeMany(ctx, w, in.Header, src, body) {
			r.bodies.free(body)
		}
		return
	}
	e, err := src.Provider.Event(src.Name, in.Header, body.Bytes(), r.now().UTC())
	if err != nil {
		r.bodies.free(body)
		r.refuse(ctx, w, src.Name, refuseMalformed(err))
		return
	}
	got, err := r.send(ctx, e)
	if err != nil {
		// The buffer is not reused: the pipeline may still read it for an append
		// that timed out.
		r.refuse(ctx, w, src.Name, refuseUnconfirmed(err))
		return
	}
	code, head := src.Ack.Accepted, `{"status":"accepted","id":`
	if got.Duplicate {
		src.duplicates.Inc()
		code, head = src.Ack.Duplicate, `{"status":"duplicate","id":`
	}
	if !answerText(w, code, src.Provider.AckBody()) {
		answer(w, code, head, e.ID)
	}
	r.bodies.free(body)
}

// admit verifies the raw body.
func (r *receiver) admit(in incoming, body *bytes.Buffer) *refusal {
	src, h := in.src, in.Header
	signed := provider.WebhookRequest{Method: in.Method, Header: h, Secret: in.secret, Body: body.Bytes()}
	if err := src.Verifier.VerifyRequest(signed); err != nil {
		return refuseSignature(err)
	}
	src.received.Inc()
	if encoding := h.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return refuseEncoded
	}
	return nil
}

// send appends the event and returns when it is durable. It notes a duplicate before the
// answer: after the answer the sender would not send it again.
func (r *receiver) send(ctx context.Context, e *event.Event) (stream.Receipt, error) {
	ctx, span := r.startSend(ctx, e)
	within := r.deadlines.take()
	got, err := r.append(within, stream.Draft{Signal: event.Own(e, telemetry.Traceparent(ctx))})
	if err == nil && got.Duplicate {
		err = r.queue.AddNotes(within, []stream.Note{{
			At: e.ReceivedAt, Source: e.Source, Kind: "duplicate", EventID: e.ID, Count: 1,
		}})
	}
	endSend(span, got, err)
	return got, err
}

// append appends a draft. With the guarantee switched off, for tests that must see an
// event lost, it returns before it appends, so a killed process loses the event.
func (r *receiver) append(ctx context.Context, d stream.Draft) (stream.Receipt, error) {
	if !fault.Off("append") {
		return r.queue.Append(ctx, d)
	}
	body := *d.Signal.Body
	body.Payload = bytes.Clone(body.Payload) // its buffer is used again after the answer
	d.Signal.Body = &body
	time.AfterFunc(brokenPromise, func() {
		if _, err := r.queue.Append(context.WithoutCancel(ctx), d); err != nil {
			r.log.Warn("an event answered with success was not appended, as asked for", "event", body.ID, "error", err)
		}
	})
	return stream.Receipt{}, nil
}

// brokenPromise leaves time for a kill in between.
const brokenPromise = 100 * time.Millisecond

// refuse answers, counts and notes a webhook that was not accepted.
func (r *receiver) refuse(ctx context.Context, w http.ResponseWriter, source string, why *refusal) {
	why.write(w)
	r.metrics.Rejected.WithLabelValues(source, why.reason).Inc()
	r.tally.add(ctx, source, why)
}

// answer writes {"status":…,"id":…}; head is all of it up to the id.
func answer(w http.ResponseWriter, code int, head, id string) {
	b := append(make([]byte, 0, len(head)+len(id)+3), head...)
	b = appendJSON(b, id)
	b = append(b, '}')
	w.Header()["Content-Type"] = plainJSON
	w.WriteHeader(code)
	_, _ = w.Write(b) // if the sender is gone it will send the event again
}

// appendJSON appends s as a JSON string. Ids are plain ASCII in practice.
func appendJSON(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string always encodes
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
