package provider

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

// coded is a definition that knows errors by their code.
func coded(t *testing.T) *Definition {
	t.Helper()
	d, err := Parse("small.yaml", []byte(strings.Replace(minimal, "errors: message",
		"errors: {at: error.code, gone: [resource_missing, 7], entity: {429: [lock_timeout], 503: [busy], 403: [private]}}", 1)))
	require.NoError(t, err)
	return d
}

// A 404 without the code is of a mistyped path or of a proxy, and nothing is deleted
// for it. An error that the provider says to be of one entity alone is no sign of the
// source.
func TestErrorsAreKnownByTheirCode(t *testing.T) {
	const unknownPath = `{"error":{"type":"invalid_request_error","message":"PRIVATE: Unrecognized request URL"}}`
	code := func(code string) string {
		return fmt.Sprintf(`{"error":{"type":"t","code":%s,"message":"PRIVATE"}}`, code)
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		class  fate.Class
		status int
		alone  bool
	}{
		"gone":                     {answers(404, code(`"resource_missing"`)), fate.Gone, 404, false},
		"gone by 410":              {answers(410, code(`"resource_missing"`)), fate.Gone, 410, false},
		"gone by a number":         {answers(404, code(`7`)), fate.Gone, 404, false},
		"an unknown path":          {answers(404, unknownPath), fate.Transient, 404, false},
		"another code":             {answers(404, code(`"account_closed"`)), fate.Transient, 404, false},
		"a code of no kind":        {answers(404, code(`{}`)), fate.Transient, 404, false},
		"the code elsewhere":       {answers(404, `{"code":"resource_missing"}`), fate.Transient, 404, false},
		"the code as HTML":         {answers(404, code(`"resource_missing"`), "Content-Type", "text/html"), fate.Transient, 404, false},
		"no JSON":                  {answers(404, "resource_missing"), fate.Transient, 404, false},
		"a code of gone with 400":  {answers(400, code(`"resource_missing"`)), fate.Permanent, 400, false},
		"a lock":                   {answers(429, code(`"lock_timeout"`), "Retry-After", "3"), fate.Throttled, 429, true},
		"a limit":                  {answers(429, code(`"rate_limit"`)), fate.Throttled, 429, false},
		"a limit without a body":   {answers(429, ""), fate.Throttled, 429, false},
		"a lock with another code": {answers(503, code(`"lock_timeout"`)), fate.Transient, 503, false},
		"one that is busy":         {answers(503, code(`"busy"`)), fate.Transient, 503, true},
		"one that is private":      {answers(403, code(`"private"`)), fate.Refused, 403, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(c.answer)
			t.Cleanup(s.Close)
			_, err := clientOf(t, coded(t), ClientOptions{}, s.URL).Fetch(t.Context(), event.Ref{Key: event.Key{Source: "s", Kind: "thing", ID: "1"}}, "x")
			requireClass(t, err, c.class, c.status)
			require.Equal(t, c.alone, fate.IsAlone(err))
			require.NotContains(t, err.Error(), "PRIVATE")
			if name == "a lock" {
				_, after := fate.Of(err)
				require.Equal(t, 3*time.Second, after)
				require.ErrorContains(t, err, "this entity alone")
			}
		})
	}
}

// An operator reads in a dead letter what the provider has said, as far as it is no text
// about a person.
func TestErrorsSayTheirCode(t *testing.T) {
	for code, want := range map[string]string{
		`"account_closed"`:                  "fetch s/thing/1: HTTP 422: provider does not understand the request (account_closed)",
		`7`:                                 "fetch s/thing/1: HTTP 422: provider does not understand the request (7)",
		`"E42"`:                             "fetch s/thing/1: HTTP 422: provider does not understand the request (E42)",
		`"DE89370400440532013000"`:          "fetch s/thing/1: HTTP 422: provider does not understand the request",
		`"not for Ada"`:                     "fetch s/thing/1: HTTP 422: provider does not understand the request",
		`""`:                                "fetch s/thing/1: HTTP 422: provider does not understand the request",
		`"` + strings.Repeat("x", 61) + `"`: "fetch s/thing/1: HTTP 422: provider does not understand the request",
	} {
		s := httptest.NewServer(answers(422, `{"error":{"code":`+code+`,"message":"PRIVATE"}}`))
		t.Cleanup(s.Close)
		_, err := clientOf(t, coded(t), ClientOptions{}, s.URL).Fetch(t.Context(), event.Ref{Key: event.Key{Source: "s", Kind: "thing", ID: "1"}}, "x")
		require.EqualError(t, err, want)
	}
}

// The status alone says what an error is whose body breaks off.
func TestAnErrorWithHalfABody(t *testing.T) {
	for status, class := range map[int]fate.Class{422: fate.Permanent, 500: fate.Transient, 401: fate.Refused} {
		s := httptest.NewServer(answers(status, `{"error":{"code":"ab`, "Content-Length", "1000"))
		t.Cleanup(s.Close)
		_, err := clientOf(t, coded(t), ClientOptions{}, s.URL).Fetch(t.Context(), event.Ref{Key: event.Key{Source: "s", Kind: "thing", ID: "1"}}, "x")
		requireClass(t, err, class, status)
		require.NotContains(t, err.Error(), "(")
	}
}

func TestErrorCodesThatNeverWork(t *testing.T) {
	for errors, want := range map[string]string{
		"{gone: [a]}":                                         "api.errors.at: is missing",
		"{at: code}":                                          "api.errors.gone: is missing: want the codes",
		"{at: code, gone: [a], entity: [429]}":                "api.errors.entity: is a list: want a mapping such as",
		"{at: code, gone: [a], entity: {many: [b]}}":          `api.errors.entity: has the key "many": want an HTTP status`,
		"{at: code, gone: [a], entity: {200: [b]}}":           `api.errors.entity: has the key "200": want an HTTP status`,
		"{at: code, gone: [a], entity: {404: [b]}}":           "api.errors.entity: has the key 404: the codes of a 404 go into gone",
		"{at: code, gone: [a], entity: {429: []}}":            "api.errors.entity.429: is empty",
		"{at: code, gone: [a], entity: {429: b}}":             `api.errors.entity.429: is "b": want a list`,
		"{at: code, gone: [a], entity: {429: [a], 429: [b]}}": "api.errors.entity: has the key 429 twice",
		"{at: code, gone: [a], shape: b}":                     "api.errors.shape: is unknown here",
		"[message]":                                           "api.errors: is a list: want text",
	} {
		t.Run(errors, func(t *testing.T) {
			_, err := Parse("small.yaml", []byte(strings.Replace(minimal, "errors: message", "errors: "+errors, 1)))
			require.ErrorContains(t, err, want)
		})
	}
}
