package reconciler

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// subscriptionEvery is how often the provider is asked what it sends.
const subscriptionEvery = 24 * time.Hour

// subscriptionAgain is how soon it is asked again if it could not answer, or does not send
// everything.
const subscriptionAgain = time.Hour

// subscriptionState is the saved state of the check.
type subscriptionState struct {
	Checked time.Time `json:"checked,omitzero"`
	// Missing is how many event types are not sent.
	Missing int `json:"missing,omitempty"`
}

// checkSubscriptions compares, at start and daily, or hourly while there is a gap, the
// event types that the provider is subscribed to send with those it has. A type without a
// subscription is a gap: without its webhooks the mirror is as late as the search for
// missed events.
func (r *Reconciler) checkSubscriptions(ctx context.Context, w *work) error {
	s := r.source(w.task.Source)
	f := r.finder(s, w.loop)
	defer r.Metrics.SubscriptionMissing.DeleteLabelValues(s.Name) // an old figure must not remain beside that of the next holder
	for ctx.Err() == nil {
		if err := r.checkSubscription(ctx, f, s, w); err != nil {
			return err
		}
		w.loop.Waiting("the next check")
		loops.Sleep(ctx, nextCheck(w.task))
	}
	return ctx.Err()
}

// nextCheck is how long after a check the next one follows.
func nextCheck(t *storage.Task) time.Duration {
	if state, err := decodeState[subscriptionState](t.State); t.Error != "" || err != nil || state.Missing > 0 {
		return subscriptionAgain
	}
	return subscriptionEvery
}

func (r *Reconciler) checkSubscription(ctx context.Context, f *finder, s *source, w *work) error {
	wanted := s.Definition.WebhookTypes()
	if len(wanted) == 0 {
		return nil // the provider does not tell, or the definition does not say which types there are
	}
	var calls int64
	hooks, err := ask(ctx, f, &calls, request[[]provider.Webhook]{"webhooks", event.Reconcile, func(ctx context.Context) ([]provider.Webhook, error) {
		return s.Client.Webhooks(ctx, "subscription-"+s.Name)
	}})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.task.State = encodeState(subscriptionState{Checked: f.now().UTC()})
	if err != nil {
		w.task.Error = err.Error()
		f.listBlocked("webhooks", err)
		f.log.Warn("could not compare the provider's webhook subscription", "source", s.Name, "error", err)
		return w.save(ctx)
	}
	w.task.Error = ""
	missing := missingTypes(wanted, hooks, s.WebhookURL)
	f.metrics.SubscriptionMissing.WithLabelValues(s.Name).Set(float64(len(missing)))
	w.task.State = encodeState(subscriptionState{Checked: f.now().UTC(), Missing: len(missing)})
	if err := r.recordSubscription(ctx, f, missing, disabledTo(hooks, s.WebhookURL)); err != nil {
		return err
	}
	return w.save(ctx)
}

// isTo reports whether a webhook is to the address; address "": any is.
func isTo(h provider.Webhook, address string) bool {
	return address == "" || strings.TrimSuffix(h.URL, "/") == strings.TrimSuffix(address, "/")
}

// disabledTo is how many webhooks to the address are disabled.
func disabledTo(hooks []provider.Webhook, address string) (n int) {
	for _, h := range hooks {
		if h.Disabled && isTo(h, address) {
			n++
		}
	}
	return n
}

// missingTypes are the types that no webhook to the address is sent for;
// address "": no webhook at all. "*" subscribes to everything, and a disabled webhook
// to nothing.
func missingTypes(wanted []string, hooks []provider.Webhook, address string) []string {
	sent := map[string]bool{}
	for _, h := range hooks {
		if !h.Disabled && isTo(h, address) {
			for _, t := range h.Types {
				sent[t] = true
			}
		}
	}
	if sent["*"] {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(wanted), func(t string) bool { return sent[t] })
}

// recordSubscription records a gap, once, and ends those that are closed. disabled is
// how many webhooks are disabled.
func (r *Reconciler) recordSubscription(ctx context.Context, f *finder, missing []string, disabled int) error {
	now := f.now().UTC()
	// The same gap may be open again after it was closed.
	name := discrepancyID(append([]string{f.name, string(storage.SubscriptionGap)}, missing...)...)
	gap := storage.Discrepancy{
		ID: name + "_" + strconv.FormatInt(now.Unix(), 10), Source: f.name,
		Entity: event.Key{Source: f.name}, Type: storage.SubscriptionGap, Status: storage.Suspected, FoundAt: now,
	}
	var closed []string
	known := false
	err := (&judgement{finder: f}).each(ctx, storage.DiscrepancyFilter{Source: f.name, Type: storage.SubscriptionGap, Status: storage.Confirmed},
		func(_ context.Context, open []*storage.Discrepancy) error {
			for _, d := range open {
				if strings.HasPrefix(d.ID, name) {
					known = true
					continue
				}
				closed = append(closed, d.ID)
			}
			return nil
		})
	if err != nil {
		return err
	}
	if len(closed) > 0 {
		err := f.persist(ctx, "note a repaired subscription", func() error { return f.store.Repair(ctx, closed, true, now) })
		if err != nil {
			return err
		}
	}
	if len(missing) == 0 || known {
		return nil
	}
	err = f.persist(ctx, "record a subscription gap", func() error {
		if err := f.store.Record(ctx, []storage.Discrepancy{gap}); err != nil {
			return err
		}
		_, err := f.store.Judge(ctx, []string{gap.ID}, nil, now)
		return err
	})
	if err != nil {
		return err
	}
	f.metrics.Discrepancies.WithLabelValues(f.name, "", string(storage.SubscriptionGap)).Inc()
	because := ""
	if disabled > 0 {
		because = fmt.Sprintf("; %d webhooks are disabled there: enable them", disabled)
	}
	r.Alert(alert.Alert{
		Kind: alert.Discrepancy, Source: f.name, ID: gap.ID, Class: string(storage.SubscriptionGap),
		Reason:  fmt.Sprintf("the provider sends no webhooks of %d event types that are mirrored: %s%s", len(missing), firstTypes(missing), because),
		Warning: fmt.Sprintf("the provider sends no webhooks for %d event types", len(missing)),
	})
	return nil
}

// namedTypes is how many event types an alert names.
const namedTypes = 10

// firstTypes names the first of many event types and counts the others.
func firstTypes(types []string) string {
	if len(types) <= namedTypes {
		return strings.Join(types, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(types[:namedTypes], ", "), len(types)-namedTypes)
}
