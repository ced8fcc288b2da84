package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/net/http/httpguts"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/sync/singleflight"

	"github.com/tarn-sync/tarn/shared/fate"
)

// authSpec says how requests carry the key.
type authSpec struct {
	style string
	// header is that of the style header.
	header string
	// tokenURL is where the style oauth2 gets its tokens: an https address, or a path
	// under the API's. scopes are asked for.
	tokenURL string
	scopes   []string
}

// The ways to carry a key.
const (
	authBearer = "bearer" // Authorization: Bearer <key>
	authBasic  = "basic"  // HTTP Basic, the key as the user
	authHeader = "header" // a header of its own
	authOAuth2 = "oauth2" // OAuth 2 client credentials (RFC 6749 section 4.4); the key is id:secret
)

// parseAuth reads api.auth.
func parseAuth(api *section) authSpec {
	if n := api.value["auth"]; n == nil || n.Kind != yaml.MappingNode {
		return authSpec{style: api.choice("auth", authBearer, authBasic)}
	}
	s := api.sub("auth")
	spec := authSpec{style: authHeader, header: s.text("header")}
	flow := s.sub(authOAuth2)
	switch {
	case (spec.header != "") == (flow.value != nil):
		s.fail("", "wants one of header and oauth2, as in {header: X-API-Key} or {oauth2: {token_url: /oauth2/token}}")
	case spec.header != "":
		s.checkHeader("header", spec.header)
	default:
		spec.style, spec.tokenURL, spec.scopes = authOAuth2, flow.required("token_url"), flow.texts("scopes")
		flow.checkTokenURL("token_url", spec.tokenURL)
		flow.done()
	}
	s.done()
	return spec
}

// checkTokenURL wants an https address, since the secret goes there, or a path.
func (s *section) checkTokenURL(name, address string) {
	if strings.HasPrefix(address, "/") {
		s.checkFixed(name, address)
		return
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		s.fail(name, "is %q: want a path under api_url, or an https address without a user", address)
	}
}

// checkAPIKey says why a key cannot be used.
func (spec authSpec) checkAPIKey(key string) error {
	if key == "" || !httpguts.ValidHeaderFieldValue(key) {
		return errors.New("api_key is empty or holds a control character")
	}
	if id, secret, _ := strings.Cut(key, ":"); spec.style == authOAuth2 && (id == "" || secret == "") {
		return errors.New("api_key is not of the form id:secret, which OAuth 2 client credentials have")
	}
	return nil
}

// keyHeader is the header that carries the key or the token.
func (spec authSpec) keyHeader() string {
	if spec.style == authHeader {
		return spec.header
	}
	return "Authorization"
}

// set adds the key to the headers of all requests, where it goes itself.
func (spec authSpec) set(h http.Header, key string) {
	switch spec.style {
	case authBasic:
		(&http.Request{Header: h}).SetBasicAuth(key, "")
	case authHeader:
		h.Set(spec.header, key)
	case authBearer:
		h.Set("Authorization", "Bearer "+key)
	}
}

// authorize adds the access token to a request, where one goes in place of the key.
// refused is the token that an earlier try was refused with, "" if there was none. It
// returns the token of this try, "" if there is none.
func (c *Client) authorize(ctx context.Context, req *http.Request, refused string) (token string, err error) {
	if c.tokens == nil {
		return "", nil
	}
	if token, err = c.tokens.get(ctx, refused); err == nil {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return token, err
}

// mostMargin is how long before its end at most a token is no longer used.
const mostMargin = time.Minute

// tokens gets OAuth 2 access tokens and keeps the last. Safe for concurrent use.
type tokens struct {
	config  clientcredentials.Config
	http    *http.Client
	timeout time.Duration
	now     func() time.Time
	// flight is the request for a token under way: there is one at a time.
	flight singleflight.Group

	mu    sync.Mutex
	token string
	until time.Time // zero: the endpoint did not say
}

// newTokens returns the tokens of a client, nil if its requests need none.
func newTokens(spec authSpec, o ClientOptions, base *url.URL, client *http.Client) *tokens {
	if spec.style != authOAuth2 {
		return nil
	}
	address := spec.tokenURL
	if strings.HasPrefix(address, "/") {
		address = base.String() + address
	}
	id, secret, _ := strings.Cut(o.Key, ":")
	asking := *client
	asking.Transport = tokenAnswers{client.Transport}
	return &tokens{
		config: clientcredentials.Config{ClientID: id, ClientSecret: secret, TokenURL: address, Scopes: spec.scopes},
		http:   &asking, timeout: o.Timeout, now: o.Now,
	}
}

// get returns a token other than the refused one. Errors have a class, except one of
// ctx: Refused if the endpoint refuses our id and secret, otherwise Transient.
func (t *tokens) get(ctx context.Context, refused string) (string, error) {
	if token, ok := t.kept(refused); ok {
		return token, nil
	}
	// All that need a token share one request. It has a context of its own, since it
	// goes on for the others when the caller that began it has ended.
	got := t.flight.DoChan("token", func() (any, error) {
		if token, ok := t.kept(refused); ok {
			return token, nil
		}
		own, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.timeout)
		defer cancel()
		return t.fetch(own)
	})
	select {
	case r := <-got:
		token, _ := r.Val.(string)
		return token, r.Err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// kept returns the last token, if it is still good and not the refused one.
func (t *tokens) kept(refused string) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.token, t.token != "" && t.token != refused && (t.until.IsZero() || t.now().Before(t.until))
}

// fetch asks the endpoint for a token.
func (t *tokens) fetch(ctx context.Context) (string, error) {
	asked := t.now()
	got, err := t.config.Token(context.WithValue(ctx, oauth2.HTTPClient, t.http))
	if err != nil {
		return "", t.classed(err)
	}
	if !strings.EqualFold(got.Type(), "bearer") || !httpguts.ValidHeaderFieldValue(got.AccessToken) {
		return "", fate.Errorf(fate.Transient, "get an access token: the endpoint gives one of type %.60q that cannot be used: want a bearer token", got.TokenType)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.token, t.until = got.AccessToken, time.Time{}
	if !got.Expiry.IsZero() {
		life := time.Until(got.Expiry)
		t.until = asked.Add(life - min(life/10, mostMargin))
	}
	return t.token, nil
}

// classed gives an error of the endpoint its class. The body of an answer is left out,
// since it may repeat what was sent.
func (t *tokens) classed(err error) error {
	var answered *oauth2.RetrieveError
	if !errors.As(err, &answered) || answered.Response == nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // it repeats the address
		}
		return fate.Errorf(fate.Transient, "get an access token: %w", err)
	}
	status := answered.Response.StatusCode
	class, says := fate.Transient, "the endpoint failed; check token_url of the definition if that goes on"
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		class, says = fate.Refused, "the endpoint refuses our id and secret (api_key)"
	}
	if answered.ErrorCode != "" {
		says += fmt.Sprintf(": %.60q", answered.ErrorCode)
	}
	e := fate.Errorf(class, "get an access token: HTTP %d: %s", status, says)
	e.Status = status
	if retriable(status) {
		e.RetryAfter = retryAfter(answered.Response.Header.Get("Retry-After"), t.now())
	}
	return e
}
