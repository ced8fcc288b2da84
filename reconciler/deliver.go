package reconciler

import (
	"context"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/reconciler/delivery"
	"github.com/tarn-sync/tarn/reconciler/outgoing"
	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
)

// failsAfter is how long a receiver may accept nothing until an alert is raised.
const failsAfter = 5 * time.Minute

// figuresEvery is how often the figures of a delivery are set.
const figuresEvery = 2 * time.Second

// Webhook is a receiver of the changes of a source.
type Webhook struct {
	// Name is that of the subscription.
	Name   string
	Source string
	// Kinds and Types say which changes are sent, as feed.NewFilter takes them.
	Kinds, Types []string
	// Batch is how many changes a message has at most, Concurrency how many messages are
	// on their way at most. Both default to 1.
	Batch, Concurrency int
	// Client sends; *outgoing.Client is one.
	Client Sender
}

// Sender sends messages to a receiver.
type Sender interface {
	Send(ctx context.Context, m outgoing.Message) outgoing.Answer
}

// feedPlace is where a delivery is in the feed.
type feedPlace struct {
	feed.Cursor
	// walk is how far a snapshot has come that began at the cursor. Nil: none is read.
	walk *storage.DeliveryWalk
	// at is when the item before it was added to the feed.
	at time.Time
}

// deliverer sends the changes of a source to one receiver: it reads the feed, and the
// documents of what package delivery says is next, and sends them.
//
// What was sent is saved afterwards, so a replica that dies in between leaves messages that
// are sent again, with the same ids. A replica that has lost its lease without noticing
// may still send what it has read: versions of an entity may then come in another order,
// and the receiver keeps the greater.
type deliverer struct {
	*finder
	w      *work
	to     Webhook
	filter feed.Filter
	state  storage.Delivery
	m      *delivery.Machine[feedPlace]
	// read is up to where the machine has been given what the feed has.
	read feedPlace
	// landed has what came of messages. It has room for all that are on their way.
	landed chan landing
	under  sync.WaitGroup
	// bell rings when the feed may have more.
	bell *storage.Bell
	// lost is why the feed cannot be read from where the delivery is. Nil: it can.
	lost error
	// changed: not all is saved. saved is when it was, polled when the head was read,
	// steered when operators' wishes were, and shown when the figures were set.
	changed                       bool
	saved, polled, steered, shown time.Time
	// behind: the feed may have more than was read.
	behind bool
	// failing: an alert was raised since the receiver accepts nothing.
	failing bool
}

// landing is what came of a message.
type landing struct {
	sent     delivery.Message[feedPlace]
	versions []int64
	answer   outgoing.Answer
}

// deliver returns the runner of a webhook's task.
func (r *Reconciler) deliver(to Webhook) runner {
	return func(ctx context.Context, w *work) error {
		d := &deliverer{
			finder: r.finder(r.source(to.Source), w.loop), w: w, to: to, filter: feed.NewFilter(to.Kinds, to.Types),
			landed: make(chan landing, max(to.Concurrency, 1)), behind: true,
		}
		for _, o := range outgoing.Outcomes() { // 0 from the start: a series that begins at 1 has not grown
			d.metrics.Deliveries.WithLabelValues(to.Name, string(o))
		}
		defer d.forgetFigures() // old figures must not remain beside those of the next holder
		if err := d.resume(ctx); err != nil {
			return err
		}
		d.bell = storage.Listen(ctx, func(ctx context.Context, ring func()) error { return d.store.WatchFeed(ctx, to.Source, ring) }, func(err error) {
			d.log.Debug("the change stream of the change feed broke off; its head is read more often until it is there again", "source", d.name, "error", err)
		})
		defer d.bell.Close()
		sending, stop := context.WithCancel(ctx)
		defer d.under.Wait()
		defer stop()
		for ctx.Err() == nil {
			d.loop.Turn()
			if err := d.round(ctx, sending); err != nil {
				return err
			}
			d.wait(ctx)
		}
		return ctx.Err()
	}
}

// resume goes on from what was saved.
func (d *deliverer) resume(ctx context.Context) error {
	state, err := decodeState[storage.Delivery](d.w.task.State)
	if err != nil {
		return err
	}
	if state.Source != d.to.Source {
		state = storage.Delivery{Source: d.to.Source} // the first time, or it had another source before
	}
	d.state = state
	if d.state.After == "" {
		return d.beginWalk(ctx)
	}
	at, err := feed.ParseCursor(d.state.After)
	if err != nil {
		return err
	}
	if d.state.Walk != nil && d.state.WalkSince.IsZero() {
		d.state.WalkSince = d.now().UTC() // begun by a release that did not note it
	}
	d.goTo(feedPlace{Cursor: at, walk: d.state.Walk}, d.state.Parked)
	return nil
}

// goTo goes on from a place, with what is parked. Nothing is on its way.
func (d *deliverer) goTo(at feedPlace, parked []storage.ParkedDelivery) {
	d.m = delivery.New(delivery.Options{
		Concurrency: d.to.Concurrency, Batch: d.to.Batch, Window: max(1000, 4*d.to.Concurrency*d.to.Batch),
	}, at, parked)
	d.read, d.lost, d.behind, d.changed = at, nil, true, true
}

// beginWalk begins a snapshot. Where the feed is now is noted first, so that all that
// changes meanwhile comes after it.
func (d *deliverer) beginWalk(ctx context.Context) error {
	head, err := d.head(ctx)
	if err != nil {
		return err
	}
	d.walkFrom(head)
	return d.save(ctx)
}

// walkFrom begins a snapshot, after which the feed is read from a cursor.
func (d *deliverer) walkFrom(at feed.Cursor) {
	d.goTo(feedPlace{Cursor: at, walk: &storage.DeliveryWalk{}}, nil)
	d.state.WalkSince = d.now().UTC()
}

func (d *deliverer) head(ctx context.Context) (head feed.Cursor, err error) {
	err = d.persist(ctx, "read the head of the change feed", func() error {
		head, err = feed.Head(ctx, d.store, d.to.Source)
		return err
	})
	return head, err
}

// round does what can be done now. sending is the context of messages.
func (d *deliverer) round(ctx, sending context.Context) error {
	d.landAll()
	if err := d.steer(ctx); err != nil {
		return err
	}
	if d.lost != nil {
		if err := d.reset(ctx); err != nil {
			return err
		}
	}
	if d.state.Status == storage.DeliveryActive {
		if err := d.fill(ctx); err != nil {
			return err
		}
		if err := d.send(ctx, sending); err != nil {
			return err
		}
	}
	if d.changed && time.Since(d.saved) >= d.pace.keep {
		if err := d.save(ctx); err != nil {
			return err
		}
	}
	if time.Since(d.shown) < figuresEvery {
		return nil
	}
	d.shown = time.Now()
	return d.showFigures(ctx)
}

// wait waits until something lands or is due.
func (d *deliverer) wait(ctx context.Context) {
	pause := d.w.r.Poll
	if d.state.Status == storage.DeliveryActive {
		pause = d.pace.round
		if d.read.walk == nil && !d.holdsEvent() && d.m.Idle() {
			pause = d.look()
		}
		if now := d.now(); d.behind && d.m.Room() > 0 && !d.holdsEvent() {
			pause = 0
		} else if due := d.m.Due(now); !due.IsZero() {
			pause = min(pause, due.Sub(now))
		}
	}
	if d.loop.Waiting("changes"); pause <= 0 {
		return
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case l := <-d.landed:
		d.land(l)
	case <-d.bell.Rung():
		d.polled = time.Time{}
	case <-timer.C:
	case <-ctx.Done():
	}
}

// look is how often the head of the feed is read: seldom while a bell rings for what is added.
func (d *deliverer) look() time.Duration {
	if d.bell.Heard() {
		return d.pace.heard
	}
	return d.pace.round
}

// landAll takes what has landed.
func (d *deliverer) landAll() {
	for {
		select {
		case l := <-d.landed:
			d.land(l)
		default:
			return
		}
	}
}

// drain waits until nothing is on its way.
func (d *deliverer) drain(ctx context.Context) error {
	for d.m.Sending() > 0 {
		select {
		case l := <-d.landed:
			d.land(l)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// land takes what came of a message.
func (d *deliverer) land(l landing) {
	now, a := d.now(), l.answer
	d.changed = true
	if a.Outcome == "" {
		d.m.Dropped(l.sent)
		return
	}
	d.metrics.Deliveries.WithLabelValues(d.to.Name, string(a.Outcome)).Inc()
	if a.Outcome == outgoing.Accepted {
		fault.Point("after-delivery")
		d.m.Accepted(l.sent, l.versions)
		d.state.AcceptedAt, d.failing = now.UTC(), false
		return
	}
	why := a.Err.Error()
	d.state.LastError, d.state.LastErrorAt = why, now.UTC()
	switch a.Outcome {
	case outgoing.Ended:
		d.m.Dropped(l.sent)
		d.disable(now, why)
	case outgoing.Refused:
		d.m.Refused(l.sent, now, why)
	default:
		d.m.Returned(l.sent, now, a.RetryAfter, why)
	}
	if wait := d.m.Waiting(); wait.Failed > 0 && now.Sub(wait.Since) >= failsAfter && !d.failing {
		d.failing = true
		d.alarm(alert.DeliveryFails, "the webhook "+d.to.Name+" is not accepted: "+wait.Error)
	}
}

// disable ends a delivery until an operator resumes it.
func (d *deliverer) disable(now time.Time, why string) {
	if d.state.Status == storage.DeliveryDisabled {
		return
	}
	d.state.Status, d.state.At, d.state.By, d.state.Reason = storage.DeliveryDisabled, now.UTC(), "receiver", why
	d.saved, d.shown = time.Time{}, time.Time{}
	d.alarm(alert.DeliveryDisabled, "the webhook "+d.to.Name+" is disabled: "+why+"; nothing is sent until an operator resumes it")
}

func (d *deliverer) alarm(kind alert.Kind, reason string) {
	if d.alert != nil {
		d.alert(alert.Alert{Kind: kind, Source: d.to.Source, ID: d.to.Name, Reason: reason})
	}
}

// save saves how far the delivery has come.
func (d *deliverer) save(ctx context.Context) error {
	at := d.m.Done()
	d.state.After, d.state.Position, d.state.Walk, d.state.Parked = at.String(), at.Position, at.walk, d.m.Parked()
	if at.walk == nil {
		d.state.WalkSince = time.Time{}
	}
	d.state.Wait = nil
	if w := d.m.Waiting(); w.Failed > 0 {
		d.state.Wait = &storage.DeliveryWait{Since: w.Since.UTC(), Until: w.Until.UTC(), Error: w.Error}
	}
	d.w.task.State = encodeState(d.state)
	d.w.task.Error = ""
	if d.state.Wait != nil {
		d.w.task.Error = d.state.Wait.Error
	}
	if err := d.w.save(ctx); err != nil {
		return err
	}
	d.saved, d.changed = time.Now(), false
	return nil
}

// showFigures shows how far the delivery is behind, and what holds it up.
func (d *deliverer) showFigures(ctx context.Context) error {
	d.metrics.DeliveryParked.WithLabelValues(d.to.Name).Set(float64(d.m.ParkedCount()))
	for _, reason := range []string{storage.DeliveryPaused, storage.DeliveryDisabled, deliveryAway} {
		on := 0.0
		if reason == d.state.Status || reason == deliveryAway && d.state.Wait != nil {
			on = 1
		}
		d.metrics.DeliveryHalted.WithLabelValues(d.to.Name, reason).Set(on)
	}
	var next []*storage.Batch
	err := d.persist(ctx, "read how far a webhook is behind", func() (err error) {
		next, err = d.store.Batches(ctx, d.to.Source, d.m.Done().Position+1, 1)
		return err
	})
	if err != nil {
		return err
	}
	lag := 0.0
	if len(next) > 0 {
		lag = max(0, d.now().Sub(next[0].At).Seconds())
	}
	if owed := d.state.OwedSince(); !owed.IsZero() {
		lag = max(lag, d.now().Sub(owed).Seconds())
	}
	d.metrics.DeliveryLag.WithLabelValues(d.to.Name).Set(lag)
	return nil
}

// deliveryAway is the reason of a receiver that does not answer, among those for which a
// delivery is halted.
const deliveryAway = "away"

func (d *deliverer) forgetFigures() {
	d.metrics.DeliveryParked.DeleteLabelValues(d.to.Name)
	d.metrics.DeliveryLag.DeleteLabelValues(d.to.Name)
	for _, reason := range []string{storage.DeliveryPaused, storage.DeliveryDisabled, deliveryAway} {
		d.metrics.DeliveryHalted.DeleteLabelValues(d.to.Name, reason)
	}
}

// event returns the key under which the machine holds the message about the feed itself. No
// entity has it: no kind is empty.
func (to Webhook) event() event.Key { return event.Key{Source: to.Source, ID: "feed"} }

// startDelivery returns the loop of a webhook's task.
func (r *Reconciler) startDelivery(to Webhook) loop {
	return r.standAs(storage.DeliverTask(to.Name), storage.KindDeliver, to.Source, r.deliver(to))
}
