package proof

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/telemetry/otlptest"
)

// spanRule is what the semantic conventions, and our own names below tarn., want of the
// spans of a name.
type spanRule struct {
	kind string
	// must are the attributes of each, may those of some.
	must, may []attribute.Key
}

// spanRules are the names of all spans. A name that ends in a space is the beginning of
// several.
var spanRules = map[string]spanRule{
	"webhook": {
		"server",
		[]attribute.Key{semconv.HTTPRequestMethodKey, semconv.HTTPRouteKey, semconv.URLPathKey, semconv.URLSchemeKey, semconv.HTTPResponseStatusCodeKey, "tarn.source"},
		[]attribute.Key{semconv.ErrorTypeKey},
	},
	"send": {
		"producer",
		[]attribute.Key{semconv.MessagingSystemKey, semconv.MessagingOperationNameKey, semconv.MessagingOperationTypeKey, semconv.MessagingDestinationNameKey, semconv.MessagingMessageConversationIDKey, "tarn.event.type"},
		[]attribute.Key{semconv.MessagingDestinationPartitionIDKey, semconv.MessagingMessageIDKey, "tarn.duplicate", semconv.ErrorTypeKey},
	},
	"process": {
		"consumer",
		[]attribute.Key{semconv.MessagingSystemKey, semconv.MessagingOperationNameKey, semconv.MessagingOperationTypeKey, semconv.MessagingDestinationNameKey, semconv.MessagingDestinationPartitionIDKey, semconv.MessagingMessageIDKey, semconv.MessagingMessageConversationIDKey, semconv.MessagingClientIDKey, "tarn.cause", "tarn.entity"},
		[]attribute.Key{semconv.ErrorTypeKey},
	},
	"lock":  {"internal", nil, nil},
	"claim": {"client", []attribute.Key{semconv.DBSystemNameKey, semconv.DBOperationNameKey}, []attribute.Key{semconv.ErrorTypeKey}},
	"write": {"client", []attribute.Key{semconv.DBSystemNameKey, semconv.DBOperationNameKey}, []attribute.Key{semconv.ErrorTypeKey}},
	"fetch ": {
		"client",
		[]attribute.Key{semconv.HTTPRequestMethodKey, semconv.ServerAddressKey, semconv.ServerPortKey, semconv.URLFullKey, "tarn.kind"},
		[]attribute.Key{semconv.HTTPResponseStatusCodeKey, semconv.ErrorTypeKey},
	},
}

// checkSpan wants of a span what the rule of its name says, and returns the rule's name.
func checkSpan(t *testing.T, s otlptest.Span) string {
	t.Helper()
	name := s.Name
	if before, _, ok := strings.Cut(name, " "); ok {
		name = before + " "
	}
	rule, ok := spanRules[name]
	require.True(t, ok, "a span is called %q", s.Name)
	require.Equal(t, rule.kind, s.Kind, s.Name)
	for _, key := range rule.must {
		require.NotEmpty(t, s.Attributes[string(key)], "%s of %s: %v", key, s.Name, s.Attributes)
	}
	for key := range s.Attributes {
		require.Contains(t, append(slices.Clone(rule.must), rule.may...), attribute.Key(key), s.Name)
	}
	failed := s.Attributes[string(semconv.ErrorTypeKey)] != ""
	require.Equal(t, failed, s.Failed, "%s: its status and error.type disagree: %v", s.Name, s.Attributes)
	require.NotContains(t, s.Attributes[string(semconv.URLFullKey)], "?", "a query may name a person")
	return name
}

// Every span of a fleet in which things fail has the name, the kind and the attributes
// that the conventions want, and none has a payload, a secret, or what the provider knows
// of a person.
func TestSpansFollowTheConventions(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for _, provider := range []string{simulator.Lemon, simulator.Stripe} {
		t.Run(provider, func(t *testing.T) { spansOf(t, provider, seen) })
	}
	for name := range spanRules {
		require.Positive(t, seen[name], "no span is called %q", name)
	}
	for _, name := range []string{"fetch events", "fetch webhooks", "fetch probe", "fetch identity"} {
		require.Positive(t, seen[name], name)
	}
}

func spansOf(t *testing.T, provider string, seen map[string]int) {
	receiver := otlptest.Start()
	t.Cleanup(receiver.Close)
	s := start(t, fleet.Plan{
		Provider: provider, Workers: 1, Reconcilers: 1, Shards: 4, Attempts: 3,
		Env:       []string{"TARN_TELEMETRY__OTLP_ENDPOINT=" + receiver.URL()},
		Reconcile: "{gaps: {every: 1s, overlap: 1m}, sweep: {every: 5s}}",
	})
	chaos := func(c simulator.Chaos) { require.NoError(t, s.Simulator.Chaos(s.ctx, c)) }
	rate := func(perSecond float64) {
		require.NoError(t, s.Simulator.Tell(s.ctx, http.MethodPut, "/_sim/rate", map[string]float64{"rate": perSecond}, nil))
	}
	has := func(what string, there func(otlptest.Span) bool) {
		s.wait(what, func() bool { return slices.ContainsFunc(receiver.Spans(), there) })
	}
	rate(30)
	has("an entity is written", func(s otlptest.Span) bool { return s.Name == "write" })
	chaos(simulator.Chaos{ServerError: 0.3, WrongSignature: 0.2, Duplicate: 0.3})
	has("a webhook is refused", func(s otlptest.Span) bool {
		return s.Attributes[string(semconv.HTTPResponseStatusCodeKey)] == "401" && s.Name == "webhook"
	})
	has("a retry is a trace of its own, linked to its event's", func(s otlptest.Span) bool {
		return s.Name == "process" && s.Parent == "" && len(s.Links) > 0 && s.Attributes["tarn.cause"] == "event"
	})
	chaos(simulator.Chaos{Outage: "503"})
	has("the provider is asked whether it is back", func(s otlptest.Span) bool { return s.Name == "fetch probe" })
	chaos(simulator.Chaos{})
	has("the list of events is read", func(s otlptest.Span) bool { return s.Name == "fetch events" && !s.Failed })
	has("the webhooks are asked for", func(s otlptest.Span) bool { return s.Name == "fetch webhooks" })
	if provider == simulator.Stripe {
		has("the account is asked for", func(s otlptest.Span) bool { return s.Name == "fetch identity" })
	}
	rate(0)

	spans := receiver.Spans()
	for _, span := range spans {
		seen[checkSpan(t, span)]++
		seen[span.Name]++
	}
	require.Empty(t, receiver.Faults())
	private, err := s.Private(s.ctx)
	require.NoError(t, err)
	said := receiver.Text()
	for _, text := range private {
		require.NotContains(t, said, text)
	}
	if tree := oneWhole(receiver.Traces()); tree != "" {
		t.Logf("one event, %d spans in all:\n%s", len(spans), tree)
	}
}

// oneWhole draws a trace that leads from a webhook to a write, "" if there is none.
func oneWhole(traces []otlptest.Trace) string {
	for _, trace := range traces {
		if tree := trace.Tree(); trace.Roots() == 1 && strings.HasPrefix(tree, "webhook\n") && strings.Contains(tree, "write\n") {
			return drawn(trace)
		}
	}
	return ""
}

// drawn draws a trace with the kind and the duration of each span, and where it is read.
func drawn(trace otlptest.Trace) string {
	byName := map[string][]otlptest.Span{}
	for _, s := range trace.Spans {
		byName[s.Name] = append(byName[s.Name], s)
	}
	var b strings.Builder
	for line := range strings.Lines(trace.Tree()) {
		name := strings.TrimSpace(line)
		s := byName[name][0]
		byName[name] = byName[name][1:]
		fmt.Fprintf(&b, "%-28s %-9s %8s  %-15s", strings.TrimRight(line, "\n"), s.Kind, s.End.Sub(s.Start).Round(time.Microsecond), s.Service)
		for _, key := range slices.Sorted(maps.Keys(s.Attributes)) {
			fmt.Fprintf(&b, " %s=%s", key, s.Attributes[key])
		}
		b.WriteString("\n")
	}
	return b.String()
}
