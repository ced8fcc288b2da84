package simulator

import (
	"bytes"
	"container/heap"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// SignatureHeader carries the signature of a webhook of lemon.
const SignatureHeader = "LMG-Signature"

// answerWithin is how long the provider waits for an answer to a webhook.
const answerWithin = 10 * time.Second

// DefaultRetries is the default schedule of a sender: how long it waits after
// each refused attempt before the next. After the last it gives up. The
// provider documents that it retries, but not when.
func DefaultRetries() []time.Duration {
	return []time.Duration{
		time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute,
		10 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour,
	}
}

// Sign returns the signature of a body at a time as lemon makes it: HMAC-SHA256 with the bytes
// of the secret as they are, over the Unix seconds, a point and the body.
func Sign(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// sender posts events to webhooks, again and again until they are accepted or
// it gives up. Schedules run on real time; only signatures use the clock.
type sender struct {
	dialect  *dialect
	clock    func() time.Time
	chaos    *chaos
	client   *http.Client
	retries  []time.Duration
	parallel int
	counters *counters
	// settled is called, without any lock held, for events that have nothing
	// left to send.
	settled func(*notice)

	mu    sync.Mutex
	queue queue
	load  loadDelivery
	wake  chan struct{} // holds one token once the head of the queue changed
}

// delivery is the state of one event's delivery. Guarded by sender.mu.
type delivery struct {
	Attempts  int  `json:"attempts"`
	Accepted  int  `json:"accepted"`
	Rejected  int  `json:"rejected"` // answered, but not 2xx
	Failed    int  `json:"failed"`   // not answered
	Duplicate int  `json:"duplicates"`
	Lost      bool `json:"lost"`
	GaveUp    bool `json:"gave_up"`

	waiting int // sends still to come or under way
}

// loadDelivery sums the delivery of the events of a load. Guarded by sender.mu.
type loadDelivery struct{ number, delivered, lost, gaveUp, unwanted, waiting int }

// counts reports whether an event is one of the load that is counted.
func (l *loadDelivery) counts(n *notice) bool { return n.Load != 0 && n.Load == l.number }

// send is one posting of one event to one webhook.
type send struct {
	event   *notice
	hook    *hook
	attempt int  // made so far
	extra   bool // a duplicate: sent once, not retried
	other   bool // with another body
	test    bool // its twin of test mode: no delivery of the event itself
	due     time.Time
}

func newSender(o Options, x *chaos, c *counters) *sender {
	transport := &http.Transport{
		MaxIdleConns: o.Parallel, MaxIdleConnsPerHost: o.Parallel, IdleConnTimeout: time.Minute,
	}
	return &sender{
		dialect: x.dialect, clock: o.Now, chaos: x, retries: o.Retries, parallel: o.Parallel, counters: c,
		wake: make(chan struct{}, 1),
		client: &http.Client{
			Transport: transport, Timeout: answerWithin,
			// A redirect is an answer, and not a good one.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// start schedules the first sends of new events to those hooks that want them.
func (s *sender) start(events []*notice, hooks []*hook) {
	now := time.Now()
	var idle []*notice
	s.mu.Lock()
	for _, n := range events {
		if n.unsent || s.chaos.hit(s.chaos.now().Lose) {
			n.delivery.Lost = true
			s.counters.lost.Add(1)
			if s.load.counts(n) {
				s.load.lost++
			}
		} else {
			s.schedule(n, hooks, now)
			if n.delivery.waiting == 0 && s.load.counts(n) {
				s.load.unwanted++
			}
		}
		if n.delivery.waiting == 0 {
			n.settled.Store(true)
			idle = append(idle, n)
		}
	}
	s.mu.Unlock()
	s.nudge()
	for _, n := range idle {
		s.settled(n)
	}
}

// again sends an event once more, as an operator at the provider might.
func (s *sender) again(n *notice, hooks []*hook) {
	s.mu.Lock()
	s.schedule(n, hooks, time.Now())
	s.mu.Unlock()
	s.nudge()
}

// schedule queues the sends of one event. The caller holds mu.
func (s *sender) schedule(n *notice, hooks []*hook, now time.Time) {
	c := s.chaos.now()
	for _, h := range hooks {
		if !h.wants(n.Type) {
			continue
		}
		first := send{event: n, hook: h, due: now}
		if s.chaos.hit(c.Reorder) {
			first.due = now.Add(s.chaos.upTo(c.MaxDelay))
		}
		s.push(first)
		if s.chaos.hit(c.Duplicate) {
			n.delivery.Duplicate++
			s.counters.duplicated.Add(1)
			s.push(send{event: n, hook: h, extra: true, due: now.Add(s.chaos.upTo(c.MaxDelay))})
		}
		if s.chaos.hit(c.OtherBody) {
			n.delivery.Duplicate++
			s.counters.duplicated.Add(1)
			s.push(send{event: n, hook: h, extra: true, other: true, due: now.Add(s.chaos.upTo(c.MaxDelay))})
		}
		if s.dialect.testEvent != nil && s.chaos.hit(c.TestMode) {
			s.counters.testMode.Add(1)
			s.push(send{event: n, hook: h, extra: true, test: true, due: now.Add(s.chaos.upTo(c.MaxDelay))})
		}
	}
}

func (s *sender) push(d send) {
	d.event.delivery.waiting++
	if s.load.counts(d.event) {
		s.load.waiting++
	}
	heap.Push(&s.queue, d)
}

func (s *sender) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run sends until the context ends. Sends under way are cut off then; they
// are made again after the next start.
func (s *sender) run(ctx context.Context) {
	work := make(chan send)
	var posters sync.WaitGroup
	for range s.parallel {
		posters.Go(func() {
			for d := range work {
				s.post(ctx, d)
			}
		})
	}
	s.dispatch(ctx, work)
	close(work)
	posters.Wait()
	s.client.CloseIdleConnections()
}

// dispatch hands out sends as they fall due.
func (s *sender) dispatch(ctx context.Context, work chan<- send) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		d, wait, ok := s.pop()
		if ok {
			select {
			case work <- d:
				continue
			case <-ctx.Done():
				return
			}
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-s.wake:
		case <-ctx.Done():
			return
		}
	}
}

// pop takes the next send that is due, or says how long none will be.
func (s *sender) pop() (d send, wait time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return send{}, time.Hour, false
	}
	if wait := time.Until(s.queue[0].due); wait > 0 {
		return send{}, wait, false
	}
	return heap.Pop(&s.queue).(send), 0, true
}

// post makes one attempt and decides what follows.
func (s *sender) post(ctx context.Context, d send) {
	var status int
	var err error
	if !d.hook.gone.Load() {
		status, err = s.attempt(ctx, d)
	}
	if ctx.Err() != nil {
		return
	}
	if s.conclude(&d, status, err) {
		s.settled(d.event)
	}
}

// conclude counts an attempt, queues the next if there is to be one, and
// reports whether the event has nothing left to send.
func (s *sender) conclude(d *send, status int, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := d.event
	n.delivery.waiting--
	if s.load.counts(n) {
		s.load.waiting--
	}
	accepted := status/100 == 2
	if !d.test {
		s.count(n, status, err)
	}
	d.attempt++
	switch {
	case accepted, d.extra:
	case d.hook.gone.Load() || d.attempt > len(s.retries):
		s.giveUp(n)
	default:
		d.due = time.Now().Add(s.retries[d.attempt-1])
		s.push(*d)
		s.nudge()
	}
	if n.delivery.waiting > 0 {
		return false
	}
	n.settled.Store(true)
	return true
}

func (s *sender) count(n *notice, status int, err error) {
	f := &n.delivery
	switch {
	case status/100 == 2:
		s.counters.accepted.Add(1)
		if f.Accepted++; f.Accepted == 1 && s.load.counts(n) {
			s.load.delivered++
			if f.GaveUp {
				s.load.gaveUp--
			}
		}
	case status != 0:
		s.counters.rejected.Add(1)
		f.Rejected++
	case err != nil:
		s.counters.failed.Add(1)
		f.Failed++
	default:
		return // the webhook is gone: nothing was sent
	}
	f.Attempts++
	s.counters.sent.Add(1)
}

func (s *sender) giveUp(n *notice) {
	if n.delivery.GaveUp || n.delivery.Accepted > 0 {
		return
	}
	n.delivery.GaveUp = true
	s.counters.gaveUp.Add(1)
	if s.load.counts(n) {
		s.load.gaveUp++
	}
}

func (s *sender) attempt(ctx context.Context, d send) (int, error) {
	body := s.chaos.told(d.event, d.hook.Thin)
	if d.test {
		body = s.dialect.testEvent(d.event, body)
	}
	if d.other {
		body = withMember(body, `"sent":"again"`)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.hook.URL, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("webhook %s: %w", d.hook.URL, err)
	}
	secret := d.hook.Secret
	if s.chaos.hit(s.chaos.now().WrongSignature) {
		secret += "-wrong"
		s.counters.wronglySigned.Add(1)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", s.dialect.userAgent)
	signature := s.dialect.sign(secret, s.clock(), body)
	req.Header.Set(s.dialect.signatureHeader, signature)
	if s.chaos.hit(s.chaos.now().DoubledSignature) {
		if s.chaos.hit(0.5) {
			req.Header.Add(s.dialect.signatureHeader, signature)
		} else {
			req.Header.Set(s.dialect.signatureHeader, signature+", "+signature)
		}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	// Read to the end so that the connection is used again.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode, nil
}

// facts returns what became of an event so far.
func (s *sender) facts(n *notice) delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return n.delivery
}

// recall counts the load's deliveries of before a restart. Events that were
// let go had been settled; they count as delivered.
func (s *sender) recall(events []*notice, l loadState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.load = loadDelivery{number: l.Number}
	open := 0
	for _, n := range events {
		switch d := &n.delivery; {
		case !s.load.counts(n):
		case d.Lost:
			s.load.lost++
		case d.Accepted == 0 && d.GaveUp:
			s.load.gaveUp++
		case !n.settled.Load():
			open++
		case d.Accepted == 0:
			s.load.unwanted++
		}
	}
	s.load.delivered = l.Made - open - s.load.lost - s.load.gaveUp - s.load.unwanted
}

// countLoad begins to count for a new load.
func (s *sender) countLoad(number int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.load = loadDelivery{number: number}
}

// loadFacts returns what became of the events of the load.
func (s *sender) loadFacts() loadDelivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load
}

// queue is a heap of sends by the time they are due.
type queue []send

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	if q[i].due.Equal(q[j].due) {
		return q[i].event.Seq < q[j].event.Seq
	}
	return q[i].due.Before(q[j].due)
}

func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push and Pop are for package heap.
func (q *queue) Push(d any) { *q = append(*q, d.(send)) }

// Pop takes the last element.
func (q *queue) Pop() any {
	old := *q
	d := old[len(old)-1]
	old[len(old)-1] = send{}
	*q = old[:len(old)-1]
	return d
}
