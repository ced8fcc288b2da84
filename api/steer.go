package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
)

// OutgoingWebhook is a receiver of changes, as configured. The reconciler sends to it.
type OutgoingWebhook struct {
	Name, Source string
	// Kinds are those whose changes are sent. None: all.
	Kinds []string
	// Types are what the changes sent are about: see feed.NewFilter.
	Types []string
}

// formWebhook is the form of a subscription that changes are sent to.
const formWebhook = "webhook"

// mostParked is how many parked entities a subscription shows.
const mostParked = 20

// webhookState is what a subscription of the form webhook shows beside how far it is.
type webhookState struct {
	Status string `json:"status" enum:"active,waiting,paused,disabled" doc:"waiting: the receiver does not answer or asks to be left alone, and is tried again. disabled: it has answered 410."`
	By     string `json:"by,omitempty" doc:"Who paused, resumed or disabled it: the name of a token, or receiver."`
	Since  moment `json:"since,omitzero" doc:"When that was, or since when it waits."`
	Reason string `json:"reason,omitempty" doc:"Why."`
	Until  moment `json:"until,omitzero" doc:"When a receiver that waits is tried again."`

	Parked    int64          `json:"parked" doc:"Entities that the receiver refused. Each waits for its next try, and others go on."`
	Entities  []parkedChange `json:"entities,omitempty" doc:"The first 20 of them."`
	Error     string         `json:"error,omitempty" doc:"Why the last message that was not accepted was not."`
	ErrorAt   moment         `json:"error_at,omitzero"`
	Announces string         `json:"announces,omitempty" doc:"A message about the feed that comes before all else: dev.tarn.feed.reset or dev.tarn.feed.synced."`
}

// parkedChange is an entity that a receiver has refused.
type parkedChange struct {
	Subject     string `json:"subject" example:"order/bord_1"`
	Attempts    int    `json:"attempts"`
	Error       string `json:"error"`
	Since       moment `json:"since"`
	NextAttempt moment `json:"next_attempt_at"`
}

// sent returns how far a webhook is.
func (c *consumers) sent(ctx context.Context, to OutgoingWebhook) (subscription, error) {
	s := subscription{Source: to.Source, Consumer: to.Name, Form: formWebhook, Kinds: to.Kinds, Types: feed.NewFilter(to.Kinds, to.Types).Types(), After: feed.Cursor{}.String(), Webhook: &webhookState{Status: "active"}}
	task, err := c.store.Task(ctx, storage.DeliverTask(to.Name))
	if errors.Is(err, storage.ErrNotFound) {
		return s, nil // no reconciler has begun
	}
	var d storage.Delivery
	if err == nil && len(task.State) > 0 {
		err = json.Unmarshal(task.State, &d)
	}
	if err != nil || d.Source != to.Source || d.After == "" {
		return s, err
	}
	s.After, s.Position, s.Snapshot, s.SentAt = d.After, d.Position, d.Walk != nil, momentOf(d.AcceptedAt)
	w := s.Webhook
	if w.By, w.Since, w.Reason = d.By, momentOf(d.At), d.Reason; d.Status != storage.DeliveryActive {
		w.Status = d.Status
	} else if d.Wait != nil {
		w.Status, w.By, w.Since, w.Until, w.Reason = "waiting", "", momentOf(d.Wait.Since), momentOf(d.Wait.Until), d.Wait.Error
	}
	w.Error, w.ErrorAt, w.Parked = d.LastError, momentOf(d.LastErrorAt), int64(len(d.Parked))
	if owed := d.OwedSince(); !owed.IsZero() {
		s.Lag.Seconds = max(0, c.now().Sub(owed).Seconds())
	}
	if d.Event != nil {
		w.Announces = d.Event.Type
	}
	for _, p := range d.Parked[:min(len(d.Parked), mostParked)] {
		subject := "feed"
		if p.Key.Kind != "" {
			subject = feed.Subject(p.Key)
		}
		w.Entities = append(w.Entities, parkedChange{subject, p.Attempts, p.Error, momentOf(p.Since), momentOf(p.Due)})
	}
	return s, nil
}

// steered takes what operators ask of webhooks.
type steered struct {
	*operator
	changes *changes
}

func (s *steered) register(api huma.API) {
	const when = "The reconciler that sends does it within seconds; GET /v1/subscriptions shows it then. "
	huma.Register(api, huma.Operation{
		OperationID: "pause-subscription", Method: http.MethodPost, Path: "/v1/subscriptions/{name}/pause",
		Summary: "Send nothing to a webhook until resumed", Tags: []string{"changes"},
		Description:   when + "What changes meanwhile waits in the feed, for as long as that is kept.",
		DefaultStatus: http.StatusAccepted, Security: needs(Operator), Errors: actErrors,
	}, s.pauseWebhook)
	huma.Register(api, huma.Operation{
		OperationID: "resume-subscription", Method: http.MethodPost, Path: "/v1/subscriptions/{name}/resume",
		Summary: "Send to a webhook again that was paused or has disabled itself", Tags: []string{"changes"},
		Description:   when + "All that is parked is due at once.",
		DefaultStatus: http.StatusAccepted, Security: needs(Operator), Errors: actErrors,
	}, s.resumeWebhook)
	huma.Register(api, huma.Operation{
		OperationID: "rewind-subscription", Method: http.MethodPost, Path: "/v1/subscriptions/{name}/rewind",
		Summary: "Send from another place of the feed", Tags: []string{"changes"},
		Description:   when + "What is sent again has the same ids. A cursor from which nothing can be read any more is a 410, as it is of GET /v1/changes.",
		DefaultStatus: http.StatusAccepted, Security: needs(Operator), Errors: append([]int{http.StatusGone}, actErrors...),
	}, s.rewindWebhook)
}

// SubscriptionPath names a webhook in a path.
type SubscriptionPath struct {
	Name string `path:"name" doc:"Name of the webhook, as configured." example:"billing"`
}

// steering is what was asked.
type steering struct {
	Consumer string `json:"consumer" doc:"The name of the webhook."`
	Asked    string `json:"asked" enum:"pause,resume,rewind"`
	After    string `json:"after,omitempty" doc:"Where a rewind goes."`
}

type steerOutput struct{ Body steering }

type pauseWebhookInput struct {
	SubscriptionPath
	Body struct {
		Reason string `json:"reason" minLength:"1" maxLength:"500" pattern:"\\S" patternDescription:"text that is not blank" doc:"Why, for the next reader."`
	}
}

func (s *steered) pauseWebhook(ctx context.Context, in *pauseWebhookInput) (*steerOutput, error) {
	return s.ask(ctx, storage.SteerSpec{Webhook: in.Name, Act: storage.SteerPause, Reason: in.Body.Reason})
}

func (s *steered) resumeWebhook(ctx context.Context, in *struct{ SubscriptionPath }) (*steerOutput, error) {
	return s.ask(ctx, storage.SteerSpec{Webhook: in.Name, Act: storage.SteerResume})
}

type rewindInput struct {
	SubscriptionPath
	Body struct {
		After string `json:"after" minLength:"1" maxLength:"4096" doc:"A cursor; snapshot: all that the mirror holds; now: only what changes from here on, so that what waits is never sent."`
	}
}

func (s *steered) rewindWebhook(ctx context.Context, in *rewindInput) (*steerOutput, error) {
	to, err := s.changes.webhook(in.Name)
	if err != nil {
		return nil, err
	}
	if after := in.Body.After; after != storage.AfterSnapshot && after != storage.AfterNow {
		at, err := feed.ParseCursor(after)
		if err == nil {
			_, err = feed.Read(ctx, &sparing{s.store, 1}, to.Source, at, 1)
		}
		if errors.Is(err, feed.ErrCursor) {
			return nil, invalid("body.after", after, "want a cursor of the feed, snapshot or now")
		}
		if err != nil {
			return nil, s.changes.changesProblem(ctx, to.Source, err)
		}
	}
	return s.ask(ctx, storage.SteerSpec{Webhook: in.Name, Act: storage.SteerRewind, After: in.Body.After})
}

// ask leaves to the reconciler what an operator asks.
func (s *steered) ask(ctx context.Context, spec storage.SteerSpec) (*steerOutput, error) {
	to, err := s.changes.webhook(spec.Webhook)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.acting(ctx)
	defer cancel()
	task := &storage.Task{
		ID: newID("steer_"), Kind: storage.KindSteer, Source: to.Source, Status: storage.TaskWaiting, By: actor(ctx), Spec: toJSON(spec), CreatedAt: s.now().UTC(),
	}
	if err := s.store.CreateTasks(ctx, []*storage.Task{task}); err != nil {
		return nil, s.storeProblem(ctx, spec.Act+" the webhook "+spec.Webhook, err)
	}
	what := "the webhook " + spec.Webhook
	if spec.After != "" {
		what += " to " + spec.After
	}
	s.record(ctx, act{source: to.Source, did: spec.Act, to: what, why: spec.Reason})
	return &steerOutput{Body: steering{spec.Webhook, spec.Act, spec.After}}, nil
}

// webhook returns a configured webhook, or a 404 that names those there are.
func (c *changes) webhook(name string) (OutgoingWebhook, error) {
	known := []string{}
	for _, to := range c.consumers.webhooks {
		if to.Name == name {
			return to, nil
		}
		known = append(known, to.Name)
	}
	p := newProblem(http.StatusNotFound, "", "no webhook of this name is configured; consumers that read have no need of this")
	slices.Sort(known)
	p.Known = known
	return OutgoingWebhook{}, p
}
