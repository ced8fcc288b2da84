package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// tracerName is the instrumentation scope of the spans.
const tracerName = "github.com/tarn-sync/tarn/shared/provider"

// maxRetryAfter bounds what a provider may ask us to wait, so that one absurd
// header does not stop a source for days.
const maxRetryAfter = time.Hour

// maxErrorBody is how much of an error's body is read to know its shape.
const maxErrorBody = 64 << 10

// trustedLength is up to which Content-Length the memory for a body is made before it
// has come: a header costs a provider nothing.
const trustedLength = 64 << 10

// call is one request to make.
type call struct {
	kind  string // for the span
	id    string // of the entity
	depth int    // of nesting that is read; 0: the usual
	path  string // under the base address, escaped
	query url.Values
	pages *paginationSpec // of a list
	// ids are those that placeholders stand for. Nil if there are none.
	ids   func(name string) string
	scope string // "": none
	why   string // the justification
}

// answer is a good answer.
type answer struct {
	doc    *rawjson.Doc
	sentAt time.Time // before the request was written
	links  []string  // values of the header Link
}

// ask sends one request, inside a span, and reads its answer. Spans hold no query, since
// a cursor or filter may name a person, and no text of an error, since a provider or a
// proxy may have said it.
func (c *Client) ask(ctx context.Context, call call) (*answer, error) {
	ctx, span := otel.Tracer(tracerName).Start(ctx, "fetch "+call.kind, trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	recorded := span.IsRecording()
	if recorded {
		span.SetAttributes(c.described(call)...)
	}
	a, status, err := c.send(ctx, call)
	if recorded && status != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", status))
	}
	if recorded && err != nil {
		fail(span, status, err)
	}
	return a, err
}

// fail gives a request's span its error: the status of the answer, or else the class.
func fail(span trace.Span, status int, err error) {
	class, _ := fate.Of(err)
	what := class.String()
	if status >= http.StatusBadRequest {
		what = strconv.Itoa(status)
	}
	span.SetAttributes(attribute.String("error.type", what))
	span.SetStatus(codes.Error, class.String())
}

// described are the attributes of a request's span, by the OpenTelemetry semantic
// conventions for HTTP, 1.43.
func (c *Client) described(call call) []attribute.KeyValue {
	full, _, _ := strings.Cut(c.address+call.path, "?") // a link to a next page has a query
	return []attribute.KeyValue{
		attribute.String("http.request.method", http.MethodGet),
		attribute.String("server.address", c.base.Hostname()),
		attribute.Int("server.port", portOf(c.base)),
		attribute.String("url.full", full),
		attribute.String("tarn.kind", call.kind),
	}
}

// portOf is the port of an address, that of its scheme if it names none.
func portOf(u *url.URL) int {
	if port, err := strconv.Atoi(u.Port()); err == nil {
		return port
	}
	if u.Scheme == "https" {
		return 443
	}
	return 80
}

// send makes the request under its own deadline and bound on slowness.
func (c *Client) send(parent context.Context, call call) (*answer, int, error) {
	ctx, cancel := context.WithTimeout(parent, c.opts.Timeout)
	defer cancel()
	ctx, transfer := watchTransfer(ctx, c.opts.Timeout)
	defer transfer.stop()
	res, sentAt, err := c.exchange(ctx, call, transfer)
	if err != nil {
		return nil, 0, noAnswer(parent, ctx, c.opts.Timeout, err)
	}
	res.Body = transfer.body(res.Body)
	defer drain(res.Body)
	c.heed(res)
	doc, err := c.read(res, call.depth)
	if fate.Is(err, fate.Refused) && call.scope != "" {
		err = fmt.Errorf("%s %s: %w", c.def.api.scope.of, call.scope, err)
	}
	if err != nil {
		return nil, res.StatusCode, noAnswer(parent, ctx, c.opts.Timeout, err)
	}
	return &answer{doc: doc, sentAt: sentAt, links: res.Header.Values("Link")}, res.StatusCode, nil
}

// exchange sends a request and returns the answer without its body. If the access
// token is refused, it is sent once more with a new one.
func (c *Client) exchange(ctx context.Context, call call, transfer *transfer) (res *http.Response, sentAt time.Time, err error) {
	token := ""
	for again := false; ; again = true {
		req, err := c.request(ctx, call)
		if err != nil {
			return nil, sentAt, err
		}
		if token, err = c.authorize(ctx, req, token); err != nil {
			return nil, sentAt, err
		}
		sentAt = c.opts.Now()
		res, err = c.http.Do(req)
		if err != nil || token == "" || again || res.StatusCode != http.StatusUnauthorized {
			return res, sentAt, err
		}
		drain(res.Body)
		transfer.pause() // the next answer is measured by itself
	}
}

// drain reads what is left of an error's body, so that a connection of
// HTTP/1.1 can be used again: a provider in trouble needs no new ones. It ends
// by the bounds of the request, as reading an answer does.
func drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, maxErrorBody)
	_ = body.Close()
}

func (c *Client) request(ctx context.Context, call call) (*http.Request, error) {
	address := c.address + call.path
	if len(call.query) > 0 {
		address += "?" + call.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fate.New(fate.Permanent, err)
	}
	c.headers.fill(req.Header, call.why)
	if call.scope == "" {
		return req, nil
	}
	if err := CheckScope(call.scope); err != nil {
		return nil, fate.New(fate.Permanent, err)
	}
	c.def.api.scope.setScope(req.Header, call.scope)
	return req, nil
}

// requestHeaders are the headers of all requests of a client.
type requestHeaders struct {
	// justified hold the justification of the call, between the parts of their values.
	justified map[string][]string
	// fixed are the same in all requests. A name in both has the fixed value.
	fixed http.Header
}

// newRequestHeaders fills in what does not depend on the call.
func newRequestHeaders(api *apiSpec, o *ClientOptions) requestHeaders {
	h := requestHeaders{justified: map[string][]string{}, fixed: http.Header{}}
	for name, values := range api.headers {
		parts := strings.Split(values[0], "{justification}")
		for i := range parts {
			parts[i] = strings.ReplaceAll(parts[i], "{principal}", o.Principal)
		}
		if len(parts) > 1 {
			h.justified[name] = parts
		} else {
			h.fixed[name] = parts
		}
	}
	for name, value := range map[string]string{"Accept": "application/json", "User-Agent": "tarn"} {
		if api.headers[name] == nil {
			h.fixed.Set(name, value)
		}
	}
	api.auth.set(h.fixed, o.Key)
	return h
}

// fill sets the headers of a request.
func (h *requestHeaders) fill(header http.Header, why string) {
	for name, parts := range h.justified {
		header[name] = []string{strings.Join(parts, headerText(why))}
	}
	maps.Copy(header, h.fixed)
}

// headerText makes text fit for a header: event ids come from outside and may
// hold any letter, headers may not. An empty one is said to be unknown, since
// a provider that wants a reason refuses an empty one.
func headerText(s string) string {
	if s == "" {
		return "unknown"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '_'
		}
		return r
	}, s)
}

// noAnswer classifies what kept an answer from coming within a time, unless it has a class. The
// caller's own end is passed on as it is; our bounds and the network are the
// provider's affair.
func noAnswer(parent, ctx context.Context, within time.Duration, err error) error {
	var classed *fate.Error
	if errors.As(err, &classed) {
		return err
	}
	if parent.Err() != nil {
		return parent.Err()
	}
	if errors.Is(context.Cause(ctx), errTooSlow) {
		return fate.Errorf(fate.Transient, "%w: less than %d bytes a second", errTooSlow, minRate)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fate.Errorf(fate.Transient, "no whole answer within %s", within)
	}
	// url.Error repeats the whole address, with its query.
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fate.New(fate.Transient, err)
}

// read takes a response: a parsed body, or an error with its class. An error
// without one is of the connection.
//
// What cannot be read may have been broken on the way: the request is worth
// repeating until it has stayed so.
func (c *Client) read(res *http.Response, depth int) (*rawjson.Doc, error) {
	if res.StatusCode != http.StatusOK {
		return nil, c.failed(res)
	}
	switch ct := res.Header.Get("Content-Type"); {
	case ct == "application/json": // nearly always
	case !isJSON(ct):
		return nil, c.errorf(res, fate.Transient, "answered with content type %.60q: want application/json", ct)
	case mediaType(ct) == problemJSON:
		return nil, c.errorf(res, fate.Transient, "answered with an error: its content type is %s", problemJSON)
	}
	body, err := readBody(res, c.opts.MaxBody+1)
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > c.opts.MaxBody {
		return nil, c.errorf(res, fate.Permanent, "%w: more than %d bytes", errTooLong, c.opts.MaxBody)
	}
	doc, err := rawjson.Parse(withoutMark(body), rawjson.Options{MaxDepth: depth})
	if err != nil {
		return nil, c.errorf(res, fate.Transient, "answer is not JSON: %w", err)
	}
	return doc, nil
}

// readBody reads a body, at most so many bytes of it.
func readBody(res *http.Response, most int64) ([]byte, error) {
	if n := res.ContentLength; 0 < n && n <= min(most, trustedLength) {
		body := make([]byte, n)
		_, err := io.ReadFull(res.Body, body)
		return body, err
	}
	return io.ReadAll(io.LimitReader(res.Body, most))
}

// failed classifies an answer that is not 200, by the table in package fate.
func (c *Client) failed(res *http.Response) error {
	s, own, alone := res.StatusCode, false, false
	var body rawjson.Value
	missing := s == http.StatusNotFound || s == http.StatusGone
	if missing || c.def.api.errors.at != nil {
		var err error
		// Where the status alone decides, a body that breaks off is only a code less.
		if body, err = errorBody(res); err != nil && (missing || c.def.api.errors.entity[s] != nil) {
			return err
		}
		own = missing && c.def.api.errors.gone(res.Header.Get("Content-Type"), body)
		alone = c.def.api.errors.alone(s, body)
	}
	says := "provider failed"
	class := fate.OfStatus(s, own)
	if s == http.StatusForbidden && c.limited(res) {
		class = fate.Throttled
	}
	switch {
	case alone:
		says = "provider says that this entity alone cannot be had now"
	case class == fate.Throttled:
		says = "provider asks us to slow down"
	case class == fate.Refused:
		says = "provider refuses our key"
	case class == fate.Permanent:
		says = "provider does not understand the request"
	case class == fate.Gone:
		says = "provider has no such entity"
	case missing:
		says = "not found, but not in the provider's own words: check api_url"
	case 300 <= s && s < 400:
		says = "provider redirects us: check api_url"
	}
	e := c.errorf(res, class, "%s", c.def.api.errors.says(says, body))
	e.Alone = alone
	return e
}

// limited reports whether a 403 is of a rate limit, as GitHub's are, and not of the key:
// it says when to come back, or that nothing is left of the limit.
func (c *Client) limited(res *http.Response) bool {
	left, ok := c.left(res)
	return ok && left.Remaining == 0 || retryAfter(res.Header.Get("Retry-After"), c.opts.Now()) > 0
}

// errorBody returns the body of an error, no value if it is not JSON.
func errorBody(res *http.Response) (rawjson.Value, error) {
	body, err := io.ReadAll(io.LimitReader(res.Body, maxErrorBody))
	if err != nil {
		return rawjson.Value{}, err
	}
	doc, err := rawjson.Parse(withoutMark(body), rawjson.Options{})
	if err != nil {
		return rawjson.Value{}, nil
	}
	return doc.Root(), nil
}

// errorf makes an error that begins with the status. It never holds the body,
// which may hold personal data: see errorSpec.says for what may be said of it.
func (c *Client) errorf(res *http.Response, class fate.Class, format string, args ...any) *fate.Error {
	e := fate.New(class, fmt.Errorf("HTTP %d: "+format, append([]any{res.StatusCode}, args...)...))
	e.Status = res.StatusCode
	if retriable(res.StatusCode) || class == fate.Throttled {
		e.RetryAfter = retryAfter(res.Header.Get("Retry-After"), c.opts.Now())
	}
	if a, ok := c.Allowance(); ok && a.Remaining == 0 && class == fate.Throttled && e.RetryAfter == 0 {
		e.RetryAfter = a.Until(c.opts.Now())
	}
	return e
}

// retriable reports whether a status says that the same request may succeed
// later, so that Retry-After speaks of that request: in a redirect it speaks of
// another one, in a 404 of nothing. RFC 9110 and RFC 8470 name the four
// hundreds; those of the server's own trouble are all of them.
func retriable(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= http.StatusInternalServerError
}

// retryAfter reads RFC 9110 section 10.2.3: seconds, or a date. Seconds may have
// decimals, as Shopify's do ("2.0"). 0 if it says neither.
func retryAfter(s string, now time.Time) time.Duration {
	if n, ok := decimal(s); ok {
		return time.Duration(min(n, maxRetryAfter.Seconds()) * float64(time.Second))
	}
	at, err := http.ParseTime(s)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
