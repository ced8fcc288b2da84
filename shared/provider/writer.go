package provider

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// ErrNoWriteKey is the error of a source that may not change anything: it has no key for
// that.
var ErrNoWriteKey = errors.New("the source has no write_key, so it changes nothing at the provider")

// Outcome is what an answer, or the lack of one, says about a request.
type Outcome int

// The outcomes. Of all but Unknown it is certain whether the request had its effect.
const (
	// Unknown: there may have been an effect. The operation's strategies find out.
	Unknown Outcome = iota
	// Answered: the provider has done it.
	Answered
	// Unsent: no connection was made, so there was no effect.
	Unsent
	// Throttled: refused, since the source asks too often.
	Throttled
	// Busy: refused for a moment, since something else has the entity or the key.
	Busy
	// Dead: refused for good. The same request would be refused again.
	Dead
	// Refused: the key was refused. The probe tells whether for everything or for this.
	Refused
	// Misrouted: another server has answered that there is no such thing, as a proxy does. The
	// request did not come to the provider, so there was no effect.
	Misrouted
)

var outcomeNames = [...]string{"unknown", "answered", "unsent", "throttled", "busy", "dead", "refused", "misrouted"}

// String returns the word for the outcome.
func (o Outcome) String() string { return outcomeNames[o] }

// maxKeptAnswer is the longest answer that is kept with a command.
const maxKeptAnswer = 64 << 10

// Answer is what came of one attempt to send a request.
type Answer struct {
	Outcome Outcome
	// Status is the HTTP status. 0: there was no answer.
	Status int
	// ID is the id of what was created. Empty for everything else.
	ID string
	// Body is the answer without the secrets of the kind, if it is JSON and at most 64
	// KiB long.
	Body []byte
	// State is the entity as the answer shows it, nil if the operation's answer is not
	// the entity.
	State *Snapshot
	// RequestID is the provider's name for the request. Empty: it gave none.
	RequestID string
	// Replayed: the provider says that it answers what it answered under this key before.
	Replayed bool
	// RetryAfter is how long the provider asks to wait. Zero: it does not say.
	RetryAfter time.Duration
	// SentAt is when the request was sent, by our clock.
	SentAt time.Time
	// Err says what failed, and never holds the body of an answer. Nil if Answered.
	Err error
}

// Writer sends changes to one provider's API. Safe for concurrent use.
type Writer struct {
	client *Client // with the write key
}

// Writer returns a Writer that sends with a key of its own, over the connections of c.
// Without a key it returns ErrNoWriteKey.
func (c *Client) Writer(key string) (*Writer, error) {
	if key == "" {
		return nil, ErrNoWriteKey
	}
	client, err := c.WithKey(key)
	if err != nil {
		return nil, fmt.Errorf("write_key: %w", err)
	}
	client.clock = &providerClock{}
	return &Writer{client: client}, nil
}

// Probe asks the definition's probe path with the write key: nil if the provider takes
// the key, within a scope if there is one.
func (w *Writer) Probe(ctx context.Context, scope string) error {
	return w.client.ProbeScope(ctx, scope)
}

// Send sends a request once, and says what came of it. Nothing below Send repeats a
// request that may have reached the provider: see oneShot. why is the justification, as in
// Fetch.
//
// The request ends after the definition's api.writes.timeout, also if ctx lasts longer.
// If ctx ends once a connection was made, the outcome is Unknown.
func (w *Writer) Send(ctx context.Context, cmd Command, req Request, why string) Answer {
	o, err := w.client.def.Op(cmd.Kind, cmd.Op)
	if err != nil {
		return Answer{Outcome: Dead, Err: err}
	}
	ctx, span := otel.Tracer(tracerName).Start(ctx, "send "+cmd.Kind, trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	a := w.send(ctx, o, cmd, req, why)
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("http.request.method", req.Method),
			attribute.String("server.address", w.client.base.Hostname()),
			attribute.Int("server.port", portOf(w.client.base)),
			attribute.String("tarn.kind", cmd.Kind), attribute.String("tarn.op", cmd.Op),
			attribute.String("tarn.outcome", a.Outcome.String()),
		)
		if a.Status != 0 {
			span.SetAttributes(attribute.Int("http.response.status_code", a.Status))
		}
		if a.Err != nil {
			fail(span, a.Status, a.Err)
		}
	}
	return a
}

func (w *Writer) send(parent context.Context, o *Op, cmd Command, req Request, why string) Answer {
	c := w.client
	timeout := c.def.WriteTimeout()
	ctx, cancel := context.WithTimeout(parent, timeout)
	defer cancel()
	ctx, transfer := watchTransfer(ctx, timeout)
	defer transfer.stop()
	var connected atomic.Bool
	res, sentAt, err := w.exchange(ctx, req, why, transfer, &connected)
	if err != nil {
		a := Answer{SentAt: sentAt, Err: noAnswer(parent, ctx, timeout, err)}
		var classed *fate.Error
		switch {
		case connected.Load():
		case errors.As(err, &classed) && classed.Class == fate.Refused:
			a.Outcome = Refused // by the token endpoint
		default:
			a.Outcome = Unsent
		}
		return a
	}
	res.Body = transfer.body(res.Body)
	defer drain(res.Body)
	c.heed(res)
	a := w.read(res, o, cmd)
	a.SentAt = sentAt
	if a.Err != nil {
		a.Err = noAnswer(parent, ctx, timeout, a.Err)
	}
	return a
}

// exchange sends a request and returns the answer without its body. If an access token
// is refused, it is sent once more with a new one: it was refused, so it had no effect.
// connected is set once the request has a connection, after which it may have been sent.
func (w *Writer) exchange(ctx context.Context, req Request, why string, transfer *transfer, connected *atomic.Bool) (*http.Response, time.Time, error) {
	c, token := w.client, ""
	for again := false; ; again = true {
		connected.Store(false)
		// Of this request alone: one for a token has connections of its own.
		traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
		r, err := w.request(traced, req, why)
		if err != nil {
			return nil, time.Time{}, err
		}
		if token, err = c.authorize(ctx, r, token); err != nil {
			return nil, time.Time{}, err
		}
		sentAt := c.opts.Now()
		res, err := c.http.Do(r)
		if err != nil || token == "" || again || res.StatusCode != http.StatusUnauthorized {
			return res, sentAt, err
		}
		drain(res.Body)
		transfer.pause()
	}
}

// request makes the HTTP request.
func (w *Writer) request(ctx context.Context, req Request, why string) (*http.Request, error) {
	c := w.client
	r, err := http.NewRequestWithContext(ctx, req.Method, c.address+req.Path, nil)
	if err != nil {
		return nil, err
	}
	c.headers.fill(r.Header, why)
	if req.Type != "" {
		r.Header.Set("Content-Type", req.Type)
	}
	if req.Scope != "" {
		if err := CheckScope(req.Scope); err != nil {
			return nil, err
		}
		r.Header.Set(c.def.api.scope.header, req.Scope)
	}
	if req.Key != "" {
		r.Header.Set(req.KeyHeader, req.Key)
	}
	oneShot(r, req.Bytes)
	return r, nil
}

// oneShot gives a request its body in a way that keeps Go's transport from sending it
// again by itself. When a connection that was used before breaks, the transport repeats
// what it takes for idempotent: a request with the header Idempotency-Key, if its body
// can be had again by GetBody or if it has none. The server may have done the first.
// So GetBody stays nil, and there is a body even of no bytes: the transport does not
// look into it before it decides. Of a POST without bytes the body has to be none at
// all, since a length that is not known goes as a chunk; then the header has a spelling
// that the transport does not look for. Names of headers have no case in HTTP.
func oneShot(r *http.Request, body []byte) {
	if len(body) > 0 || r.Method == http.MethodDelete {
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		return
	}
	r.Body = http.NoBody
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if values := r.Header[name]; values != nil {
			delete(r.Header, name)
			r.Header[strings.ToLower(name)] = values
		}
	}
}

// requestIDs are the headers in which providers name a request, the first that is there
// counts.
var requestIDs = []string{"Request-Id", "X-Request-Id"}

// read classifies an answer. The package comment of fate has the table for reads; for
// writes it is this one:
//
//	2xx                              Answered, or Unknown if it cannot be read
//	400 404 409 410 412 422 …        Dead: every 4xx that is not below
//	404 410 not in its own shape     Misrouted
//	401 403                          Refused
//	408, 3xx, 5xx                    Unknown
//	429                              Throttled, or Busy if it is of the one entity
//	423 425, busy of the definition  Busy
//	gone of the definition           Answered, of a delete, if a 404 or 410 is in its own shape
func (w *Writer) read(res *http.Response, o *Op, cmd Command) Answer {
	c := w.client
	a := Answer{Status: res.StatusCode}
	for _, name := range requestIDs {
		if a.RequestID = res.Header.Get(name); a.RequestID != "" {
			break
		}
	}
	if o.key != nil && o.key.replayed != "" {
		a.Replayed = strings.EqualFold(res.Header.Get(o.key.replayed), "true")
	}
	body, doc, err := w.body(res)
	if doc != nil && len(body) <= maxKeptAnswer {
		a.Body = doc.Cut(slices.Concat(o.kind.secret, o.secret))
	}
	if 200 <= res.StatusCode && res.StatusCode < 300 {
		if err == nil {
			err = w.done(&a, o, cmd, body, doc)
		}
		if err != nil {
			a.ID, a.State, a.Err = "", nil, c.errorf(res, fate.Transient, "the answer does not say what was done: %w", err)
			return a
		}
		a.Outcome = Answered
		return a
	}
	if err != nil && slices.Contains(o.gone, res.StatusCode) && isJSON(res.Header.Get("Content-Type")) {
		a.Err = err // it may have said that the entity is gone, or that the path is wrong
		return a
	}
	class := w.failed(&a, res, o, doc)
	a.Err = c.errorf(res, class, "%s", a.Outcome.says())
	var classed *fate.Error
	if errors.As(a.Err, &classed) {
		a.RetryAfter = classed.RetryAfter
	}
	return a
}

// says is the outcome of a failure in words.
func (o Outcome) says() string {
	switch o {
	case Answered:
		return "the entity is gone already"
	case Throttled:
		return "provider asks us to slow down"
	case Busy:
		return "provider is busy with this entity"
	case Dead:
		return "provider refuses the change"
	case Refused:
		return "provider refuses our key"
	case Misrouted:
		return "not found, but not in the provider's own words: check api_url"
	}
	return "provider failed, so it is not known whether it made the change"
}

// failed sets the outcome of an answer that is not 2xx, and returns its class.
func (w *Writer) failed(a *Answer, res *http.Response, o *Op, doc *rawjson.Doc) fate.Class {
	c, s := w.client, res.StatusCode
	root := rawjson.Value{}
	if doc != nil {
		root = doc.Root()
	}
	missing := s == http.StatusNotFound || s == http.StatusGone
	own := !missing || c.def.api.errors.gone(res.Header.Get("Content-Type"), root)
	switch {
	case slices.Contains(o.gone, s) && own:
		a.Outcome = Answered
		return fate.Gone
	case slices.Contains(c.def.api.writes.busy, s), c.def.api.errors.alone(s, root),
		s == http.StatusLocked, s == http.StatusTooEarly:
		a.Outcome = Busy
		return fate.Throttled
	case s == http.StatusTooManyRequests, s == http.StatusForbidden && c.limited(res):
		a.Outcome = Throttled
		return fate.Throttled
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		a.Outcome = Refused
		return fate.Refused
	case s == http.StatusRequestTimeout, s < 400, s >= 500:
		a.Outcome = Unknown
		return fate.Transient
	case !own:
		a.Outcome = Misrouted
		return fate.Transient
	}
	a.Outcome = Dead
	return fate.Permanent
}

// body reads the body of an answer, and parses it if it is JSON.
func (w *Writer) body(res *http.Response) ([]byte, *rawjson.Doc, error) {
	c := w.client
	body, err := wholeBody(res, c.opts.MaxBody)
	if err != nil || len(body) == 0 {
		return nil, nil, err
	}
	contentType := res.Header.Get("Content-Type")
	if !isJSON(contentType) {
		return body, nil, fmt.Errorf("content type %.60q: want application/json", contentType)
	}
	doc, err := rawjson.Parse(withoutMark(body), rawjson.Options{})
	if err != nil {
		return body, nil, fmt.Errorf("it is not JSON: %w", err)
	}
	return body, doc, nil
}

// wholeBody reads a body of at most so many bytes.
func wholeBody(res *http.Response, most int64) ([]byte, error) {
	body, err := readBody(res, most+1)
	if err == nil && int64(len(body)) > most {
		return nil, fmt.Errorf("%w: more than %d bytes", errTooLong, most)
	}
	return body, err
}

// done reads what a 2xx says of the entity.
func (w *Writer) done(a *Answer, o *Op, cmd Command, body []byte, doc *rawjson.Doc) error {
	needed := o.Creates() && !o.ownID() || o.Shows
	if len(body) == 0 {
		if needed {
			return errors.New("it is empty")
		}
		if o.Creates() {
			a.ID = cmd.Ref
		}
		return nil
	}
	root := doc.Root()
	if saysFailed(root) {
		return errors.New("it is an error")
	}
	a.ID = cmd.ID
	if o.Creates() {
		if a.ID = idOf(root.At(o.id)); a.ID == "" && o.ownID() {
			a.ID = cmd.Ref
		}
		if a.ID == "" {
			return fmt.Errorf("it has no id at %s", o.id)
		}
		if o.ownID() && a.ID != cmd.Ref {
			return fmt.Errorf("its id is %.80q, and not the one that was asked for", a.ID)
		}
	}
	if o.Shows {
		if err := w.show(a, o, doc); err != nil {
			return err
		}
	}
	if !o.Creates() {
		a.ID = ""
	}
	return nil
}

// show reads the entity that an answer is.
func (w *Writer) show(a *Answer, o *Op, doc *rawjson.Doc) error {
	entity, err := o.kind.inAnswer(doc)
	if err != nil {
		return err
	}
	if err := w.client.def.checkAnswer(o.kind, entity.Root(), a.ID); err != nil {
		return err
	}
	a.State, err = w.client.def.snapshot(o.kind, entity)
	return err
}
