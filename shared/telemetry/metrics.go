package telemetry

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/trace"

	"github.com/tarn-sync/tarn/shared/problems"
)

// Metrics are all of Tarn's metrics, named tarn_…. Families lists them with the
// binaries that export each. Label values are from closed sets: source names of the
// configuration, kinds of definitions, classes and reasons of the code. None is an
// entity's or an event's.
type Metrics struct {
	// ShardSeries makes SetShard export figures of single shards. It is set before
	// the metrics are used.
	ShardSeries bool

	families []Family
	counters []counting

	// Intake, counted by the api.

	// Received counts webhooks whose signature was good, by source.
	Received *prometheus.CounterVec
	// Duplicates counts those whose event was there already, by source.
	Duplicates *prometheus.CounterVec
	// Rejected counts webhooks refused, by source and reason. Requests for
	// unknown sources share the source "unknown".
	Rejected *prometheus.CounterVec
	// EncodeFailures counts answers that could not be written as JSON.
	EncodeFailures prometheus.Counter
	// AcceptSeconds is the time from the request to the answer, by source.
	AcceptSeconds *prometheus.HistogramVec

	// The way through the worker.

	// EventToMirror is the time from receiving an event to its being settled,
	// by source. Observe it with ObserveEventToMirror.
	EventToMirror *prometheus.HistogramVec
	// Settled counts outcomes (one per event and entity) settled, by source.
	Settled *prometheus.CounterVec
	// Coalesced counts outcomes settled by a fetch that another signal began,
	// by source.
	Coalesced *prometheus.CounterVec
	// Fetches counts answers of the provider, by source, kind, class of the
	// signal and status: the HTTP status, or "error" without an answer.
	Fetches *prometheus.CounterVec
	// FetchSeconds is how long a fetch took, by source.
	FetchSeconds *prometheus.HistogramVec
	// BudgetWait is how long fetches waited for a token, by source and class.
	BudgetWait *prometheus.HistogramVec
	// StaleRefused counts writes refused since a newer fetch had begun, by
	// source.
	StaleRefused *prometheus.CounterVec
	// OutOfOrder counts events older than one already taken, by source.
	OutOfOrder *prometheus.CounterVec
	// Flagged counts events that lack something, by source and what: "unnamed",
	// "undated", "differing", "ambiguous", or "refused" by the store.
	Flagged *prometheus.CounterVec
	// Noted counts events that lead to less than others do, by source and note:
	// see event.Note.
	Noted *prometheus.CounterVec
	// Overtaken counts events whose state the history was already past, by
	// source.
	Overtaken *prometheus.CounterVec
	// Lagging counts fetches behind what was already known, by source.
	Lagging *prometheus.CounterVec

	// Failing and waiting.

	// Retries counts attempts that failed and will be repeated, by source and
	// class of the failure.
	Retries *prometheus.CounterVec
	// Parked is the number of entities parked, by source.
	Parked *prometheus.GaugeVec
	// Spilled counts entries that were spilled because too much was in flight, by
	// source.
	Spilled *prometheus.CounterVec
	// DeadLetters counts dead letters written, by source and class.
	DeadLetters *prometheus.CounterVec
	// DeadOpen is the number of dead letters open now, by source.
	DeadOpen *prometheus.GaugeVec
	// Commands counts the states that commands came to, by source, kind, op and state.
	Commands *prometheus.CounterVec
	// CommandsOpen is the number of commands that are not over, dead ones among them, by
	// source, kind, op and state.
	CommandsOpen *prometheus.GaugeVec
	// CommandAnswerSeconds is how long commands waited for the provider's answer,
	// CommandCoverSeconds until the mirror showed the change, by source.
	CommandAnswerSeconds, CommandCoverSeconds *prometheus.HistogramVec
	// CommandUnclear counts how it was found out what became of commands, by source,
	// strategy and verdict.
	CommandUnclear *prometheus.CounterVec
	// CommandAskedSeconds is how long the oldest command waits for an operator to say
	// what became of it, by source.
	CommandAskedSeconds *prometheus.GaugeVec
	// OutboxRows is the number of rows that wait in an outbox, and OutboxOldestSeconds for
	// how long its first row has not become a command, by source.
	OutboxRows, OutboxOldestSeconds *prometheus.GaugeVec
	// Alerts counts alerts raised, by source and kind.
	Alerts *prometheus.CounterVec
	// SourcePaused is 1 while a source is paused, by source.
	SourcePaused *prometheus.GaugeVec
	// Pace is the share of the configured rate that is asked for, by source: less
	// than 1 after the provider has refused us for haste.
	Pace *prometheus.GaugeVec
	// Recovered counts signals appended again because their entry was lost, by
	// source.
	Recovered *prometheus.CounterVec

	// Shards.

	// Backlog is the number of entries that wait, by source and tier.
	Backlog *prometheus.GaugeVec
	// Unconfigured is how much waits of a source that is configured no more, by
	// source: entries, and entities that are parked.
	Unconfigured *prometheus.GaugeVec
	// Undefined is how many entities are parked of a kind that the definition of
	// the reporting worker does not have, by source and kind.
	Undefined *prometheus.GaugeVec
	// OldestAge is the age of the oldest live entry in seconds, by source.
	OldestAge *prometheus.GaugeVec
	// StalledShards is the number of shards whose oldest live entry has been the same
	// for StalledAfter, by source.
	StalledShards *prometheus.GaugeVec
	// UnownedShards is the number of shards in which something waits and that no
	// worker reads.
	UnownedShards *prometheus.GaugeVec
	// ShardBacklog, ShardOldestAge and ShardParked are Backlog, OldestAge and Parked of
	// single shards. SetShard exports them.
	ShardBacklog, ShardOldestAge, ShardParked *prometheus.GaugeVec
	// Workers is the number of live workers.
	Workers *prometheus.GaugeVec
	// LeasesHeld is the number of shards this process reads.
	LeasesHeld prometheus.Gauge
	// Handovers counts leases taken by this process.
	Handovers prometheus.Counter
	// LeasesLost counts leases that were lost, not released: of shards by a worker,
	// of tasks by a reconciler.
	LeasesLost prometheus.Counter
	// Restarts counts loops that panicked and were started again, by loop.
	Restarts *prometheus.CounterVec
	// Resyncs counts pending lists taken over again after an uncertain read.
	Resyncs prometheus.Counter
	// Unavailable counts how often work was held since something was away, by
	// what: "redis" or "store". CountHeld counts.
	Unavailable *prometheus.CounterVec
	// HeldCalls is the number of calls that wait now since something is away, by
	// what: "redis" or "store". Hold counts.
	HeldCalls *prometheus.GaugeVec
	// StoreTimeouts counts reports of a call of the store that times out again and
	// again.
	StoreTimeouts prometheus.Counter
	// Reloads counts readings of the settings after the start, by result: "taken", or
	// "refused" if anything of them was not.
	Reloads *prometheus.CounterVec
	// IdentityMismatch is 1 while this process does not work since its Redis and
	// its database are not of one fleet.
	IdentityMismatch prometheus.Gauge
	// RedisUnconfirmed is 1 while too few replicas of Redis confirm what this process
	// appends.
	RedisUnconfirmed prometheus.Gauge

	// Servers.

	// RedisMemoryUsed and RedisMemoryMax are the memory in bytes that the fullest Redis
	// uses and may use.
	RedisMemoryUsed, RedisMemoryMax *prometheus.GaugeVec
	// DiskFree and DiskSize are the free bytes and the size of the file system that
	// holds the SQLite file.
	DiskFree, DiskSize *prometheus.GaugeVec

	// Drift.

	// GapsBlocked is for how many seconds the search for missed events has been
	// held up, by one without a row in the log or by a list that cannot be read, by
	// source. 0: it is not.
	GapsBlocked *prometheus.GaugeVec
	// Discrepancies counts differences that were confirmed, by source, kind and type.
	Discrepancies *prometheus.CounterVec
	// FailedLists counts lists of the provider's that a sweep could not read to
	// their end, by source and kind.
	FailedLists *prometheus.CounterVec
	// Staleness is the age in seconds of the longest unverified document, by
	// source and kind.
	Staleness *prometheus.GaugeVec
	// VerifyEvery is the age in seconds at which an unverified document is compared
	// again, by source and kind.
	VerifyEvery *prometheus.GaugeVec
	// SubscriptionMissing is the number of event types that the provider sends no
	// webhooks for, by source.
	SubscriptionMissing *prometheus.GaugeVec

	// The change feed.

	// FeedDebt is for how many seconds the oldest change has waited for the feed, by
	// source. 0: none waits.
	FeedDebt *prometheus.GaugeVec
	// FeedHead is the last position of the feed, by source.
	FeedHead *prometheus.GaugeVec
	// FeedItems counts changes added to the feed, by source.
	FeedItems *prometheus.CounterVec
	// FeedLag is how many positions a consumer of the feed is behind, by source and the
	// name it gave; the 100 that were sent something last.
	FeedLag *prometheus.GaugeVec

	// Outgoing webhooks.

	// Deliveries counts messages by webhook and outcome.
	Deliveries *prometheus.CounterVec
	// DeliveryParked is how many entities wait since the receiver refused them, by webhook.
	DeliveryParked *prometheus.GaugeVec
	// DeliveryLag is for how many seconds the oldest change has waited that is neither
	// accepted nor parked, or a snapshot has been sent, by webhook. 0: nothing waits.
	DeliveryLag *prometheus.GaugeVec
	// DeliveryHalted is 1 while nothing is sent, by webhook and reason.
	DeliveryHalted *prometheus.GaugeVec
}

// Buckets in seconds. Events take milliseconds when all is well and an hour when a
// provider is down, and both ends matter. One call ends after its time-out.
var (
	wayBuckets  = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 1800, 3600}
	callBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
)

// Who exports a metric.
var (
	byAPI        = []Binary{API}
	byWorker     = []Binary{Worker}
	byReconciler = []Binary{Reconciler}
	byBoth       = []Binary{Worker, Reconciler}
	byAll        = []Binary{API, Worker, Reconciler}
)

// NewMetrics makes the metrics and registers those that some of the binaries export;
// of none given, all. It panics if they are registered there already, as that is a
// mistake in the program.
func NewMetrics(r prometheus.Registerer, binaries ...Binary) *Metrics {
	m := &Metrics{}
	f := factory{r: r, binaries: binaries, made: &m.families, counters: &m.counters}

	m.Received = f.counter("webhooks_received_total", byAPI, "Webhooks whose signature was good.", bySource)
	m.Duplicates = f.counter("webhooks_duplicate_total", byAPI, "Webhooks whose event had been received before.", bySource)
	m.Rejected = f.counter("webhooks_rejected_total", byAPI, "Webhooks refused, by reason.", bySource, byReason)
	m.EncodeFailures = f.counter("answer_encode_failures_total", byAPI, "Answers of the HTTP API that could not be written as JSON.").WithLabelValues()
	m.AcceptSeconds = f.histogram("webhook_accept_seconds", byAPI, "Time from a webhook request to its answer.", callBuckets, bySource)

	m.EventToMirror = f.histogram("event_to_mirror_seconds", byWorker, "Time from receiving an event until the mirror reflects it.", wayBuckets, bySource)
	m.Settled = f.counter("outcomes_settled_total", byWorker, "Outcomes (one per event and entity) settled.", bySource)
	m.Coalesced = f.counter("outcomes_coalesced_total", byWorker, "Outcomes settled by a fetch that another signal began.", bySource)
	m.Fetches = f.counter("fetches_total", byBoth, "Answers of the provider's API, by the HTTP status, or error without one.", bySource, byKind, byPriority, byStatus)
	m.FetchSeconds = f.histogram("fetch_seconds", byWorker, "Time of one fetch of an entity from the provider's API.", callBuckets, bySource)
	m.BudgetWait = f.histogram("budget_wait_seconds", byBoth, "Time a fetch waited for a token of the source's budget.", wayBuckets, bySource, byPriority)
	m.StaleRefused = f.counter("stale_writes_refused_total", byWorker, "Writes refused because a newer fetch had begun.", bySource)
	m.OutOfOrder = f.counter("events_out_of_order_total", byWorker, "Events older than the newest already taken for their entity.", bySource)
	m.Flagged = f.counter("events_flagged_total", byWorker, "Events that do not name what their type is about (unnamed), whose time cannot be read (undated) or is in the future (ahead), that came again with another body (differing), that name an entity without its parents by an id that several have (ambiguous), or that the store refused (refused).", bySource, byFlag)
	m.Noted = f.counter("events_noted_total", byWorker, "Events that name nothing (names_nothing), whose type the definition does not know (unknown_type), that lack a value it requires (require_unmet), that came among others and cannot be read (unreadable), or whose scope is no id (scope_unusable).", bySource, byNote)
	m.Overtaken = f.counter("events_overtaken_total", byWorker, "Events whose state the entity's history was already past.", bySource)
	m.Lagging = f.counter("fetches_lagging_total", byWorker, "Fetches that were behind what was already known.", bySource)

	m.Retries = f.counter("retries_total", byWorker, "Failed attempts that will be repeated, by class of failure.", bySource, byFate)
	m.Parked = f.gauge("parked_entities", byBoth, "Entities waiting for their next attempt. Each reporting process gives the fleet's figure: use max, not sum.", bySource)
	m.Spilled = f.counter("spilled_entries_total", byWorker, "Entries spilled: moved back to Redis, sorted by entity, because too many were in flight. The backlog still counts them.", bySource)
	m.DeadLetters = f.counter("dead_letters_total", byWorker, "Dead letters written, by class of failure.", bySource, byFate)
	m.DeadOpen = f.gauge("open_dead_letters", byWorker, "Dead letters open now. The worker that reads shard 0 gives the fleet's figure: use max, not sum.", bySource)
	m.Commands = f.counter("commands_total", byWorker, "States that commands came to.", bySource, byKind, byOp, byState)
	m.CommandsOpen = f.gauge("open_commands", byWorker, "Commands that are not over; dead ones wait for an operator. The worker that reads shard 0 gives the fleet's figure: use max, not sum.", bySource, byKind, byOp, byState)
	m.CommandAnswerSeconds = f.histogram("command_answer_seconds", byWorker, "Time from asking for a command until the provider has done it.", wayBuckets, bySource)
	m.CommandCoverSeconds = f.histogram("command_cover_seconds", byWorker, "Time from asking for a command until the mirror shows the change.", wayBuckets, bySource)
	m.CommandUnclear = f.counter("commands_unclear_total", byWorker, "How it was found out what became of commands without an answer.", bySource, byStrategy, byVerdict)
	m.CommandAskedSeconds = f.gauge("command_asked_oldest_seconds", byWorker, "How long the oldest command waits for an operator to say what became of it; 0 when none does. Use max, not sum.", bySource)
	m.OutboxRows = f.gauge("outbox_rows", byReconciler, "Rows that applications have inserted and that are no commands yet (at most 10,000 are counted). Those of the source other are of sources whose outbox is not read.", bySource)
	m.OutboxOldestSeconds = f.gauge("outbox_oldest_seconds", byReconciler, "How long the first row of the outbox has waited since it was first read; 0 without one.", bySource)
	m.Alerts = f.counter("alerts_total", byAll, "Alerts raised by Tarn itself, by kind.", bySource, byAlert)
	m.SourcePaused = f.gauge("source_paused", byWorker, "1 while the source is paused. Each worker gives the fleet's state: use max, not sum.", bySource)
	m.Pace = f.gauge("source_pace_ratio", byWorker, "Share of the configured rate that is asked for: less than 1 after the provider has answered 429.", bySource)
	m.Recovered = f.counter("signals_recovered_total", byReconciler, "Signals appended again because their stream entry was lost.", bySource)

	m.Backlog = f.gauge("backlog_entries", byBoth, "Stream entries not settled yet, without background ones that are held back until later on purpose. Each reporting process gives the fleet's figure: use max, not sum.", bySource, byTier)
	m.Unconfigured = f.gauge("unconfigured_waiting_entries", byWorker, "Entries and parked entities of a source that is configured no more or, if there are none, its unsettled events (at most 100). Use max, not sum.", bySource)
	m.Undefined = f.gauge("undefined_waiting_entities", byWorker, "Entities parked of a kind that the definition of the reporting worker does not have (at most 1,000 of a shard are looked at). Use max, not sum.", bySource, byKind)
	m.OldestAge = f.gauge("backlog_oldest_age_seconds", byBoth, "Age of the oldest live stream entry, 0 without one. Each reporting process gives the fleet's figure: use max.", bySource)
	m.StalledShards = f.gauge("stalled_shards", byBoth, "Shards whose oldest live entry has been the same for 5 minutes. Use max, not sum.", bySource)
	m.UnownedShards = f.gauge("unowned_shards", byBoth, "Shards in which something waits and that no worker reads. Use max, not sum.")
	m.ShardBacklog = f.gauge("shard_backlog_entries", byBoth, "Like tarn_backlog_entries, of one shard; with telemetry.shard_series only.", byShard, bySource, byTier)
	m.ShardOldestAge = f.gauge("shard_backlog_oldest_age_seconds", byBoth, "Like tarn_backlog_oldest_age_seconds, of one shard; with telemetry.shard_series only.", byShard, bySource)
	m.ShardParked = f.gauge("shard_parked_entities", byBoth, "Like tarn_parked_entities, of one shard; with telemetry.shard_series only.", byShard, bySource)
	m.Workers = f.gauge("workers", byBoth, "Live workers of the fleet, as a worker and a reconciler see them: use max, not sum.")
	m.LeasesHeld = f.gauge("leases_held", byWorker, "Shards read by this process.").WithLabelValues()
	m.Handovers = f.counter("handovers_total", byWorker, "Shard leases taken.").WithLabelValues()
	m.LeasesLost = f.counter("leases_lost_total", byBoth, "Leases lost rather than released: of shards by a worker, of tasks by a reconciler.").WithLabelValues()
	m.Restarts = f.counter("loop_restarts_total", byBoth, "Loops that panicked or failed and were started again.", byLoop)
	m.Resyncs = f.counter("resyncs_total", byWorker, "Pending lists taken over again after an uncertain read.").WithLabelValues()
	m.Unavailable = f.counter("work_held_total", byBoth, "Times work was held because redis or the store was away.", byServer)
	m.HeldCalls = f.gauge("held_calls", byBoth, "Calls that wait now because redis or the store is away.", byServer)
	m.StoreTimeouts = f.counter("store_timeouts_reported_total", byBoth, "Reports of a call of the store that timed out several times in a row.").WithLabelValues()
	m.Reloads = f.counter("settings_reloads_total", byAll, "Readings of the settings after the start: taken, or refused, so that the old ones stay in force.", byResult)
	for _, result := range []string{"taken", "refused"} {
		m.Reloads.WithLabelValues(result) // 0 from the start
	}
	m.IdentityMismatch = f.gauge("identity_mismatch", byAll, "1 while this process does not work, since its redis and its database are not of one fleet.").WithLabelValues()

	m.RedisUnconfirmed = f.gauge("redis_unconfirmed", byAll, "1 while fewer replicas of Redis than redis.wait_replicas confirm what this process appends: of the api, webhooks are refused.").WithLabelValues()

	m.RedisMemoryUsed = f.gauge("redis_memory_used_bytes", byBoth, "Memory used by Redis; of a cluster, by its fullest master. Absent while Redis does not show it. Use max, not sum.")
	m.RedisMemoryMax = f.gauge("redis_memory_max_bytes", byBoth, "The maxmemory of that Redis, 0 without a limit. Use max, not sum.")
	m.DiskFree = f.gauge("store_disk_free_bytes", byBoth, "Space that is left for Tarn on the file system of the SQLite file. Absent with MongoDB.")
	m.DiskSize = f.gauge("store_disk_size_bytes", byBoth, "Size of the file system of the SQLite file. Absent with MongoDB.")

	m.GapsBlocked = f.gauge("gaps_blocked_seconds", byReconciler, "How long the search for missed events has been held up, by one that the log does not have or by a list that cannot be read; 0 when it is not.", bySource)
	m.Discrepancies = f.counter("discrepancies_total", byReconciler, "Differences from the provider that were confirmed, by type.", bySource, byKind, byType)
	m.FailedLists = f.counter("lists_failed_total", byReconciler, "Lists of the provider's that a sweep could not read whole.", bySource, byKind)
	m.Staleness = f.gauge("staleness_seconds", byReconciler, "Age of the longest unverified document that is neither terminal nor deleted.", bySource, byKind)
	m.VerifyEvery = f.gauge("verify_every_seconds", byReconciler, "Age at which an unverified document is compared again: verify_every of the settings.", bySource, byKind)
	m.SubscriptionMissing = f.gauge("subscription_missing_types", byReconciler, "Event types that the provider sends no webhooks for.", bySource)

	m.FeedDebt = f.gauge("feed_debt_seconds", byWorker, "How long the oldest change has waited for the change feed; 0 while none waits. The worker that reads shard 0 gives the fleet's figure: use max, not sum.", bySource)
	m.FeedHead = f.gauge("feed_head", byReconciler, "Last position of the change feed. Exported by the reconciler that adds to it.", bySource)
	m.FeedItems = f.counter("feed_items_total", byReconciler, "Changes added to the change feed.", bySource)
	m.FeedLag = f.gauge("feed_lag", byAPI, "How many positions a named consumer of the change feed is behind. Each api gives the fleet's figure: use max, not sum.", bySource, byConsumer)

	m.Deliveries = f.counter("deliveries_total", byReconciler, "Messages to receivers of outgoing webhooks.", byWebhook, byOutcome)
	m.DeliveryParked = f.gauge("delivery_parked_entities", byReconciler, "Entities that wait since the receiver of an outgoing webhook refused them.", byWebhook)
	m.DeliveryLag = f.gauge("delivery_lag_seconds", byReconciler, "How long the oldest change has waited that an outgoing webhook has neither had accepted nor parked, or a snapshot has been sent; 0 if nothing waits.", byWebhook)
	m.DeliveryHalted = f.gauge("delivery_halted", byReconciler, "1 while an outgoing webhook sends nothing: it is paused, its receiver has disabled it, or does not answer.", byWebhook, byHalt)

	for _, server := range byServer.Values {
		m.Unavailable.WithLabelValues(server)
		m.HeldCalls.WithLabelValues(server)
	}
	return m
}

// CountHeld counts what package loops reports of a server: that work was held, or
// "store_timeout".
func (m *Metrics) CountHeld(what string) {
	if what == "store_timeout" {
		m.StoreTimeouts.Inc()
		return
	}
	m.Unavailable.WithLabelValues(what).Inc()
}

// Hold adds to the calls that wait for a server.
func (m *Metrics) Hold(server string, by float64) { m.HeldCalls.WithLabelValues(server).Add(by) }

// ObserveEventToMirror records how long an event took, with its trace as the
// exemplar, so that a slow one can be looked at. traceparent may be empty.
func (m *Metrics) ObserveEventToMirror(source string, took time.Duration, traceparent string) {
	observe(m.EventToMirror.WithLabelValues(source), took, SpanContext(traceparent))
}

// Observe records a time, with the trace of ctx as the exemplar if it is sampled.
func Observe(ctx context.Context, o prometheus.Observer, took time.Duration) {
	observe(o, took, trace.SpanContextFromContext(ctx))
}

func observe(o prometheus.Observer, took time.Duration, sc trace.SpanContext) {
	if e, ok := o.(prometheus.ExemplarObserver); ok && sc.IsSampled() {
		e.ObserveWithExemplar(took.Seconds(), exemplar(sc))
		return
	}
	o.Observe(took.Seconds())
}

// CountTraced adds one to a counter, with the trace of ctx as the exemplar if it is
// sampled.
func CountTraced(ctx context.Context, c prometheus.Counter) {
	sc := trace.SpanContextFromContext(ctx)
	if e, ok := c.(prometheus.ExemplarAdder); ok && sc.IsSampled() {
		e.AddWithExemplar(1, exemplar(sc))
		return
	}
	c.Inc()
}

// exemplar names a trace as Prometheus and Grafana expect it.
func exemplar(sc trace.SpanContext) prometheus.Labels {
	return prometheus.Labels{"trace_id": sc.TraceID().String()}
}

// MetricsHandler serves /metrics in the Prometheus text format, or as
// OpenMetrics, which has the exemplars, to those who ask for it.
func MetricsHandler(g prometheus.Gatherer) http.Handler {
	return problems.Plain(promhttp.HandlerFor(g, promhttp.HandlerOpts{EnableOpenMetrics: true}))
}
