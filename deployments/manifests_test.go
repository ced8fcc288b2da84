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

// What the containers are given must be taken by the binaries.
func TestSettingsOfContainers(t *testing.T) {
	t.Run("docker", func(t *testing.T) {
		dir := drawnSecrets(t)
		text, err := os.ReadFile("docker/tarn.yaml")
		require.NoError(t, err)
		mounted := bytes.ReplaceAll(text, []byte("/run/secrets"), []byte(dir))
		compose := documents(t, "docker/compose.yaml")[0]
		environ := []string{}
		for name := range at(compose, "services", "api", "environment").(map[string]any) {
			environ = append(environ, name+"=https://api.example/v1")
		}
		_, err = config.Parse("docker/tarn.yaml", mounted, environ)
		require.NoError(t, err)
	})
	t.Run("kubernetes", func(t *testing.T) {
		secrets := documents(t, "kubernetes/secret.example.yaml")[0]
		dir := t.TempDir()
		for name, value := range at(secrets, "stringData").(map[string]any) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(value.(string)), 0o600))
		}
		text, err := os.ReadFile("kubernetes/tarn.yaml")
		require.NoError(t, err)
		mounted := bytes.ReplaceAll(text, []byte("/etc/tarn/secret"), []byte(dir))
		_, err = config.Parse("kubernetes/tarn.yaml", mounted, nil)
		require.NoError(t, err)
	})
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
}

func TestKubernetes(t *testing.T) {
	base := documents(t, "kubernetes/kustomization.yaml")[0]
	deployments := map[string]bool{}
	for _, file := range at(base, "resources").([]any) {
		for _, doc := range documents(t, filepath.Join("kubernetes", file.(string))) {
			require.NotEmpty(t, at(doc, "metadata", "name"), file)
			if at(doc, "kind") != "Deployment" {
				continue
			}
			name := at(doc, "metadata", "name").(string)
			deployments[name] = true
			pod := at(doc, "spec", "template", "spec")
			require.Greater(t, at(pod, "terminationGracePeriodSeconds"), 10, "%s: a process may take 10 s to stop", name)
			container := at(pod, "containers").([]any)[0]
			for _, probe := range []string{"startupProbe", "livenessProbe", "readinessProbe"} {
				require.NotNil(t, at(container, probe), "%s: %s", name, probe)
			}
			require.Equal(t, "/healthz", at(container, "livenessProbe", "httpGet", "path"), "%s: a store that is away must not restart it", name)
			require.NotNil(t, at(container, "resources", "requests"), name)
		}
	}
	require.Equal(t, map[string]bool{"api": true, "worker": true, "reconciler": true}, deployments)
}
