package fleet

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
)

// receiverSecret signs what a Receiver is sent.
const receiverSecret = "whsec_dGFybi1mbGVldC1yZWNlaXZlci0wMTIzNDU2Nzg5"

// Receiver is a consumer that changes are sent to: the other end of an outgoing webhook. It
// checks signatures with code of its own, as a program that is no part of Tarn does, keeps the
// greater version of each entity, and accepts a message only once it has stored it. Compare it
// with the mirror by Missing of its Consumer.
//
// A message that comes again, and a late one of a reconciler that was killed, are as they
// should be: Backwards is not counted.
type Receiver struct {
	*Consumer
	addr string

	mu sync.Mutex
	// server is the process that may store. Nil: it is killed.
	server  *http.Server
	trouble func() Trouble
	// forged are messages whose signature was not good. since has the entities of a snapshot
	// under way, and is stored as they are; nil: none is.
	forged []string
	since  map[string]bool
}

// Trouble is what a receiver does with a message other than to accept it.
type Trouble struct {
	// Status is its answer. 0: it accepts the message.
	Status int
	// RetryAfter is in seconds. 0: it does not say.
	RetryAfter int
	// Late is how long it does nothing first.
	Late time.Duration
	// Keep: it has kept the message all the same, as one that dies before it answers.
	Keep bool
	// Cut: it closes the connection instead of answering.
	Cut bool
}

// Receive starts a receiver, before the fleet whose settings name it; see Settings and
// Of. Without kinds it is sent all.
func Receive(name string, kinds ...string) (*Receiver, error) {
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	r := &Receiver{
		Consumer: &Consumer{Name: name, kinds: kinds, held: map[string]copied{}, sent: map[string]int64{}},
		addr:     listen.Addr().String(), trouble: func() Trouble { return Trouble{} },
	}
	r.live(listen)
	return r, nil
}

// live begins a process of the receiver.
func (r *Receiver) live(listen net.Listener) {
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.serve(server, w, req) })
	r.mu.Lock()
	r.server = server
	r.mu.Unlock()
	r.ended.Go(func() { _ = server.Serve(listen) }) // until Kill
}

// Settings is the line of the settings file that has changes of the fleet sent here.
func (r *Receiver) Settings() string {
	return fmt.Sprintf("webhooks: [{name: %s, url: %q, secrets: [%s], source: %s, kinds: [%s], concurrency: 4, loopback: true}]",
		r.Name, "http://"+r.addr+"/hook", receiverSecret, Source, strings.Join(r.kinds, ", "))
}

// Of says of which fleet it is.
func (r *Receiver) Of(f *Fleet) { r.fleet = f }

// Kill kills the receiver: until Start its connections are refused. A message that it has not
// stored it does not store, and one that it has stored may be without an answer.
func (r *Receiver) Kill() {
	r.mu.Lock()
	server := r.server
	r.server = nil
	r.mu.Unlock()
	if server != nil {
		_ = server.Close() // it ends whatever Close says
	}
}

// startAgainWithin is how long the address of a receiver that was killed may be in use.
const startAgainWithin = 30 * time.Second

// Start starts a receiver that was killed, at the same address and with what it has stored.
func (r *Receiver) Start(ctx context.Context) error {
	var listen net.Listener
	err := WaitFor(ctx, startAgainWithin, func() string { return "the address of the receiver is in use: " + r.addr }, func() (bool, error) {
		var err error
		listen, err = net.Listen("tcp", r.addr)
		return err == nil, nil
	})
	if err != nil {
		return err
	}
	r.live(listen)
	return nil
}

// Forget makes the receiver lose all that it holds, and has an operator send everything
// again.
func (r *Receiver) Forget(ctx context.Context) error {
	r.mu.Lock()
	r.since = nil
	r.Consumer.Forget()
	r.mu.Unlock()
	return r.steer(ctx, "rewind", map[string]string{"after": storage.AfterSnapshot})
}

// Resume has an operator send at once what the receiver has refused.
func (r *Receiver) Resume(ctx context.Context) error { return r.steer(ctx, "resume", nil) }

// steerWithin is how long an operator may try to reach the api.
const steerWithin = time.Minute

// steer asks for something as an operator does, until the api answers.
func (r *Receiver) steer(ctx context.Context, act string, body any) error {
	var last error
	return WaitFor(ctx, steerWithin, func() string { return fmt.Sprintf("%s %s: %v", act, r.Name, last) }, func() (bool, error) {
		last = r.fleet.Operate(ctx, http.MethodPost, "/v1/subscriptions/"+r.Name+"/"+act, body, nil)
		return last == nil, nil
	})
}

// Stuck reports whether something is still to be sent to the receiver.
func (r *Receiver) Stuck(ctx context.Context) (bool, error) {
	head, err := feed.Head(ctx, r.fleet.Store, Source)
	if err != nil {
		return false, fmt.Errorf("read the head of the feed: %w", err)
	}
	task, err := r.fleet.Store.Task(ctx, storage.DeliverTask(r.Name))
	if errors.Is(err, storage.ErrNotFound) {
		return true, nil // nothing was sent yet
	}
	if err != nil {
		return false, fmt.Errorf("read how far %s is: %w", r.Name, err)
	}
	var sent storage.Delivery
	if err := json.Unmarshal(task.State, &sent); err != nil {
		return false, fmt.Errorf("read how far %s is: %w", r.Name, err)
	}
	return sent.After != head.String() || sent.Walk != nil || sent.Event != nil || len(sent.Parked) > 0, nil
}

// Troubled has each message asked for what goes wrong with it. Nil: nothing does.
func (r *Receiver) Troubled(trouble func() Trouble) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trouble = trouble; trouble == nil {
		r.trouble = func() Trouble { return Trouble{} }
	}
}

// Forged returns the messages whose signature was not good.
func (r *Receiver) Forged() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.forged)
}

// Close ends the receiver.
func (r *Receiver) Close() error {
	r.Kill()
	r.Wait()
	return nil
}

// serve answers a message that came to a process.
func (r *Receiver) serve(of *http.Server, w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender is gone
	}
	forged := verify(req.Header, body)
	r.mu.Lock()
	if forged != nil {
		r.forged = append(r.forged, fmt.Sprintf("%s: %v", req.Header.Get("webhook-id"), forged))
	}
	trouble := r.trouble()
	r.mu.Unlock()
	if forged != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if Pause(req.Context(), trouble.Late) != nil {
		panic(http.ErrAbortHandler)
	}
	keep := trouble.Status == 0 && !trouble.Cut || trouble.Keep
	switch {
	case keep && !r.stored(of, body), trouble.Cut:
		panic(http.ErrAbortHandler)
	case trouble.RetryAfter > 0:
		w.Header().Set("Retry-After", strconv.Itoa(trouble.RetryAfter))
	}
	w.WriteHeader(orDefault(trouble.Status, http.StatusNoContent))
}

// stored stores a message, unless the process was killed.
func (r *Receiver) stored(of *http.Server, body []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server != of {
		return false
	}
	if err := r.take(body); err != nil {
		r.forged = append(r.forged, err.Error())
	}
	return true
}

// verify checks a message as the specification of Standard Webhooks says.
func verify(header http.Header, body []byte) error {
	seconds, err := strconv.ParseInt(header.Get("webhook-timestamp"), 10, 64)
	if off := time.Since(time.Unix(seconds, 0)).Abs(); err != nil || off > 5*time.Minute {
		return fmt.Errorf("the time %q is not now", header.Get("webhook-timestamp"))
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(receiverSecret, "whsec_"))
	if err != nil {
		return fmt.Errorf("the secret: %w", err)
	}
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%d.%s", header.Get("webhook-id"), seconds, body) // to memory
	for _, signed := range strings.Fields(header.Get("webhook-signature")) {
		version, text, _ := strings.Cut(signed, ",")
		sign, err := base64.StdEncoding.DecodeString(text)
		if version == "v1" && err == nil && hmac.Equal(sign, mac.Sum(nil)) {
			return nil
		}
	}
	return fmt.Errorf("no signature of %q is good", header.Get("webhook-signature"))
}

// take keeps a message: the greater version of each entity. A reset begins a snapshot, and
// what it does not name is gone when it ends.
func (r *Receiver) take(body []byte) error {
	var got struct {
		Type, Subject string
		Data          struct{ Reason string }
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	switch got.Type {
	case "dev.tarn.feed.reset":
		r.reset(got.Data.Reason)
		return nil
	case "dev.tarn.feed.synced":
		r.synced()
		return nil
	}
	if !strings.HasPrefix(got.Type, "dev.tarn.entity.") {
		return nil // a receiver accepts what it does not know
	}
	if r.since != nil {
		r.since[got.Subject] = true
	}
	r.Consumer.mu.Lock()
	r.sent = map[string]int64{} // see Backwards
	r.Consumer.mu.Unlock()
	message, _ := r.begin(func() {})
	if err := message.receive(body); err != nil {
		return err
	}
	message.store()
	return nil
}

func (r *Receiver) reset(reason string) {
	r.since = map[string]bool{}
	r.Consumer.mu.Lock()
	defer r.Consumer.mu.Unlock()
	r.resyncs++
	if reason != feed.Retention {
		r.held = map[string]copied{}
	}
}

func (r *Receiver) synced() {
	r.Consumer.mu.Lock()
	defer r.Consumer.mu.Unlock()
	for subject := range r.held {
		if r.since != nil && !r.since[subject] {
			delete(r.held, subject)
		}
	}
	r.since = nil
}
