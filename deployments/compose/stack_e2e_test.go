//go:build e2e

package compose

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	sim "github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/deployments/trial"
	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	// source is the one of ../docker/tarn.yaml.
	source = "lemon"
	// lease is redis.lease_ttl, which that file leaves as it is.
	lease = 5 * time.Second

	perSecond = 100
	// calm is how long events flow before a fault begins, and after it is over.
	calm = 6 * time.Second
	// drained is how long it may take until nothing is left.
	drained = 4 * time.Minute
)

// stack is the one under test.
type stack struct {
	*engine
	fleet *fleet.Fleet
	image string
	data  string
	// redis is its address, absence how long it did not answer in this fault.
	redis   string
	absence time.Duration
	table   []row
	// seen are how many events of the provider were judged.
	seen int
}

// The stack loses nothing and stops for no longer than it must, whatever dies.
func TestTheStack(t *testing.T) {
	s := start(t)
	t.Cleanup(func() {
		var out strings.Builder
		_ = write(&out, s.table) // a builder does not fail
		t.Logf("the stack, %d events a second:\n%s", perSecond, &out)
	})
	wanted := os.Getenv("TARN_FAULTS")
	for _, f := range faults {
		if wanted == "" || slices.Contains(strings.Split(wanted, ","), f.name) {
			s.suffer(f)
		}
	}
	for _, r := range s.table {
		for _, problem := range r.problems() {
			t.Error(problem)
		}
	}
}

// start makes the images and starts the stack.
func start(t *testing.T) *stack {
	t.Helper()
	image := os.Getenv("TARN_IMAGE")
	require.NotEmpty(t, image, "make e2e-compose sets it")
	for _, s := range standins {
		t.Logf("in the place of the image %s: %s", s.of, s.build(t))
	}
	t.Log("in the place of MongoDB: SQLite in a volume that all share, since FerretDB, which speaks its protocol, bears some hundred documents. " +
		"In the place of a provider: the simulator. Left out: MongoDB, Jaeger, Prometheus, Grafana")

	kept, err := filepath.Abs("../../.tarn/compose")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(kept, 0o755))
	s := &stack{image: image, data: t.TempDir(), redis: "127.0.0.1:" + freePort(t)}
	require.NoError(t, os.Chmod(s.data, 0o777)) //nolint:gosec // the containers' user writes there
	ports := map[string]string{"TARN_PORT": freePort(t), "E2E_REDIS_PORT": strings.TrimPrefix(s.redis, "127.0.0.1:"), "E2E_SIMULATOR_PORT": freePort(t)}
	s.engine = &engine{t: t, compose: strings.Fields(os.Getenv("COMPOSE"))}
	require.NotEmpty(t, s.compose, "make e2e-compose sets it")
	s.compose = append(s.compose, "--project-name", project, "--project-directory", "../docker", "--file", nameless(t), "--file", "override.yaml", "--profile", "demo")
	s.env = []string{"TARN_IMAGE=" + image, "TARN_SECRETS=" + secrets(t), "E2E_DATA=" + s.data, "E2E_RETRIES=200ms" + strings.Repeat(",1s", 600)}
	for name, port := range ports {
		s.env = append(s.env, name+"="+port)
	}
	s.down("") // what a run that was killed has left
	t.Cleanup(func() { s.down(kept) })
	s.up("proxy", "api", "worker", "reconciler", "redis", "simulator")
	s.all()
	s.fleet, err = fleet.Attach(t.Context(), fleet.Remote{
		Redis: "redis://" + s.redis, Store: "sqlite://" + s.data + "/tarn.db",
		API: "127.0.0.1:" + ports["TARN_PORT"], Simulator: "127.0.0.1:" + ports["E2E_SIMULATOR_PORT"], Source: source, LeaseTTL: lease,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.fleet.Close()) })
	return s
}

// secrets makes those of the stack: what package fleet knows, and drawn ones.
func secrets(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, value := range map[string]string{
		"store_url": "sqlite:///data/tarn.db", "ops_token": fleet.Token, "lemon_api_key": fleet.APIKey, "lemon_webhook_secret": fleet.WebhookSecret,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600)) // the script opens it
	}
	run(t, "../docker/secrets.sh", dir)
	return dir
}

// all waits until every container of Tarn is ready.
func (s *stack) all() {
	s.t.Helper()
	for _, service := range []string{"api", "worker", "reconciler"} {
		s.ready(s.containers(service)...)
	}
}

// suffer has events flow, makes a fault happen, waits until all is calm, and judges.
func (s *stack) suffer(f fault) {
	s.t.Helper()
	s.t.Logf("%s", f.name)
	over := s.flow()
	require.NoError(s.t, fleet.Pause(s.t.Context(), calm))
	var hit fleet.Outage
	if f.victim != "" {
		var err error
		hit, err = s.fleet.OutageOfWorker(s.t.Context(), s.worker(s.containers(f.victim)[0]))
		require.NoError(s.t, err)
		require.NotEmpty(s.t, hit.Shards, "the worker has shards")
	}
	s.absence = 0
	began := time.Now()
	if f.do != nil {
		f.do(s)
	}
	s.t.Logf("%s took %s", f.name, time.Since(began).Round(time.Millisecond))
	require.NoError(s.t, fleet.Pause(s.t.Context(), calm))
	over()
	s.all()
	require.NoError(s.t, s.fleet.Drain(s.t.Context(), drained))
	s.judge(f, hit)
}

// flow has the provider send events until it is told that it is over; that returns once all
// are accepted. They come in loads of five seconds, one after the other.
func (s *stack) flow() (over func()) {
	s.t.Helper()
	ctx, flowing := s.t.Context(), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		for {
			select {
			case <-flowing:
				ended <- nil
				return
			default:
			}
			if err := s.fleet.Simulator.StartLoad(ctx, sim.Load{Entities: perSecond / 2, Events: 5 * perSecond, Rate: perSecond}); err != nil {
				ended <- err
				return
			}
			if err := fleet.WaitFor(ctx, drained, func() string { return "a load is not made" }, func() (bool, error) {
				p, err := s.fleet.Simulator.Progress(ctx)
				return p.Made == p.Events, err
			}); err != nil {
				ended <- err
				return
			}
		}
	}()
	return func() {
		s.t.Helper()
		close(flowing)
		require.NoError(s.t, <-ended)
		require.NoError(s.t, s.fleet.Simulator.WaitSent(ctx, drained))
		require.Eventually(s.t, s.accepted, drained, time.Second, "not all events are accepted")
	}
}

// accepted reports whether nothing is left to send.
func (s *stack) accepted() bool {
	events, err := s.fleet.Simulator.Events(s.t.Context())
	return err == nil && !slices.ContainsFunc(events, func(e fleet.Event) bool { return !e.Settled || e.Accepted == 0 })
}

// judge adds a row to the table.
func (s *stack) judge(f fault, hit fleet.Outage) {
	s.t.Helper()
	ctx := s.t.Context()
	all, err := s.fleet.Simulator.Events(ctx)
	require.NoError(s.t, err)
	events := all[s.seen:]
	s.seen = len(all)
	mine := map[string]bool{}
	for _, e := range events {
		mine[e.ID] = true
	}
	rows, err := s.fleet.Rows(ctx)
	require.NoError(s.t, err)
	rows = slices.DeleteFunc(rows, func(r *storage.EventRow) bool { return !mine[r.ID] })
	untrue, _, err := s.fleet.Untrue(ctx)
	require.NoError(s.t, err)
	lost, unprocessed, inversions := fleet.Lost(events, rows), fleet.Unprocessed(rows), fleet.Inversions(rows)
	for _, findings := range [][]string{lost, unprocessed, inversions} {
		for _, finding := range findings[:min(len(findings), 5)] {
			s.t.Logf("%s: %s", f.name, finding)
		}
	}
	for _, d := range untrue[:min(len(untrue), 5)] {
		s.t.Logf("%s: %s", f.name, d)
	}
	own, others := settling(rows, hit.Shards)
	r := row{
		fault: f.name, events: len(events), lost: len(lost), wrong: len(untrue) + len(unprocessed) + len(inversions), limit: f.limit.allowing(s.absence),
		hit: f.victim != "", own: own, others: others,
		intake: intake(rows), p99: trial.P99(rows), verify: s.verify(),
	}
	s.table = append(s.table, r)
	s.t.Logf("%+v", r)
}

// verify compares everything once more, as an operator does, and returns the exit status.
func (s *stack) verify() int {
	s.t.Helper()
	said, err := exec.CommandContext(s.t.Context(), "docker", "exec", s.containers("reconciler")[0], "reconciler", "verify", "--config", "/etc/tarn/tarn.yaml").CombinedOutput()
	var status *exec.ExitError
	if errors.As(err, &status) {
		s.t.Logf("verify: %s", said)
		return status.ExitCode()
	}
	require.NoError(s.t, err)
	return 0
}
