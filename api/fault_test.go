//go:build fault

package api

import (
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFaultAppend is the negative control of "durable before success": with the
// guarantee off an event is answered before it is appended, and its payload is
// its own by then. The environment is read once at start, so it runs in a
// process of its own.
func TestFaultAppend(t *testing.T) {
	t.Parallel()
	if os.Getenv("TARN_FAULT") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFaultAppend$", "-test.v")
		cmd.Env = append(os.Environ(), "TARN_FAULT=append-off")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "--- PASS: TestFaultAppend")
		return
	}
	f := newFixture(t)
	require.Equal(t, http.StatusOK, f.do(webhook("lemon", orderEvent("evt_1"), noon)).Code)
	require.Empty(t, f.queue.appended(), "answered before it was appended")
	f.do(webhook("lemon", orderEvent("evt_2"), noon)) // takes the buffer of the first
	require.Eventually(t, func() bool { return len(f.queue.appended()) == 2 }, 5*time.Second, 10*time.Millisecond)
	var bodies []string
	for _, d := range f.queue.appended() {
		bodies = append(bodies, string(d.Signal.Body.Payload))
	}
	require.ElementsMatch(t, []string{orderEvent("evt_1"), orderEvent("evt_2")}, bodies)
}
