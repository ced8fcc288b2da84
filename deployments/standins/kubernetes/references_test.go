package kubernetes

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	security "k8s.io/pod-security-admission/api"
	standards "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// workload is what makes pods.
type workload struct {
	name     string
	replicas *int32
	selector *meta.LabelSelector
	template core.PodTemplateSpec
}

func workloads(s set) (found []workload) {
	for _, d := range all[*apps.Deployment](s) {
		found = append(found, workload{d.Name, d.Spec.Replicas, d.Spec.Selector, d.Spec.Template})
	}
	for _, d := range all[*apps.StatefulSet](s) {
		found = append(found, workload{d.Name, d.Spec.Replicas, d.Spec.Selector, d.Spec.Template})
	}
	return found
}

// processes are the workloads that run Tarn's own processes.
func processes(s set) (found []workload) {
	for _, w := range workloads(s) {
		if slices.Contains([]string{"api", "worker", "reconciler"}, w.name) {
			found = append(found, w)
		}
	}
	return found
}

func (w workload) container() core.Container { return w.template.Spec.Containers[0] }

// port returns the number of a port that a service or a policy names.
func (w workload) port(named intstr.IntOrString) (int32, bool) {
	for _, p := range w.container().Ports {
		if p.Name == named.StrVal || named.Type == intstr.Int && p.ContainerPort == named.IntVal {
			return p.ContainerPort, true
		}
	}
	return 0, false
}

// selected returns the names of the workloads whose pods a selector selects.
func selected(t *testing.T, s set, selector *meta.LabelSelector) (names []string) {
	t.Helper()
	by, err := meta.LabelSelectorAsSelector(selector)
	require.NoError(t, err)
	for _, w := range workloads(s) {
		if by.Matches(labels.Set(w.template.Labels)) {
			names = append(names, w.name)
		}
	}
	slices.Sort(names)
	return names
}

// each runs a test on what every overlay and the chart install.
func each(t *testing.T, test func(t *testing.T, s set)) {
	t.Helper()
	for _, name := range overlays {
		t.Run(name, func(t *testing.T) { test(t, overlay(t, name)) })
	}
	t.Run("chart without operators", func(t *testing.T) {
		s, err := render(t, "{autoscaling: {api: {enabled: false}, worker: {enabled: false}}, monitoring: {enabled: false}}")
		require.NoError(t, err)
		test(t, s)
	})
}

func TestSelectorsSelect(t *testing.T) {
	each(t, func(t *testing.T, s set) {
		require.Len(t, processes(s), 3)
		for _, w := range workloads(s) {
			require.Equal(t, []string{w.name}, selected(t, s, w.selector), "%s: its own pods and no others", w.name)
			for _, spread := range w.template.Spec.TopologySpreadConstraints {
				require.Contains(t, selected(t, s, spread.LabelSelector), w.name)
				for _, key := range spread.MatchLabelKeys {
					require.True(t, key == "pod-template-hash" || w.template.Labels[key] != "", "%s: %s", w.name, key)
				}
				require.Contains(t, spread.MatchLabelKeys, "app.kubernetes.io/name", "pods of one process, not of all")
			}
		}
		budgets := map[string]bool{}
		for _, b := range all[*policy.PodDisruptionBudget](s) {
			require.Equal(t, []string{b.Name}, selected(t, s, b.Spec.Selector), "budget %s", b.Name)
			require.Equal(t, policy.AlwaysAllow, *b.Spec.UnhealthyPodEvictionPolicy, b.Name)
			require.Equal(t, 1, b.Spec.MaxUnavailable.IntValue(), "a node can always be drained")
			budgets[b.Name] = true
		}
		for _, w := range processes(s) {
			require.True(t, budgets[w.name], "%s has no budget", w.name)
			require.Len(t, w.template.Spec.TopologySpreadConstraints, 2, w.name)
		}
	})
}

func TestServicesHavePods(t *testing.T) {
	each(t, func(t *testing.T, s set) {
		for _, service := range all[*core.Service](s) {
			names := selected(t, s, &meta.LabelSelector{MatchLabels: service.Spec.Selector})
			if service.Name == "metrics" {
				require.Equal(t, []string{"api", "reconciler", "worker"}, names)
				require.True(t, service.Spec.PublishNotReadyAddresses, "one that is not ready is watched too")
			} else {
				require.Equal(t, []string{service.Name}, names)
			}
			for _, w := range workloads(s) {
				if !slices.Contains(names, w.name) {
					continue
				}
				for _, p := range service.Spec.Ports {
					number, found := w.port(p.TargetPort)
					require.True(t, found, "%s of %s", p.TargetPort.String(), service.Name)
					require.True(t, service.Spec.ClusterIP != core.ClusterIPNone || number == p.Port, "a headless service maps no ports")
				}
			}
		}
	})
}

// Every pod is what the standard "restricted" of Kubernetes asks for, and more: nothing can
// write to its root, it has no token of the cluster, and no variables of services, of which
// TARN_… would be read as settings.
func TestPodsAreRestricted(t *testing.T) {
	evaluator, err := standards.NewEvaluator(standards.DefaultChecks())
	require.NoError(t, err)
	level := security.LevelVersion{Level: security.LevelRestricted, Version: security.LatestVersion()}
	refused := func(template core.PodTemplateSpec) string {
		result := standards.AggregateCheckResults(evaluator.EvaluatePod(level, &template.ObjectMeta, &template.Spec))
		return result.ForbiddenDetail()
	}
	each(t, func(t *testing.T, s set) {
		for _, w := range workloads(s) {
			pod := w.template.Spec
			require.Empty(t, refused(w.template), w.name)
			require.Len(t, pod.Containers, 1)
			require.True(t, *w.container().SecurityContext.ReadOnlyRootFilesystem, w.name)
			require.False(t, *pod.AutomountServiceAccountToken, w.name)
			require.False(t, *pod.EnableServiceLinks, w.name)
			require.Equal(t, w.name, pod.ServiceAccountName)
			account := s["ServiceAccount/"+w.name].object.(*core.ServiceAccount)
			require.False(t, *account.AutomountServiceAccountToken, w.name)
			image := w.container().Image
			require.Regexp(t, `:[^/:]+$`, image)
			require.NotContains(t, image, ":latest", w.name)

			asRoot := *w.template.DeepCopy()
			asRoot.Spec.SecurityContext.RunAsNonRoot = nil
			require.Contains(t, refused(asRoot), "runAsNonRoot", "the check would find it")
		}
		if n, ok := s["Namespace/"+namespace]; ok {
			require.Equal(t, "restricted", n.object.(*core.Namespace).Labels["pod-security.kubernetes.io/enforce"])
		}
	})
}

// stopsWithin is how long a process of Tarn may take to stop.
const stopsWithin = 10

// A process is asked for its health in the ways that fit: it is restarted only when it makes
// no progress, it has the time it needs to stop, and its memory has a bound that it sees by
// itself.
func TestProcessesAreKeptRunning(t *testing.T) {
	each(t, func(t *testing.T, s set) {
		for _, w := range processes(s) {
			c := w.container()
			require.Equal(t, []string{w.name}, c.Command)
			for probe, want := range map[*core.Probe]string{c.StartupProbe: "/healthz", c.LivenessProbe: "/healthz", c.ReadinessProbe: "/readyz"} {
				require.Equal(t, want, probe.HTTPGet.Path, "%s: a store that is away must not restart it", w.name)
				_, found := w.port(probe.HTTPGet.Port)
				require.True(t, found, w.name)
			}
			var waits int64
			if c.Lifecycle != nil {
				waits = c.Lifecycle.PreStop.Sleep.Seconds
			}
			require.Equal(t, w.name == "api", waits > 0, "%s: only the api is sent to", w.name)
			require.Greater(t, *w.template.Spec.TerminationGracePeriodSeconds, waits+stopsWithin, w.name)
			require.False(t, c.Resources.Limits.Memory().IsZero(), w.name)
			require.True(t, c.Resources.Limits.Cpu().IsZero(), "%s: a limit of CPU throttles what must answer in time", w.name)
			require.False(t, c.Resources.Requests.Cpu().IsZero(), w.name)
			require.Empty(t, c.Env, "%s: GOMEMLIMIT would go over what it finds by itself", w.name)
		}
	})
}

var readFile = regexp.MustCompile(`\$\{file:([^}]+)\}`)

// The settings are those of the file that Tarn's own reader is tested with, they are where
// the process looks for them, and each secret that they read is mounted.
func TestSettingsAndSecretsAreThere(t *testing.T) {
	example, err := os.ReadFile(manifests + "/overlays/production/secret.example.yaml")
	require.NoError(t, err)
	given := all[*core.Secret](parse(t, string(example)))[0]
	for _, name := range overlays {
		t.Run(name, func(t *testing.T) {
			s := overlay(t, name)
			maps := all[*core.ConfigMap](s)
			require.Len(t, maps, 1)
			text, err := os.ReadFile(manifests + "/overlays/" + name + "/tarn.yaml")
			require.NoError(t, err)
			require.Equal(t, map[string]string{"tarn.yaml": string(text)}, maps[0].Data)

			keys := map[string]bool{}
			secret := given.Name
			for key := range given.StringData {
				keys[key] = name == "production"
			}
			if made := all[*core.Secret](s); len(made) > 0 {
				secret = made[0].Name
				for key := range made[0].Data {
					keys[key] = true
				}
			}
			for _, w := range workloads(s) {
				mounted := map[string]string{} // path: what is there
				for _, m := range w.container().VolumeMounts {
					mounted[m.Name] = m.MountPath
				}
				for _, v := range w.template.Spec.Volumes {
					if v.ConfigMap != nil {
						require.Equal(t, maps[0].Name, v.ConfigMap.Name)
						require.Contains(t, w.container().Args, mounted[v.Name]+"/tarn.yaml")
					}
					if v.Secret != nil {
						require.Equal(t, secret, v.Secret.SecretName)
						for _, read := range readFile.FindAllStringSubmatch(string(text), -1) {
							require.Equal(t, mounted[v.Name], path.Dir(read[1]))
							require.True(t, keys[path.Base(read[1])], "%s has no key %s", secret, path.Base(read[1]))
						}
					}
				}
				for _, e := range w.container().Env {
					if e.ValueFrom != nil {
						require.Equal(t, secret, e.ValueFrom.SecretKeyRef.Name)
						require.True(t, keys[e.ValueFrom.SecretKeyRef.Key], e.Name)
					}
				}
			}
		})
	}
}

// settings are what Tarn reads, as far as the manifests depend on it.
func settings(t *testing.T, s set) (read struct{ Shards int32 }) {
	t.Helper()
	require.NoError(t, yaml.Unmarshal([]byte(all[*core.ConfigMap](s)[0].Data["tarn.yaml"]), &read))
	return read
}

// What is scaled is there, has no number of its own, and stays within its bounds: never no
// worker, and no more than shards.
func TestScalingIsBounded(t *testing.T) {
	s := overlay(t, "production")
	shards := settings(t, s).Shards
	require.Positive(t, shards, "the settings say it, so that it is seen beside the greatest number of workers")
	scaled := map[string]bool{}
	for _, h := range all[*autoscaling.HorizontalPodAutoscaler](s) {
		target := s[h.Spec.ScaleTargetRef.Kind+"/"+h.Spec.ScaleTargetRef.Name].object.(*apps.Deployment)
		require.Equal(t, h.Spec.ScaleTargetRef.APIVersion, target.APIVersion)
		require.Nil(t, target.Spec.Replicas)
		require.GreaterOrEqual(t, *h.Spec.MinReplicas, int32(2), "one may be lost")
		require.Greater(t, h.Spec.MaxReplicas, *h.Spec.MinReplicas)
		scaled[target.Name] = true
	}
	for _, o := range all[*scaledObject](s) {
		target := s["Deployment/"+o.Spec.ScaleTargetRef.Name].object.(*apps.Deployment)
		require.Nil(t, target.Spec.Replicas)
		require.GreaterOrEqual(t, *o.Spec.MinReplicaCount, int32(1))
		require.LessOrEqual(t, *o.Spec.MaxReplicaCount, shards)
		require.Greater(t, *o.Spec.MaxReplicaCount, *o.Spec.MinReplicaCount)
		down, up := o.Spec.Advanced.HorizontalPodAutoscalerConfig.Behavior.ScaleDown, o.Spec.Advanced.HorizontalPodAutoscalerConfig.Behavior.ScaleUp
		require.Greater(t, *down.StabilizationWindowSeconds, *up.StabilizationWindowSeconds)
		require.Len(t, down.Policies, 1)
		require.EqualValues(t, 1, down.Policies[0].Value)
		require.GreaterOrEqual(t, down.Policies[0].PeriodSeconds, int32(60))
		for _, trigger := range o.Spec.Triggers {
			require.Equal(t, "false", trigger.Metadata.IgnoreNullValues, "no figures are not no work")
		}
		scaled[target.Name] = true
	}
	require.Equal(t, map[string]bool{"api": true, "worker": true}, scaled)
	for _, w := range append(processes(s), processes(overlay(t, "dev"))...) {
		if w.name == "worker" && w.replicas != nil {
			require.LessOrEqual(t, *w.replicas, shards)
		}
	}
}

// Webhooks alone come in from outside, to a service and a port that are there, with bodies as
// large as the api takes.
func TestTheIngressLetsWebhooksIn(t *testing.T) {
	s := overlay(t, "production")
	ingresses := all[*networking.Ingress](s)
	require.Len(t, ingresses, 1)
	in := ingresses[0]
	for _, rule := range in.Spec.Rules {
		require.Contains(t, in.Spec.TLS[0].Hosts, rule.Host)
		for _, p := range rule.HTTP.Paths {
			require.Equal(t, "/webhooks", p.Path)
			service := s["Service/"+p.Backend.Service.Name].object.(*core.Service)
			require.True(t, slices.ContainsFunc(service.Spec.Ports, func(port core.ServicePort) bool { return port.Name == p.Backend.Service.Port.Name }))
		}
	}
	keys, err := os.ReadFile("../../../shared/config/README.md")
	require.NoError(t, err)
	bound := regexp.MustCompile("(?m)^\\| `webhook.max_body` \\|[^|]*\\| `(\\d+)KiB`").FindSubmatch(keys)
	require.NotNil(t, bound)
	require.Equal(t, string(bound[1])+"k", in.Annotations["nginx.org/client-max-body-size"])
	for _, name := range []string{"rate", "burst", "key"} {
		require.NotEmpty(t, in.Annotations["nginx.org/limit-req-"+name])
	}
}

// The operator's Prometheus scrapes each process once, as the job that the rules name, and
// has the rules of deployments/prometheus, which a Prometheus without an operator reads.
func TestMonitoringIsThatOfPrometheus(t *testing.T) {
	s := overlay(t, "production")
	monitor := all[*monitoring.ServiceMonitor](s)[0]
	by, err := meta.LabelSelectorAsSelector(&monitor.Spec.Selector)
	require.NoError(t, err)
	var scraped []string
	for _, service := range all[*core.Service](s) {
		if !by.Matches(labels.Set(service.Labels)) {
			continue
		}
		scraped = append(scraped, service.Name)
		require.Equal(t, "tarn", service.Labels[monitor.Spec.JobLabel])
		require.True(t, slices.ContainsFunc(service.Spec.Ports, func(p core.ServicePort) bool { return p.Name == monitor.Spec.Endpoints[0].Port }))
	}
	require.Equal(t, []string{"metrics"}, scraped)

	text, err := os.ReadFile("../../prometheus/rules.yaml")
	require.NoError(t, err)
	require.Contains(t, string(text), `up{job="tarn"}`)
	var file monitoring.PrometheusRuleSpec
	require.NoError(t, yaml.UnmarshalStrict(text, &file))
	require.Greater(t, len(file.Groups), 3)
	require.Equal(t, file, all[*monitoring.PrometheusRule](s)[0].Spec)
}

// Redis and MongoDB beside Tarn are such as it asks for.
func TestStoresOfDevelopment(t *testing.T) {
	s := overlay(t, "dev")
	redis := strings.Join(s["StatefulSet/redis"].object.(*apps.StatefulSet).Spec.Template.Spec.Containers[0].Command, " ")
	for _, setting := range []string{"--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"} {
		require.Contains(t, redis, setting)
	}
	mongo := s["StatefulSet/mongodb"].object.(*apps.StatefulSet)
	container := mongo.Spec.Template.Spec.Containers[0]
	require.Contains(t, strings.Join(container.Command, " "), "--replSet rs0")
	port := container.Ports[0].ContainerPort
	require.Contains(t, container.Lifecycle.PostStart.Exec.Command[2], fmt.Sprintf("host: '$(hostname --fqdn):%d'", port), "DNS has no name of a pod while its hook runs")
	text := all[*core.ConfigMap](s)[0].Data["tarn.yaml"]
	require.Contains(t, text, fmt.Sprintf("mongodb://%s-0.%s:%d/tarn?replicaSet=rs0", mongo.Name, mongo.Spec.ServiceName, port))
	require.True(t, s["Service/"+mongo.Spec.ServiceName].object.(*core.Service).Spec.PublishNotReadyAddresses)
	simulator := s["StatefulSet/simulator"].object.(*apps.StatefulSet).Spec.Template.Spec.Containers[0]
	require.Contains(t, text, fmt.Sprintf("api_url: http://simulator:%d/", simulator.Ports[0].ContainerPort))
	require.Contains(t, simulator.Args, "--webhook-url=http://api/webhooks/lemon")
	require.EqualValues(t, 80, s["Service/api"].object.(*core.Service).Spec.Ports[0].Port)
	for _, set := range all[*apps.StatefulSet](s) {
		require.Contains(t, s, "Service/"+set.Spec.ServiceName)
		require.NotNil(t, set.Spec.Template.Spec.Containers[0].ReadinessProbe)
		require.False(t, set.Spec.Template.Spec.Containers[0].Resources.Limits.Memory().IsZero())
	}
}
