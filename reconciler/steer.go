package reconciler

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
)

// steer does what operators ask of the delivery, in the order in which they asked. Each is
// saved before it is marked as done, and may be done twice.
func (d *deliverer) steer(ctx context.Context) error {
	if time.Since(d.steered) < d.w.r.Poll {
		return nil
	}
	d.steered = time.Now()
	var asked []*storage.Task
	f := storage.TaskFilter{Kinds: []string{storage.KindSteer}, Source: d.to.Source, Statuses: []storage.TaskStatus{storage.TaskWaiting}, Limit: 200}
	if err := eachTask(ctx, d.finder, f, func(t *storage.Task) { asked = append(asked, t) }); err != nil {
		return err
	}
	for _, t := range slices.Backward(asked) { // the newest comes first
		var spec storage.SteerSpec
		if err := json.Unmarshal(t.Spec, &spec); err != nil || spec.Webhook != d.to.Name {
			continue
		}
		if err := d.do(ctx, t, spec); err != nil {
			return err
		}
	}
	return nil
}

// do does what an operator asks.
func (d *deliverer) do(ctx context.Context, t *storage.Task, spec storage.SteerSpec) error {
	var err error
	switch spec.Act {
	case storage.SteerPause:
		d.state.Status = storage.DeliveryPaused
	case storage.SteerResume:
		d.state.Status = storage.DeliveryActive
		d.m.RetryNow(d.now())
	case storage.SteerRewind:
		err = d.rewind(ctx, spec.After)
	}
	if err != nil {
		return err
	}
	if spec.Act != storage.SteerRewind {
		d.state.By, d.state.At, d.state.Reason = t.By, t.CreatedAt.UTC(), spec.Reason
	}
	d.shown = time.Time{}
	d.log.Info("a webhook was steered", "webhook", d.to.Name, "act", spec.Act, "by", t.By, "after", spec.After)
	if err := d.save(ctx); err != nil {
		return err
	}
	t.Status, t.Epoch, t.UpdatedAt, t.FinishedAt = storage.TaskDone, d.w.lease.Epoch(), d.now().UTC(), d.now().UTC()
	return d.persist(ctx, "note that a webhook was steered", func() error {
		_, err := d.store.SaveTask(ctx, t)
		return err
	})
}

// rewind goes on from another place. What is parked stays so, unless what follows has it
// too, or nothing before the place is to be sent.
func (d *deliverer) rewind(ctx context.Context, after string) error {
	if err := d.drain(ctx); err != nil {
		return err
	}
	d.state.Event = nil
	switch after {
	case storage.AfterSnapshot:
		return d.beginWalk(ctx)
	case storage.AfterNow:
		head, err := d.head(ctx)
		d.goTo(feedPlace{Cursor: head}, nil)
		return err
	}
	at, err := feed.ParseCursor(after)
	if err != nil {
		d.log.Warn("a webhook was not rewound", "webhook", d.to.Name, "error", err)
		return nil // the api has refused such a cursor
	}
	d.goTo(feedPlace{Cursor: at}, slices.DeleteFunc(d.m.Parked(), func(p storage.ParkedDelivery) bool { return p.Key == d.to.event() }))
	return nil
}
