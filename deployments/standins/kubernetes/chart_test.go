package kubernetes

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
)

// The chart with its own values and the production overlay are the same objects, field by
// field. The namespace alone is not in the chart: Helm keeps the release in it, so it is
// there first.
func TestTheChartMakesTheProductionOverlay(t *testing.T) {
	want := overlay(t, "production")
	got, err := render(t, "")
	require.NoError(t, err)
	require.Contains(t, want, "Namespace/"+namespace)
	delete(want, "Namespace/"+namespace)
	require.Equal(t, want.names(), got.names())
	for name := range want {
		require.Equal(t, want[name].tree, got[name].tree, name)
	}
}

func TestTheChartIsFreeOfLint(t *testing.T) {
	version, err := chartutil.ParseKubeVersion("v1.34.0")
	require.NoError(t, err)
	values, err := chartutil.ReadValuesFile(chartDir + "/values.yaml")
	require.NoError(t, err)
	for _, m := range lint.AllWithKubeVersion(chartDir, values, namespace, version).Messages {
		require.LessOrEqual(t, m.Severity, support.InfoSev, m.Error())
	}
}

// What is switched off is gone, and nothing else.
func TestPartsOfTheChart(t *testing.T) {
	whole, err := render(t, "")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		values string
		gone   []string
	}{
		"network":    {"network: {enabled: false}", []string{"NetworkPolicy/deny", "NetworkPolicy/dns", "NetworkPolicy/metrics", "NetworkPolicy/provider", "NetworkPolicy/stores", "NetworkPolicy/webhooks"}},
		"ingress":    {"ingress: {enabled: false}", []string{"Ingress/webhooks"}},
		"scaling":    {"autoscaling: {api: {enabled: false}, worker: {enabled: false}}", []string{"HorizontalPodAutoscaler/api", "ScaledObject/worker"}},
		"monitoring": {"monitoring: {enabled: false}", []string{"PrometheusRule/tarn", "ServiceMonitor/tarn"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := render(t, c.values)
			require.NoError(t, err)
			var gone []string
			for _, n := range whole.names() {
				if _, there := got[n]; !there {
					gone = append(gone, n)
				}
			}
			require.Equal(t, c.gone, gone)
			require.Len(t, got, len(whole)-len(gone))
			for _, d := range all[*apps.Deployment](got) {
				scaled := name != "scaling" && d.Name != "reconciler"
				require.Equal(t, scaled, d.Spec.Replicas == nil, "%s: who is scaled has no number of its own", d.Name)
			}
		})
	}
}

// Other settings are another ConfigMap, which every pod mounts: they roll.
func TestSettingsRollThePods(t *testing.T) {
	before, err := render(t, "")
	require.NoError(t, err)
	after, err := render(t, "settings: |\n  http: {addr: \":8080\"}\n")
	require.NoError(t, err)
	name := func(s set) string { return all[*core.ConfigMap](s)[0].Name }
	require.NotEqual(t, name(before), name(after))
	for _, d := range all[*apps.Deployment](after) {
		require.Equal(t, name(after), d.Spec.Template.Spec.Volumes[0].ConfigMap.Name)
	}
}

func TestValues(t *testing.T) {
	got, err := render(t, `
image: {repository: r.example/t, tag: "2", pullPolicy: Always, pullSecrets: [{name: pull}]}
secret: other
worker: {resources: {limits: {memory: 1Gi}}}
reconciler: {replicas: 3}
ingress: {host: a.example, tlsSecret: "", annotations: null}
network: {clientNamespaces: [shop], dns: {cidrs: [169.254.20.10/32]}, provider: {except: [], processes: [api, worker]}}
autoscaling: {worker: {max: 64, backlog: 1000000}}
monitoring: {labels: {release: prometheus}}
`)
	require.NoError(t, err)
	for _, d := range all[*apps.Deployment](got) {
		pod := d.Spec.Template.Spec
		require.Equal(t, "r.example/t:2", pod.Containers[0].Image)
		require.Equal(t, core.PullAlways, pod.Containers[0].ImagePullPolicy)
		require.Equal(t, []core.LocalObjectReference{{Name: "pull"}}, pod.ImagePullSecrets)
		require.Equal(t, "other", pod.Volumes[1].Secret.SecretName)
	}
	require.EqualValues(t, 3, *got["Deployment/reconciler"].object.(*apps.Deployment).Spec.Replicas)
	scaled := got["ScaledObject/worker"].object.(*scaledObject)
	require.EqualValues(t, 64, *scaled.Spec.MaxReplicaCount)
	require.Equal(t, "1000000", scaled.Spec.Triggers[0].Metadata.Threshold)
	spec := plain(t, got["Ingress/webhooks"].tree["spec"]).(map[string]any)
	require.NotContains(t, spec, "tls")
	require.Contains(t, string(got["NetworkPolicy/provider"].text), `["api","worker"]`)
	dns := got["NetworkPolicy/dns"].object.(*networking.NetworkPolicy).Spec.Egress[0]
	require.Len(t, dns.To, 2)
	require.Equal(t, "169.254.20.10/32", dns.To[1].IPBlock.CIDR)
	callers := got["NetworkPolicy/webhooks"].object.(*networking.NetworkPolicy).Spec.Ingress[0].From
	require.Len(t, callers, 2)
	require.Equal(t, "shop", callers[1].NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"])
	for _, name := range []string{"ServiceMonitor/tarn", "PrometheusRule/tarn"} {
		require.Contains(t, string(got[name].text), "release: prometheus")
	}
}

// What the provider is reached at is a network or several. An exception belongs to the networks
// of its family, since Kubernetes takes none that is outside.
func TestNetworksOfTheProvider(t *testing.T) {
	type block = networking.IPBlock
	for name, c := range map[string]struct {
		values, notes string
		want          []block
	}{
		"one":           {`{cidr: 203.0.113.0/24, except: []}`, "reach 203.0.113.0/24, port 443.", []block{{CIDR: "203.0.113.0/24"}}},
		"a list":        {`{cidr: [203.0.113.0/24, 198.51.100.0/24], except: null}`, "reach 203.0.113.0/24, 198.51.100.0/24, port 443.", []block{{CIDR: "203.0.113.0/24"}, {CIDR: "198.51.100.0/24"}}},
		"a list of one": {`{cidr: [203.0.113.0/24], except: [203.0.113.8/32]}`, "203.0.113.0/24 without 203.0.113.8/32, port", []block{{CIDR: "203.0.113.0/24", Except: []string{"203.0.113.8/32"}}}},
		"two families": {
			`{cidr: [0.0.0.0/0, "::/0"], except: [10.0.0.0/8, "fc00::/7"], ports: [443, 8443]}`, "reach 0.0.0.0/0, ::/0 without 10.0.0.0/8, fc00::/7, port 443, 8443.",
			[]block{{CIDR: "0.0.0.0/0", Except: []string{"10.0.0.0/8"}}, {CIDR: "::/0", Except: []string{"fc00::/7"}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			values := "network: {provider: " + c.values + "}"
			got, err := render(t, values)
			require.NoError(t, err)
			var blocks []block
			for _, to := range got["NetworkPolicy/provider"].object.(*networking.NetworkPolicy).Spec.Egress[0].To {
				blocks = append(blocks, *to.IPBlock)
			}
			require.Equal(t, c.want, blocks)
			files, err := renderFiles(t, namespace, values)
			require.NoError(t, err)
			require.Contains(t, files["tarn/templates/NOTES.txt"], c.notes)
		})
	}
	files, err := renderFiles(t, namespace, "network: {enabled: false}")
	require.NoError(t, err)
	require.NotContains(t, files["tarn/templates/NOTES.txt"], "Policies")
}

// A user is one number for user, group and files, whatever its size.
func TestTheUserOfThePods(t *testing.T) {
	got, err := render(t, "runAsUser: 1000660000")
	require.NoError(t, err)
	for _, d := range all[*apps.Deployment](got) {
		pod := d.Spec.Template.Spec.SecurityContext
		for _, id := range []*int64{pod.RunAsUser, pod.RunAsGroup, pod.FSGroup} {
			require.EqualValues(t, 1000660000, *id)
		}
		require.Contains(t, string(got["Deployment/"+d.Name].text), "runAsUser: 1000660000\n", "and no 1.00066e+09")
	}
}

// Names that YAML takes for a number, for true or for an alias are texts all the same:
// a namespace may be called 2024, and a host *.example.com.
func TestNamesThatYAMLTakesForSomethingElse(t *testing.T) {
	for _, name := range []string{"2024", "1e3", "0x10", "on", "null"} {
		got, err := renderIn(t, name, `
secret: "`+name+`"
image: {pullSecrets: [{name: "`+name+`"}], repository: "1", tag: "2"}
network: {ingressNamespace: "`+name+`", monitoringNamespace: "`+name+`"}
ingress: {host: "*.example.com", tlsSecret: "`+name+`", className: "`+name+`"}
`)
		require.NoError(t, err, name)
		for object, made := range got {
			require.Equal(t, name, made.tree["metadata"].(map[string]any)["namespace"], object)
		}
		for _, d := range all[*apps.Deployment](got) {
			require.Equal(t, name, d.Spec.Template.Spec.Volumes[1].Secret.SecretName)
			require.Equal(t, name, d.Spec.Template.Spec.ImagePullSecrets[0].Name)
		}
		webhooks := all[*networking.Ingress](got)[0].Spec
		require.Equal(t, "*.example.com", webhooks.Rules[0].Host)
		require.Equal(t, []networking.IngressTLS{{Hosts: []string{"*.example.com"}, SecretName: name}}, webhooks.TLS)
		require.Equal(t, name, *webhooks.IngressClassName)
	}
}

// A chart that has this one among its dependencies switches it with tarn.enabled, and Helm
// passes that on, as it does what is global.
func TestTheChartIsADependency(t *testing.T) {
	_, err := render(t, "{enabled: true, global: {imageRegistry: r.example}}")
	require.NoError(t, err)
}

// What may be empty may be null too, which is how a values file takes a default away.
func TestValuesOfNothing(t *testing.T) {
	want, err := render(t, `
image: {tag: "", pullPolicy: "", pullSecrets: []}
network: {provider: {except: []}, dns: {cidrs: [], podLabels: {}}}
ingress: {tlsSecret: "", annotations: {}}
monitoring: {labels: {}}
`)
	require.NoError(t, err)
	delete(want["Ingress/webhooks"].tree["metadata"].(map[string]any), "annotations") // {} leaves the chart's own
	got, err := render(t, `
image: {tag: null, pullPolicy: null, pullSecrets: null}
network: {provider: {except: null}, dns: {cidrs: null, podLabels: null}}
ingress: {tlsSecret: null, annotations: null}
monitoring: {labels: null}
`)
	require.NoError(t, err)
	for name := range want {
		require.Equal(t, want[name].tree, got[name].tree, name)
	}
}

// Values that are wrong are refused, each with its name.
func TestValuesThatAreRefused(t *testing.T) {
	for values, problem := range map[string]string{
		"workers: {replicas: 3}":                                "workers",
		"worker: {replicas: 0}":                                 "replicas",
		"worker: {resources: {limits: {memory: null}}}":         "memory",
		"settings: {http: {addr: x}}":                           "settings",
		"autoscaling: {worker: {min: 0}}":                       "min",
		"autoscaling: {worker: {max: 65}}":                      "more workers than shards (64)",
		"{settings: 'shards: 8', autoscaling: {worker: {}}}":    "more workers than shards (8)",
		"network: {stores: {cidrs: []}}":                        "cidrs",
		"network: {provider: {processes: [simulator]}}":         "processes",
		"network: {provider: {cidr: []}}":                       "cidr",
		"network: {provider: {cidr: [0.0.0.0]}}":                "cidr",
		"network: {provider: {cidr: everywhere}}":               "cidr",
		"network: {dns: {ports: []}}":                           "ports",
		"network: {dns: {namespace: null}}":                     "namespace",
		"runAsUser: 0":                                          "runAsUser",
		"ingress: {annotations: {nginx.org/limit-req-rate: 5}}": "annotations",
	} {
		t.Run(strings.NewReplacer("/", "", " ", "").Replace(values), func(t *testing.T) {
			_, err := render(t, values)
			require.ErrorContains(t, err, problem)
		})
	}
}

// Each value has a comment, and the schema knows each: what has no comment of its own stands
// below one that has.
func TestValuesAreDocumented(t *testing.T) {
	text, err := os.ReadFile(chartDir + "/values.yaml")
	require.NoError(t, err)
	for _, block := range strings.Split(string(text), "\n\n") {
		require.Contains(t, block, "#", "a block of values without a word about it")
	}
}
