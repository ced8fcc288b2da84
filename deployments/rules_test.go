package deployments

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/tarn-sync/tarn/shared/telemetry"
)

// alertRule is a rule of prometheus/rules.yaml.
type alertRule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func alertRules(t *testing.T) (rules []alertRule) {
	t.Helper()
	text, err := os.ReadFile("prometheus/rules.yaml")
	require.NoError(t, err)
	var file struct {
		Groups []struct {
			Rules []alertRule `yaml:"rules"`
		} `yaml:"groups"`
	}
	require.NoError(t, yaml.Unmarshal(text, &file))
	for _, g := range file.Groups {
		rules = append(rules, g.Rules...)
	}
	require.Greater(t, len(rules), 10)
	return rules
}

// Every rule has what an operator needs: how bad it is, a text, and a section of the
// runbook; and every section is of a rule.
func TestEveryAlertHasItsSectionOfTheRunbook(t *testing.T) {
	text, err := os.ReadFile("prometheus/RUNBOOK.md")
	require.NoError(t, err)
	sections := map[string]string{}
	for _, s := range strings.Split(string(text), "\n## ")[1:] {
		name, body, _ := strings.Cut(s, "\n")
		sections[name] = body
	}
	const page = "https://github.com/tarn-sync/tarn/blob/main/deployments/prometheus/RUNBOOK.md#"
	named := map[string]bool{}
	for _, r := range alertRules(t) {
		require.False(t, named[r.Alert], "%s is there twice", r.Alert)
		named[r.Alert] = true
		require.Contains(t, []string{"critical", "warning"}, r.Labels["severity"], r.Alert)
		require.NotEmpty(t, r.Annotations["summary"], r.Alert)
		require.NotEmpty(t, r.Annotations["description"], r.Alert)
		require.Equal(t, page+strings.ToLower(r.Alert), r.Annotations["runbook_url"], r.Alert)
		for _, part := range []string{"**Means** ", "**Look at** ", "**Do** "} {
			require.Contains(t, sections[r.Alert], part, "the runbook's section of %s", r.Alert)
		}
	}
	for name := range sections {
		require.True(t, named[name], "the runbook has a section of %s, which is no rule", name)
	}
}

// Every rule is tested by a case in which it fires and by one in which it does not.
func TestEveryAlertIsTested(t *testing.T) {
	text, err := os.ReadFile("prometheus/rules_test.yaml")
	require.NoError(t, err)
	var file struct {
		Tests []struct {
			Alerts []struct {
				Name     string `yaml:"alertname"`
				Expected []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		} `yaml:"tests"`
	}
	require.NoError(t, yaml.Unmarshal(text, &file))
	fires, rests := map[string]bool{}, map[string]bool{}
	for _, one := range file.Tests {
		fired := slices.ContainsFunc(one.Alerts, func(a struct {
			Name     string `yaml:"alertname"`
			Expected []any  `yaml:"exp_alerts"`
		}) bool {
			return len(a.Expected) > 0
		})
		for _, a := range one.Alerts {
			fires[a.Name] = fires[a.Name] || len(a.Expected) > 0
			rests[a.Name] = rests[a.Name] || !fired
		}
	}
	for _, r := range alertRules(t) {
		require.True(t, fires[r.Alert], "no test in which %s fires", r.Alert)
		require.True(t, rests[r.Alert], "no test in which %s does not fire at all", r.Alert)
	}
}

// promtool takes the configuration and the rules, and the rules do what their tests say.
func TestRulesPassPromtool(t *testing.T) {
	promtool := buildPromtool(t)
	for _, args := range [][]string{
		{"check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"},
		{"check", "config", "--lint=all", "--lint-fatal", "prometheus.yaml"},
		{"test", "rules", "rules_test.yaml"},
	} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = "prometheus"
		said, err := cmd.CombinedOutput()
		require.NoError(t, err, "promtool %s: %s", strings.Join(args, " "), said)
	}
}

// buildPromtool builds promtool of the version that the module of stand-ins requires. It
// is built in its own module: what else promtool can discover would make a thousand
// lines of requirements here.
func buildPromtool(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("building promtool takes minutes the first time")
	}
	const prometheus = "github.com/prometheus/prometheus"
	version, err := exec.CommandContext(t.Context(), "go", "list", "-C", "standins", "-m", "-f", "{{.Version}}", prometheus).Output()
	require.NoError(t, err)
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "install", "-tags", "remove_all_sd,enable_dns_sd",
		prometheus+"/cmd/promtool@"+strings.TrimSpace(string(version)))
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0")
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", said)
	return filepath.Join(dir, "promtool")
}

// expression is PromQL that asks for our metrics.
type expression struct {
	Where string `json:"where"`
	Expr  string `json:"expr"`
	// texts are shown with labels of the result, as {{source}} or {{ $labels.source }}.
	texts []string
}

// exported are all metrics of the binaries, for promcheck.
func exported(t *testing.T) (all []map[string]any) {
	t.Helper()
	for _, f := range telemetry.Families() {
		labels := map[string][]string{}
		for _, l := range f.Labels {
			labels[l.Name] = l.Values
		}
		all = append(all, map[string]any{"name": f.Name, "type": f.Type, "labels": labels})
	}
	for _, f := range runtimeFamilies(t) {
		labels := map[string][]string{}
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels[l.GetName()] = nil
		}
		all = append(all, map[string]any{"name": f.GetName(), "type": strings.ToLower(f.GetType().String()), "labels": labels})
	}
	// What Prometheus makes itself.
	return append(all,
		map[string]any{"name": "up", "type": "gauge", "labels": map[string][]string{}},
		map[string]any{"name": "ALERTS", "type": "gauge", "labels": map[string][]string{"alertname": nil, "alertstate": {"firing", "pending"}, "source": nil}})
}

// expressions are those of the rules, of the dashboard, of the runbook and of the scaling.
func expressions(t *testing.T) (all []expression) {
	t.Helper()
	for _, r := range alertRules(t) {
		all = append(all, expression{Where: r.Alert, Expr: r.Expr, texts: []string{r.Annotations["summary"], r.Annotations["description"]}})
	}
	text, err := os.ReadFile("grafana/dashboards/tarn.json")
	require.NoError(t, err)
	var board struct {
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expr   string `json:"expr"`
				Legend string `json:"legendFormat"`
			} `json:"targets"`
		} `json:"panels"`
		Annotations struct {
			List []struct {
				Name, Expr              string
				TitleFormat, TextFormat string
			} `json:"list"`
		} `json:"annotations"`
	}
	require.NoError(t, json.Unmarshal(text, &board))
	for _, p := range board.Panels {
		for _, q := range p.Targets {
			all = append(all, expression{Where: p.Title, Expr: q.Expr, texts: []string{q.Legend}})
		}
	}
	for _, a := range board.Annotations.List {
		all = append(all, expression{Where: a.Name, Expr: a.Expr, texts: []string{a.TitleFormat, a.TextFormat}})
	}
	book, err := os.ReadFile("prometheus/RUNBOOK.md")
	require.NoError(t, err)
	for _, q := range regexp.MustCompile("`(sum [^`]+)`").FindAllStringSubmatch(string(book), -1) {
		all = append(all, expression{Where: "the runbook", Expr: strings.ReplaceAll(q[1], "\n", " ")})
	}
	all = append(all, scalings(t)...)
	require.Greater(t, len(all), 60)
	for i := range all {
		all[i].Expr = strings.ReplaceAll(all[i].Expr, "$__rate_interval", "5m")
	}
	return all
}

// scalings are what KEDA asks Prometheus for, to scale workers. The namespace is a label that
// a target in Kubernetes has.
func scalings(t *testing.T) (all []expression) {
	t.Helper()
	for _, doc := range documents(t, "kubernetes/overlays/production/autoscaling.yaml") {
		triggers, _ := at(doc, "spec", "triggers").([]any)
		for _, trigger := range triggers {
			query := at(trigger, "metadata", "query").(string)
			require.Contains(t, query, `namespace="tarn"`)
			for _, label := range []string{`namespace="tarn",`, `namespace="tarn"`} {
				query = strings.ReplaceAll(query, label, "")
			}
			all = append(all, expression{Where: "the scaling of workers", Expr: query})
		}
	}
	require.Len(t, all, 2)
	return all
}

// checkedExpression is what promcheck says of an expression.
type checkedExpression struct {
	Problems, Metrics, Labels []string
}

func promcheck(t *testing.T, all []expression) []checkedExpression {
	t.Helper()
	input, err := json.Marshal(map[string]any{"metrics": exported(t), "expressions": all})
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "go", "run", "-C", "standins", "./promcheck")
	cmd.Stdin = bytes.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	require.NoError(t, err, "%s", stderr.String())
	var answer struct{ Results []checkedExpression }
	require.NoError(t, json.Unmarshal(output, &answer))
	require.Len(t, answer.Results, len(all))
	return answer.Results
}

var shownLabel = regexp.MustCompile(`\{\{ *(?:\$labels\.)?([a-z_]+) *\}\}`)

// Every expression of the rules, the dashboard and the runbook asks for metrics, labels
// and values that the binaries export, and its texts show labels that its result has.
// Every metric is shown by the dashboard.
func TestExpressionsAskForWhatIsExported(t *testing.T) {
	if testing.Short() {
		t.Skip("building the PromQL parser takes a minute the first time")
	}
	all := expressions(t)
	shown := map[string]bool{}
	for i, got := range promcheck(t, all) {
		require.Empty(t, got.Problems, "%s: %s", all[i].Where, all[i].Expr)
		for _, name := range got.Metrics {
			shown[name] = true
		}
		for _, text := range all[i].texts {
			for _, l := range shownLabel.FindAllStringSubmatch(text, -1) {
				require.Contains(t, got.Labels, l[1], "%s: %q shows a label that the result does not have", all[i].Where, text)
			}
		}
	}
	for _, f := range telemetry.Families() {
		require.True(t, shown[f.Name], "neither a rule nor the dashboard asks for %s", f.Name)
	}
}

// promcheck finds what is wrong.
func TestExpressionsThatAreWrong(t *testing.T) {
	if testing.Short() {
		t.Skip("building the PromQL parser takes a minute the first time")
	}
	wrong := []struct{ expr, problem string }{
		{`tarn_no_such_metric`, `no binary exports "tarn_no_such_metric"`},
		{`tarn_backlog_entries{shard="1"}`, "tarn_backlog_entries has no label shard"},
		{`tarn_backlog_entries{tier="alive"}`, `tarn_backlog_entries never has tier="alive"`},
		{`rate(tarn_webhooks_rejected_total{reason!="ful"}[5m])`, `never has reason="ful"`},
		{`rate(tarn_webhooks_rejected_total{reason=~"f.ll"}[5m])`, ""},
		{`rate(tarn_webhooks_rejected_total{reason!~"full|panics"}[5m])`, `never has reason="panics"`},
		{`tarn_dead_letters_total > 0`, "is a counter"},
		{`rate(tarn_workers[5m])`, "is a gauge"},
		{`sum by (entity) (tarn_parked_entities)`, "there is no label entity"},
		{`histogram_quantile(0.9, sum by (source) (rate(tarn_fetch_seconds_bucket[5m])))`, "not grouped by le"},
		{`rate(tarn_fetch_seconds[5m])`, `no binary exports "tarn_fetch_seconds"`},
		{`max by (source) (tarn_staleness_seconds) > max by (source, kind) (tarn_verify_every_seconds)`, "the left side has no kind"},
		{`max(tarn_workers`, "parse error"},
	}
	var all []expression
	for _, w := range wrong {
		all = append(all, expression{Expr: w.expr})
	}
	for i, got := range promcheck(t, all) {
		if wrong[i].problem == "" {
			require.Empty(t, got.Problems, wrong[i].expr)
			continue
		}
		require.Contains(t, fmt.Sprint(got.Problems), wrong[i].problem, wrong[i].expr)
	}
}
