package problems

import (
	"encoding/json"
	"net/http"
	"strings"
)

// ContentType is that of every problem.
const ContentType = "application/problem+json"

// Problem has the members of every problem. A type that has more embeds it.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// New returns a problem of the type of that name; "" is that of the status. A name may
// have underscores for dashes, as labels of metrics do.
func New(status int, name, detail string) Problem {
	if name == "" {
		name = OfStatus(status)
	}
	return Problem{Type: Base + strings.ReplaceAll(name, "_", "-"), Title: http.StatusText(status), Status: status, Detail: detail}
}

// Send writes a problem with the headers that are set already. body is a Problem or embeds
// one; its fields must be such that always encode.
func Send(w http.ResponseWriter, status int, body any) {
	h := w.Header()
	h.Set("Content-Type", ContentType)
	h.Del("Content-Length") // it was that of another body
	w.WriteHeader(status)
	text, err := json.Marshal(body)
	if err == nil {
		_, _ = w.Write(append(text, '\n')) // the client is gone if this fails
	}
}
