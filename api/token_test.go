package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	viewerToken   = Token{Name: "grafana", Secret: "viewer-0123456789", Role: Viewer}
	writerToken   = Token{Name: "shop", Secret: "writer-01234567890", Role: Writer}
	operatorToken = Token{Name: "ops", Secret: "operator-0123456789", Role: Operator}
)

func TestTokens(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) { o.Tokens = []Token{viewerToken, operatorToken} })
	for _, c := range []struct {
		name, header string
		status       int
	}{
		{"viewer", "Bearer " + viewerToken.Secret, 200},
		{"operator", "Bearer " + operatorToken.Secret, 200},
		{"scheme in small letters", "bearer " + viewerToken.Secret, 200},
		{"none", "", 401},
		{"wrong", "Bearer viewer-0123456780", 401},
		{"prefix", "Bearer viewer-012345678", 401},
		{"longer", "Bearer " + viewerToken.Secret + "0", 401},
		{"name instead of secret", "Bearer grafana", 401},
		{"basic", "Basic " + viewerToken.Secret, 401},
		{"scheme alone", "Bearer", 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := f.get("/v1/events", "Authorization", c.header)
			require.Equal(t, c.status, w.Code)
			if c.status == http.StatusUnauthorized {
				require.NotEmpty(t, w.Header().Get("WWW-Authenticate"))
				requireProblem(t, w, "")
			}
		})
	}
	for _, open := range []string{"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/", "/console", "/console/app.js"} {
		require.Equal(t, http.StatusOK, f.get(open).Code, open)
	}
	require.Equal(t, http.StatusOK, f.do(webhook("lemon", orderEvent("evt_1"), noon)).Code)
}

func TestViewerIsNoOperator(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) { o.Tokens = []Token{viewerToken, operatorToken} })
	acts := 0
	for _, route := range f.engine.Routes() {
		if !strings.HasPrefix(route.Path, "/v1/") || route.Method == http.MethodGet {
			continue
		}
		acts++
		path := ginParam.ReplaceAllString(route.Path, "nothing")
		w := f.send(route.Method, path, "{}", "Authorization", "Bearer "+viewerToken.Secret)
		require.Equal(t, http.StatusForbidden, w.Code, "%s %s", route.Method, path)
		requireProblem(t, w, "")
		w = f.send(route.Method, path, "{}", "Authorization", "Bearer "+operatorToken.Secret)
		require.Contains(t, []int{http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusBadRequest, http.StatusAccepted}, w.Code, "%s %s: %s", route.Method, path, w.Body)
	}
	require.Equal(t, 26, acts)
}

// A page of another site, open in a browser on this machine, reaches the
// loopback address; where no token is asked for it must not act.
func TestPagesOfOthersMayNotAct(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, c := range []struct {
		name, header, value string
		status              int
	}{
		{"no browser", "User-Agent", "curl/8", 200},
		{"our own page", "Sec-Fetch-Site", "same-origin", 200},
		{"another site's page", "Sec-Fetch-Site", "cross-site", 403},
		{"another port's page", "Sec-Fetch-Site", "same-site", 403},
		{"an old browser", "Origin", "https://evil.example", 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := f.post("/v1/sources/lemon/resume", "", c.header, c.value)
			require.Equal(t, c.status, w.Code, w.Body)
		})
	}
	with := newFixture(t, func(o *Options) { o.Tokens = []Token{operatorToken} })
	w := with.post("/v1/sources/lemon/resume", "", "Sec-Fetch-Site", "cross-site", "Authorization", "Bearer "+operatorToken.Secret)
	require.Equal(t, http.StatusOK, w.Code, "a token is not sent by itself")
}

func TestEveryOperationUnderV1IsGuarded(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) { o.Tokens = []Token{viewerToken} })
	for _, route := range f.engine.Routes() {
		if len(route.Path) > 3 && route.Path[:4] == "/v1/" {
			require.Equal(t, http.StatusUnauthorized, f.send(route.Method, route.Path, "").Code, route.Path)
		}
	}
}

func TestWithoutTokensOnlyThisMachineIsAnswered(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for host, status := range map[string]int{
		"localhost:8080": 200, "127.0.0.1:8080": 200, "[::1]:8080": 200, "localhost": 200,
		"evil.example:8080": 403, "127.0.0.1.evil.example": 403, "": 403,
	} {
		req := webhook("x", "", noon)
		req.Method, req.Host = http.MethodGet, host
		req.URL.Path = "/v1/events"
		require.Equal(t, status, f.do(req).Code, "host %q", host)
	}
}

func TestListenAddr(t *testing.T) {
	t.Parallel()
	tokens := []Token{viewerToken}
	for _, c := range []struct {
		addr   string
		tokens []Token
		want   string
		says   string
	}{
		{"127.0.0.1:8080", nil, "127.0.0.1:8080", ""},
		{"[::1]:8080", nil, "[::1]:8080", ""},
		{"localhost:0", nil, "localhost:0", ""},
		{":8080", tokens, ":8080", ""},
		{"10.0.0.1:8080", tokens, "10.0.0.1:8080", ""},
		{":8080", nil, "127.0.0.1:8080", ""},
		{"0.0.0.0:8080", nil, "", "operator_tokens"},
		{"[::]:8080", nil, "", "operator_tokens"},
		{"10.0.0.1:8080", nil, "", "operator_tokens"},
		{"example.com:8080", nil, "", "operator_tokens"},
		{"8080", tokens, "", "missing port"},
	} {
		got, err := ListenAddr(c.addr, c.tokens)
		require.Equal(t, c.want, got, c.addr)
		if c.says == "" {
			require.NoError(t, err, c.addr)
		} else {
			require.ErrorContains(t, err, c.says, c.addr)
		}
	}
}

func TestConfigurationOfTokens(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		token Token
		says  string
	}{
		{"no name", Token{Secret: viewerToken.Secret, Role: Viewer}, "name is empty"},
		{"short", Token{Name: "a", Secret: "short", Role: Viewer}, "16 bytes"},
		{"role", Token{Name: "a", Secret: viewerToken.Secret, Role: "admin"}, "viewer, writer or operator"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New(Options{Queue: newFakeQueue(), Store: &fakeStore{}, Tokens: []Token{c.token}})
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), viewerToken.Secret)
		})
	}
}
