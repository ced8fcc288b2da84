package simulator

import (
	"encoding/json"
	"net/http"
)

// refusal is an answer that is not the one asked for. Its JSON is lemon's error
// shape, and that of the controls: a message and nothing else.
type refusal struct {
	status     int
	retryAfter string // "": it says nothing of that
	Message    string `json:"message"`

	code, param, reason string // Stripe's, "": none
	errorType           string // Stripe's, "": by the status
}

func (r *refusal) Error() string { return r.Message }

func refuse(status int, message string) *refusal { return &refusal{status: status, Message: message} }

var errNotFound = refuse(http.StatusNotFound, "Not found")

// answer writes a value as JSON; bytes that are JSON already as they are.
func answer(w http.ResponseWriter, status int, v any) {
	body, ok := v.(json.RawMessage)
	if !ok {
		var err error
		if body, err = json.Marshal(v); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that went away needs no error.
	_, _ = w.Write(body)
}

// asRefusal makes a 500 of an error that is no refusal.
func asRefusal(err error) *refusal {
	if r, ok := err.(*refusal); ok {
		return r
	}
	return refuse(http.StatusInternalServerError, err.Error())
}

// answerError writes an error as lemon and the controls do.
func answerError(w http.ResponseWriter, err error) { writeMessage(w, asRefusal(err)) }

func writeMessage(w http.ResponseWriter, r *refusal) {
	if r.retryAfter != "" {
		w.Header().Set("Retry-After", r.retryAfter)
	}
	answer(w, r.status, r)
}

// handle makes a handler of a function that returns what to answer with 200.
func handle(f func(r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		if err != nil {
			answerError(w, err)
			return
		}
		answer(w, http.StatusOK, v)
	}
}
