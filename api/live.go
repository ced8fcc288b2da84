package api

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"github.com/tarn-sync/tarn/shared/telemetry"
)

const (
	// liveEvery is the time between two summaries.
	liveEvery = 2 * time.Second
	// livePast is how many points of the past a new listener gets: five minutes.
	livePast = 150
	// liveListeners bounds the connections that GET /v1/live holds open.
	liveListeners = 64
	// liveBehind is how many summaries wait for a listener that reads slowly. One for
	// which another is due then is cut off.
	liveBehind = 4
	// liveSend bounds one write to a listener.
	liveSend = 10 * time.Second
	// liveQuiet is after how long without a summary a comment is sent, so that neither the
	// client nor a proxy takes the connection for dead.
	liveQuiet = 15 * time.Second
)

// live makes a summary of the whole fleet every two seconds while at least one client
// listens, once for all of them.
//
//	run ── summary ──▶ frame (encoded once) ──┬─▶ listener: up to 4 frames ──▶ client
//	                                          └─▶ listener ──▶ client
type live struct {
	summaries *summaries
	version   string
	every     time.Duration
	quiet     time.Duration
	log       *slog.Logger
	leaving   <-chan struct{}
	// wake tells run that there is a first listener.
	wake chan struct{}

	mu        sync.Mutex
	listeners map[*listener]bool
	past      []point
	// last is the frame of the newest summary. Nil: there is none that is fresh.
	last []byte
}

// listener is a client of GET /v1/live.
type listener struct {
	// frames is closed when the client reads too slowly.
	frames chan []byte
}

func newLive(o *overview, version string) *live {
	return &live{
		summaries: &summaries{overview: o}, version: version, every: liveEvery, quiet: liveQuiet, log: o.log, leaving: o.leaving,
		wake: make(chan struct{}, 1), listeners: map[*listener]bool{},
	}
}

func (l *live) register(api huma.API) {
	op := huma.Operation{
		OperationID: "live", Method: http.MethodGet, Path: "/v1/live",
		Summary: "Follow the state of the mirror and of the fleet", Tags: []string{"sources"},
		Description: "Server-sent events (`text/event-stream`): one `hello`, one `past`, then a `now` every two seconds, made once for " +
			"all listeners. A comment is sent while there is nothing else. A client that reads too slowly is cut off and may connect " +
			"again. At most 64 listen to a process; more are answered with a 503.",
		Security: needs(Viewer), Errors: startErrors,
		Metadata: map[string]any{streams: true},
	}
	op.Responses = map[string]*huma.Response{"200": {
		Description: "Events: `hello` (Hello), `past` (Past), `now` (Now)",
		Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: eventSchema(api)}},
	}}
	huma.Register(api, op, l.follow)
}

// eventSchema describes the data of the events.
func eventSchema(api huma.API) *huma.Schema {
	one := &huma.Schema{Description: "The data of one event, as JSON."}
	for _, of := range liveEvents {
		one.OneOf = append(one.OneOf, api.OpenAPI().Components.Schemas.Schema(of, true, ""))
	}
	return one
}

func (l *live) follow(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
	hello, err := l.hello(ctx)
	if err != nil {
		return nil, err
	}
	me := l.join()
	if me == nil {
		return nil, away(retryWhenFull, fmt.Sprintf("%d clients follow this process already: close one", liveListeners))
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		defer l.leave(me)
		hctx.SetHeader("Content-Type", "text/event-stream")
		hctx.SetHeader("Cache-Control", "no-store")
		hctx.SetHeader("X-Accel-Buffering", "no") // nginx would keep the events back
		hctx.SetStatus(http.StatusOK)
		l.serve(hctx.Context(), newFrameWriter(humagin.Unwrap(hctx).Writer), me, hello)
	}}, nil
}

// join adds a listener. Nil: there are too many.
func (l *live) join() *listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.listeners) >= liveListeners {
		return nil
	}
	me := &listener{frames: make(chan []byte, liveBehind)}
	me.frames <- frame("past", past{EveryS: l.every.Seconds(), Points: append([]point{}, l.past...)})
	if l.last != nil {
		me.frames <- l.last
	}
	l.listeners[me] = true
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return me
}

func (l *live) leave(me *listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.listeners, me)
}

// serve sends frames until the client leaves, is too slow, or the server stops.
func (l *live) serve(ctx context.Context, to *frameWriter, me *listener, first []byte) {
	if to.send(first) != nil {
		return
	}
	quiet := time.NewTimer(l.quiet)
	defer quiet.Stop()
	for {
		var next []byte
		select {
		case <-ctx.Done():
			return
		case <-l.leaving:
			return
		case <-quiet.C:
			next = []byte(": nothing new\n\n")
		case f, open := <-me.frames:
			if !open {
				return
			}
			next = f
		}
		if to.send(next) != nil {
			return
		}
		quiet.Reset(l.quiet)
	}
}

// run makes summaries until ctx ends.
func (l *live) run(ctx context.Context, loop *telemetry.Loop) {
	defer loop.Done()
	tick := time.NewTicker(l.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		case <-tick.C:
		}
		loop.Turn()
		l.step(ctx)
	}
}

// step makes one summary and hands it to all listeners. Without listeners it costs
// nothing and forgets the past: points with a gap between them would be read as a trend.
func (l *live) step(ctx context.Context) {
	if l.unheard() {
		return
	}
	now := l.summaries.make(ctx)
	f := frame("now", now)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = f
	l.past = append(l.past, now.point())
	l.past = l.past[max(0, len(l.past)-livePast):]
	for me := range l.listeners {
		select {
		case me.frames <- f:
		default:
			close(me.frames)
			delete(l.listeners, me)
		}
	}
}

// unheard reports whether no client listens.
func (l *live) unheard() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.listeners) > 0 {
		return false
	}
	l.past, l.last = nil, nil
	return true
}

// frame is an event as it is sent.
func frame(event string, data any) []byte {
	b, err := json.Marshal(data)
	if err != nil { // structs of strings, numbers and times always encode
		b = []byte("{}")
	}
	return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", event, b)
}

// frameWriter writes to a client, each frame within liveSend.
type frameWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

func newFrameWriter(w http.ResponseWriter) *frameWriter {
	f := &frameWriter{ResponseWriter: w, control: http.NewResponseController(w)}
	// The whole request has come. The time it was given must not end the answer.
	_ = f.control.SetReadDeadline(time.Time{}) // a recorder of tests has none
	return f
}

func (f *frameWriter) send(b []byte) error {
	_ = f.control.SetWriteDeadline(time.Now().Add(liveSend)) // as above
	if _, err := f.Write(b); err != nil {
		return err
	}
	return f.control.Flush()
}
