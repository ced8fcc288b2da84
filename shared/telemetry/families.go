package telemetry

import (
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Binary is a program that exports metrics.
type Binary string

// The programs that export metrics.
const (
	API        Binary = "api"
	Worker     Binary = "worker"
	Reconciler Binary = "reconciler"
)

// BinaryOf returns the program of a process by its name, such as "worker-1", and
// false for the name of none.
func BinaryOf(process string) (Binary, bool) {
	name := strings.FieldsFunc(process, func(r rune) bool { return r == '-' || r == ' ' })
	for _, b := range byAll {
		if len(name) > 0 && name[0] == string(b) {
			return b, true
		}
	}
	return "", false
}

// Label is a label of a metric with what bounds its values.
type Label struct {
	Name string
	// Values are all there are. Nil: Bound says what they are.
	Values []string
	Bound  string
}

// The labels. What has the same name in two metrics may have other values there:
// the class of a fetch is its priority, that of a retry is of its failure.
var (
	bySource   = Label{Name: "source", Bound: "names of sources in the settings; `unknown` where a webhook names none of them, empty where an alert is of no source"}
	byKind     = Label{Name: "kind", Bound: "kinds of the source's definition; `events` and `webhooks` for the lists of those, empty for a subscription gap"}
	byStatus   = Label{Name: "status", Bound: "HTTP status codes; `error` without an answer"}
	byLoop     = Label{Name: "loop", Bound: "loops of the program, some once per source"}
	byShard    = Label{Name: "shard", Bound: "0 to `shards` - 1"}
	byTier     = Label{Name: "tier", Values: []string{"background", "live"}}
	byPriority = Label{Name: "class", Values: []string{"backfill", "command", "live", "reconcile", "redrive"}}
	byFate     = Label{Name: "class", Values: []string{"gone", "panic", "permanent", "refused", "throttled", "transient", "unavailable", "undefined"}}
	byConsumer = Label{Name: "consumer", Bound: "names that consumers of the change feed give; the 100 that were sent something last"}
	byWebhook  = Label{Name: "webhook", Bound: "names of webhooks in the settings"}
	byOutcome  = Label{Name: "outcome", Values: []string{"accepted", "away", "ended", "refused", "throttled"}}
	byHalt     = Label{Name: "reason", Values: []string{"away", "disabled", "paused"}}
	byResult   = Label{Name: "result", Values: []string{"refused", "taken"}}
	byServer   = Label{Name: "what", Values: []string{"redis", "store"}}
	byFlag     = Label{Name: "what", Values: []string{"ahead", "ambiguous", "differing", "refused", "undated", "unnamed"}}
	byNote     = Label{Name: "note", Values: []string{"names_nothing", "require_unmet", "scope_unusable", "unknown_type", "unreadable"}}
	byReason   = Label{Name: "reason", Values: []string{
		"bad_event", "challenge", "doubled", "encoded", "full", "in_future", "incomplete", "malformed", "mismatch", "missing",
		"panic", "signature", "slow", "timeout", "too_large", "too_old", "unconfirmed", "unknown_source",
	}}
	byOp       = Label{Name: "op", Bound: "operations of the source's definition"}
	byState    = Label{Name: "state", Values: []string{"answered", "asked", "cancelled", "dead", "discarded", "done", "queued", "sending", "unclear"}}
	byStrategy = Label{Name: "strategy", Values: []string{"ask", "find", "key", "look", "repeat"}}
	byVerdict  = Label{Name: "verdict", Values: []string{"again", "asked", "cannot tell", "moot", "not asked", "not there", "there"}}
	byAlert    = Label{Name: "kind", Values: []string{
		"asked", "blocked", "dead_letter", "delivery_disabled", "delivery_fails", "discrepancy", "identity", "kind_refused", "list_fails", "list_too_long", "no_worker",
		"redis_unsafe", "require_unmet", "restored", "rewritten", "scope_refused", "source_paused", "store_refuses", "store_slow",
	}}
	byType = Label{Name: "type", Values: []string{
		"deleted", "doubled", "event_missed", "missing", "moved", "rewritten", "shared_id", "stale", "subscription_gap", "unexpected",
	}}
)

// Family is what is known of a metric before it has any series.
type Family struct {
	// Name begins with "tarn_".
	Name string
	// Type is "counter", "gauge" or "histogram".
	Type string
	Help string
	// Labels are in the order of their values in the code.
	Labels []Label
	// Binaries export it.
	Binaries []Binary
}

// Families returns all metrics in the order of Metrics' fields.
func Families() []Family { return NewMetrics(prometheus.NewRegistry()).families }

// factory makes metrics and registers those of some binaries.
type factory struct {
	r prometheus.Registerer
	// binaries whose metrics are registered; none: all are.
	binaries []Binary
	made     *[]Family
	counters *[]counting
}

// counting is a counter with its labels.
type counting struct {
	vec    *prometheus.CounterVec
	labels []Label
}

// Known are the values of labels that are known when a process starts.
type Known struct {
	// Sources are the operations of each kind of each source, by their names.
	Sources map[string]map[string][]string
	// Webhooks are the names of receivers in the settings.
	Webhooks []string
}

// Begin exports all counters at 0 whose labels are known, so that the first count is an
// increase: increase() of Prometheus does not see a series begin at 1. What is left out
// has a status of HTTP or a loop among its labels.
func (m *Metrics) Begin(known Known) {
	for _, c := range m.counters {
		bySource := slices.ContainsFunc(c.labels, func(l Label) bool { return l.Name == "source" })
		if !bySource {
			c.begin(known, nil)
			continue
		}
		for source, kinds := range known.Sources {
			c.begin(Known{Sources: map[string]map[string][]string{source: kinds}, Webhooks: known.Webhooks}, nil)
		}
	}
}

// begin makes the series with the given values of the first labels and every known
// value of the others. Where a counter has a source, that is its first label, and the
// kind before the operation.
func (c counting) begin(known Known, values []string) {
	if len(values) == len(c.labels) {
		c.vec.WithLabelValues(values...)
		return
	}
	label := c.labels[len(values)]
	next := label.Values
	switch {
	case next != nil:
	case label.Name == "source":
		next = slices.Collect(maps.Keys(known.Sources))
	case label.Name == "kind":
		next = slices.Collect(maps.Keys(known.Sources[values[0]]))
	case label.Name == "op":
		next = known.Sources[values[0]][values[1]]
	case label.Name == "webhook":
		next = known.Webhooks
	}
	for _, v := range next {
		c.begin(known, append(slices.Clone(values), v))
	}
}

func (f factory) counter(name string, binaries []Binary, help string, labels ...Label) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "tarn", Name: name, Help: help}, names(labels))
	*f.counters = append(*f.counters, counting{v, labels})
	f.add(v, Family{Name: "tarn_" + name, Type: "counter", Help: help, Labels: labels, Binaries: binaries})
	return v
}

func (f factory) gauge(name string, binaries []Binary, help string, labels ...Label) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "tarn", Name: name, Help: help}, names(labels))
	f.add(v, Family{Name: "tarn_" + name, Type: "gauge", Help: help, Labels: labels, Binaries: binaries})
	return v
}

func (f factory) histogram(name string, binaries []Binary, help string, buckets []float64, labels ...Label) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "tarn", Name: name, Help: help, Buckets: buckets}, names(labels))
	f.add(v, Family{Name: "tarn_" + name, Type: "histogram", Help: help, Labels: labels, Binaries: binaries})
	return v
}

// add remembers a metric, and registers it if one of the binaries exports it.
func (f factory) add(c prometheus.Collector, family Family) {
	*f.made = append(*f.made, family)
	exports := func(b Binary) bool { return slices.Contains(family.Binaries, b) }
	if len(f.binaries) == 0 || slices.ContainsFunc(f.binaries, exports) {
		f.r.MustRegister(c)
	}
}

func names(labels []Label) []string {
	out := make([]string, len(labels))
	for i, l := range labels {
		out[i] = l.Name
	}
	return out
}
