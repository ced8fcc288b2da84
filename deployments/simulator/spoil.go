package simulator

import (
	"bytes"
	"maps"
	"net/http"
	"strconv"
	"time"
)

// serve answers, or lets chaos spoil what is answered to a GET.
func (a *api) serve(w *recorder, r *http.Request) {
	c := a.chaos.now()
	switch {
	case r.Method != http.MethodGet:
	case a.chaos.hit(c.ErrorBody):
		a.sayError(w)
		return
	case a.chaos.hit(c.Cut):
		a.cutOff(w, a.whole(r))
		return
	case c.TrickleFor > 0 && a.chaos.hit(c.Trickle):
		trickle(w, r, a.whole(r), time.Duration(c.TrickleFor))
		return
	}
	a.routes.ServeHTTP(w, r)
}

// errorBodies are bodies under status 200 that are not what was asked for, by
// content type.
var errorBodies = []struct{ contentType, body string }{
	{"application/json", `{"ok":false,"error":{"code":"internal","message":"try again later"}}`},
	{"application/json", `{}`},
	{"application/json", ``},
	{"text/html; charset=utf-8", `<!DOCTYPE html><html><body>We will be back soon.</body></html>`},
}

// sayError answers an error as if it were none.
func (a *api) sayError(w *recorder) {
	e := errorBodies[a.chaos.upTo(Duration(len(errorBodies)-1))]
	w.Header().Set("Content-Type", e.contentType)
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write([]byte(e.body)) // a client that went away needs no error
}

// answered is an answer that has not been sent yet.
type answered struct {
	header http.Header
	status int
	bytes.Buffer
}

// Header, WriteHeader and Write make it an http.ResponseWriter.
func (b *answered) Header() http.Header { return b.header }

// WriteHeader notes the status.
func (b *answered) WriteHeader(status int) { b.status = status }

// whole makes the answer to a request without sending it.
func (a *api) whole(r *http.Request) *answered {
	b := &answered{header: http.Header{}, status: http.StatusOK}
	a.routes.ServeHTTP(b, r)
	return b
}

// begin sends what comes before the body.
func (b *answered) begin(w *recorder) {
	maps.Copy(w.Header(), b.header)
	w.WriteHeader(b.status)
}

// cutOff sends the first half of an answer, in one of the ways in which one is
// cut off.
func (a *api) cutOff(w *recorder, b *answered) {
	half := b.Bytes()[:b.Len()/2]
	switch a.chaos.upTo(2) {
	case 0: // by a proxy, which says how much it has
		b.header.Set("Content-Length", strconv.Itoa(len(half)))
		b.begin(w)
		_, _ = w.Write(half)
	case 1: // by the server, which had said how much there would be
		b.header.Set("Content-Length", strconv.Itoa(b.Len()))
		b.begin(w)
		_, _ = w.Write(half)
	default: // by the network
		b.begin(w)
		_, _ = w.Write(half)
		_ = http.NewResponseController(w).Flush() // a failure is a cut as well
		panic(http.ErrAbortHandler)
	}
}

// pieceEvery is how often a trickling answer gets on.
const pieceEvery = 50 * time.Millisecond

// trickle sends an answer in small pieces, the last of them after d.
func trickle(w *recorder, r *http.Request, b *answered, d time.Duration) {
	rest := b.Bytes()
	pieces := max(1, min(len(rest), int(d/pieceEvery)))
	b.begin(w)
	for i := pieces; i > 0; i-- {
		if !pause(r.Context(), d/time.Duration(pieces)) {
			return
		}
		n := len(rest) / i
		if _, err := w.Write(rest[:n]); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush() // the next write fails then
		rest = rest[n:]
	}
}

// goneFrom answers a request for an entity where it no longer is.
func (a *api) goneFrom(e *entity) (any, error) {
	if a.chaos.falls("gone", e.id, a.chaos.now().Gone) {
		gone := refuse(http.StatusGone, "Gone")
		gone.code, gone.param = "resource_missing", "id"
		return nil, gone
	}
	return a.dialect.gone(e)
}

// locked refuses an entity for a spell, as if another client held it.
func (a *api) locked(k *kind, id string, now time.Time) error {
	c := a.chaos.now()
	dice, left := a.chaos.spell("locked", k.name+"/"+id, c.Locked, c.LockedFor, now)
	if dice == nil {
		return nil
	}
	return a.dialect.locked(dice, left)
}
