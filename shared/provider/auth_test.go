package provider

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

var thingRef = event.Ref{Key: event.Key{Source: "s", Kind: "thing", ID: "1"}}

// authorized is a definition whose requests carry the key in a way.
func authorized(t *testing.T, auth string) *Definition {
	t.Helper()
	d, err := Parse("small.yaml", []byte(strings.Replace(minimal, "probe: /me", "probe: /me, auth: "+auth, 1)))
	require.NoError(t, err)
	return d
}

func TestTheKeyInAHeader(t *testing.T) {
	headers := make(chan http.Header, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers <- r.Header
		answers(200, `{"id":"1"}`)(w, r)
	}))
	t.Cleanup(s.Close)
	_, err := clientOf(t, authorized(t, "{header: X-Shop-Token}"), ClientOptions{}, s.URL).Fetch(t.Context(), thingRef, "x")
	require.NoError(t, err)
	h := <-headers
	require.Equal(t, "key_1", h.Get("X-Shop-Token"))
	require.Empty(t, h.Get("Authorization"))
}

// issuer is an API with the token endpoint /v1/token, which takes id:secret.
type issuer struct {
	*httptest.Server
	// issue answers at the endpoint; n is the number of the request, from 1.
	issue func(w http.ResponseWriter, r *http.Request, n int)
	// accepts reports whether the API takes a token.
	accepts func(token string) bool

	mu    sync.Mutex
	forms []string // of the requests for a token
	used  []string // Authorization of those of the API
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	s := &issuer{accepts: func(string) bool { return true }}
	s.issue = func(w http.ResponseWriter, r *http.Request, n int) {
		answers(200, fmt.Sprintf(`{"access_token":"token_%d","token_type":"Bearer","expires_in":3600}`, n))(w, r)
	}
	s.Server = httptest.NewUnstartedServer(s)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v1/token" {
		_ = r.ParseForm()
		id, secret, _ := r.BasicAuth()
		s.mu.Lock()
		s.forms = append(s.forms, r.Method+" "+id+":"+secret+" "+r.PostForm.Encode())
		n := len(s.forms)
		s.mu.Unlock()
		s.issue(w, r, n)
		return
	}
	token := r.Header.Get("Authorization")
	s.mu.Lock()
	s.used = append(s.used, token)
	s.mu.Unlock()
	if !s.accepts(strings.TrimPrefix(token, "Bearer ")) {
		answers(401, `{"message":"x"}`)(w, r)
		return
	}
	answers(200, `{"id":"1","data":[]}`)(w, r)
}

func (s *issuer) client(t *testing.T, o ClientOptions) *Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	o.TLS, o.BaseURL, o.Key = &tls.Config{RootCAs: roots}, s.URL+"/v1", "id_1:secret:1"
	c, err := NewClient(authorized(t, "{oauth2: {token_url: /token, scopes: [read, list]}}"), o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func TestOAuth2(t *testing.T) {
	s := newIssuer(t)
	clock := now
	c := s.client(t, ClientOptions{Now: func() time.Time { return clock }})
	fetch := func() {
		_, err := c.Fetch(t.Context(), thingRef, "x")
		require.NoError(t, err)
	}
	fetch()
	fetch()
	require.Equal(t, []string{"POST id_1:secret%3A1 grant_type=client_credentials&scope=read+list"}, s.forms, "one token serves many requests")
	require.Equal(t, []string{"Bearer token_1", "Bearer token_1"}, s.used)
	clock = clock.Add(time.Hour - 2*time.Minute)
	fetch()
	require.Len(t, s.forms, 1)
	clock = clock.Add(90 * time.Second)
	fetch()
	require.Equal(t, "Bearer token_2", s.used[3], "another one comes before the first has expired")

	same, err := c.WithKey("id_1:secret:1")
	require.NoError(t, err)
	_, err = same.Fetch(t.Context(), thingRef, "x")
	require.NoError(t, err)
	require.Len(t, s.forms, 2, "the same key keeps its token")
	other, err := c.WithKey("id_2:s")
	require.NoError(t, err)
	_, err = other.Fetch(t.Context(), thingRef, "x")
	require.NoError(t, err)
	require.Equal(t, "POST id_2:s grant_type=client_credentials&scope=read+list", s.forms[2])
	require.Equal(t, "Bearer token_3", s.used[5])
	_, err = c.WithKey("no secret")
	require.ErrorContains(t, err, "api_key is not of the form id:secret")
}

// A token that is refused, as one that expires in the middle of a sweep, is replaced
// and the request made again, once.
func TestATokenThatIsRefused(t *testing.T) {
	s := newIssuer(t)
	c := s.client(t, ClientOptions{Now: clock})
	require.NoError(t, c.Probe(t.Context()))
	s.accepts = func(token string) bool { return token == "token_2" }
	_, err := c.Fetch(t.Context(), thingRef, "x")
	require.NoError(t, err)
	require.Equal(t, []string{"Bearer token_1", "Bearer token_1", "Bearer token_2"}, s.used)

	s.accepts = func(string) bool { return false }
	_, err = c.Fetch(t.Context(), thingRef, "x")
	requireClass(t, err, fate.Refused, 401)
	require.Equal(t, []string{"Bearer token_2", "Bearer token_3"}, s.used[3:])
	require.Len(t, s.forms, 3)
}

// However many requests find no token, or have theirs refused, one asks for another.
func TestManyRequestsShareOneToken(t *testing.T) {
	s := newIssuer(t)
	arrived, release := make(chan struct{}, 100), make(chan struct{})
	issue := s.issue
	s.issue = func(w http.ResponseWriter, r *http.Request, n int) {
		arrived <- struct{}{}
		<-release
		issue(w, r, n)
	}
	c := s.client(t, ClientOptions{Now: clock})
	done := make(chan error, 21)
	gone, giveUp := context.WithCancel(t.Context())
	go func() { _, err := c.Fetch(gone, thingRef, "x"); done <- err }()
	<-arrived
	for range 20 {
		go func() { _, err := c.Fetch(t.Context(), thingRef, "x"); done <- err }()
	}
	giveUp()
	require.ErrorIs(t, <-done, context.Canceled, "the caller that began the request may end")
	close(release)
	for range 20 {
		require.NoError(t, <-done)
	}
	require.Len(t, s.forms, 1)
}

func TestTokenEndpointsThatFail(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a secret was sent elsewhere") }))
	t.Cleanup(elsewhere.Close)
	for name, c := range map[string]struct {
		issue  http.HandlerFunc
		class  fate.Class
		status int
		says   string
	}{
		"refused":              {answers(401, `{"error":"invalid_client","error_description":"PRIVATE"}`), fate.Refused, 401, `refuses our id and secret (api_key): "invalid_client"`},
		"refused by 400":       {answers(400, `{"error":"invalid_scope"}`), fate.Refused, 400, `"invalid_scope"`},
		"refused in HTML":      {answers(403, "<html>PRIVATE", "Content-Type", "text/html"), fate.Refused, 403, "refuses our id and secret"},
		"down":                 {answers(503, "PRIVATE", "Retry-After", "7"), fate.Transient, 503, "HTTP 503: the endpoint failed"},
		"not found":            {answers(404, "PRIVATE"), fate.Transient, 404, "check token_url"},
		"a redirect":           {answers(307, "", "Location", elsewhere.URL), fate.Transient, 307, "HTTP 307: the endpoint failed"},
		"no token":             {answers(200, `{}`), fate.Transient, 0, "get an access token: "},
		"no JSON":              {answers(200, `PRIVATE`), fate.Transient, 0, "get an access token: "},
		"another type":         {answers(200, `{"access_token":"a","token_type":"mac"}`), fate.Transient, 0, `of type "mac" that cannot be used`},
		"a token of two lines": {answers(200, `{"access_token":"a\nb"}`), fate.Transient, 0, "that cannot be used"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newIssuer(t)
			s.issue = func(w http.ResponseWriter, r *http.Request, _ int) { c.issue(w, r) }
			_, err := s.client(t, ClientOptions{Now: clock}).Fetch(t.Context(), thingRef, "x")
			requireClass(t, err, c.class, c.status)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "secret:1")
			require.Empty(t, s.used, "without a token the API is not asked")
			if name == "down" {
				_, after := fate.Of(err)
				require.Equal(t, 7*time.Second, after)
			}
		})
	}
	s := newIssuer(t)
	c := s.client(t, ClientOptions{Now: clock})
	s.Close()
	_, err := c.Fetch(t.Context(), thingRef, "x")
	requireClass(t, err, fate.Transient, 0)
}

// A token endpoint that does not answer ends a request at its time-out, and its own
// request as well.
func TestATokenEndpointThatHangs(t *testing.T) {
	s := newIssuer(t)
	var ended atomic.Bool
	left := make(chan struct{})
	s.issue = func(_ http.ResponseWriter, r *http.Request, _ int) {
		<-r.Context().Done()
		if ended.CompareAndSwap(false, true) {
			close(left)
		}
	}
	_, err := s.client(t, ClientOptions{Now: clock, Timeout: 2 * time.Second}).Fetch(t.Context(), thingRef, "x")
	requireClass(t, err, fate.Transient, 0)
	<-left
}

func TestAuthThatNeverWorks(t *testing.T) {
	for auth, want := range map[string]string{
		"{header: \"a b\"}":                      `api.auth.header: "a b" is no name of a header`,
		"{}":                                     "api.auth: wants one of header and oauth2",
		"{header: X-A, oauth2: {token_url: /t}}": "api.auth: wants one of header and oauth2",
		"{oauth2: {}}":                           "api.auth.oauth2.token_url: is missing",
		"{oauth2: {token_url: \"http://id.example/token\"}}":     "want a path under api_url, or an https address",
		"{oauth2: {token_url: \"https://u@id.example/token\"}}":  "want a path under api_url, or an https address",
		"{oauth2: {token_url: \"//id.example/token\"}}":          "want a path such as /accounts",
		"{oauth2: {token_url: /t, scope: a}}":                    "api.auth.oauth2.scope: is unknown here",
		"{header: X-A}, headers: {x-a: b}":                       `api.headers: holds "X-A", which auth sets to the key`,
		"bearer, headers: {authorization: b}":                    `api.headers: holds "Authorization", which auth sets to the key`,
		"{oauth2: {token_url: /t}}, headers: {Authorization: b}": `api.headers: holds "Authorization", which auth sets to the key`,
		"[bearer]": "api.auth: is a list: want text",
	} {
		t.Run(auth, func(t *testing.T) {
			_, err := Parse("small.yaml", []byte(strings.Replace(minimal, "probe: /me", "probe: /me, auth: "+auth, 1)))
			require.ErrorContains(t, err, want)
		})
	}
	_, err := NewClient(authorized(t, "{oauth2: {token_url: \"https://id.example/token\"}}"), ClientOptions{BaseURL: "https://a.example", Key: "k"})
	require.ErrorContains(t, err, "api_key is not of the form id:secret")
}

// Some endpoints answer with JSON under another content type.
func TestTokensUnderAnotherContentType(t *testing.T) {
	for name, c := range map[string]struct{ body, contentType string }{
		"JSON as text": {`{"access_token":"token_1","token_type":"Bearer","expires_in":3600}`, "text/plain; charset=utf-8"},
		"after spaces": {"\n {\"access_token\":\"token_1\"}", "text/plain"},
		"JSON as form": {`{"access_token":"token_1"}`, "application/x-www-form-urlencoded"},
		"a form":       {"access_token=token_1&token_type=bearer", "text/plain"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newIssuer(t)
			s.issue = func(w http.ResponseWriter, r *http.Request, _ int) {
				answers(200, c.body, "Content-Type", c.contentType)(w, r)
			}
			_, err := s.client(t, ClientOptions{}).Fetch(t.Context(), thingRef, "x")
			require.NoError(t, err)
			require.Equal(t, []string{"Bearer token_1"}, s.used)
			require.Len(t, s.forms, 1)
		})
	}
}
