package kubernetes

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// The overlay of one's own that the guide shows puts its image, settings, networks and host
// into what production installs.
func TestTheOverlayOfTheGuide(t *testing.T) {
	const production = "github.com/tarn-sync/tarn/deployments/kubernetes/overlays/production?ref=main"
	guide, err := os.ReadFile(manifests + "/README.md")
	require.NoError(t, err)
	shown := regexp.MustCompile("(?s)```yaml\n(# kustomization.yaml\n.*?)```").FindSubmatch(guide)
	require.NotNil(t, shown)
	require.Contains(t, string(shown[1]), production)

	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(manifests)))
	own := filepath.Join(dir, "own")
	require.NoError(t, os.Mkdir(own, 0o700))
	files := map[string]string{"kustomization.yaml": strings.Replace(string(shown[1]), production, "../overlays/production", 1)}
	for file, change := range map[string][2]string{
		"tarn.yaml":    {"sandbox.api.lemon.markets", "api.own.example"},
		"network.yaml": {"{cidr: 10.0.0.0/8}", "{cidr: 10.20.0.0/16}"},
		"ingress.yaml": {"hooks.example.com", "hooks.own.example"},
	} {
		text, err := os.ReadFile(manifests + "/overlays/production/" + file)
		require.NoError(t, err)
		require.Contains(t, string(text), change[0], file)
		files[file] = strings.ReplaceAll(string(text), change[0], change[1])
	}
	for file, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(own, file), []byte(text), 0o600))
	}

	s := build(t, own)
	require.Len(t, s, len(overlay(t, "production")))
	settings := all[*core.ConfigMap](s)[0]
	require.Equal(t, files["tarn.yaml"], settings.Data["tarn.yaml"])
	for _, d := range all[*apps.Deployment](s) {
		require.Equal(t, "ghcr.io/tarn-sync/tarn:1.4.2", d.Spec.Template.Spec.Containers[0].Image)
		require.Equal(t, settings.Name, d.Spec.Template.Spec.Volumes[0].ConfigMap.Name)
	}
	stores := s["NetworkPolicy/stores"].object.(*networking.NetworkPolicy).Spec.Egress
	require.Len(t, stores, 1)
	require.Len(t, stores[0].To, 3)
	require.Equal(t, "10.20.0.0/16", stores[0].To[0].IPBlock.CIDR)
	ingress := s["Ingress/webhooks"].object.(*networking.Ingress)
	require.Equal(t, []string{"hooks.own.example"}, ingress.Spec.TLS[0].Hosts)
	require.Len(t, ingress.Spec.Rules, 1)
	require.Equal(t, "hooks.own.example", ingress.Spec.Rules[0].Host)
}

// On OpenShift the values and the patches that the guide shows make the same objects. No pod
// has a user of its own, and DNS is reached where its pods listen.
func TestOpenShiftOfTheGuide(t *testing.T) {
	guide, err := os.ReadFile(manifests + "/README.md")
	require.NoError(t, err)
	shown := regexp.MustCompile("(?s)## OpenShift\n.*?```yaml\n(.*?)```.*?```yaml\n(.*?)```").FindSubmatch(guide)
	require.NotNil(t, shown)
	chart, err := render(t, string(shown[1]))
	require.NoError(t, err)

	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(manifests)))
	own := filepath.Join(dir, "own")
	require.NoError(t, os.Mkdir(own, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(own, "kustomization.yaml"), []byte("resources: [../overlays/production]\n"+string(shown[2])), 0o600))
	patched := build(t, own)

	for name := range chart {
		require.Equal(t, patched[name].tree, chart[name].tree, name)
	}
	for _, w := range workloads(chart) {
		pod := w.template.Spec.SecurityContext
		require.True(t, *pod.RunAsNonRoot)
		require.Nil(t, pod.RunAsUser)
		require.Nil(t, pod.RunAsGroup)
		require.Nil(t, pod.FSGroup)
	}
	dns := end{name: "dns", space: labels.Set{"kubernetes.io/metadata.name": "openshift-dns"}, pod: labels.Set{"dns.operator.openshift.io/daemonset-dns": "default"}}
	for _, w := range workloads(chart) {
		own := end{own: &w, space: labels.Set{"kubernetes.io/metadata.name": namespace}, pod: w.template.Labels}
		for port, open := range map[int]bool{53: false, 5353: true} {
			for _, over := range []core.Protocol{core.ProtocolUDP, core.ProtocolTCP} {
				way := networking.NetworkPolicyPort{Port: number(port), Protocol: protocol(over)}
				require.Equal(t, open, allowed(all[*networking.NetworkPolicy](chart), own, dns, way), "%s: %d/%s", w.name, port, over)
			}
		}
	}
}
