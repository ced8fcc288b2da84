package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

const (
	// consumersEvery is how often it is saved how far consumers are, and how far they
	// are behind is measured.
	consumersEvery = 5 * time.Second
	// consumersWithin bounds one round of that.
	consumersWithin = 10 * time.Second
	// consumerKept is for how long a consumer is remembered that is sent nothing.
	consumerKept = 30 * 24 * time.Hour
	// measuredConsumers is how many have a metric: names are what clients send.
	measuredConsumers = 100
	// unsavedConsumers is how many wait to be saved.
	unsavedConsumers = storage.MaxSubscriptions
)

// consumers keeps, for people, how far consumers are that give a name. Nothing depends
// on it: a consumer keeps its cursor itself.
type consumers struct {
	store Store
	log   *slog.Logger
	lag   *prometheus.GaugeVec
	now   func() time.Time
	// webhooks are those of the settings.
	webhooks []OutgoingWebhook

	mu      sync.Mutex
	unsaved map[consumerName]storage.Subscription
	trimmed time.Time
}

type consumerName struct{ source, consumer string }

func newConsumers(o Options) *consumers {
	return &consumers{
		store: o.Store, log: o.Logger, lag: o.Metrics.FeedLag, now: o.Now, webhooks: o.Webhooks,
		unsaved: map[consumerName]storage.Subscription{},
	}
}

// consumer is one that gave a name. Nil: it gave none.
type consumer struct {
	of  *consumers
	row storage.Subscription
}

// named returns the consumer of a request.
func (c *consumers) named(w *wanted, in *changesInput, by string) *consumer {
	if in.Consumer == "" {
		return nil
	}
	form := "page"
	if in.streams() {
		form = "stream"
	}
	return &consumer{c, storage.Subscription{Source: w.source, Consumer: in.Consumer, Form: form, Kinds: w.filter.Kinds(), By: by}}
}

// sent notes how far the consumer is.
func (c *consumer) sent(at place) {
	if c == nil {
		return
	}
	row := c.row
	row.After, row.Position, row.At = at.String(), at.Position, c.of.now().UTC()
	name := consumerName{row.Source, row.Consumer}
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	if _, there := c.of.unsaved[name]; there || len(c.of.unsaved) < unsavedConsumers {
		c.of.unsaved[name] = row
	}
}

// run saves and measures until ctx ends, and saves once more then.
func (c *consumers) run(ctx context.Context, loop *telemetry.Loop) {
	defer loop.Done()
	tick := time.NewTicker(consumersEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			c.save(context.WithoutCancel(ctx))
			return
		case <-tick.C:
		}
		loop.Turn()
		if c.save(ctx) {
			c.measure(ctx)
		}
	}
}

// save saves what consumers were sent since the last time. What cannot be saved is kept.
func (c *consumers) save(ctx context.Context) bool {
	c.mu.Lock()
	unsaved := c.unsaved
	c.unsaved = make(map[consumerName]storage.Subscription, len(unsaved))
	c.mu.Unlock()
	if len(unsaved) == 0 {
		return true
	}
	rows := make([]storage.Subscription, 0, len(unsaved))
	for _, row := range unsaved {
		rows = append(rows, row)
	}
	ctx, cancel := context.WithTimeout(ctx, consumersWithin)
	defer cancel()
	err := c.store.SaveSubscriptions(ctx, rows)
	if err == nil {
		return true
	}
	c.log.DebugContext(ctx, "how far consumers are could not be saved; it is kept", "error", err)
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, row := range unsaved {
		if _, newer := c.unsaved[name]; !newer {
			c.unsaved[name] = row
		}
	}
	return false
}

// measure sets how far consumers are behind. It reads all that are saved, so that one
// that has gone, or reads from another replica, has its figure here too.
func (c *consumers) measure(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, consumersWithin)
	defer cancel()
	if now := c.now(); now.Sub(c.trimmed) >= time.Hour {
		if _, err := c.store.TrimSubscriptions(ctx, now.Add(-consumerKept)); err != nil {
			return
		}
		c.trimmed = now
	}
	rows, err := c.store.Subscriptions(ctx)
	if err != nil {
		return
	}
	sent, err := c.sentTo(ctx)
	if err != nil {
		return
	}
	heads, err := c.heads(ctx, slices.Concat(rows, sent))
	if err != nil {
		return
	}
	c.lag.Reset()
	for _, row := range append(rows[:min(len(rows), measuredConsumers)], sent...) {
		c.lag.WithLabelValues(row.Source, row.Consumer).Set(float64(max(0, heads[row.Source].Position-row.Position)))
	}
}

// sentTo reads how far webhooks are that have begun.
func (c *consumers) sentTo(ctx context.Context) (rows []storage.Subscription, err error) {
	for _, to := range c.webhooks {
		s, err := c.sent(ctx, to)
		if err != nil {
			return nil, err
		}
		rows = append(rows, storage.Subscription{Source: s.Source, Consumer: s.Consumer, Position: s.Position})
	}
	return rows, nil
}

// heads reads the heads of the feeds that rows are of.
func (c *consumers) heads(ctx context.Context, rows []storage.Subscription) (map[string]feed.Cursor, error) {
	heads := map[string]feed.Cursor{}
	for _, row := range rows {
		if _, there := heads[row.Source]; there {
			continue
		}
		head, err := feed.Head(ctx, c.store, row.Source)
		if err != nil {
			return nil, err
		}
		heads[row.Source] = head
	}
	return heads, nil
}

// subscription is a consumer as the API shows it.
type subscription struct {
	Source   string   `json:"source"`
	Consumer string   `json:"consumer" doc:"The name that it gave."`
	Form     string   `json:"form" enum:"page,stream,webhook" doc:"How it reads, or webhook: changes are sent to it."`
	Kinds    []string `json:"kinds,omitempty" doc:"The kinds it asks for; absent: all."`
	Types    []string `json:"types,omitempty" enum:"entity,command" doc:"Of a webhook: what the changes sent are about, the part of their type behind dev.tarn. A command is of the kind that it changes."`
	After    string   `json:"after" doc:"The cursor that it was sent last. It may not have handled all before it."`
	Position int64    `json:"position" doc:"The position in it."`
	Snapshot bool     `json:"snapshot,omitempty" doc:"Whether it reads a snapshot."`
	SentAt   moment   `json:"sent_at,omitzero" doc:"When that was, or when it last had all that there is. Of a webhook: when it accepted something last."`
	By       string   `json:"by,omitempty" doc:"The name of its token. Absent of a webhook."`
	Lag      lag      `json:"lag"`

	Webhook *webhookState `json:"webhook,omitempty" doc:"Of a webhook: whether and why it waits, and what it refused."`
}

type lag struct {
	Positions int64   `json:"positions" doc:"How many positions the feed has behind it. What is left of a snapshot has none."`
	Seconds   float64 `json:"seconds" doc:"For how long the oldest of them has been there; of a webhook also: for how long a snapshot has been sent, or a message about the feed has waited. 0 if nothing waits."`
}

type subscriptionList struct {
	Items []subscription `json:"items" nullable:"false"`
}

// register declares GET /v1/subscriptions.
func (c *changes) registerSubscriptions(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "list-subscriptions", Method: http.MethodGet, Path: "/v1/subscriptions",
		Summary: "List the webhooks and the consumers of changes that gave a name, and how far they are", Tags: []string{"changes"},
		Description: "Those that sent `consumer` to `GET /v1/changes`, the latest first, at most 1,000; saved every 5 s. One that is sent nothing for 30 days is left out. " +
			"The figures are what was sent, not what was done with it. The webhooks of the settings follow, with what they have accepted.",
		Security: needs(Viewer), Errors: startErrors,
	}, c.listSubscriptions)
}

type listSubscriptionsOutput struct{ Body subscriptionList }

func (c *changes) listSubscriptions(ctx context.Context, _ *struct{}) (*listSubscriptionsOutput, error) {
	rows, err := c.store.Subscriptions(ctx)
	if err != nil {
		return nil, c.storeProblem(ctx, "list subscriptions", err)
	}
	heads, err := c.consumers.heads(ctx, rows)
	if err != nil {
		return nil, c.storeProblem(ctx, "list subscriptions", err)
	}
	out := &listSubscriptionsOutput{Body: subscriptionList{Items: make([]subscription, len(rows))}}
	for i, row := range rows {
		s := subscription{
			Source: row.Source, Consumer: row.Consumer, Form: row.Form, Kinds: row.Kinds, After: row.After,
			Position: row.Position, SentAt: momentOf(row.At), By: row.By,
		}
		at, err := parsePlace(row.After)
		s.Snapshot = err == nil && at.walk != nil
		if s.Lag.Positions = max(0, heads[row.Source].Position-row.Position); s.Lag.Positions > 0 {
			if s.Lag.Seconds, err = c.waited(ctx, row.Source, row.Position+1); err != nil {
				return nil, c.storeProblem(ctx, "list subscriptions", err)
			}
		}
		out.Body.Items[i] = s
	}
	for _, to := range c.consumers.webhooks {
		s, err := c.consumers.sent(ctx, to)
		if err == nil {
			err = c.lag(ctx, &s)
		}
		if err != nil {
			return nil, c.storeProblem(ctx, "list subscriptions", err)
		}
		out.Body.Items = append(out.Body.Items, s)
	}
	return out, nil
}

// lag says how far a webhook is behind.
func (c *changes) lag(ctx context.Context, s *subscription) error {
	head, err := feed.Head(ctx, c.store, s.Source)
	if err != nil {
		return err
	}
	if s.Lag.Positions = max(0, head.Position-s.Position); s.Lag.Positions == 0 {
		return nil
	}
	waited, err := c.waited(ctx, s.Source, s.Position+1)
	s.Lag.Seconds = max(s.Lag.Seconds, waited)
	return err
}

// waited returns for how long a position has been in a feed, or the oldest there is.
func (c *changes) waited(ctx context.Context, source string, position int64) (float64, error) {
	found, err := c.store.Batches(ctx, source, position, 1)
	if errors.Is(err, storage.ErrNotFound) || err == nil && len(found) == 0 {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return max(0, c.consumers.now().Sub(found[0].At).Seconds()), nil
}
