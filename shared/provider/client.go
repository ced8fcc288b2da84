package provider

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// apiSpec says how the provider's API is spoken to.
type apiSpec struct {
	auth    authSpec
	headers http.Header // with {principal} and {justification}
	// pages is how lists are divided into pages that do not say so themselves. paged:
	// the definition says so.
	pages  *paginationSpec
	paged  bool
	errors errorSpec
	// rateHeaders is the name of a rateStyle.
	rateHeaders string
	probe       string
	identity    identitySpec
	events      eventsSpec
	webhooks    webhooksSpec
	scope       scopeSpec
	writes      writesSpec
}

// eventsSpec says where the provider lists its events. No path: nowhere.
type eventsSpec struct {
	path        string
	since       string // name of the parameter with the lower bound
	query       params
	pages       *paginationSpec
	newestFirst bool
	horizon     time.Duration
}

// ClientOptions are the settings of a Client.
type ClientOptions struct {
	// BaseURL is the API's address with its version: "https://…/v1".
	BaseURL string
	// Key is the API key. With OAuth 2 client credentials it is id:secret.
	Key string
	// Timeout bounds one request, from sending to the last byte of the answer. Once
	// a fifth of it (1 s at least) has passed since the first byte, the answer must
	// have come at 1 KiB a second on average. Defaults to 10 s.
	Timeout time.Duration
	// Concurrency is how many connections are kept for HTTP/1.1. Defaults to 100.
	Concurrency int
	// MaxBody is the largest answer taken, in bytes. A page of a list that is larger
	// is asked for in smaller ones. Defaults to 16 MiB.
	MaxBody int64
	// MaxPages is how many pages a list may have. Defaults to DefaultMaxPages.
	MaxPages int
	// Principal and the justification of each call fill headers of the
	// definition that ask for them. Defaults to "tarn-none".
	Principal string
	// TLS is for an API whose certificate the system does not know. Defaults to
	// the system's certificates.
	TLS *tls.Config
	// Page is called before each further request of a call that makes several, as
	// for the pages of a list kind or of a list inside an entity, so that it costs
	// what it asks for. An error ends the fetch. Defaults to nothing.
	Page func(ctx context.Context) error
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

func (o ClientOptions) withDefaults() ClientOptions {
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 100
	}
	if o.MaxBody <= 0 {
		o.MaxBody = 16 << 20
	}
	if o.Principal == "" {
		o.Principal = "tarn-none"
	}
	if o.Page == nil {
		o.Page = func(context.Context) error { return nil }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// connectTimeout bounds each step of connecting.
const connectTimeout = 10 * time.Second

// Client asks one provider's API. Safe for concurrent use.
type Client struct {
	def  *Definition
	opts ClientOptions
	base *url.URL
	http *http.Client
	// tokens are those of OAuth 2. Nil: the key is sent itself.
	tokens *tokens
	// address is base as it is written; headers are those of all requests.
	address string
	headers requestHeaders
	// allowance is from the last answer with rate headers.
	allowance atomic.Pointer[Allowance]
	sizes     pageSizes
	clock     *providerClock // nil: the provider's time is of no interest
}

// NewClient returns a client. An address that is not http(s), or a key or
// principal that is not allowed in a header, is an error.
func NewClient(d *Definition, o ClientOptions) (*Client, error) {
	o = o.withDefaults()
	base, err := url.Parse(strings.TrimSuffix(o.BaseURL, "/"))
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("api_url %q is no http or https address", o.BaseURL)
	}
	if base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("api_url holds a user, query or fragment: give the bare address, and the key as api_key")
	}
	if err := d.api.auth.checkAPIKey(o.Key); err != nil {
		return nil, err
	}
	if !httpguts.ValidHeaderFieldValue(o.Principal) {
		return nil, errors.New("principal holds a control character")
	}
	client := newHTTP(o)
	return &Client{
		def: d, opts: o, base: base, http: client, tokens: newTokens(d.api.auth, o, base, client),
		address: base.String(), headers: newRequestHeaders(&d.api, &o),
	}, nil
}

// WithKey returns a client like c that asks with another key, over the connections
// of c. It does not know the allowance or page sizes that c learned: they may
// belong to the old key; nor the access token, unless the key is the same. Closing either client closes the idle connections of both.
func (c *Client) WithKey(key string) (*Client, error) {
	if err := c.def.api.auth.checkAPIKey(key); err != nil {
		return nil, err
	}
	o, tokens := c.opts, c.tokens
	if key != o.Key {
		o.Key = key
		tokens = newTokens(c.def.api.auth, o, c.base, c.http)
	}
	return &Client{
		def: c.def, opts: o, base: c.base, http: c.http, tokens: tokens,
		address: c.address, headers: newRequestHeaders(&c.def.api, &o),
	}, nil
}

func newHTTP(o ClientOptions) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment,
			// Connecting goes on for others when the request that began it has
			// ended, so it needs bounds of its own.
			DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
			TLSHandshakeTimeout: connectTimeout,
			TLSClientConfig:     o.TLS,
			ForceAttemptHTTP2:   true,
			MaxIdleConns:        o.Concurrency,
			MaxIdleConnsPerHost: o.Concurrency,
			IdleConnTimeout:     90 * time.Second,
			// One connection carries every request: a dead one must be noticed
			// before all of them have run into their deadline.
			HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
		},
		// A redirect would carry the key to its target.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Close lets idle connections go.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Probe asks the definition's probe path: nil if the provider accepts us.
func (c *Client) Probe(ctx context.Context) error { return c.ProbeScope(ctx, "") }

// ProbeScope asks the probe path within a scope: nil if the provider lets us into it.
func (c *Client) ProbeScope(ctx context.Context, scope string) error {
	path, rawQuery, _ := strings.Cut(c.def.api.probe, "?")
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return fate.Errorf(fate.Permanent, "probe: %w", err)
	}
	_, err = c.ask(ctx, call{kind: "probe", path: path, query: query, scope: scope, why: "probe"})
	return err
}

// Fetch asks for the current state of one entity. why is the justification
// sent where the provider wants one: "webhook-evt_1". Errors carry their
// class: see package fate. An error of ctx itself comes back as such, without
// a class: it says nothing about the entity.
func (c *Client) Fetch(ctx context.Context, ref event.Ref, why string) (*Snapshot, error) {
	k := c.def.Kind(ref.Key.Kind)
	if k == nil {
		return nil, fate.Errorf(fate.Undefined, "fetch %s: provider %s has no such kind", ref.Key, c.def.Name)
	}
	call, err := k.call(ref)
	if err != nil {
		return nil, fate.Errorf(fate.Permanent, "fetch %s: %w", ref.Key, err)
	}
	call.id, call.why = ref.Key.ID, why
	s, err := c.fetch(ctx, k, call)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", ref.Key, err)
	}
	return s, nil
}

func (c *Client) fetch(ctx context.Context, k *Kind, call call) (*Snapshot, error) {
	if k.Shape == ShapeList {
		return c.fetchList(ctx, k, call)
	}
	a, err := c.ask(ctx, call)
	if err != nil {
		return nil, err
	}
	doc, err := k.inAnswer(a.doc)
	if err != nil {
		return nil, err
	}
	if err := c.def.checkAnswer(k, doc.Root(), call.id); err != nil {
		return nil, err
	}
	if doc, err = c.whole(ctx, k, doc, call); err != nil {
		return nil, err
	}
	return c.interpret(k, doc, a.sentAt)
}

// inAnswer returns the entity in the answer to its GET, byte for byte as it is there.
func (k *Kind) inAnswer(answer *rawjson.Doc) (*rawjson.Doc, error) {
	if k.answer == nil {
		return answer, nil
	}
	v := answer.Root().At(k.answer)
	if v.Kind() == rawjson.None {
		return nil, fate.Errorf(fate.Transient, "the answer has nothing at %s, where the %s should be", k.answer, k.Name)
	}
	doc, err := rawjson.Parse(v.Raw(), rawjson.Options{})
	if err != nil {
		return nil, fate.New(fate.Transient, err)
	}
	return doc, nil
}

// interpret makes a snapshot of an answer.
func (c *Client) interpret(k *Kind, doc *rawjson.Doc, sentAt time.Time) (*Snapshot, error) {
	s, err := c.def.snapshot(k, doc)
	if err != nil {
		return nil, fate.New(fate.Transient, err)
	}
	s.SentAt = sentAt
	return s, nil
}

// path returns the path to ask for an entity.
func (k *Kind) path(ref event.Ref) (string, error) {
	call, err := k.call(ref)
	return call.path, err
}

// call returns the request for an entity: its GET, or the first page of a list.
func (k *Kind) call(ref event.Ref) (call, error) {
	e := k.get
	if k.Shape == ShapeList {
		e = k.list
	}
	if err := event.CheckID(ref.Key.ID); err != nil {
		return call{}, err
	}
	out, err := k.fill(e, k.idsOf(ref))
	if err != nil {
		return call{}, err // says which parent is missing
	}
	// The key says which entity is meant, whatever parents a hint names.
	out.scope = k.scopeIn(ref.Key)
	return out, k.checkKey(ref.Key)
}

// idsOf returns the ids that placeholders of the kind stand for.
func (k *Kind) idsOf(ref event.Ref) func(name string) string {
	return func(name string) string {
		if name == k.IDKey {
			return ref.Key.ID
		}
		return ref.Parents[name]
	}
}

// fill puts ids into path and parameters, each checked.
func (k *Kind) fill(e endpoint, value func(string) string) (call, error) {
	for _, name := range e.names() {
		if err := event.CheckID(value(name)); err != nil {
			return call{}, fmt.Errorf("%s of %s: %w", name, k.Name, err)
		}
	}
	return call{kind: k.Name, path: e.path.path(value), query: e.query.fill(value), pages: k.pages, ids: value}, nil
}
