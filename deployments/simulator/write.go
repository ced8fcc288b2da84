package simulator

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"time"
)

// maxWrite is the longest body of a request that changes something, in bytes.
const maxWrite = 1 << 20

// WriteFacts is one request that was to change something, and what came of it: one line
// of /_sim/writes. It is what the provider knows, whatever the client was answered.
type WriteFacts struct {
	// Seq counts the requests from 1. Of two requests that had an effect, the one with
	// the smaller number had it first.
	Seq int64     `json:"seq"`
	At  time.Time `json:"at"`
	// Op is what was asked for, and Kind of what: "create" and "product".
	Op     string `json:"op"`
	Kind   string `json:"kind"`
	ID     string `json:"id,omitempty"`
	Method string `json:"method"`
	Path   string `json:"path"`
	// Account is the connected account that the request was for, if any.
	Account string `json:"account,omitempty"`
	// Key is the idempotency key, and Why the justification, if there are any.
	Key string `json:"key,omitempty"`
	// RequestID is the provider's name for the request, if it gives one.
	RequestID string `json:"request_id,omitempty"`
	Why       string `json:"why,omitempty"`
	Body      string `json:"body"`
	// Effect: the world was changed. Replayed: the answer is that to an earlier request
	// with the same key.
	Effect   bool `json:"effect"`
	Replayed bool `json:"replayed,omitempty"`
	// Status is what was to be answered, and Answer what chaos made of it: "", "lost",
	// "reset", "error" or "slow".
	Status int    `json:"status"`
	Answer string `json:"answer,omitempty"`

	// keep: the answer is kept under the key.
	keep bool
	// stored is the answer that is kept, whose status may be another one than Status.
	stored storedAnswer
	// print is that of the request, and until when its key is known.
	print string
	until time.Time
}

// storedAnswer is an answer that is kept under a key.
type storedAnswer struct {
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
}

// keptRecord is what is known of a key, in the journal.
type keptRecord struct {
	Answer storedAnswer `json:"answer"`
	Print  string       `json:"print"`
	Until  time.Time    `json:"until"`
}

// writeRecord is a request in the journal, with the answer that is kept, if there is one.
type writeRecord struct {
	WriteFacts
	Kept *keptRecord `json:"kept,omitempty"`
}

// input is what a change is asked with.
type input struct {
	parent, id string // of the path
	account    string // the connected account it is for
	body       []byte
}

// effect is what a request has done: the entity, and what is answered for it where that
// is not its state.
type effect struct {
	entity *entity
	status int
	answer any
}

// writeRoute is one path by which something is changed.
type writeRoute struct {
	op, kind string
	do       func(c *change, in *input) (effect, error)
}

// write adds a path by which something is changed: "POST /products".
func (a *api) write(method, path string, route writeRoute) {
	pattern := method + " /v1" + path
	a.writing[pattern] = true
	a.routes.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { a.serveWrite(w, r, route) })
}

// permits reports whether a key is known, and whether it is enough for a request: the
// key of writes may do everything, the other one only read.
func (a *api) permits(r *http.Request, key string) (known, enough bool) {
	_, pattern := a.routes.Handler(r)
	switch {
	case a.writeKey == "" || a.writeKey == key:
		known = a.key == "" || key == a.key || key == a.writeKey
		return known, known
	case a.key == "" || key == a.key:
		return true, !a.writing[pattern]
	}
	return false, false
}

// Ways in which chaos treats a request that changes something. All but mishapBefore do so
// once it has had its effect.
const (
	mishapLost   = "lost"
	mishapReset  = "reset"
	mishapError  = "error"
	mishapSlow   = "slow"
	mishapBefore = "error_before"
)

// mishap draws what goes wrong with a request that changes something, "" if nothing does.
func (x *chaos) mishap() string {
	c := x.now()
	for _, m := range []struct {
		chance float64
		word   string
	}{
		{c.ErrorBefore, mishapBefore}, {c.LoseAnswer, mishapLost}, {c.ResetAnswer, mishapReset}, {c.ErrorAfter, mishapError}, {c.SlowAnswer, mishapSlow},
	} {
		if x.hit(m.chance) {
			return m.word
		}
	}
	return ""
}

// serveWrite answers a request that changes something.
func (a *api) serveWrite(w http.ResponseWriter, r *http.Request, route writeRoute) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxWrite))
	if err != nil {
		a.refuse(w, refuse(http.StatusBadRequest, "body: "+err.Error()))
		return
	}
	f := &WriteFacts{
		Op: route.op, Kind: route.kind, ID: r.PathValue("id"), Method: r.Method, Path: r.URL.Path, Account: r.Header.Get(accountHeader),
		RequestID: w.Header().Get("Request-Id"), Why: r.Header.Get("LMG-Data-Privacy-Access-Justification"), Body: string(body),
	}
	rules := a.dialect.keys
	if rules.covers(r) {
		f.Key = r.Header.Get("Idempotency-Key")
	}
	release, stored, refused := a.keys.claim(rules, f, printOf(r, body), a.clock())
	defer release()
	if refused != nil {
		a.note(w, f, refused)
		return
	}
	if stored != nil {
		f.Replayed, f.Status = true, stored.Status
		if err := a.world.noteWrite(f); err != nil {
			a.refuse(w, err)
			return
		}
		if rules.replayed != "" {
			w.Header().Set(rules.replayed, "true")
		}
		answer(w, stored.Status, stored.Body)
		return
	}
	a.perform(w, r, route, f, release)
}

// note keeps a request that was refused, and answers so.
func (a *api) note(w http.ResponseWriter, f *WriteFacts, refused *refusal) {
	f.Status = refused.status
	if err := a.world.noteWrite(f); err != nil {
		a.refuse(w, err)
		return
	}
	a.refuse(w, refused)
}

// perform makes the change and answers, or does not. What is drawn is drawn before, so
// that the journal has it in the line of the effect. The key is released before the client
// sees the end of its request, so that the next one with this key is not refused as a
// second one beside it.
func (a *api) perform(w http.ResponseWriter, r *http.Request, route writeRoute, f *WriteFacts, release func()) {
	failed := refuse(http.StatusInternalServerError, "An unexpected error occurred")
	mishap := a.chaos.mishap()
	if mishap == mishapBefore {
		f.Answer = mishap
		f.keep, f.stored = a.dialect.keys.keepsErrors, a.inWords(failed)
		a.note(w, f, failed)
		return
	}
	if f.Answer = mishap; mishap == mishapError {
		f.keep, f.stored = a.dialect.keys.keepsErrors, a.inWords(failed)
	}
	in := &input{parent: r.PathValue("parent"), id: r.PathValue("id"), account: f.Account, body: []byte(f.Body)}
	done, err := a.world.perform(f, func(c *change) (storedAnswer, error) {
		e, err := route.do(c, in)
		if err != nil {
			return storedAnswer{}, err
		}
		f.ID = e.entity.id
		shown := e.answer
		if shown == nil {
			shown = a.dialect.show(a, e.entity, c.draft(e.entity).state, r)
		}
		return storedAnswer{Status: e.status, Body: c.encode(shown)}, nil
	})
	if err != nil {
		f.Answer = ""
		a.note(w, f, asRefusal(err))
		return
	}
	switch mishap {
	case mishapLost:
		a.lose(r)
	case mishapSlow:
		if !pause(r.Context(), time.Duration(a.chaos.now().SlowFor)) {
			return
		}
	}
	release()
	switch mishap {
	case mishapReset:
		reset(w)
	case mishapError:
		a.refuse(w, failed)
	default:
		answer(w, done.Status, done.Body)
	}
}

// lose waits until the client has given up, and never answers.
func (a *api) lose(r *http.Request) {
	wait := time.Duration(a.chaos.now().HangFor)
	if wait == 0 {
		wait = 30 * time.Second
	}
	pause(r.Context(), wait)
	panic(http.ErrAbortHandler)
}

// reset ends the connection at once, as a router that was restarted does. Of HTTP/2 it
// is the one request that ends.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // a close is as good
	}
	_ = conn.Close()
	panic(http.ErrAbortHandler)
}

// inWords is a refusal as the provider writes it.
func (a *api) inWords(r *refusal) storedAnswer {
	b := &answered{header: http.Header{}, status: r.status}
	a.dialect.writeError(b, r)
	return storedAnswer{Status: b.status, Body: b.Bytes()}
}

// printOf distinguishes requests: those with the same key must have the same.
func printOf(r *http.Request, body []byte) string {
	h := sha256.New()
	for _, part := range []string{r.Method, r.URL.RequestURI(), r.Header.Get("Content-Type")} {
		_, _ = h.Write([]byte(part + "\n")) // cannot fail
	}
	_, _ = h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

// perform makes one change that a request has asked for. The request, what is kept of its
// answer and the change are one line of the journal, so that a crash takes back all of
// it or nothing.
func (w *world) perform(f *WriteFacts, do func(c *change) (storedAnswer, error)) (done storedAnswer, err error) {
	_, err = w.change(func(c *change) {
		c.write = f
		var failed error
		if done, failed = do(c); failed != nil {
			c.fail(failed)
			return
		}
		f.Status = done.Status
		switch {
		case f.keep: // an error that is kept in its place
			f.Status = f.stored.Status
		case f.Answer == mishapError:
			f.Status, f.keep, f.stored = http.StatusInternalServerError, f.Key != "", done
		default:
			f.keep, f.stored = f.Key != "", done
		}
		f.Effect = true
	})
	if err != nil {
		f.Effect, f.keep = false, false
	}
	return done, err
}

// noteWrite keeps a request that changed nothing.
func (w *world) noteWrite(f *WriteFacts) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	f.At = w.tick()
	f.Seq = w.writeSeq + 1
	if err := w.journal.append(&record{Write: recordOf(f)}); err != nil {
		return err
	}
	w.addWrite(f)
	return nil
}

// recordOf is a request as it is in the journal.
func recordOf(f *WriteFacts) *writeRecord {
	r := &writeRecord{WriteFacts: *f}
	if f.keep && f.Key != "" {
		r.Kept = &keptRecord{f.stored, f.print, f.until}
	}
	return r
}

// addWrite makes a request known, and what is kept of its answer.
func (w *world) addWrite(f *WriteFacts) {
	w.writeSeq = max(w.writeSeq, f.Seq)
	if f.At.After(w.last) {
		w.last = f.At
	}
	w.writes = append(w.writes, f)
	if drop := len(w.writes) - w.bounds.events; w.bounds.events > 0 && drop > 0 {
		clear(w.writes[:drop])
		w.writes = w.writes[drop:]
	}
	if f.keep && f.Key != "" {
		w.keep(f)
	}
}

// applyWrite is addWrite of a line of the journal.
func (w *world) applyWrite(r *writeRecord) {
	f := r.WriteFacts
	if r.Kept != nil {
		f.keep, f.stored, f.print, f.until = true, r.Kept.Answer, r.Kept.Print, r.Kept.Until
	}
	w.addWrite(&f)
}

// writesAfter returns the kept requests with a larger number, oldest first.
func (w *world) writesAfter(seq int64, onlyEffects bool) []WriteFacts {
	w.mu.RLock()
	defer w.mu.RUnlock()
	out := []WriteFacts{}
	for _, f := range w.writes {
		if f.Seq > seq && (f.Effect || !onlyEffects) {
			out = append(out, *f)
		}
	}
	return out
}

// Writes returns the kept requests that were to change something, oldest first.
func (s *Simulator) Writes() []WriteFacts { return s.world.writesAfter(0, false) }

// serveWrites streams requests that were to change something as JSON lines: ?after= a
// seq.
func (s *Simulator) serveWrites(onlyEffects bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		after, err := number(r.URL.Query().Get("after"))
		if err != nil {
			answerError(w, err)
			return
		}
		lines := s.world.writesAfter(after, onlyEffects)
		stream(w, len(lines), func(i int) any { return lines[i] })
	}
}
