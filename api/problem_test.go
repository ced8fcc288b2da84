package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/stream"
)

// requireShape requires that an answer is a problem: of the one shape, of a type
// that is listed, in words that need no knowledge of Go.
func requireShape(t *testing.T, w *httptest.ResponseRecorder) Problem {
	t.Helper()
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"), w.Body)
	var p struct {
		Problem
		Loops, Checks any // of /healthz and /readyz
	}
	strict := json.NewDecoder(strings.NewReader(w.Body.String()))
	strict.DisallowUnknownFields()
	require.NoError(t, strict.Decode(&p), w.Body)
	require.Equal(t, w.Code, p.Status)
	require.Equal(t, http.StatusText(w.Code), p.Title)
	require.NotEmpty(t, p.Detail)
	require.True(t, slices.ContainsFunc(problems.Kinds, func(k problems.Kind) bool {
		return problems.Base+k.Name == p.Type && slices.Contains(k.Statuses, p.Status)
	}), "%s", w.Body)
	for _, ours := range []string{"2006-01-02", "Go struct", "cannot unmarshal", "parsing time", "*json.", "strconv"} {
		require.NotContains(t, w.Body.String(), ours)
	}
	return p.Problem
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

// The guide's table, the document's list and the schema of a problem have the types of the
// code, each with its statuses and what it means, in the same order.
func TestProblemTypesAreListed(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("README.md")
	require.NoError(t, err)
	table := "| Type | Status | Means |\n|---|---|---|\n"
	var listed []problemType
	var enum []any
	for _, k := range problems.Kinds {
		var statuses []string
		for _, status := range k.Statuses {
			statuses = append(statuses, strconv.Itoa(status))
		}
		table += fmt.Sprintf("| `%s` | %s | %s |\n", k.Name, strings.Join(statuses, ", "), k.Means)
		listed = append(listed, problemType{problems.Base + k.Name, k.Statuses, k.Means})
		enum = append(enum, problems.Base+k.Name)
	}
	require.Contains(t, string(guide), "\n\n"+table+"\n", "the guide's table of problems is to be:\n%s", table)
	require.Equal(t, 1, strings.Count(string(guide), "| Type | Status | Means |"), "one table has all")

	var d struct {
		Problems   []problemType `json:"x-problems"`
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct{ Enum []any }
			}
		}
	}
	document := newFixture(t).get("/openapi.json").Body.Bytes()
	require.NoError(t, json.Unmarshal(document, &d))
	require.Equal(t, listed, d.Problems)
	require.NotContains(t, string(document), "about:blank")
	for _, schema := range []string{"Problem", "Stuck", "NotReady"} {
		require.Equal(t, enum, d.Components.Schemas[schema].Properties["type"].Enum, schema)
	}
}

// Every type that the code of the api names is on the list.
func TestReasonsOfRefusalsAreListed(t *testing.T) {
	t.Parallel()
	for _, why := range []*refusal{
		refuseUnknownSource, refuseSlow, refuseIncomplete, refuseEncoded, refuseChallenge, refusePanic, refuseEncoding,
		refuseTooLarge(1), refuseSignature(errors.New("bad")), refuseMalformed(errors.New("bad")),
		refuseUnconfirmed(errors.New("bad")), refuseUnconfirmed(stream.ErrFull), refuseUnconfirmed(context.DeadlineExceeded),
	} {
		w := httptest.NewRecorder()
		why.write(w)
		requireShape(t, w)
	}
}
