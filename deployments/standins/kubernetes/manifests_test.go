package kubernetes

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const (
	manifests = "../../kubernetes"
	chartDir  = "../../helm/tarn"
	namespace = "tarn"
)

// overlays are what is installed with kustomize.
var overlays = []string{"dev", "production"}

// manifest is one object that is applied.
type manifest struct {
	kind, name string
	text       []byte         // YAML
	tree       map[string]any // as JSON has it
	object     any            // of its Go type, decoded strictly
}

// set is all that is installed together, by kind and name.
type set map[string]manifest

// names returns the kinds and names of a set, sorted.
func (s set) names() []string { return slices.Sorted(maps.Keys(s)) }

// parse reads YAML documents, each strictly into its type.
func parse(t *testing.T, documents ...string) set {
	t.Helper()
	all := set{}
	for _, doc := range documents {
		var tree map[string]any
		require.NoError(t, yaml.Unmarshal([]byte(doc), &tree), doc)
		if len(tree) == 0 {
			continue // a template that is switched off
		}
		meta, _ := tree["metadata"].(map[string]any)
		m := manifest{kind: fmt.Sprint(tree["kind"]), name: fmt.Sprint(meta["name"]), text: []byte(doc), tree: tree}
		object, err := decode(m)
		require.NoError(t, err, doc)
		m.object = object
		key := m.kind + "/" + m.name
		require.NotContains(t, all, key, "twice")
		all[key] = m
	}
	return all
}

// overlay builds an overlay as kubectl apply -k does.
func overlay(t *testing.T, name string) set {
	t.Helper()
	return build(t, manifests+"/overlays/"+name)
}

// build builds what a folder with a kustomization makes.
func build(t *testing.T, folder string) set {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	require.NoError(t, err)
	text, err := built.AsYaml()
	require.NoError(t, err)
	return parse(t, strings.Split(string(text), "\n---\n")...)
}

// render renders the chart as helm template does, with values over its own.
func render(t *testing.T, values string) (set, error) { return renderIn(t, namespace, values) }

// renderIn is render for a namespace.
func renderIn(t *testing.T, namespace, values string) (set, error) {
	t.Helper()
	files, err := renderFiles(t, namespace, values)
	if err != nil {
		return nil, err
	}
	var documents []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".yaml") {
			documents = append(documents, strings.Split("\n"+files[name], "\n---\n")...)
		}
	}
	return parse(t, documents...), nil
}

// renderFiles returns what each template of the chart makes.
func renderFiles(t *testing.T, namespace, values string) (map[string]string, error) {
	t.Helper()
	c, err := loader.Load(chartDir)
	require.NoError(t, err)
	over, err := chartutil.ReadValues([]byte(values))
	require.NoError(t, err)
	all, err := chartutil.ToRenderValues(c, over, chartutil.ReleaseOptions{Name: "any", Namespace: namespace}, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(c, all)
}

// all returns the objects of one type, in the order of their names.
func all[T any](s set) (found []T) {
	for _, name := range s.names() {
		if object, ok := s[name].object.(T); ok {
			found = append(found, object)
		}
	}
	return found
}

// plain is a value as JSON has it, for comparing.
func plain(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	var out any
	require.NoError(t, json.Unmarshal(text, &out))
	return out
}
