package reconciler

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/reconciler/outgoing"
	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/egress"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
)

const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// cloudEvent is what a receiver reads of one.
type cloudEvent struct {
	ID, Type, Subject, Sequence string
	Data                        struct {
		Version int64
		Reason  string
	}
}

// receiver is a consumer of a webhook: it checks the signature with code of its own and keeps
// the greater version of each subject.
type receiver struct {
	*httptest.Server
	t *testing.T

	mu sync.Mutex
	// answer says what a message is answered. Nil: 200.
	answer func(e cloudEvent) int
	// got are all events in the order in which they came, accepted ones only; has the
	// greater version of each subject; under those being answered.
	got   []cloudEvent
	has   map[string]int64
	under map[string]bool
	// ids are those of all messages.
	ids []string
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{t: t, has: map[string]int64{}, under: map[string]bool{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) serve(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(hookSecret, "whsec_"))
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(req.Header.Get("webhook-id") + "." + req.Header.Get("webhook-timestamp") + "." + string(body)))
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); err != nil || req.Header.Get("webhook-signature") != want {
		r.t.Errorf("the signature is %q, want %q (%v)", req.Header.Get("webhook-signature"), want, err)
	}
	var events []cloudEvent
	if req.Header.Get("Content-Type") == typeSeveral {
		err = json.Unmarshal(body, &events)
	} else {
		events = make([]cloudEvent, 1)
		err = json.Unmarshal(body, &events[0])
	}
	if err != nil {
		r.t.Errorf("%s: %v", body, err)
		return
	}
	r.mu.Lock()
	r.ids = append(r.ids, req.Header.Get("webhook-id"))
	answer := r.answer
	for _, e := range events {
		if r.under[e.Subject] {
			r.t.Errorf("%s is on its way twice at once", e.Subject)
		}
		r.under[e.Subject] = true
	}
	r.mu.Unlock()
	status := http.StatusOK
	for _, e := range events {
		if answer != nil {
			status = max(status, answer(e))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		delete(r.under, e.Subject)
		if status < 300 {
			r.got = append(r.got, e)
			r.has[e.Subject] = max(r.has[e.Subject], e.Data.Version)
		}
	}
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "30")
	}
	w.WriteHeader(status)
}

func (r *receiver) answers(answer func(e cloudEvent) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// log are the ids, or the types of messages about the feed, of what was accepted.
func (r *receiver) log() (log []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.got {
		id := strings.TrimPrefix(e.ID, "order/")
		if e.Subject == "feed" {
			id = strings.TrimSpace(strings.TrimPrefix(e.Type, "dev.tarn.feed.") + " " + e.Data.Reason)
		}
		log = append(log, id)
	}
	return log
}

func (r *receiver) version(id string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.has["order/"+id]
}

// accepted waits until these were accepted, in this order unless several are on their way.
func (c *scene) accepted(r *receiver, want ...string) {
	c.t.Helper()
	if !eventuallyTrue(func() bool { return len(r.log()) >= len(want) }) {
		require.Equal(c.t, want, r.log())
	}
	require.Equal(c.t, want, r.log())
}

func eventuallyTrue(is func() bool) bool {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if is() {
			return true
		}
	}
	return false
}

// publish changes entities and adds that to the feed, in one batch.
func (c *scene) publish(ids ...string) {
	c.t.Helper()
	w := feed.NewWriter(c.store, c.finder.name, c.clock.now)
	begun, err := w.Begun(c.ctx)
	require.NoError(c.t, err)
	if !begun {
		_, err = w.Begin(c.ctx, reasonBegun)
		require.NoError(c.t, err)
	}
	var items []storage.Item
	for _, id := range ids {
		items = append(items, storage.Item{Key: c.key("order", id), Version: c.change(id)})
	}
	_, err = w.Add(c.ctx, items)
	require.NoError(c.t, err)
}

// hookTo is a webhook to a receiver.
func (c *scene) hookTo(r *receiver) Webhook {
	c.t.Helper()
	client, err := outgoing.New(outgoing.Options{
		URL: r.URL, Secrets: []string{hookSecret}, Guard: egress.Guard{Loopback: true, OnlyLoopback: true}, Now: c.clock.now, Timeout: time.Minute,
	})
	require.NoError(c.t, err)
	c.t.Cleanup(client.Close)
	return Webhook{Name: "billing", Source: c.finder.name, Kinds: []string{}, Batch: 1, Concurrency: 1, Client: client}
}

// delivering runs a webhook's task; stop ends it as SIGTERM does, and waits.
func (c *scene) delivering(m *member, to Webhook) (stop func()) {
	c.t.Helper()
	return c.start(func(ctx context.Context) { m.keep(ctx, "deliver", m.startDelivery(to)) })
}

// delivery is what was saved.
func (c *scene) delivery() storage.Delivery {
	c.t.Helper()
	state, err := decodeState[storage.Delivery](c.task("deliver/billing").State)
	require.NoError(c.t, err)
	return state
}

// saved waits until what was saved is so.
func (c *scene) saved(what string, is func(storage.Delivery) bool) {
	c.t.Helper()
	require.True(c.t, eventuallyTrue(func() bool {
		task, err := c.store.Task(c.ctx, "deliver/billing")
		if err != nil {
			return false // not made yet
		}
		state, err := decodeState[storage.Delivery](task.State)
		return err == nil && is(state)
	}), what)
}

// steer asks for what an operator may, and waits until it is done.
func (c *scene) steer(spec storage.SteerSpec) {
	c.t.Helper()
	spec.Webhook = "billing"
	id := fmt.Sprint("steer_", c.clock.now().UnixNano())
	c.create(&storage.Task{ID: id, Kind: storage.KindSteer, Source: c.finder.name, By: "ops", Spec: encodeState(spec)})
	require.True(c.t, eventuallyTrue(func() bool { return c.task(id).Status == storage.TaskDone }), "%v is done", spec)
}

// ringingFeed is a store whose database tells of its feed when ring is called.
type ringingFeed struct {
	storage.Store
	rung chan func()
}

func (s ringingFeed) WatchFeed(ctx context.Context, _ string, ring func()) error {
	ring()
	s.rung <- ring
	<-ctx.Done()
	return ctx.Err()
}

// What is added to the feed is sent at once where the database rings for it, and the head is
// not read before.
func TestDeliveryIsWokenByABell(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.publish("a")
	r := newReceiver(t)
	m := c.member("r1")
	m.pace.heard = time.Hour
	rung := make(chan func(), 1)
	m.Store = ringingFeed{m.Store, rung}
	c.delivering(m, c.hookTo(r))
	c.accepted(r, "a@1", "synced")
	ring := <-rung
	for n := int64(2); n < 5; n++ {
		c.publish("a")
		ring()
		require.True(t, eventuallyTrue(func() bool { return r.version("a") == n }), "version %d", n)
	}
}

// A webhook is sent all that the mirror holds, then what changes, of the kinds it wants.
func TestDelivery(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.change("a")
	c.change("b")
	c.publish("b")
	r := newReceiver(t)
	to := c.hookTo(r)
	to.Kinds = []string{"order"}
	m := c.member("r1")
	stop := c.delivering(m, to)
	c.accepted(r, "a@1", "b@2", "synced")
	c.publish("a", "c")
	c.accepted(r, "a@1", "b@2", "synced", "a@2", "c@1")
	r.mu.Lock()
	require.Equal(t, "order/c@1", r.ids[4])
	require.Equal(t, "00000000000000000004", r.got[4].Sequence)
	require.Empty(t, r.got[0].Sequence)
	r.mu.Unlock()
	c.saved("all is done", func(d storage.Delivery) bool {
		return d.Position == 4 && d.Walk == nil && d.Event == nil && !d.AcceptedAt.IsZero()
	})
	require.InDelta(t, 5, m.metric("tarn_deliveries_total"), 0)
	stop()
	require.Zero(t, m.metric("tarn_delivery_halted"))

	// Another replica goes on, and sends nothing twice that was saved.
	c.publish("a")
	to.Kinds = []string{"customer"}
	stop = c.delivering(c.member("r2"), to)
	c.saved("orders are passed over", func(d storage.Delivery) bool { return d.Position == 5 })
	stop()
	require.Len(t, r.log(), 5)
}

// A replica dies between a message and the save: it is sent again with the same id, and
// nothing is left out.
func TestDeliveryIsRepeatedAfterACrash(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.publish("a")
	r := newReceiver(t)
	m := c.member("r1")
	stop := c.delivering(m, c.hookTo(r))
	c.accepted(r, "a@1", "synced")
	c.saved("all is done", func(d storage.Delivery) bool { return d.Event == nil })
	stop()
	m = c.member("r2")
	m.pace.keep = time.Hour // it dies before it saves
	stop = c.delivering(m, c.hookTo(r))
	c.publish("a", "b")
	c.accepted(r, "a@1", "synced", "a@2", "b@1")
	stop()
	c.publish("b")
	c.delivering(c.member("r3"), c.hookTo(r))
	c.accepted(r, "a@1", "synced", "a@2", "b@1", "a@2", "b@2")
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Equal(t, r.ids[2], r.ids[4])
}

// What the receiver refuses waits alone; the next message has what is true then.
func TestDeliveryParks(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	r := newReceiver(t)
	r.answers(func(e cloudEvent) int { return map[string]int{"order/bad": 422}[e.Subject] })
	c.publish("bad", "a")
	m := c.member("r1")
	stop := c.delivering(m, c.hookTo(r))
	c.accepted(r, "a@1", "synced")
	c.publish("bad", "b")
	c.accepted(r, "a@1", "synced", "b@1")
	c.saved("bad is parked, and the place is behind it", func(d storage.Delivery) bool {
		return d.Position == 5 && len(d.Parked) == 1 && d.Parked[0].Key.ID == "bad" && d.Parked[0].Version == 2 && strings.Contains(d.LastError, "422") && !d.LastErrorAt.IsZero()
	})
	require.True(t, eventuallyTrue(func() bool { return m.metric("tarn_delivery_parked_entities") == 1 }))
	stop()
	r.answers(nil)
	c.delivering(c.member("r2"), c.hookTo(r))
	c.clock.move(time.Hour)
	c.accepted(r, "a@1", "synced", "b@1", "bad@2")
	c.saved("none is parked", func(d storage.Delivery) bool { return len(d.Parked) == 0 })
}

// 410 ends it, on record and with an alert, until an operator resumes it.
func TestDeliveryEnds(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	r := newReceiver(t)
	r.answers(func(cloudEvent) int { return http.StatusGone })
	c.publish("a")
	m := c.member("r1")
	c.delivering(m, c.hookTo(r))
	c.saved("it is disabled", func(d storage.Delivery) bool {
		return d.Status == storage.DeliveryDisabled && d.By == "receiver" && d.Reason != ""
	})
	r.answers(nil)
	m.mu.Lock()
	require.Len(t, m.alerts, 1)
	require.Equal(t, alert.DeliveryDisabled, m.alerts[0].Kind)
	m.mu.Unlock()
	require.Empty(t, r.log())
	c.steer(storage.SteerSpec{Act: storage.SteerResume})
	c.accepted(r, "a@1", "synced")
	require.Equal(t, "ops", c.delivery().By)
}

// 429 with Retry-After stops everything for so long, and costs no entity an attempt.
func TestDeliveryIsThrottled(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	r := newReceiver(t)
	r.answers(func(cloudEvent) int { return http.StatusTooManyRequests })
	c.publish("a", "b")
	c.delivering(c.member("r1"), c.hookTo(r))
	c.saved("it waits", func(d storage.Delivery) bool {
		return d.Wait != nil && d.Wait.Until.Sub(d.Wait.Since) >= 30*time.Second && len(d.Parked) == 0
	})
	r.answers(nil)
	r.mu.Lock()
	require.Len(t, r.ids, 1)
	r.mu.Unlock()
	c.clock.move(31 * time.Second)
	c.accepted(r, "a@1", "b@1", "synced")
	c.saved("it waits no more", func(d storage.Delivery) bool { return d.Wait == nil })
}

// A receiver that accepts nothing for minutes is worth an alert.
func TestDeliveryFails(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	r := newReceiver(t)
	r.answers(func(cloudEvent) int { return http.StatusBadGateway })
	c.publish("a")
	m := c.member("r1")
	c.delivering(m, c.hookTo(r))
	c.saved("it waits", func(d storage.Delivery) bool { return d.Wait != nil })
	alerts := func() []alert.Alert { m.mu.Lock(); defer m.mu.Unlock(); return slices.Clone(m.alerts) }
	require.Empty(t, alerts(), "not at once")
	c.clock.move(failsAfter + time.Minute)
	require.True(t, eventuallyTrue(func() bool { return len(alerts()) > 0 }))
	require.Equal(t, alert.DeliveryFails, alerts()[0].Kind)
	require.True(t, eventuallyTrue(func() bool { return m.metric("tarn_delivery_halted") == 1 }))
	require.True(t, eventuallyTrue(func() bool { return m.metric("tarn_delivery_lag_seconds") >= failsAfter.Seconds() }))
	before := m.metric("tarn_deliveries_total")
	require.True(t, eventuallyTrue(func() bool {
		c.clock.move(time.Minute)
		return m.metric("tarn_deliveries_total") >= before+3
	}))
	require.Len(t, alerts(), 1, "once")
	r.answers(nil)
	c.clock.move(2 * time.Minute) // the longest wait is 1 min
	c.accepted(r, "a@1", "synced")
	c.saved("it waits no more", func(d storage.Delivery) bool { return d.Wait == nil })
	r.answers(func(cloudEvent) int { return http.StatusBadGateway })
	c.publish("c")
	require.True(t, eventuallyTrue(func() bool {
		c.clock.move(time.Minute)
		return len(alerts()) == 2
	}), "again, since it was well in between")
}

// An operator pauses, resumes and rewinds.
func TestSteering(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	r := newReceiver(t)
	c.publish("a", "b")
	c.delivering(c.member("r1"), c.hookTo(r))
	c.accepted(r, "a@1", "b@1", "synced")
	c.saved("all is done", func(d storage.Delivery) bool { return d.Position == 3 && d.Event == nil })
	before := c.delivery().After
	c.steer(storage.SteerSpec{Act: storage.SteerPause, Reason: "maintenance"})
	require.Equal(t, "maintenance", c.delivery().Reason)
	c.publish("a", "c")
	c.steer(storage.SteerSpec{Act: storage.SteerPause}) // a turn later
	require.Len(t, r.log(), 3)
	c.steer(storage.SteerSpec{Act: storage.SteerResume})
	c.accepted(r, "a@1", "b@1", "synced", "a@2", "c@1")

	c.steer(storage.SteerSpec{Act: storage.SteerRewind, After: before})
	c.accepted(r, "a@1", "b@1", "synced", "a@2", "c@1", "a@2", "c@1")
	c.steer(storage.SteerSpec{Act: storage.SteerRewind, After: storage.AfterSnapshot})
	c.accepted(r, "a@1", "b@1", "synced", "a@2", "c@1", "a@2", "c@1", "a@2", "b@1", "c@1", "synced")

	c.steer(storage.SteerSpec{Act: storage.SteerPause})
	c.publish("a")
	c.steer(storage.SteerSpec{Act: storage.SteerRewind, After: storage.AfterNow})
	c.steer(storage.SteerSpec{Act: storage.SteerResume})
	c.publish("b")
	c.accepted(r, "a@1", "b@1", "synced", "a@2", "c@1", "a@2", "c@1", "a@2", "b@1", "c@1", "synced", "b@2")
}

// A receiver that was away for longer than the feed is kept is told, and sent everything.
func TestDeliveryIsReset(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	r := newReceiver(t)
	c.publish("a")
	stop := c.delivering(c.member("r1"), c.hookTo(r))
	c.accepted(r, "a@1", "synced")
	c.saved("all is done", func(d storage.Delivery) bool { return d.Position == 2 && d.Event == nil })
	stop()
	c.publish("b")
	c.publish("a")
	c.publish("c")
	c.clock.move(time.Hour)
	c.publish("c")
	_, err := c.store.TrimFeed(c.ctx, c.finder.name, c.clock.now().Add(-time.Minute))
	require.NoError(t, err)
	r.answers(func(e cloudEvent) int { return map[string]int{"feed": 503}[e.Subject] })
	stop = c.delivering(c.member("r2"), c.hookTo(r))
	c.saved("it is to be told", func(d storage.Delivery) bool { return d.Event != nil && d.Wait != nil })
	require.Len(t, r.log(), 2, "nothing comes before that")
	stop()
	r.answers(nil)
	c.delivering(c.member("r3"), c.hookTo(r))
	c.accepted(r, "a@1", "synced", "reset retention", "a@2", "b@1", "c@2", "synced")
	c.publish("b")
	c.accepted(r, "a@1", "synced", "reset retention", "a@2", "b@1", "c@2", "synced", "b@2")
}

// A database that was restored has another log, or older documents: the receiver is told
// so.
func TestDeliveryAfterARestore(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	r := newReceiver(t)
	c.publish("a")
	c.delivering(c.member("r1"), c.hookTo(r))
	c.accepted(r, "a@1", "synced")
	// An item whose version the mirror does not have yet.
	w := feed.NewWriter(c.store, c.finder.name, c.clock.now)
	_, err := w.Begun(c.ctx)
	require.NoError(t, err)
	_, err = w.Add(c.ctx, []storage.Item{{Key: c.key("order", "a"), Version: 9}})
	require.NoError(t, err)
	c.accepted(r, "a@1", "synced", "reset restored", "a@1", "synced")
}

// Several entities are on their way at once, as many as the settings say.
func TestDeliveriesAtOnce(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	r := newReceiver(t)
	to := c.hookTo(r)
	to.Concurrency = 3
	arrived, goOn := make(chan string, 10), make(chan struct{})
	r.answers(func(e cloudEvent) int {
		arrived <- e.Subject
		<-goOn
		return 200
	})
	c.publish("a", "b", "c", "d")
	c.delivering(c.member("r1"), to)
	first := []string{<-arrived, <-arrived, <-arrived}
	slices.Sort(first)
	require.Equal(t, []string{"order/a", "order/b", "order/c"}, first)
	require.Empty(t, arrived)
	close(goOn)
	require.True(t, eventuallyTrue(func() bool { return len(r.log()) == 5 }))
}

// Under concurrency, batches and refusals each receiver ends with what the mirror has, and
// no entity is on its way twice at once.
func TestEveryDeliveryArrives(t *testing.T) {
	t.Parallel()
	for _, batch := range []int{1, 3} {
		t.Run(fmt.Sprint("batches of ", batch), func(t *testing.T) {
			t.Parallel()
			c := newScene(t)
			r := newReceiver(t)
			to := c.hookTo(r)
			to.Batch, to.Concurrency = batch, 4
			n := 0
			var mu sync.Mutex
			r.answers(func(cloudEvent) int {
				mu.Lock()
				defer mu.Unlock()
				n++
				return map[int]int{0: 500, 7: 502, 11: 429}[n%23]
			})
			ids := func(i int) (out []string) {
				for j := range 10 {
					out = append(out, fmt.Sprintf("o%d", (i*7+j*3)%25))
				}
				slices.Sort(out)
				return slices.Compact(out)
			}
			stop := c.delivering(c.member("r1"), to)
			for i := range 30 {
				c.publish(ids(i)...)
				if i%10 == 9 { // a replica dies, another goes on
					stop()
					m := c.member(fmt.Sprint("r", i))
					m.pace.keep = 20 * time.Millisecond
					stop = c.delivering(m, to)
				}
				c.clock.move(31 * time.Second)
			}
			all := func() bool {
				c.clock.move(time.Minute)
				docs, err := c.store.Walk(c.ctx, "shop", "order", "", 100)
				require.NoError(t, err)
				for _, d := range docs {
					if r.version(d.Key.ID) != d.Version {
						return false
					}
				}
				return len(docs) == 25
			}
			require.True(t, eventuallyTrue(all))
			stop()
		})
	}
}
