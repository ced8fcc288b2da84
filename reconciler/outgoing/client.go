package outgoing

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tarn-sync/tarn/shared/egress"
)

const (
	// defaultTimeout is how long a message may take.
	defaultTimeout = 15 * time.Second
	// answerBytes and headerBytes bound what is read of an answer.
	answerBytes, headerBytes = 4 << 10, 16 << 10
	// idle is how long a connection is kept that is not used. Receivers close theirs after
	// a minute or so.
	idle = 30 * time.Second
	// errorBytes bounds the text of an error, of which a receiver may write a part.
	errorBytes = 200
)

// Options configure a Client.
type Options struct {
	// URL is the address of the receiver.
	URL string
	// Secrets sign: whsec_ and base64.
	Secrets []string
	// Guard says which addresses may be reached.
	Guard egress.Guard
	// Connections is how many are kept. Defaults to 8.
	Connections int
	// Timeout bounds a message, from the resolution of the name to the last byte of the
	// answer. Defaults to 15 s.
	Timeout time.Duration
	// TLS is for a receiver whose certificate the system does not know. Defaults to the
	// system's certificates.
	TLS *tls.Config
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// Client sends to one receiver. Safe for concurrent use.
type Client struct {
	opts   Options
	signer atomic.Pointer[signer]
	// http follows no redirect, and reads no Location.
	http *http.Transport
}

// New returns a client.
func New(o Options) (*Client, error) {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Connections <= 0 {
		o.Connections = 8
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Client{opts: o, http: &http.Transport{
		DialContext: (&net.Dialer{Control: o.Guard.Control}).DialContext, TLSClientConfig: o.TLS, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: o.Connections, IdleConnTimeout: idle, MaxResponseHeaderBytes: headerBytes,
		DisableCompression: true, // what is read is bounded as it comes
		// A connection that is dead, though nothing has closed it, is given up within the time
		// of one message. Otherwise HTTP/2 puts all that follow on it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: o.Timeout / 3, PingTimeout: o.Timeout / 3},
	}}
	if _, err := url.Parse(o.URL); err != nil {
		return nil, errors.New("the address of the receiver cannot be read")
	}
	return c, c.SetSecrets(o.Secrets)
}

// SetSecrets signs with other secrets from now on.
func (c *Client) SetSecrets(secrets []string) error {
	s, err := newSigner(secrets)
	if err == nil {
		c.signer.Store(s)
	}
	return err
}

// Close lets idle connections go.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Message is what is sent.
type Message struct {
	// ID is the same whenever the message is sent.
	ID string
	// Type is the media type of Body.
	Type string
	Body []byte
}

// Send sends a message. Its time-out is no failure of ctx.
func (c *Client) Send(ctx context.Context, m Message) Answer {
	ctx, cancel := context.WithTimeoutCause(ctx, c.opts.Timeout, errTooSlow)
	defer cancel()
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { connected.Store(false) }, // also for a second one, in the place of one that was closed meanwhile
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.opts.URL, bytes.NewReader(m.Body))
	if err != nil {
		return Answer{Outcome: Away, Err: errors.New("the address of the receiver cannot be used")}
	}
	req.Header.Set("Content-Type", m.Type)
	req.Header.Set("User-Agent", "Tarn")
	// Without a value it is not sent. It says that the message may be sent again on a new
	// connection, if the receiver has closed a kept one meanwhile: its id is the same.
	req.Header["Idempotency-Key"] = nil
	if err := c.signer.Load().sign(req.Header, m, c.opts.Now()); err != nil {
		return Answer{Outcome: Away, Err: err}
	}
	res, err := c.http.RoundTrip(req)
	if err != nil {
		return failure(ctx, err, connected.Load())
	}
	defer func() { _ = res.Body.Close() }()
	answer := answerOf(res, c.opts.Now())
	if answer.Status == http.StatusSwitchingProtocols {
		return answer // what follows is no body
	}
	// Whether an accepted message is kept shows at the end of the answer. Another status says
	// what it says, whatever follows.
	if _, err := io.CopyN(io.Discard, res.Body, answerBytes); answer.Outcome == Accepted && err != nil && !errors.Is(err, io.EOF) {
		return failure(ctx, err, true)
	}
	return answer
}

// errTooSlow is the cause of the end of a message that takes too long.
var errTooSlow = errors.New("the receiver takes too long")

// failure is the answer where none came whole.
func failure(ctx context.Context, err error, connected bool) Answer {
	a := Answer{Outcome: Away, Err: err}
	if connected {
		a.Outcome = Refused
	}
	var resolution *net.DNSError
	switch {
	case errors.Is(context.Cause(ctx), errTooSlow):
		a.Err = fmt.Errorf("%w: no whole answer in time", errTooSlow)
	case errors.As(err, &resolution):
		a.Err = errors.New("the name of the receiver cannot be resolved")
	default:
		a.Err = bounded(err, connected)
	}
	return a
}

// bounded returns an error that is short, since it is saved and shown, and has nothing that a
// receiver has written in the place of an answer: package http quotes that.
func bounded(err error, answered bool) error {
	text := err.Error()
	var header textproto.ProtocolError
	if errors.As(err, &header) {
		text = "a header of the answer cannot be read"
	}
	if answered {
		text, _, _ = strings.Cut(text, `"`)
	}
	if len(text) > errorBytes {
		text = text[:errorBytes] + "…"
	}
	if text == err.Error() {
		return err
	}
	return errors.New(strings.ToValidUTF8(strings.TrimSpace(text), ""))
}
