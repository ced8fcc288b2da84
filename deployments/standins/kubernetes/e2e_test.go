//go:build e2e

package kubernetes

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
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
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// definitions are the kinds of the operators, as the modules of these versions have them.
var definitions = []struct{ module, file string }{
	{"github.com/kedacore/keda/v2@v2.18.1", "config/crd/bases/keda.sh_scaledobjects.yaml"},
	{"github.com/prometheus-operator/prometheus-operator@v0.85.0", "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"},
	{"github.com/prometheus-operator/prometheus-operator@v0.85.0", "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"},
}

// A real kube-apiserver takes every object of every overlay, without a warning, knows each
// field, and changes nothing when it is applied again; and it takes the pods of the workloads
// in a namespace that enforces the standard "restricted". No controller runs, so the pods are
// made here.
func TestAnAPIServerTakesTheManifests(t *testing.T) {
	binary := buildAPIServer(t)
	for _, name := range overlays {
		t.Run(name, func(t *testing.T) {
			a := startAPIServer(t, binary)
			for _, d := range definitions {
				text, err := os.ReadFile(filepath.Join(downloaded(t, d.module), d.file))
				require.NoError(t, err)
				a.applied(t, a.apply(t, text))
			}
			s := overlay(t, name)
			order := s.names()
			// A namespace is there before what is in it.
			slices.SortStableFunc(order, func(x, y string) int {
				return strings.Compare(fmt.Sprint(!strings.HasPrefix(x, "Namespace/")), fmt.Sprint(!strings.HasPrefix(y, "Namespace/")))
			})
			for _, n := range order {
				first := a.applied(t, a.apply(t, s[n].text))
				again := a.applied(t, a.apply(t, s[n].text))
				require.Equal(t, first, again, "%s: applied again it changes", n)
			}
			t.Logf("%d objects applied", len(order))

			for _, w := range workloads(s) {
				pod := podOf(s, w)
				got := a.do(t, http.MethodPost, "/api/v1/namespaces/"+namespace+"/pods?fieldValidation=Strict", "application/json", pod)
				require.Equal(t, http.StatusCreated, got.code, "%s: %s", w.name, got.text)

				// Controls: the same pod as root, and with a field that there is none of.
				pod.Name += "-root"
				pod.Spec.SecurityContext.RunAsNonRoot, pod.Spec.SecurityContext.RunAsUser = nil, ptr.To[int64](0)
				got = a.do(t, http.MethodPost, "/api/v1/namespaces/"+namespace+"/pods", "application/json", pod)
				require.Equal(t, http.StatusForbidden, got.code, "%s: %s", w.name, got.text)
				require.Contains(t, got.text, `violates PodSecurity \"restricted:latest\"`)
			}
			wrong := bytes.Replace(s["Deployment/api"].text, []byte("\nspec:\n"), []byte("\nspec:\n  replica: 2\n"), 1)
			got := a.apply(t, wrong)
			require.NotEqual(t, http.StatusOK, got.code)
			require.Contains(t, got.text, "replica")
		})
	}
}

// podOf returns the pod that the controller of a workload would make.
func podOf(s set, w workload) *core.Pod {
	pod := &core.Pod{
		TypeMeta:   meta.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: meta.ObjectMeta{Name: w.name + "-0", Namespace: namespace, Labels: w.template.Labels},
		Spec:       *w.template.Spec.DeepCopy(),
	}
	if stateful, ok := s["StatefulSet/"+w.name]; ok {
		for _, claim := range stateful.object.(*apps.StatefulSet).Spec.VolumeClaimTemplates {
			pod.Spec.Volumes = append(pod.Spec.Volumes, core.Volume{Name: claim.Name, VolumeSource: core.VolumeSource{
				PersistentVolumeClaim: &core.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name + "-" + pod.Name},
			}})
		}
	}
	return pod
}

// buildAPIServer builds kube-apiserver of the version that its module requires.
func buildAPIServer(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("TARN_KUBE_APISERVER"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "kube-apiserver")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-C", "../apiserver", "-buildvcs=false", "-p", "2", "-ldflags", "-s -w", "-o", path, "k8s.io/kubernetes/cmd/kube-apiserver")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", said)
	return path
}

// downloaded returns the folder of a module in the cache of modules.
func downloaded(t *testing.T, path string) string {
	t.Helper()
	said, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", path).Output()
	require.NoError(t, err, "%s", said)
	var module struct{ Dir string }
	require.NoError(t, json.Unmarshal(said, &module))
	return module.Dir
}

// apiServer is one that runs, with an etcd of its own.
type apiServer struct {
	address string
	client  *http.Client
}

// answer is what it has answered.
type answer struct {
	code int
	text string
}

const token = "0123456789abcdef"

func startAPIServer(t *testing.T, binary string) *apiServer {
	t.Helper()
	dir := t.TempDir()
	etcd, peer, port := freePort(t), freePort(t), freePort(t)
	etcdURL, peerURL := "http://127.0.0.1:"+etcd, "http://127.0.0.1:"+peer
	run(t, dir, "etcd", "--data-dir", filepath.Join(dir, "etcd"), "--listen-client-urls", etcdURL, "--advertise-client-urls", etcdURL,
		"--listen-peer-urls", peerURL, "--initial-advertise-peer-urls", peerURL, "--initial-cluster", "default="+peerURL)

	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	keyFile, tokenFile := filepath.Join(dir, "accounts.pem"), filepath.Join(dir, "tokens.csv")
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(block), 0o600))
	require.NoError(t, os.WriteFile(tokenFile, []byte(token+",admin,admin,system:masters\n"), 0o600))
	exited := run(t, dir, binary, "--etcd-servers", etcdURL, "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--secure-port", port,
		"--cert-dir", filepath.Join(dir, "certs"), "--endpoint-reconciler-type", "none", "--service-cluster-ip-range", "10.0.0.0/24",
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", keyFile,
		"--service-account-signing-key-file", keyFile, "--token-auth-file", tokenFile, "--authorization-mode", "RBAC")

	// Its certificate is one that it has made for itself.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // see above
	a := &apiServer{address: "https://127.0.0.1:" + port, client: &http.Client{Transport: transport, Timeout: time.Minute}}
	t.Cleanup(transport.CloseIdleConnections)
	a.until(t, exited, "/readyz", func(string) bool { return true })
	return a
}

// run starts a program until the test ends. Its output is shown if the test fails.
func run(t *testing.T, dir, program string, args ...string) (exited <-chan struct{}) {
	t.Helper()
	said, err := os.Create(filepath.Join(dir, filepath.Base(program)+".log"))
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = said, said, dir
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	require.NoError(t, cmd.Start())
	done := make(chan struct{})
	go func() { defer close(done); _ = cmd.Wait() }()
	t.Cleanup(func() {
		stop()
		<-done
		_ = said.Close()
		if text, _ := os.ReadFile(said.Name()); t.Failed() {
			lines := strings.Split(string(text), "\n")
			t.Logf("%s said:\n%s", program, strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	})
	return done
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

// until asks until the answer is 200 and satisfies, for three minutes at most.
func (a *apiServer) until(t *testing.T, exited <-chan struct{}, path string, satisfies func(text string) bool) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(3 * time.Minute)
	last := ""
	for {
		if resp, err := a.request(t, http.MethodGet, path, "", nil); err == nil {
			text, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if last = string(text); resp.StatusCode == http.StatusOK && satisfies(last) {
				return
			}
		} else {
			last = err.Error()
		}
		select {
		case <-tick.C:
		case <-exited:
			require.FailNow(t, "kube-apiserver has ended")
		case <-deadline:
			require.FailNow(t, "not in time", "%s: %s", path, last)
		}
	}
}

func (a *apiServer) request(t *testing.T, method, path, contentType string, body []byte) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, a.address+path, bytes.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", contentType)
	return a.client.Do(r)
}

// do asks once. A warning fails the test: it is what kubectl would print and people overlook.
func (a *apiServer) do(t *testing.T, method, path, contentType string, body any) answer {
	t.Helper()
	text, isText := body.([]byte)
	if !isText && body != nil {
		var err error
		text, err = json.Marshal(body)
		require.NoError(t, err)
	}
	resp, err := a.request(t, method, path, contentType, text)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	said, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Empty(t, resp.Header.Values("Warning"), path)
	return answer{resp.StatusCode, string(said)}
}

// apply applies an object as kubectl apply --server-side --validate=strict does.
func (a *apiServer) apply(t *testing.T, text []byte) answer {
	t.Helper()
	var object struct {
		APIVersion string
		Kind       string
		Metadata   meta.ObjectMeta
	}
	require.NoError(t, yaml.Unmarshal(text, &object))
	group := "/apis/" + object.APIVersion
	if object.APIVersion == "v1" {
		group = "/api/v1"
	}
	var path string
	find := func(text string) bool {
		var list meta.APIResourceList
		require.NoError(t, json.Unmarshal([]byte(text), &list))
		for _, r := range list.APIResources {
			if r.Kind != object.Kind || strings.Contains(r.Name, "/") {
				continue
			}
			path = group + "/" + r.Name
			if r.Namespaced {
				path = group + "/namespaces/" + object.Metadata.Namespace + "/" + r.Name
			}
		}
		return path != ""
	}
	// A kind that was just defined is served a moment later.
	a.until(t, nil, group, find)
	return a.do(t, http.MethodPatch, path+"/"+object.Metadata.Name+"?fieldManager=tarn&force=true&fieldValidation=Strict", "application/apply-patch+yaml", text)
}

// applied returns the version of an object that was applied.
func (a *apiServer) applied(t *testing.T, got answer) string {
	t.Helper()
	require.Contains(t, []int{http.StatusOK, http.StatusCreated}, got.code, got.text)
	var object struct{ Metadata meta.ObjectMeta }
	require.NoError(t, json.Unmarshal([]byte(got.text), &object))
	return object.Metadata.ResourceVersion
}
