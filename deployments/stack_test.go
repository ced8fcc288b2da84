package deployments

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// stackServices are those of the compose file.
func stackServices(t *testing.T) map[string]any {
	t.Helper()
	return at(documents(t, "docker/compose.yaml")[0], "services").(map[string]any)
}

// drawnSecrets are those of the stack, as its script draws them.
func drawnSecrets(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "secrets")
	said, err := exec.CommandContext(t.Context(), "docker/secrets.sh", dir).CombinedOutput()
	require.NoError(t, err, "%s", said)
	return dir
}

// --scale works for what there is nothing of that can be there once only: no port of the
// host, no name, no data of its own. The proxy alone has the api's port.
func TestTheStackScales(t *testing.T) {
	services := stackServices(t)
	for _, name := range []string{"api", "worker", "reconciler"} {
		for _, once := range []string{"ports", "container_name", "hostname"} {
			require.Nil(t, at(services[name], once), "%s: %s", name, once)
		}
		for _, v := range at(services[name], "volumes").([]any) {
			require.True(t, strings.HasSuffix(v.(string), ":ro"), "%s: %s", name, v)
		}
	}
	require.Equal(t, []any{"127.0.0.1:${TARN_PORT:-8080}:8080"}, at(services["proxy"], "ports"))
	for name, s := range services {
		ports, _ := at(s, "ports").([]any)
		for _, p := range ports {
			require.True(t, strings.HasPrefix(p.(string), "127.0.0.1:"), "%s: %s is open to the network", name, p)
		}
	}
}

// One service builds the image of all. Compose builds side by side, and of two builds that
// make one tag the second fails ("already exists"). docker-compose 1.29 would try to pull what
// another service builds, so that make builds first.
func TestTheImageOfTheStackIsBuiltOnce(t *testing.T) {
	var building []string
	for name, s := range stackServices(t) {
		if at(s, "build") != nil {
			building = append(building, name)
		}
	}
	require.Equal(t, []string{"api"}, building)
	makefile, err := os.ReadFile("../Makefile")
	require.NoError(t, err)
	require.Regexp(t, `(?m)^up:.*\n(\t.*\n)*\t.*\$\(COMPOSE_STACK\) build api\n\t.* up `, string(makefile))
}

// A webhook is safe once Redis has it, so that the api waits for nothing else, and the
// others for nothing at all: they wait by themselves.
func TestTheStackStartsInAnyOrder(t *testing.T) {
	services := stackServices(t)
	require.Equal(t, map[string]any{"redis": map[string]any{"condition": "service_healthy"}}, at(services["api"], "depends_on"))
	for _, name := range []string{"proxy", "worker", "reconciler", "simulator"} {
		require.Nil(t, at(services[name], "depends_on"), name)
	}
}

// Without the profile demo there is no simulated provider, and all else.
func TestTheStackHasAProfile(t *testing.T) {
	for name, s := range stackServices(t) {
		if name == "simulator" {
			require.Equal(t, []any{"demo"}, at(s, "profiles"))
			continue
		}
		require.Nil(t, at(s, "profiles"), name)
	}
	demo, err := os.ReadFile("docker/demo.env")
	require.NoError(t, err)
	require.Contains(t, string(demo), "COMPOSE_PROFILES=demo\n")
	require.Contains(t, string(demo), "LEMON_API_URL=http://simulator:8090/v1\n")
}

// Docker keeps all that a container writes unless it is told otherwise, and a stack that
// runs for years fills the disk.
func TestTheLogsOfTheStackAreBounded(t *testing.T) {
	for name, s := range stackServices(t) {
		require.Equal(t, "local", at(s, "logging", "driver"), name)
	}
}

// A check is made every few seconds for as long as the stack runs. The shell of MongoDB
// takes half a second of a core to start.
func TestChecksOfTheStackAreCheap(t *testing.T) {
	for name, s := range stackServices(t) {
		require.NotContains(t, fmt.Sprint(at(s, "healthcheck", "test")), "mongosh", name)
	}
}

func TestTheStackKeepsWhatItAccepts(t *testing.T) {
	services := stackServices(t)
	redis := fmt.Sprint(at(services["redis"], "command"))
	dev := fmt.Sprint(at(documents(t, "kubernetes/overlays/dev/redis.yaml")[1], "spec", "template", "spec", "containers"))
	// The append-only file is what counts. A snapshot beside it that fails makes Redis refuse
	// all writes.
	for _, setting := range []string{"--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction", "--save  "} {
		require.Contains(t, redis, setting)
		require.Contains(t, dev, setting)
	}
	require.Contains(t, at(services["redis"], "volumes"), "redis:/data")
	mongodb := fmt.Sprint(at(services["mongodb"], "command"))
	require.Contains(t, mongodb, "--replSet tarn --keyFile /tmp/mongodb_key")
	initialised, err := os.ReadFile("docker/mongodb.js")
	require.NoError(t, err)
	require.Contains(t, string(initialised), `replSetInitiate: { _id: "tarn"`)
	store, err := os.ReadFile(filepath.Join(drawnSecrets(t), "store_url"))
	require.NoError(t, err)
	require.Regexp(t, `^mongodb://tarn:[0-9a-f]{48}@mongodb:27017/tarn\?replicaSet=tarn&authSource=admin\n$`, string(store))
	for name, image := range map[string]string{"mongodb": "mongo:8.", "mongodb-init": "mongo:8.", "jaeger": "jaegertracing/jaeger:2."} {
		require.True(t, strings.HasPrefix(at(services[name], "image").(string), image), name)
	}
}

// Nothing may take the whole machine, no secret is in an environment, and what is secret is
// declared and made by the script.
func TestTheStackIsConfined(t *testing.T) {
	declared := at(documents(t, "docker/compose.yaml")[0], "secrets").(map[string]any)
	dir := drawnSecrets(t)
	drawn, err := os.ReadDir(dir)
	require.NoError(t, err)
	var files []string
	for _, f := range drawn {
		files = append(files, f.Name())
		info, err := f.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o644), info.Mode(), "a container's user reads it")
	}
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm(), "and no other user of the host")
	require.ElementsMatch(t, files, slices.Collect(maps.Keys(declared)))
	for name, s := range declared {
		require.Equal(t, "${TARN_SECRETS:-./secrets}/"+name, at(s, "file"))
	}
	used := map[string]bool{}
	for name, s := range stackServices(t) {
		require.NotEmpty(t, at(s, "mem_limit"), name)
		require.NotEmpty(t, at(s, "cpus"), name)
		secrets, _ := at(s, "secrets").([]any)
		for _, secret := range secrets {
			require.Contains(t, declared, secret, name)
			used[secret.(string)] = true
		}
		environment, _ := at(s, "environment").(map[string]any)
		for variable := range environment {
			require.NotRegexp(t, `(?i)(token|secret|password|key)$`, variable, name)
		}
	}
	require.Len(t, used, len(declared), "each is used")
	for _, ignored := range []string{"../.gitignore", "../.dockerignore"} {
		text, err := os.ReadFile(ignored)
		require.NoError(t, err)
		require.Contains(t, string(text), "deployments/docker/secrets", ignored)
	}
}

// A secret that is there stays.
func TestSecretsAreDrawnOnce(t *testing.T) {
	dir := drawnSecrets(t)
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return string(text)
	}
	token := read("ops_token")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "lemon_api_key"), []byte("of the provider"), 0o600))
	require.NoError(t, os.Remove(filepath.Join(dir, "redis_url")))
	said, err := exec.CommandContext(t.Context(), "docker/secrets.sh", dir).CombinedOutput()
	require.NoError(t, err, "%s", said)
	require.Equal(t, token, read("ops_token"))
	require.Equal(t, "of the provider", read("lemon_api_key"))
	require.Equal(t, "redis://redis:6379\n", read("redis_url"))
}

// The proxy knows all apis by the name of their service, looks after each, and sends a
// webhook again to another one.
func TestTheProxyFindsEveryAPI(t *testing.T) {
	text, err := os.ReadFile("docker/haproxy.cfg")
	require.NoError(t, err)
	cfg := string(text)
	require.Contains(t, cfg, "nameserver dns 127.0.0.11:53", "the engine's own")
	require.Contains(t, cfg, "uri /healthz")
	require.Regexp(t, `default-server check .*resolvers docker init-addr none`, cfg)
	require.Len(t, regexp.MustCompile(`(?m)^ +server-template api 20 api:8080$`).FindAllString(cfg, -1), 2)
	_, webhooks, found := strings.Cut(cfg, "\nbackend webhooks\n")
	require.True(t, found)
	webhooks, _, _ = strings.Cut(webhooks, "\n\n")
	require.Contains(t, webhooks, "retry-on conn-failure empty-response response-timeout")
	require.Contains(t, webhooks, "option http-buffer-request", "a body that is gone cannot be sent again")
	require.Contains(t, cfg, "option redispatch 1")

	t.Run("haproxy", func(t *testing.T) {
		path, err := exec.LookPath("haproxy")
		if err != nil {
			t.Skip("there is no haproxy that could read it")
		}
		said, err := exec.CommandContext(t.Context(), path, "-c", "-f", "docker/haproxy.cfg").CombinedOutput()
		require.NoError(t, err, "%s", said)
	})
}

// What make e2e-compose changes of the stack are images, and what belongs to them.
func TestTheOverrideSwapsImages(t *testing.T) {
	services := stackServices(t)
	for name, s := range at(documents(t, "compose/override.yaml")[0], "services").(map[string]any) {
		require.Contains(t, services, name)
		require.NotEmpty(t, at(s, "image"), name)
		for key := range s.(map[string]any) {
			require.Contains(t, []string{"image", "ports", "environment", "volumes", "command"}, key, name)
		}
		if name != "simulator" {
			require.Nil(t, at(s, "command"), name)
		}
	}
}

// Compose itself reads the file as make has it do, with and without the simulated provider.
func TestComposeReadsTheStack(t *testing.T) {
	require.Equal(t, "tarn", at(documents(t, "docker/compose.yaml")[0], "name"), "or the folder names all that runs")
	real := filepath.Join(t.TempDir(), "env")
	require.NoError(t, os.WriteFile(real, nil, 0o600))
	for name, env := range map[string]string{"a real provider": real, "a simulated provider": "deployments/docker/demo.env"} {
		t.Run(name, func(t *testing.T) {
			line, err := exec.CommandContext(t.Context(), "make", "-C", "..", "--no-print-directory", "--dry-run", "down", "COMPOSE_ENV="+env).Output()
			require.NoError(t, err)
			stack, found := strings.CutSuffix(string(line), " down\n")
			require.True(t, found, "%s", line)
			if !strings.HasPrefix(stack, "docker compose ") {
				if _, err := exec.LookPath("docker-compose"); err != nil {
					t.Skip("there is no docker-compose")
				}
				require.Contains(t, stack, "--project-name ${COMPOSE_PROJECT_NAME:-tarn} ", "what its file may not say")
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-c", stack+" config") //nolint:gosec // our Makefile's
			cmd.Dir = ".."
			cmd.Env = append(os.Environ(), "TARN_IMAGE=tarn:test")
			requireServices(t, cmd, name == "a simulated provider")
		})
	}
}

// requireServices runs compose's command config, which shows every service.
func requireServices(t *testing.T, config *exec.Cmd, simulated bool) {
	t.Helper()
	said, err := config.CombinedOutput()
	require.NoError(t, err, "%s", said)
	for service := range stackServices(t) {
		if service != "simulator" || simulated {
			require.Contains(t, string(said), "\n  "+service+":\n")
		}
	}
}
