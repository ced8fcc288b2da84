package problems

import (
	"bytes"
	"cmp"
	"net/http"
	"strings"
)

// mostText is how much of the text of an error becomes its detail, in bytes.
const mostText = 500

// Plain returns a handler that answers as h does, but turns an error that h writes as plain
// text into a problem. It is for handlers of libraries: http.ServeMux, net/http/pprof, the
// metrics. A 404 and a 405 are of type Route.
func Plain(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := &plain{ResponseWriter: w}
		h.ServeHTTP(p, r)
		p.end()
	})
}

// plain passes a good answer on, and a problem. It holds the text of another error back.
type plain struct {
	http.ResponseWriter
	begun  bool
	status int // of the error that is held back, 0 if none is
	text   bytes.Buffer
}

// WriteHeader holds back an error that is no problem.
func (p *plain) WriteHeader(status int) {
	switch {
	case p.status != 0:
	case !p.begun && status >= http.StatusBadRequest && p.Header().Get("Content-Type") != ContentType:
		p.status = status
	default:
		p.begun = p.begun || status >= http.StatusOK // those below are only informational
		p.ResponseWriter.WriteHeader(status)
	}
}

// Write keeps the beginning of an error's text.
func (p *plain) Write(b []byte) (int, error) {
	if p.status == 0 {
		p.begun = true
		return p.ResponseWriter.Write(b)
	}
	p.text.Write(b[:min(len(b), max(0, mostText-p.text.Len()))])
	return len(b), nil
}

// Unwrap lets http.ResponseController find the writer of the server.
func (p *plain) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// end sends the error that was held back.
func (p *plain) end() {
	if p.status == 0 {
		return
	}
	name, detail := "", strings.ToValidUTF8(strings.TrimSpace(p.text.String()), "")
	switch p.status {
	case http.StatusNotFound:
		name, detail = Route, "there is no such route"
	case http.StatusMethodNotAllowed:
		name, detail = Route, "the route does not take this method"
	}
	for _, of := range []string{"Content-Disposition", "Content-Encoding", "X-Go-Pprof"} {
		p.Header().Del(of) // they were of the text
	}
	Send(p.ResponseWriter, p.status, New(p.status, name, cmp.Or(detail, http.StatusText(p.status))))
}
