package deployments

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

var update = flag.Bool("update", false, "write the reference of metrics")

var binaries = []telemetry.Binary{telemetry.API, telemetry.Worker, telemetry.Reconciler}

// registryOf is what a binary registers when it starts.
func registryOf(t *testing.T, b telemetry.Binary) *prometheus.Registry {
	t.Helper()
	return process.New(string(b), settingsOfDocker(t), io.Discard).Gatherer.(*prometheus.Registry)
}

// registered returns the names of all metrics of a registry, also of those that have no
// series yet.
func registered(r *prometheus.Registry) (names []string) {
	all := make(chan *prometheus.Desc)
	go func() { defer close(all); r.Describe(all) }()
	named := regexp.MustCompile(`fqName: "([^"]+)"`)
	for d := range all {
		names = append(names, named.FindStringSubmatch(d.String())[1])
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// runtime returns the metrics of the Go runtime and of the process, which every binary
// has.
func runtimeFamilies(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	all, err := registryOf(t, telemetry.API).Gather()
	require.NoError(t, err)
	return slices.DeleteFunc(all, func(f *dto.MetricFamily) bool { return strings.HasPrefix(f.GetName(), "tarn_") })
}

// Each binary registers what is declared to be its own, and nothing else.
func TestBinariesRegisterWhatTheyExport(t *testing.T) {
	for _, b := range binaries {
		var want, got []string
		for _, f := range telemetry.Families() {
			if slices.Contains(f.Binaries, b) {
				want = append(want, f.Name)
			}
		}
		for _, name := range registered(registryOf(t, b)) {
			if strings.HasPrefix(name, "tarn_") {
				got = append(got, name)
			}
		}
		slices.Sort(want)
		require.Equal(t, want, got, b)
	}
}

// Every counter whose labels are known when a process starts is there at 0, so that the
// first dead letter is an increase.
func TestCountersBeginAtZero(t *testing.T) {
	// A status of HTTP, and a loop that failed, are known once there is one.
	later := []string{"tarn_fetches_total", "tarn_loop_restarts_total"}
	kinds, ops := 0, 0
	for _, k := range builtin(t, "lemon").Kinds() {
		kinds, ops = kinds+1, ops+len(k.Ops())
	}
	for _, b := range binaries {
		families, err := registryOf(t, b).Gather()
		require.NoError(t, err)
		series := map[string]int{}
		for _, f := range families {
			series[f.GetName()] = len(f.GetMetric())
		}
		for _, f := range telemetry.Families() {
			if f.Type != "counter" || !slices.Contains(f.Binaries, b) || slices.Contains(later, f.Name) {
				continue
			}
			want := 1 // there is one source
			for _, l := range f.Labels {
				switch {
				case l.Values != nil:
					want *= len(l.Values)
				case l.Name == "op":
					want = want / kinds * ops // each is one kind's
				case l.Name == "kind":
					want *= kinds
				case l.Name == "webhook":
					want = 0 // no receiver is configured
				}
			}
			require.Equal(t, want, series[f.Name], "%s of the %s", f.Name, b)
		}
	}
}

func builtin(t *testing.T, name string) *provider.Definition {
	t.Helper()
	d, err := provider.Builtin(name)
	require.NoError(t, err)
	return d
}

// Names, types, units and help are as Prometheus wants them.
func TestMetricsFollowTheRulesOfPrometheus(t *testing.T) {
	types := map[string]dto.MetricType{
		"counter": dto.MetricType_COUNTER, "gauge": dto.MetricType_GAUGE, "histogram": dto.MetricType_HISTOGRAM,
	}
	var all []*dto.MetricFamily
	for _, f := range telemetry.Families() {
		typ := types[f.Type]
		series := &dto.Metric{}
		for _, l := range f.Labels {
			series.Label = append(series.Label, &dto.LabelPair{Name: &l.Name})
		}
		all = append(all, &dto.MetricFamily{Name: &f.Name, Help: &f.Help, Type: &typ, Metric: []*dto.Metric{series}})
		require.Regexp(t, `^[A-Z0-9].*\.$`, f.Help, f.Name)
	}
	problems, err := promlint.NewWithMetricFamilies(append(all, runtimeFamilies(t)...)).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
}

// Labels name what there is a bounded number of: no entity, event, account or trace.
func TestLabelsAreBounded(t *testing.T) {
	var classes, fates, tiers, notes, alerts, types []string
	for _, c := range event.Classes() {
		classes = append(classes, c.String())
		tiers = append(tiers, string(c.Tier()))
	}
	for c := fate.Class(0); !strings.HasPrefix(c.String(), "class"); c++ {
		fates = append(fates, c.String())
	}
	for _, n := range event.Notes() {
		notes = append(notes, n.String())
	}
	for _, k := range alert.Kinds() {
		alerts = append(alerts, string(k))
	}
	for _, d := range storage.DiscrepancyTypes() {
		types = append(types, string(d))
	}
	var states []string
	for _, state := range storage.CommandStates() {
		states = append(states, string(state))
	}
	strategies := []string{string(provider.ByKey), string(provider.ByRepeat), string(provider.ByLook), string(provider.ByFind), string(provider.ByAsk)}
	verdicts := []string{"again", "asked", "cannot tell", "moot", "not asked", "not there", "there"}
	slices.Sort(tiers)
	fixed := map[string][][]string{
		"class": {classes, fates}, "tier": {slices.Compact(tiers)}, "note": {notes}, "kind": {alerts}, "type": {types},
		"what": {{"redis", "store"}, {"ahead", "ambiguous", "differing", "refused", "undated", "unnamed"}},
		"reason": {{"bad_event", "challenge", "doubled", "encoded", "full", "in_future", "incomplete", "malformed", "mismatch", "missing",
			"panic", "signature", "slow", "timeout", "too_large", "too_old", "unconfirmed", "unknown_source"}, {"away", "disabled", "paused"}},
		"result": {{"refused", "taken"}}, "outcome": {{"accepted", "away", "ended", "refused", "throttled"}}, "state": {states}, "strategy": {strategies}, "verdict": {verdicts},
	}
	for _, of := range fixed {
		for _, values := range of {
			slices.Sort(values)
		}
	}
	open := []string{"source", "kind", "status", "loop", "shard", "consumer", "op", "webhook"}
	for _, f := range telemetry.Families() {
		for _, l := range f.Labels {
			if l.Values == nil {
				require.Contains(t, open, l.Name, f.Name)
				require.NotEmpty(t, l.Bound, f.Name)
				require.True(t, l.Name != "shard" || strings.HasPrefix(f.Name, "tarn_shard_"), "%s: series of shards have a switch", f.Name)
				continue
			}
			require.True(t, slices.ContainsFunc(fixed[l.Name], func(of []string) bool { return slices.Equal(of, l.Values) }),
				"%s has %s %v, and the code has %v", f.Name, l.Name, l.Values, fixed[l.Name])
		}
	}
	documented := map[string]bool{"panic": true, "too_large": true, "slow": true} // of a webhook and of other requests
	for _, p := range problems.Kinds {
		if strings.HasPrefix(p.Means, "Of a webhook: ") {
			documented[strings.ReplaceAll(p.Name, "-", "_")] = true
		}
	}
	require.Equal(t, fixed["reason"][0], slices.Sorted(maps.Keys(documented)), "reasons of refused webhooks")
}

const (
	reference  = "prometheus/README.md"
	tablesFrom = "<!-- The tables are made from the registries of the binaries: go test ./deployments -run TestTheReferenceOfMetrics -update -->\n"
	tablesTo   = "<!-- end of the tables -->\n"
)

// The reference has every metric of every binary as the code declares it.
func TestTheReferenceOfMetrics(t *testing.T) {
	text, err := os.ReadFile(reference)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(text), tablesFrom)
	require.True(t, found, "%s does not say where the tables begin", reference)
	_, after, found := strings.Cut(rest, tablesTo)
	require.True(t, found, "%s does not say where the tables end", reference)
	want := before + tablesFrom + metricTables(t) + tablesTo + after
	if *update {
		require.NoError(t, os.WriteFile(reference, []byte(want), 0o644)) //nolint:gosec // a page for everyone
		return
	}
	require.Equal(t, want, string(text), "run this test with -update")
}

// metricTables are a table of metrics and one of their labels.
func metricTables(t *testing.T) string {
	t.Helper()
	exporters := map[string][]string{}
	for _, b := range binaries {
		for _, name := range registered(registryOf(t, b)) {
			exporters[name] = append(exporters[name], string(b))
		}
	}
	var b strings.Builder
	b.WriteString("\n| Metric | Type | Unit | Labels | Exported by | Says |\n|---|---|---|---|---|---|\n")
	labels := map[string]string{}
	for _, f := range telemetry.Families() {
		var names []string
		for _, l := range f.Labels {
			names = append(names, "`"+l.Name+"`")
			says := l.Bound
			if l.Values != nil {
				says = "`" + strings.Join(l.Values, "`, `") + "`"
			}
			labels[fmt.Sprintf("`%s` | %s", l.Name, says)] += " `" + f.Name + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n",
			f.Name, f.Type, unitOf(f), strings.Join(names, ", "), strings.Join(exporters[f.Name], ", "), f.Help)
	}
	b.WriteString("\nThe Go runtime and the process are exported by all: `go_…`, `process_…`.\n\n| Label | Values | Of |\n|---|---|---|\n")
	for _, l := range slices.Sorted(maps.Keys(labels)) {
		of := strings.Fields(labels[l])
		shown := strings.Join(of, ", ")
		if len(of) > 6 {
			shown = fmt.Sprintf("%d metrics", len(of))
		}
		fmt.Fprintf(&b, "| %s | %s |\n", l, shown)
	}
	b.WriteString("\n")
	return b.String()
}

// unitOf is the base unit that a name ends in, or "–" for a number of things.
func unitOf(f telemetry.Family) string {
	name := strings.TrimSuffix(f.Name, "_total")
	for _, unit := range []string{"seconds", "bytes", "ratio"} {
		if strings.HasSuffix(name, "_"+unit) {
			return unit
		}
	}
	return "–"
}

// Every metric is looked at by a test of what makes it move.
func TestEveryMetricIsExercised(t *testing.T) {
	tests := map[string]string{}
	for _, dir := range []string{"../api", "../worker", "../reconciler", "../shared", "."} {
		maps.Copy(tests, testsBelow(t, dir))
	}
	for _, f := range telemetry.Families() {
		named := regexp.MustCompile(`\b` + f.Name + `(_sum|_count|_bucket)?\b`)
		found := false
		for _, text := range tests {
			found = found || named.MatchString(text)
		}
		require.True(t, found, "no test looks at %s", f.Name)
	}
}

// testsBelow returns the texts of the Go tests below a directory, by path.
func testsBelow(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		found[path] = string(text)
		return err
	}))
	return found
}
