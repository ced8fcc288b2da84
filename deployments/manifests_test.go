package deployments

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/tarn-sync/tarn/shared/config"
)

// documents returns the YAML documents of a file.
func documents(t *testing.T, file string) []map[string]any {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	var docs []map[string]any
	for dec := yaml.NewDecoder(f); ; {
		var doc map[string]any
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs
		}
		require.NoError(t, err)
		docs = append(docs, doc)
	}
}

// at follows the keys down a document.
func at(doc any, keys ...string) any {
	for _, k := range keys {
		m, _ := doc.(map[string]any)
		doc = m[k]
	}
	return doc
}

// settingsOfDocker are those of the containers, with secrets that are drawn.
func settingsOfDocker(t *testing.T) *config.Config {
	t.Helper()
	dir := drawnSecrets(t)
	text, err := os.ReadFile("docker/tarn.yaml")
	require.NoError(t, err)
	mounted := bytes.ReplaceAll(text, []byte("/run/secrets"), []byte(dir))
	compose := documents(t, "docker/compose.yaml")[0]
	environ := []string{}
	for name := range at(compose, "services", "api", "environment").(map[string]any) {
		environ = append(environ, name+"=https://api.example/v1")
	}
	c, err := config.Parse("docker/tarn.yaml", mounted, environ)
	require.NoError(t, err)
	return c
}

// What the containers are given must be taken by the binaries.
func TestSettingsOfContainers(t *testing.T) {
	t.Run("docker", func(t *testing.T) { settingsOfDocker(t) })
	overlay := func(name string, secrets map[string]string) {
		t.Run("kubernetes "+name, func(t *testing.T) {
			dir := t.TempDir()
			for name, value := range secrets {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600))
			}
			file := filepath.Join("kubernetes/overlays", name, "tarn.yaml")
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			mounted := bytes.ReplaceAll(text, []byte("/etc/tarn/secret"), []byte(dir))
			_, err = config.Parse(file, mounted, nil)
			require.NoError(t, err)
			for name := range secrets {
				require.Contains(t, string(text), "${file:/etc/tarn/secret/"+name+"}", "a secret that no setting reads")
			}
		})
	}
	production, dev := map[string]string{}, map[string]string{}
	for name, value := range at(documents(t, "kubernetes/overlays/production/secret.example.yaml")[0], "stringData").(map[string]any) {
		production[name] = value.(string)
	}
	generator := at(documents(t, "kubernetes/overlays/dev/kustomization.yaml")[0], "secretGenerator").([]any)[0]
	for _, literal := range at(generator, "literals").([]any) {
		name, value, _ := strings.Cut(literal.(string), "=")
		dev[name] = value
	}
	overlay("production", production)
	overlay("dev", dev)
}

// Prometheus scrapes every process of Tarn on the port it listens on, has the rules and
// keeps exemplars; Grafana is given the dashboard and the data sources it names.
func TestComposeWatches(t *testing.T) {
	services := at(documents(t, "docker/compose.yaml")[0], "services").(map[string]any)
	var tarn []any
	for name, s := range services {
		if command, ok := at(s, "command").([]any); ok && slices.Contains([]any{"api", "worker", "reconciler"}, command[0]) {
			tarn = append(tarn, name)
		}
	}
	scrape := at(documents(t, "prometheus/prometheus.yaml")[0], "scrape_configs").([]any)[0]
	require.Equal(t, "tarn", at(scrape, "job_name"), "the rules name it")
	found := at(scrape, "dns_sd_configs").([]any)[0]
	require.ElementsMatch(t, tarn, at(found, "names"))
	settings, err := os.ReadFile("docker/tarn.yaml")
	require.NoError(t, err)
	require.Contains(t, string(settings), fmt.Sprintf(`addr: ":%v"`, at(found, "port")))
	require.Contains(t, at(services["prometheus"], "command"), "--enable-feature=exemplar-storage")

	mounted := map[string]bool{}
	for _, service := range []string{"prometheus", "grafana"} {
		for _, v := range at(services[service], "volumes").([]any) {
			if from, to, _ := strings.Cut(v.(string), ":"); strings.HasPrefix(from, "..") {
				require.True(t, exists(filepath.Join("docker", from)), from)
				mounted[strings.TrimSuffix(to, ":ro")] = true
			}
		}
	}
	require.True(t, mounted["/etc/prometheus/rules.yaml"])
	provider := at(documents(t, "grafana/provisioning/dashboards/tarn.yaml")[0], "providers").([]any)[0]
	require.True(t, mounted[at(provider, "options", "path").(string)])
	uids := map[any]any{}
	for _, d := range at(documents(t, "grafana/provisioning/datasources/tarn.yaml")[0], "datasources").([]any) {
		uids[at(d, "uid")] = at(d, "type")
		host, _, _ := strings.Cut(strings.TrimPrefix(at(d, "url").(string), "http://"), ":")
		require.Contains(t, services, host)
	}
	require.Equal(t, map[any]any{"prometheus": "prometheus", "jaeger": "jaeger"}, uids)
	sources, err := os.ReadFile("grafana/provisioning/datasources/tarn.yaml")
	require.NoError(t, err)
	page := strings.ReplaceAll(settingsOfDocker(t).Telemetry.TraceURL, "{trace_id}", "$${__value.raw}")
	require.Contains(t, string(sources), page, "viewers may open the page of Jaeger, and not Explore")
}

// The overlay and the chart have copies of the alert rules: kustomize reads nothing above
// its folder, nor does Helm. Written with -update.
func TestTheRulesOfKubernetes(t *testing.T) {
	rules, err := os.ReadFile("prometheus/rules.yaml")
	require.NoError(t, err)
	_, groups, found := strings.Cut(string(rules), "\ngroups:\n")
	require.True(t, found)
	const origin = "# Made from deployments/prometheus/rules.yaml: go test ./deployments -run TestTheRulesOfKubernetes -update\n"
	indented := strings.TrimSuffix(strings.ReplaceAll("  "+strings.ReplaceAll(groups, "\n", "\n  "), "\n  \n", "\n\n"), "  ")
	for file, want := range map[string]string{
		"kubernetes/overlays/production/prometheusrule.yaml": origin +
			"apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: tarn\nspec:\n  groups:\n" + indented,
		"helm/tarn/files/rules.yaml": origin + "groups:\n" + groups,
	} {
		if *update {
			require.NoError(t, os.WriteFile(file, []byte(want), 0o644)) //nolint:gosec // it is checked in
		}
		got, err := os.ReadFile(file)
		require.NoError(t, err)
		require.True(t, want == string(got), "%s is not made from the rules: run go test ./deployments -run TestTheRulesOfKubernetes -update", file)
	}
}
