package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"

	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/stream"
)

// refusal is the answer to a webhook that was not accepted. Its reason is from
// a fixed list, since it becomes a metric label, a note and the type of the
// problem.
type refusal struct {
	status int
	reason string
	// detail is sent to the sender.
	detail string
	// retryAfter asks the sender to wait that many seconds; 0 says nothing.
	retryAfter int
	// cause is for our log, never for the sender.
	cause error
}

// Error returns the reason and its cause.
func (r *refusal) Error() string {
	if r.cause == nil {
		return r.reason + ": " + r.detail
	}
	return fmt.Sprintf("%s: %s: %v", r.reason, r.detail, r.cause)
}

var (
	refuseUnknownSource = &refusal{status: http.StatusNotFound, reason: "unknown_source",
		detail: "no source of this name is configured here"}
	refuseSlow = &refusal{status: http.StatusRequestTimeout, reason: "slow",
		detail: "the body did not arrive in time"}
	refuseIncomplete = &refusal{status: http.StatusBadRequest, reason: "incomplete",
		detail: "the body ended before its declared length"}
	refuseEncoded = &refusal{status: http.StatusBadRequest, reason: "encoded",
		detail: "Content-Encoding is not supported: send the body as it was signed"}
	refuseChallenge = &refusal{status: http.StatusForbidden, reason: "challenge",
		detail: "the challenge or its token is missing or wrong"}
	refusePanic = &refusal{status: http.StatusInternalServerError, reason: "panic",
		detail: "the webhook could not be handled; send it again"}
)

// refusedByUs are the reasons that are not the sender's fault. Each is a 5xx, so the
// sender tries again.
var refusedByUs = []string{"full", "panic", "timeout", "unconfirmed"}

func refuseTooLarge(limit int64) *refusal {
	return &refusal{status: http.StatusRequestEntityTooLarge, reason: "too_large",
		detail: fmt.Sprintf("the body is larger than %d bytes", limit)}
}

func refuseSignature(err error) *refusal {
	r := &refusal{status: http.StatusUnauthorized, reason: "signature", detail: "the signature was not accepted"}
	var bad *provider.SignatureError
	if errors.As(err, &bad) {
		r.reason, r.detail = bad.Reason, bad.Detail
	}
	return r
}

func refuseMalformed(err error) *refusal {
	return &refusal{status: http.StatusBadRequest, reason: "bad_event", detail: err.Error()}
}

// Seconds a sender is asked to wait. A full Redis drains as fast as workers
// work; one that is away is usually back within a failover.
const (
	retryWhenFull = 30
	retryWhenAway = 5
)

// refuseUnconfirmed is the answer to an append that Redis did not confirm. Redis may have
// made it all the same: the sender repeats the event, and Redis knows its id.
func refuseUnconfirmed(err error) *refusal {
	r := &refusal{status: http.StatusServiceUnavailable, reason: "unconfirmed",
		detail: "the event could not be stored durably; send it again", retryAfter: retryWhenAway, cause: err}
	switch {
	case errors.Is(err, stream.ErrFull):
		r.reason, r.retryAfter = "full", retryWhenFull
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		r.reason = "timeout"
	}
	return r
}

// write sends the refusal. If the body was not read to its end it closes the connection;
// otherwise the rest of the body would be read as the next request.
func (r *refusal) write(w http.ResponseWriter) {
	h := w.Header()
	if r.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(r.retryAfter))
	}
	if r.status == http.StatusRequestEntityTooLarge || r.status == http.StatusRequestTimeout {
		h.Set("Connection", "close")
	}
	problems.Send(w, r.status, problems.New(r.status, r.reason, r.detail))
}
