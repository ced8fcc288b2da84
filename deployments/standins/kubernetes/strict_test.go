package kubernetes

import (
	"fmt"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// scaledObject is what Tarn uses of KEDA's ScaledObject, with KEDA's names. KEDA's own types
// are in one module with all of its scalers, and would bring the libraries of every cloud.
type scaledObject struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		ScaleTargetRef struct {
			Name string `json:"name"`
		} `json:"scaleTargetRef"`
		PollingInterval *int32 `json:"pollingInterval"`
		MinReplicaCount *int32 `json:"minReplicaCount"`
		MaxReplicaCount *int32 `json:"maxReplicaCount"`
		Advanced        struct {
			HorizontalPodAutoscalerConfig struct {
				Behavior autoscaling.HorizontalPodAutoscalerBehavior `json:"behavior"`
			} `json:"horizontalPodAutoscalerConfig"`
		} `json:"advanced"`
		Triggers []struct {
			Type       string                       `json:"type"`
			Name       string                       `json:"name"`
			MetricType autoscaling.MetricTargetType `json:"metricType"`
			Metadata   prometheusTrigger            `json:"metadata"`
		} `json:"triggers"`
	} `json:"spec"`
}

// prometheusTrigger has the keys that KEDA's scaler prometheus knows and Tarn uses.
type prometheusTrigger struct {
	ServerAddress    string `json:"serverAddress"`
	Query            string `json:"query"`
	Threshold        string `json:"threshold"`
	IgnoreNullValues string `json:"ignoreNullValues"`
}

// types are those of the kinds that are installed.
var types = map[string]func() any{
	"v1 Namespace":                            func() any { return &core.Namespace{} },
	"v1 ServiceAccount":                       func() any { return &core.ServiceAccount{} },
	"v1 Service":                              func() any { return &core.Service{} },
	"v1 ConfigMap":                            func() any { return &core.ConfigMap{} },
	"v1 Secret":                               func() any { return &core.Secret{} },
	"apps/v1 Deployment":                      func() any { return &apps.Deployment{} },
	"apps/v1 StatefulSet":                     func() any { return &apps.StatefulSet{} },
	"policy/v1 PodDisruptionBudget":           func() any { return &policy.PodDisruptionBudget{} },
	"networking.k8s.io/v1 NetworkPolicy":      func() any { return &networking.NetworkPolicy{} },
	"networking.k8s.io/v1 Ingress":            func() any { return &networking.Ingress{} },
	"autoscaling/v2 HorizontalPodAutoscaler":  func() any { return &autoscaling.HorizontalPodAutoscaler{} },
	"keda.sh/v1alpha1 ScaledObject":           func() any { return &scaledObject{} },
	"monitoring.coreos.com/v1 ServiceMonitor": func() any { return &monitoring.ServiceMonitor{} },
	"monitoring.coreos.com/v1 PrometheusRule": func() any { return &monitoring.PrometheusRule{} },
}

// decode reads a manifest into its type. A field that the type does not have, and one that
// is there twice, is an error.
func decode(m manifest) (any, error) {
	kind := fmt.Sprintf("%v %v", m.tree["apiVersion"], m.tree["kind"])
	blank, known := types[kind]
	if !known {
		return nil, fmt.Errorf("%s is a kind that is not expected", kind)
	}
	object := blank()
	if err := yaml.UnmarshalStrict(m.text, object); err != nil {
		return nil, fmt.Errorf("%s %s: %w", kind, m.name, err)
	}
	return object, nil
}

// Fields that do not exist, that are in the wrong place, of another type or there twice are
// found: kubectl would warn, and go on.
func TestDecodingIsStrict(t *testing.T) {
	for name, text := range map[string]string{
		"a field that is not there": "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {selectors: {a: b}}",
		"in the wrong place":        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: {spec: {containers: [{name: a, fsGroup: 1}]}}}",
		"of another type":           "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: two}",
		"there twice":               "apiVersion: v1\nkind: Service\nmetadata: {name: a, name: b}",
		"KEDA has another name":     "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: a}\nspec: {maxReplicas: 3}",
		"KEDA's scaler lacks it":    "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: a}\nspec: {triggers: [{type: prometheus, metadata: {metricName: x}}]}",
		"the operator lacks it":     "apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata: {name: a}\nspec: {endpoints: [{ports: http}]}",
		"a kind without a type":     "apiVersion: v1\nkind: Pods\nmetadata: {name: a}",
	} {
		t.Run(name, func(t *testing.T) {
			m := manifest{text: []byte(text)}
			_ = yaml.Unmarshal(m.text, &m.tree)
			_, err := decode(m)
			require.Error(t, err)
		})
	}
}
