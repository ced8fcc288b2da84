//go:build e2e

package kubernetes

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// programs is where make e2e-kubernetes puts kube-apiserver and etcd.
const programs = "../../../.tarn/kubernetes"

// apiServer is a real one, with nothing behind it but etcd: no controller, no scheduler, no
// kubelet.
type apiServer struct {
	url, token string
	client     *http.Client
	paths      map[string]resource
}

// resource is how objects of a kind are asked for.
type resource struct {
	group      string // "/apis/apps/v1"
	plural     string
	namespaced bool
}

// answer is what the server said, with its warnings.
type answer struct {
	status   int
	tree     map[string]any
	text     string
	warnings []string
}

// startAPIServer starts etcd and kube-apiserver, which end with the test.
func startAPIServer(t *testing.T) *apiServer {
	t.Helper()
	dir := t.TempDir()
	etcd, peers, port := freePort(t), freePort(t), freePort(t)
	run(t, dir, "etcd", "--data-dir", filepath.Join(dir, "etcd-data"), "--unsafe-no-fsync",
		"--listen-client-urls", "http://127.0.0.1:"+etcd, "--advertise-client-urls", "http://127.0.0.1:"+etcd, "--listen-peer-urls", "http://127.0.0.1:"+peers)

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	accounts, tokens, token := filepath.Join(dir, "accounts.key"), filepath.Join(dir, "tokens.csv"), rand.Text()
	require.NoError(t, os.WriteFile(accounts, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(tokens, []byte(token+",admin,1,system:masters\n"), 0o600))
	run(t, dir, "kube-apiserver", "--etcd-servers", "http://127.0.0.1:"+etcd, "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--secure-port", port,
		"--cert-dir", filepath.Join(dir, "certs"), "--token-auth-file", tokens, "--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.96.0.0/16",
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", accounts, "--service-account-signing-key-file", accounts,
		"--allow-privileged") // so that it is the standard which refuses a privileged pod

	a := &apiServer{url: "https://127.0.0.1:" + port, token: token, paths: map[string]resource{}}
	a.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // it has just made its certificate
	require.Eventually(t, func() bool {
		got, err := a.ask(t.Context(), http.MethodGet, "/readyz", "", nil)
		return err == nil && got.status == http.StatusOK
	}, 2*time.Minute, 200*time.Millisecond, "the API server is ready")
	return a
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// run starts a program until the test ends. If the test fails, the end of its log is shown.
func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	path := filepath.Join(programs, name)
	require.FileExists(t, path, "make e2e-kubernetes builds it")
	said, err := os.Create(filepath.Join(dir, name+".log"))
	require.NoError(t, err)
	cmd := exec.Command(path, args...) //nolint:gosec // what make has built
	cmd.Stdout, cmd.Stderr = said, said
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = said.Close()
		if text, err := os.ReadFile(said.Name()); err == nil && t.Failed() {
			t.Logf("%s: %s", name, text[max(0, len(text)-4000):])
		}
	})
}

// ask asks the server for something.
func (a *apiServer) ask(ctx context.Context, method, path, mime string, body []byte) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Accept", "application/json")
	if mime != "" {
		req.Header.Set("Content-Type", mime)
	}
	res, err := a.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, err
	}
	got := answer{status: res.StatusCode, text: string(text), warnings: res.Header.Values("Warning")}
	_ = json.Unmarshal(text, &got.tree) // /readyz answers "ok"
	return got, nil
}

// path is where objects of a kind are, as the server itself says.
func (a *apiServer) path(t *testing.T, m manifest, namespace string) string {
	t.Helper()
	version := fmt.Sprint(m.tree["apiVersion"])
	kind := version + " " + m.kind
	r, known := a.paths[kind]
	if !known {
		group := "/apis/" + version
		if !strings.Contains(version, "/") {
			group = "/api/" + version
		}
		got, err := a.ask(t.Context(), http.MethodGet, group, "", nil)
		require.NoError(t, err)
		var list struct {
			Resources []struct {
				Name, Kind string
				Namespaced bool
			}
		}
		require.NoError(t, json.Unmarshal([]byte(got.text), &list), got.text)
		for _, found := range list.Resources {
			if found.Kind == m.kind && !strings.Contains(found.Name, "/") {
				r = resource{group, found.Name, found.Namespaced}
			}
		}
		require.NotEmpty(t, r.plural, "the server does not know %s", kind)
		a.paths[kind] = r
	}
	if r.namespaced {
		return fmt.Sprintf("%s/namespaces/%s/%s", r.group, namespace, r.plural)
	}
	return r.group + "/" + r.plural
}

// apply applies an object, as kubectl apply --server-side with strict validation does. It
// must be taken without a warning.
func (a *apiServer) apply(t *testing.T, m manifest, namespace string) answer {
	t.Helper()
	got := a.tryApply(t, m, namespace)
	require.Contains(t, []int{http.StatusOK, http.StatusCreated}, got.status, "%s %s: %s", m.kind, m.name, got.text)
	require.Empty(t, got.warnings, "%s %s", m.kind, m.name)
	return got
}

func (a *apiServer) tryApply(t *testing.T, m manifest, namespace string) answer {
	t.Helper()
	text, err := yaml.Marshal(m.tree)
	require.NoError(t, err)
	got, err := a.ask(t.Context(), http.MethodPatch, a.path(t, m, namespace)+"/"+m.name+"?fieldManager=test&fieldValidation=Strict&force=true", "application/apply-patch+yaml", text)
	require.NoError(t, err)
	return got
}

// definitions are the files of the operators' modules that define their kinds.
var definitions = map[string][]string{
	"github.com/prometheus-operator/prometheus-operator@v0.85.0": {
		"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
	},
	"github.com/kedacore/keda/v2@v2.20.2": {"config/crd/bases/keda.sh_scaledobjects.yaml"},
}

// define defines the kinds of the operators, and waits until they can be used.
func (a *apiServer) define(t *testing.T) {
	t.Helper()
	for module, files := range definitions {
		said, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module).Output()
		require.NoError(t, err, "%s: %s", module, said)
		var got struct{ Dir string }
		require.NoError(t, json.Unmarshal(said, &got))
		for _, file := range files {
			text, err := os.ReadFile(filepath.Join(got.Dir, file))
			require.NoError(t, err)
			m := manifest{text: text}
			require.NoError(t, yaml.Unmarshal(text, &m.tree))
			m.kind, m.name = fmt.Sprint(m.tree["kind"]), fmt.Sprint(m.tree["metadata"].(map[string]any)["name"])
			created := a.tryApply(t, m, "")
			require.Equal(t, http.StatusCreated, created.status, created.text)
			require.Eventually(t, func() bool {
				got, err := a.ask(t.Context(), http.MethodGet, a.path(t, m, "")+"/"+m.name, "", nil)
				return err == nil && strings.Contains(got.text, `"type":"Established"`)
			}, time.Minute, 100*time.Millisecond, m.name)
		}
	}
}

// moved is a manifest of a set in another namespace.
func moved(t *testing.T, m manifest, to string) manifest {
	t.Helper()
	text, err := json.Marshal(m.tree)
	require.NoError(t, err)
	out := manifest{kind: m.kind, name: m.name}
	require.NoError(t, json.Unmarshal(text, &out.tree))
	meta := out.tree["metadata"].(map[string]any)
	if m.kind == "Namespace" {
		out.name, meta["name"] = to, to
	} else {
		meta["namespace"] = to
	}
	return out
}

// pod is the pod that a controller would make of an object, nil if it makes none.
func pod(m manifest, namespace string) *manifest {
	if m.kind != "Deployment" && m.kind != "StatefulSet" {
		return nil
	}
	spec := m.tree["spec"].(map[string]any)
	template := spec["template"].(map[string]any)
	inside := template["spec"].(map[string]any)
	claims, _ := spec["volumeClaimTemplates"].([]any)
	for _, c := range claims {
		volume := c.(map[string]any)["metadata"].(map[string]any)["name"]
		volumes, _ := inside["volumes"].([]any)
		inside["volumes"] = append(volumes, map[string]any{
			"name": volume, "persistentVolumeClaim": map[string]any{"claimName": fmt.Sprintf("%v-%s-0", volume, m.name)},
		})
	}
	return &manifest{kind: "Pod", name: m.name + "-0", tree: map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"name": m.name + "-0", "namespace": namespace, "labels": template["metadata"].(map[string]any)["labels"]},
		"spec":     inside,
	}}
}

// TestAPIServer holds all that is installed against a real API server: each object is taken
// without a warning, applied again it is the same, and each pod is let into a namespace of
// the standard restricted, where one with more rights is not.
func TestAPIServer(t *testing.T) {
	a := startAPIServer(t)
	version, err := a.ask(t.Context(), http.MethodGet, "/version", "", nil)
	require.NoError(t, err)
	t.Logf("Kubernetes %v", version.tree["gitVersion"])
	a.define(t)
	sets := map[string]set{}
	for _, name := range overlays {
		sets[name] = overlay(t, name)
	}
	chart, err := render(t, "")
	require.NoError(t, err)
	chart["Namespace/"+namespace] = sets["production"]["Namespace/"+namespace]
	sets["chart"] = chart

	for name, s := range sets {
		t.Run(name, func(t *testing.T) {
			in := namespace + "-" + name
			a.apply(t, moved(t, s["Namespace/"+namespace], in), in)
			pods := 0
			// Accounts first: a pod names one.
			for _, first := range []bool{true, false} {
				for _, key := range s.names() {
					m := moved(t, s[key], in)
					if m.kind == "Namespace" || (m.kind == "ServiceAccount") != first {
						continue
					}
					once := a.apply(t, m, in)
					again := a.apply(t, m, in)
					require.Equal(t, revision(once), revision(again), "%s is another one when it is applied again", key)
					if p := pod(m, in); p != nil {
						a.apply(t, *p, in)
						pods++
						a.refuses(t, *p, in)
					}
				}
			}
			t.Logf("%d objects and %d pods", len(s), pods)
			require.NotZero(t, pods)
		})
	}
}

// revision is the version of the object that the server has stored.
func revision(a answer) any {
	meta, _ := a.tree["metadata"].(map[string]any)
	return meta["resourceVersion"]
}

// refuses is the negative control: the pod with one right more is refused, and one with a
// field that there is not.
func (a *apiServer) refuses(t *testing.T, p manifest, namespace string) {
	t.Helper()
	for name, change := range map[string]func(spec, container map[string]any){
		"hostNetwork":   func(spec, _ map[string]any) { spec["hostNetwork"] = true },
		"root":          func(spec, _ map[string]any) { spec["securityContext"].(map[string]any)["runAsNonRoot"] = false },
		"escalation":    func(_, c map[string]any) { delete(c["securityContext"].(map[string]any), "allowPrivilegeEscalation") },
		"capability":    func(_, c map[string]any) { c["securityContext"].(map[string]any)["capabilities"] = map[string]any{} },
		"unknown field": func(spec, _ map[string]any) { spec["hostnetwork"] = true },
	} {
		bad := moved(t, p, namespace)
		bad.name += "-bad"
		bad.tree["metadata"].(map[string]any)["name"] = bad.name
		spec := bad.tree["spec"].(map[string]any)
		change(spec, spec["containers"].([]any)[0].(map[string]any))
		got := a.tryApply(t, bad, namespace)
		if name == "unknown field" {
			require.GreaterOrEqual(t, got.status, http.StatusBadRequest, name)
			continue
		}
		require.Equal(t, http.StatusForbidden, got.status, "%s: %s", name, got.text)
		require.Contains(t, got.text, `violates PodSecurity \"restricted`, name)
	}
}
