package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/identity"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/stream"
)

// Problem types, the `type` of an RFC 9457 answer, for what a client may want
// to tell apart from other answers of the same status.
const (
	problemNotYet    = "not-yet"
	problemNotFresh  = "not-fresh"
	problemAmbiguous = "ambiguous"
	problemNotOpen   = "not-open"
	problemOver      = "over"
	problemStanding  = "standing"
	problemParents   = "parents-differ"
)

// problem makes an RFC 9457 answer. kind is one of the types above, or "".
func problem(status int, kind, format string, args ...any) error {
	return &huma.ErrorModel{
		Type: kind, Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...),
	}
}

// invalid answers a parameter that cannot be used, as huma's own checks do.
func invalid(location, value, format string, args ...any) error {
	return huma.Error422UnprocessableEntity("validation failed", &huma.ErrorDetail{
		Message: fmt.Sprintf(format, args...), Location: location, Value: value,
	})
}

// storeProblem turns an error of the store into an answer. What went wrong
// inside is logged, not told.
func (r *reader) storeProblem(ctx context.Context, doing string, err error) error {
	class, _ := fate.Of(err)
	switch {
	case errors.Is(err, mirror.ErrCursor):
		return problem(http.StatusBadRequest, "", "%v", mirror.ErrCursor)
	case errors.Is(err, context.Canceled):
		return problem(http.StatusServiceUnavailable, "", "the request was given up")
	case class == fate.Unavailable || errors.Is(err, context.DeadlineExceeded):
		r.log.WarnContext(ctx, "store does not answer", "doing", doing, "error", err)
		return away(retryWhenAway, "the database does not answer; try again")
	}
	r.log.ErrorContext(ctx, "query failed", "doing", doing, "error", err)
	return problem(http.StatusInternalServerError, "", "the query failed; the log of the api says why")
}

// queueProblem does the same for an error of the queue. Whatever it was, the
// same may work in a moment.
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

// away answers that something needed is away, and when to ask again.
func away(retryAfter int, detail string) error {
	return huma.ErrorWithHeaders(problem(http.StatusServiceUnavailable, "", "%s", detail),
		http.Header{"Retry-After": {strconv.Itoa(retryAfter)}})
}
