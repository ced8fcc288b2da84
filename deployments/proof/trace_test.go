package proof

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/telemetry/otlptest"
)

// One event is one trace, one tree, from the webhook to the ack, across both
// processes, and nothing of what the event says or the provider answers is in
// it.
func TestOneTreePerEvent(t *testing.T) {
	t.Parallel()
	receiver := otlptest.Start()
	t.Cleanup(receiver.Close)
	s := start(t, fleet.Plan{Workers: 1, Shards: 4, Env: []string{"TARN_TELEMETRY__OTLP_ENDPOINT=" + receiver.URL()}})
	const events = 20
	s.load(simulator.Load{Entities: 4, Accounts: 2, Events: events, Rate: 10}, time.Minute)

	var trees map[string]string
	s.wait("every event has its tree", func() bool {
		trees = map[string]string{}
		for _, trace := range receiver.Traces() {
			if tree := trace.Tree(); strings.HasPrefix(tree, "webhook\n") && strings.Contains(tree, "process\n") {
				trees[trace.ID] = tree
			}
		}
		return len(trees) == events
	})
	s.wait("every entity of every event has its span", func() bool { return s.unprocessedIn(receiver.Traces()) == "" })

	synced := 0
	for _, trace := range receiver.Traces() {
		tree, ok := trees[trace.ID]
		if !ok {
			continue
		}
		require.Equal(t, 1, trace.Roots(), tree)
		require.Contains(t, tree, "webhook\n  send\n    process\n", "the sync is a child of the send")
		if strings.Contains(tree, "      fetch") {
			if synced++; synced == 1 {
				t.Logf("one event:\n%s", tree)
			}
			for _, step := range []string{"lock", "claim", "write"} {
				require.Contains(t, tree, "      "+step+"\n")
			}
		}
	}
	require.Positive(t, synced)
	require.Empty(t, receiver.Faults())

	said := receiver.Text()
	for _, secret := range []string{fleet.APIKey, fleet.WebhookSecret, fleet.Token, `"context"`, "revision", "base_amount", "buying_power"} {
		require.NotContains(t, said, secret)
	}
}

// A collector that does not answer, or refuses everything, disturbs nothing: events are
// processed, each process says so once, and ends in time.
func TestACollectorThatFails(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"hangs":   func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"refuses": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadRequest) },
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan struct{}, 1)
			collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // or the end of its connection is not seen
				select {
				case asked <- struct{}{}:
				default:
				}
				answer(w, r)
			}))
			t.Cleanup(collector.Close)
			t.Cleanup(collector.CloseClientConnections)
			s := start(t, fleet.Plan{Workers: 1, Shards: 4, Env: []string{"TARN_TELEMETRY__OTLP_ENDPOINT=" + collector.URL}})
			s.load(simulator.Load{Entities: 20, Events: 400, Rate: 400}, time.Minute)
			<-asked
			require.Empty(t, fleet.Unprocessed(s.rows()))
			for _, m := range s.Members("") {
				require.NoError(t, m.Stop())
				require.LessOrEqual(t, strings.Count(m.LastWords(), "traces are not being exported"), 1)
			}
			private, err := s.Private(s.ctx)
			require.NoError(t, err)
			require.Empty(t, s.BadLines(private))
		})
	}
}

// unprocessedIn returns an entity of an event whose trace has no "process" span
// for it, "" if every event's trace shows all of its entities.
func (s *subject) unprocessedIn(traces []otlptest.Trace) string {
	s.t.Helper()
	shown := map[string]bool{}
	for _, trace := range traces {
		for _, span := range trace.Spans {
			if span.Name == "process" {
				shown[trace.ID+" "+span.Attributes["tarn.entity"]] = true
			}
		}
	}
	for _, row := range s.rows() {
		for _, o := range row.Entities {
			if name := row.TraceID + " " + o.Ref.Key.String(); !shown[name] {
				return row.ID + ": no process span in " + name
			}
		}
	}
	return ""
}
