package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/identity"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// The ends of problem types that a client may want to tell from other answers of the
// same status. problemTypes has all types.
const (
	problemNotYet     = "not-yet"
	problemNotFresh   = "not-fresh"
	problemAmbiguous  = "ambiguous"
	problemNotOpen    = "not-open"
	problemOver       = "over"
	problemStanding   = "standing"
	problemParents    = "parents-differ"
	problemConfigured = "configured"
)

// typeBase is the beginning of every type. Types are names, not addresses: README.md
// beside this file says what they mean.
const typeBase = "urn:tarn:problem:"

// problemTypes are the ends of all types that a client may get. A type never changes its
// meaning; a new cause gets a new type.
var problemTypes = []string{
	// By status alone.
	"bad-request", "token", "forbidden", "not-found", "conflict", "media-type", "invalid", "internal", "unavailable",
	// Of /v1.
	problemNotYet, problemNotFresh, problemAmbiguous, problemNotOpen, problemOver, problemStanding, problemParents,
	problemConfigured,
	// Of a webhook; the reasons of tarn_rejected_total, with dashes.
	"unknown-source", "too-large", "slow", "incomplete", "signature", "missing", "malformed", "doubled", "mismatch",
	"too-old", "in-future", "encoded", "bad-event", "challenge", "unconfirmed", "full", "timeout",
	// Of any route.
	"route", "panic", "encoding", "starting",
}

// ofStatus is the type of an answer that has none of its own.
var ofStatus = map[int]string{
	http.StatusBadRequest: "bad-request", http.StatusUnauthorized: "token", http.StatusForbidden: "forbidden",
	http.StatusNotFound: "not-found", http.StatusConflict: "conflict", http.StatusRequestEntityTooLarge: "too-large",
	http.StatusUnsupportedMediaType: "media-type", http.StatusUnprocessableEntity: "invalid", http.StatusRequestTimeout: "slow",
	http.StatusInternalServerError: "internal", http.StatusServiceUnavailable: "unavailable",
}

// Problem is the body of every answer that is an error, as RFC 9457 has it.
type Problem struct {
	Type   string              `json:"type" doc:"What went wrong, for programs: stays the same." example:"urn:tarn:problem:not-found"`
	Title  string              `json:"title" doc:"The HTTP status in words." example:"Not Found"`
	Status int                 `json:"status" doc:"The HTTP status." example:"404"`
	Detail string              `json:"detail" doc:"What went wrong with this request, in words."`
	Errors []*huma.ErrorDetail `json:"errors,omitempty" doc:"What is wrong with which part of the request."`

	Parked     *Waits      `json:"parked,omitempty" doc:"Of an entity not fetched yet: why it waits, and until when."`
	Candidates []candidate `json:"candidates,omitempty" doc:"The entities that have the id, where several have."`
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is that of problems.
func (p *Problem) ContentType(string) string { return problemJSON[0] }

// TransformSchema lists the types in the document.
func (p *Problem) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	of := s.Properties["type"]
	of.Enum = nil
	for _, end := range problemTypes {
		of.Enum = append(of.Enum, typeBase+end)
	}
	return s
}

// problem makes an answer. kind is what its type ends in; "" is that of the
// status.
func problem(status int, kind, format string, args ...any) error {
	return newProblem(status, kind, fmt.Sprintf(format, args...))
}

func newProblem(status int, kind, detail string) *Problem {
	switch {
	case kind != "":
	case ofStatus[status] != "":
		kind = ofStatus[status]
	case status < http.StatusInternalServerError:
		kind = ofStatus[http.StatusBadRequest]
	default:
		kind = ofStatus[http.StatusInternalServerError]
	}
	return &Problem{
		Type: typeBase + strings.ReplaceAll(kind, "_", "-"), Title: http.StatusText(status), Status: status, Detail: detail,
	}
}

// The library makes its own answers by this variable; setting it is the only way to give
// them the shape of a Problem.
func init() {
	huma.NewError = libraryProblem
	huma.NewErrorWithContext = func(ctx huma.Context, status int, detail string, errs ...error) huma.StatusError {
		if detail == bodyRequired {
			return newProblem(status, "", wantBody(ctx))
		}
		return libraryProblem(status, detail, errs...)
	}
}

// libraryProblem is an answer of the library: to a request that does not fit the
// operation, which no handler sees, and to one that the guard refuses.
func libraryProblem(status int, detail string, errs ...error) huma.StatusError {
	p := newProblem(status, "", detail)
	switch status {
	case http.StatusUnsupportedMediaType:
		p.Detail = "send the body as JSON, with Content-Type: application/json"
		return p
	case http.StatusInternalServerError:
		return p // the cause is logged, not sent
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		p.Detail = "the request is not valid; errors says where"
	}
	for _, err := range errs {
		var e huma.ErrorDetailer
		if errors.As(err, &e) {
			shown := *e.ErrorDetail()
			shown.Message = forPeople(shown.Message)
			if shown.Location == "body" || shown.Message == validation.MsgUnexpectedProperty {
				shown.Value = nil // the sender has it
			}
			p.Errors = append(p.Errors, &shown)
		} else if err != nil {
			p.Errors = append(p.Errors, &huma.ErrorDetail{Message: forPeople(err.Error())})
		}
	}
	return p
}

// forPeople rewords a message of a library without Go's time layouts and types.
func forPeople(message string) string {
	switch {
	case strings.Contains(message, "2006-01-02"):
		return "want a time as RFC 3339 has it, such as 2026-03-01T12:00:00Z"
	case message == "invalid integer":
		return "want a whole number"
	case message == "invalid boolean":
		return "want true or false"
	case strings.Contains(message, "cannot unmarshal"):
		return "is of the wrong type"
	case strings.Contains(message, "invalid character"), strings.Contains(message, "unexpected end of JSON"):
		return "is no JSON: " + strings.TrimPrefix(message, "json: ")
	}
	return message
}

// invalid is the answer to a parameter that cannot be used, as the library's own checks
// give it.
func invalid(location, value, format string, args ...any) error {
	return libraryProblem(http.StatusUnprocessableEntity, "", &huma.ErrorDetail{
		Message: fmt.Sprintf(format, args...), Location: location, Value: value,
	})
}

// storeProblem turns an error of the store into an answer. The cause is logged, not
// sent.
func (r *reader) storeProblem(ctx context.Context, doing string, err error) error {
	class, _ := fate.Of(err)
	switch {
	case errors.Is(err, storage.ErrCursor):
		return problem(http.StatusBadRequest, "", "%v", storage.ErrCursor)
	case errors.Is(err, context.Canceled):
		return problem(http.StatusServiceUnavailable, "", "the request was given up")
	case class == fate.Unavailable || errors.Is(err, context.DeadlineExceeded):
		r.log.WarnContext(ctx, "store does not answer", "doing", doing, "error", err)
		return away(retryWhenAway, "the database does not answer; try again")
	}
	r.log.ErrorContext(ctx, "query failed", "doing", doing, "error", err)
	return problem(http.StatusInternalServerError, "", "the query failed; the log of the api says why")
}

// queueProblem does the same for an error of the queue. A retry may work in any case.
func (r *reader) queueProblem(ctx context.Context, doing string, err error) error {
	if errors.Is(err, identity.ErrMismatch) { // the log has it, once
		return away(retryWhenAway, "redis and the database are not of one fleet; the log of the api says why")
	}
	r.log.WarnContext(ctx, "redis does not do what is asked", "doing", doing, "error", err)
	if errors.Is(err, stream.ErrFull) {
		return away(retryWhenFull, "redis is nearly full and takes nothing new; try again")
	}
	return away(retryWhenAway, "redis does not answer; try again")
}

// away is the answer that a server is away, with the time to ask again.
func away(retryAfter int, detail string) error {
	return huma.ErrorWithHeaders(problem(http.StatusServiceUnavailable, "", "%s", detail),
		http.Header{"Retry-After": {strconv.Itoa(retryAfter)}})
}
