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
	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// Problem is the body of every answer that is an error, as RFC 9457 has it.
type Problem struct {
	Type   string              `json:"type" doc:"What went wrong, for programs: stays the same." example:"urn:tarn:problem:not-found"`
	Title  string              `json:"title" doc:"The HTTP status in words." example:"Not Found"`
	Status int                 `json:"status" doc:"The HTTP status." example:"404"`
	Detail string              `json:"detail" doc:"What went wrong with this request, in words."`
	Errors []*huma.ErrorDetail `json:"errors,omitempty" doc:"What is wrong with which part of the request."`

	Known      []string     `json:"known,omitempty" maxItems:"200" doc:"Of a value that is not known: those that are."`
	Parked     *Waits       `json:"parked,omitempty" doc:"Of an entity not fetched yet: why it waits, and until when."`
	Erased     *ErasedFacts `json:"erased,omitempty" doc:"Of an erased entity: since when and by whom."`
	Candidates []candidate  `json:"candidates,omitempty" doc:"The entities that have the id, where several have."`

	Reason string `json:"reason,omitempty" enum:"retention,restored,unknown" doc:"Of a cursor that is gone: why."`
	Oldest int64  `json:"oldest,omitempty" doc:"Of a cursor that is gone: the position before the oldest item there is."`
	Resync string `json:"resync,omitempty" doc:"Of a cursor that is gone: what to go on with, in place of after."`
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is that of problems.
func (p *Problem) ContentType(string) string { return problems.ContentType }

// TransformSchema lists the types in the document.
func (p *Problem) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	of := s.Properties["type"]
	of.Enum = nil
	for _, k := range problems.Kinds {
		of.Enum = append(of.Enum, problems.Base+k.Name)
	}
	return s
}

// problem makes an answer. name is that of its type; "" is that of the status.
func problem(status int, name, format string, args ...any) error {
	return newProblem(status, name, fmt.Sprintf(format, args...))
}

func newProblem(status int, name, detail string) *Problem {
	p := problems.New(status, name, detail)
	return &Problem{Type: p.Type, Title: p.Title, Status: p.Status, Detail: p.Detail}
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
	if p := unknownEnums(errs); p != nil {
		return p
	}
	p := newProblem(status, "", detail)
	switch status {
	case http.StatusUnsupportedMediaType:
		p.Detail = "send the body as JSON, with Content-Type: application/json"
		return p
	case http.StatusRequestEntityTooLarge:
		if _, limit, ok := strings.Cut(detail, "limit="); ok {
			p.Detail = "the body has more than " + limit + ": send less"
		}
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
