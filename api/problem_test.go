package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// requireShape requires that an answer is a problem: of the one shape, of a type
// that is listed, in words that need no knowledge of Go.
func requireShape(t *testing.T, w *httptest.ResponseRecorder) Problem {
	t.Helper()
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"), w.Body)
	var p Problem
	strict := json.NewDecoder(strings.NewReader(w.Body.String()))
	strict.DisallowUnknownFields()
	require.NoError(t, strict.Decode(&p), w.Body)
	require.Equal(t, w.Code, p.Status)
	require.Equal(t, http.StatusText(w.Code), p.Title)
	require.NotEmpty(t, p.Detail)
	require.Contains(t, problemTypes, strings.TrimPrefix(p.Type, typeBase), w.Body)
	for _, ours := range []string{"2006-01-02", "Go struct", "cannot unmarshal", "parsing time", "*json.", "strconv"} {
		require.NotContains(t, w.Body.String(), ours)
	}
	return p
}

// Requests that do not fit, and how the answer says what to send.
func TestProblemsSayWhatToDo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, c := range map[string]struct {
		method, path, body string
		header             []string
		status             int
		kind, says         string
	}{
		"a time":           {"GET", "/v1/events?from=yesterday", "", nil, 422, "invalid", "want a time as RFC 3339 has it, such as 2026-03-01T12:00:00Z"},
		"a time in a body": {"POST", "/v1/dead-letters/redrive", `{"source":"lemon","from":"yesterday"}`, nil, 422, "invalid", "RFC 3339"},
		"a number":         {"GET", "/v1/events?limit=many", "", nil, 422, "invalid", "want a whole number"},
		"a bound":          {"GET", "/v1/events?limit=1000", "", nil, 422, "invalid", "expected number <= 200"},
		"a yes or no":      {"POST", "/v1/dead-letters/redrive", `{"source":"lemon","dry_run":"maybe"}`, nil, 422, "invalid", "expected boolean"},
		"a blank reason":   {"POST", "/v1/sources/lemon/pause", `{"reason":" "}`, nil, 422, "invalid", "text that is not blank"},
		"half a body":      {"POST", "/v1/sources/lemon/pause", `{"reason":`, nil, 400, "bad-request", "is no JSON"},
		"no JSON":          {"POST", "/v1/sources/lemon/pause", `{reason: x}`, nil, 400, "bad-request", "is no JSON: invalid character"},
		"another form":     {"POST", "/v1/sources/lemon/pause", `reason=x`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "media-type", "send the body as JSON, with Content-Type: application/json"},
		"no body":          {"POST", "/v1/sources/lemon/pause", "", nil, 400, "bad-request", "send a JSON object with reason, with Content-Type: application/json"},
		"no body for many": {"POST", "/v1/dead-letters/discard", "", nil, 400, "bad-request", "send a JSON object with reason"},
		"no empty body":    {"POST", "/v1/dead-letters/redrive", "", nil, 400, "bad-request", "send a JSON object, at least {}"},
		"no sweep":         {"POST", "/v1/sweeps", "", nil, 400, "bad-request", "send a JSON object with source"},
		"a wait in a body": {"POST", "/v1/entities/lemon/order/bord_1/sync", `{"wait":"5s"}`, nil, 422, "invalid", `"message":"the route takes no body: send wait in the query, ?wait=","location":"body.wait"`},
		"a needless body":  {"POST", "/v1/sources/lemon/retry", `{"kind":"order"}`, nil, 422, "invalid", `"location":"body.kind"`},
		"a needless list":  {"DELETE", "/v1/jobs/job_1", `[1]`, nil, 422, "invalid", "the route takes no body"},
		"an unknown field": {"POST", "/v1/sources/lemon/pause", `{"reason":"x","until":"noon"}`, nil, 422, "invalid", `"location":"body.until"`},
		"of a resume":      {"POST", "/v1/sources/lemon/resume", `{"accept":true}`, nil, 422, "invalid", `"location":"body.accept"`},
		"no such filter":   {"GET", "/v1/events?sort=up", "", nil, 422, "invalid", "unknown query parameter"},
		"no such source":   {"GET", "/v1/entities/none/order", "", nil, 404, "not-found", `no source \"none\"`},
		"no such route":    {"GET", "/v2", "", nil, 404, "route", "/docs lists them"},
		"no such method":   {"PUT", "/v1/events", "", nil, 405, "route", "does not take this method"},
		"an unknown hook":  {"POST", "/webhooks/none", "{}", nil, 404, "unknown-source", "no source of this name"},
		"an unsigned hook": {"POST", "/webhooks/lemon", "{}", nil, 401, "missing", `"detail":"no `},
	} {
		t.Run(name, func(t *testing.T) {
			w := f.send(c.method, c.path, c.body, c.header...)
			require.Equal(t, c.status, w.Code, w.Body)
			requireProblem(t, w, c.kind)
			require.Contains(t, w.Body.String(), c.says)
			for _, e := range requireShape(t, w).Errors {
				require.False(t, e.Location == "body" && e.Value != nil, "the body is not sent back: %s", w.Body)
			}
		})
	}
}

// A token that is wrong and one that is left out are told apart.
func TestAWrongTokenIsNotAccepted(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) {
		o.Tokens = []Token{{Name: "ops", Secret: "0123456789abcdef", Role: Operator}}
	})
	for header, want := range map[string][2]string{
		"":                        {"a token is needed", `Bearer realm="tarn"`},
		"Bearer fedcba9876543210": {"the token is not accepted", `Bearer realm="tarn", error="invalid_token"`},
		"Basic b3BzOm9wcw==":      {"the token is not accepted", `Bearer realm="tarn", error="invalid_token"`},
		"Basic 0123456789abcdef":  {"the token is not accepted", `Bearer realm="tarn", error="invalid_token"`},
	} {
		var send []string
		if header != "" {
			send = []string{"Authorization", header}
		}
		w := f.get("/v1/events", send...)
		require.Equal(t, http.StatusUnauthorized, w.Code)
		requireProblem(t, w, "token")
		require.Contains(t, w.Body.String(), want[0])
		require.Equal(t, want[1], w.Header().Get("WWW-Authenticate"))
	}
}

// The document and the guide list every type, and the guide no other.
func TestProblemTypesAreListed(t *testing.T) {
	t.Parallel()
	document := newFixture(t).get("/openapi.json").Body.String()
	guide, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, end := range problemTypes {
		require.Contains(t, document, `"`+typeBase+end+`"`)
	}
	var explained []string
	for _, row := range regexp.MustCompile("(?m)^\\| ([`a-z, -]+) \\| [1-5][0-9][0-9]").FindAllStringSubmatch(string(guide), -1) {
		explained = append(explained, strings.Split(strings.ReplaceAll(row[1], "`", ""), ", ")...)
	}
	require.ElementsMatch(t, problemTypes, explained)
	require.NotContains(t, document, "about:blank")
}
