package telemetry

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are all of Tarn's metrics, named tarn_…. Every process registers all
// of them and fills those it knows. Label values are from closed sets: source
// names of the configuration, classes and reasons of the code.
type Metrics struct {
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
	// what: "redis" or "store"; and, as "store_timeout", how often an alert was
	// raised for a call of the store that times out again and again.
	Unavailable *prometheus.CounterVec
	// IdentityMismatch is 1 while this process does not work since its Redis and
	// its database are not of one fleet.
	IdentityMismatch prometheus.Gauge

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
}

// Buckets in seconds. Events take milliseconds when all is well and hours when
// a provider is down, and both ends matter.
var (
	wayBuckets  = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 14400}
	callBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
)

// NewMetrics makes the metrics and registers them. It panics if they are
// registered there already, as that is a mistake in the program.
func NewMetrics(r prometheus.Registerer) *Metrics {
	f := factory{r}
	return &Metrics{
		Received:       f.counter("received_total", "Webhooks whose signature was good.", "source"),
		Duplicates:     f.counter("duplicates_total", "Webhooks whose event had been received before.", "source"),
		Rejected:       f.counter("rejected_total", "Webhooks refused, by reason.", "source", "reason"),
		EncodeFailures: f.counter("encode_failures_total", "Answers of the HTTP API that could not be written as JSON.").WithLabelValues(),
		AcceptSeconds:  f.histogram("accept_seconds", "Time from a webhook request to its answer.", callBuckets, "source"),

		EventToMirror: f.histogram("event_to_mirror_seconds", "Time from receiving an event until the mirror reflects it.", wayBuckets, "source"),
		Settled:       f.counter("settled_total", "Outcomes (one per event and entity) settled.", "source"),
		Coalesced:     f.counter("coalesced_total", "Outcomes settled by a fetch that another signal began.", "source"),
		Fetches:       f.counter("fetches_total", "Answers of the provider's API; status is the HTTP status or error.", "source", "kind", "class", "status"),
		FetchSeconds:  f.histogram("fetch_seconds", "Time of one request to the provider's API.", callBuckets, "source"),
		BudgetWait:    f.histogram("budget_wait_seconds", "Time a fetch waited for a token of the source's budget.", wayBuckets, "source", "class"),
		StaleRefused:  f.counter("stale_writes_refused_total", "Writes refused because a newer fetch had begun.", "source"),
		OutOfOrder:    f.counter("out_of_order_total", "Events older than the newest already taken for their entity.", "source"),
		Flagged:       f.counter("flagged_total", "Events that do not name what their type is about (unnamed), whose time cannot be read (undated) or is in the future (ahead), that came again with another body (differing), that name an entity without its parents by an id that several have (ambiguous), or that the store refused (refused).", "source", "what"),
		Noted:         f.counter("noted_total", "Events that name nothing (names_nothing), whose type the definition does not know (unknown_type), that lack a value it requires (require_unmet), that came among others and cannot be read (unreadable), or whose scope is no id (scope_unusable).", "source", "note"),
		Overtaken:     f.counter("overtaken_total", "Events whose state the entity's history was already past.", "source"),
		Lagging:       f.counter("lagging_total", "Fetches that were behind what was already known.", "source"),

		Retries:      f.counter("retries_total", "Failed attempts that will be repeated, by class of failure.", "source", "class"),
		Parked:       f.gauge("parked", "Entities waiting for their next attempt. Each reporting process gives the fleet's figure: use max, not sum.", "source"),
		Spilled:      f.counter("set_aside_total", "Entries spilled: moved back to Redis, sorted by entity, because too many were in flight. The backlog still counts them.", "source"),
		DeadLetters:  f.counter("dead_letters_total", "Dead letters written, by class of failure.", "source", "class"),
		DeadOpen:     f.gauge("dead_letters_open", "Dead letters open now.", "source"),
		Alerts:       f.counter("alerts_total", "Alerts raised: dead letters, sources paused, rewritten histories, confirmed discrepancies.", "source", "kind"),
		SourcePaused: f.gauge("source_paused", "1 while the source is paused.", "source"),
		Pace:         f.gauge("source_pace", "Share of the configured rate that is asked for: less than 1 after the provider has answered 429.", "source"),
		Recovered:    f.counter("recovered_total", "Signals appended again because their stream entry was lost.", "source"),

		Backlog:          f.gauge("backlog", "Stream entries not settled yet, without background ones that are held back until later on purpose. Each reporting process gives the fleet's figure: use max, not sum.", "source", "tier"),
		Unconfigured:     f.gauge("unconfigured_waiting", "Entries and parked entities of a source that is configured no more or, if there are none, its unsettled events (at most 100). Use max, not sum.", "source"),
		Undefined:        f.gauge("undefined_waiting", "Entities parked of a kind that the definition of the reporting worker does not have (at most 1,000 of a shard are looked at). Use max, not sum.", "source", "kind"),
		OldestAge:        f.gauge("oldest_age_seconds", "Age of the oldest live stream entry. Each reporting process gives the fleet's figure: use max.", "source"),
		Workers:          f.gauge("workers", "Live workers of the fleet, as a worker and a reconciler see them: use max, not sum."),
		LeasesHeld:       f.gauge("leases_held", "Shards read by this process.").WithLabelValues(),
		Handovers:        f.counter("handovers_total", "Shard leases taken.").WithLabelValues(),
		LeasesLost:       f.counter("leases_lost_total", "Leases lost rather than released: of shards by a worker, of tasks by a reconciler.").WithLabelValues(),
		Restarts:         f.counter("loop_restarts_total", "Loops that panicked and were started again.", "loop"),
		Resyncs:          f.counter("resyncs_total", "Pending lists taken over again after an uncertain read.").WithLabelValues(),
		Unavailable:      f.counter("unavailable_total", "Times work was held because redis or the store was away.", "what"),
		IdentityMismatch: f.gauge("identity_mismatch", "1 while this process does not work, since its redis and its database are not of one fleet.").WithLabelValues(),

		GapsBlocked:   f.gauge("gaps_blocked_seconds", "How long the search for missed events has been held up, by one that the log does not have or by a list that cannot be read; 0 when it is not.", "source"),
		Discrepancies: f.counter("discrepancies_total", "Differences from the provider that were confirmed, by type.", "source", "kind", "type"),
		FailedLists:   f.counter("failed_lists_total", "Lists of the provider's that a sweep could not read whole.", "source", "kind"),
		Staleness:     f.gauge("staleness_seconds", "Age of the longest unverified document that is neither terminal nor deleted.", "source", "kind"),
	}
}

// SetQueue exports what waits of a source in the whole fleet.
func (m *Metrics) SetQueue(source string, live, background, parked int64, oldest time.Duration) {
	m.Backlog.WithLabelValues(source, "live").Set(float64(live))
	m.Backlog.WithLabelValues(source, "background").Set(float64(background))
	m.Parked.WithLabelValues(source).Set(float64(parked))
	m.OldestAge.WithLabelValues(source).Set(oldest.Seconds())
}

// ForgetQueue takes back what SetQueue exported, and the number of workers: the
// process no longer measures them.
func (m *Metrics) ForgetQueue(sources []string) {
	for _, source := range sources {
		m.Backlog.DeletePartialMatch(prometheus.Labels{"source": source})
		m.Parked.DeleteLabelValues(source)
		m.OldestAge.DeleteLabelValues(source)
	}
	m.Workers.DeleteLabelValues()
}

// ObserveEventToMirror records how long an event took, with its trace as the
// exemplar, so that a slow one can be looked at. traceparent may be empty.
func (m *Metrics) ObserveEventToMirror(source string, took time.Duration, traceparent string) {
	o := m.EventToMirror.WithLabelValues(source)
	sc := SpanContext(traceparent)
	if e, ok := o.(prometheus.ExemplarObserver); ok && sc.IsSampled() {
		e.ObserveWithExemplar(took.Seconds(), prometheus.Labels{"trace_id": sc.TraceID().String()})
		return
	}
	o.Observe(took.Seconds())
}

// MetricsHandler serves /metrics in the Prometheus text format, or as
// OpenMetrics, which has the exemplars, to those who ask for it.
func MetricsHandler(g prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// factory makes and registers metrics.
type factory struct{ prometheus.Registerer }

func (f factory) counter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "tarn", Name: name, Help: help}, labels)
	f.MustRegister(v)
	return v
}

func (f factory) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "tarn", Name: name, Help: help}, labels)
	f.MustRegister(v)
	return v
}

func (f factory) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "tarn", Name: name, Help: help, Buckets: buckets}, labels)
	f.MustRegister(v)
	return v
}
