package app_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/reconciler/app"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// A command started by hand beside a wrong, empty Redis, while the fleet is
// stopped, must not tie the database to it, nor found a fleet.
func TestCommandsNeverDecideWhatTheFleetIs(t *testing.T) {
	known := storage.Fleet{ID: "x", Prefix: "tarn", Shards: 64, Data: "1"}
	for name, tc := range map[string]struct {
		command string
		fleet   storage.Fleet
		status  int
	}{
		"verify of a stopped fleet":    {"verify", known, 0},
		"verify before there is one":   {"verify", storage.Fleet{}, 0},
		"backfill of a stopped fleet":  {"backfill", known, 4},
		"backfill before there is one": {"backfill", storage.Fleet{}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, `{"data":[],"next":null}`)
			}))
			defer shop.Close()
			server := redistest.Start(t)
			settings := shopSettings(t, server.URL(), shop.URL)
			s, err := sqlite.Open(t.Context(), filepath.Join(filepath.Dir(settings), "tarn.db"), sqlite.Options{})
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			if tc.fleet.ID != "" {
				_, err = s.FoundFleet(t.Context(), tc.fleet)
				require.NoError(t, err)
			}
			before, beforeErr := s.Fleet(t.Context())

			var out, errs log
			status := make(chan int, 1)
			go func() {
				status <- process.Main(app.Program(), process.System{Args: []string{tc.command, "--config", settings}, Stdout: &out, Stderr: &errs})
			}()
			if tc.status == 4 { // it waits for a worker
				require.Eventually(t, func() bool { return strings.Contains(errs.String(), "waiting for the fleet's identity") }, time.Minute, 5*time.Millisecond)
				require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
			}
			require.Equal(t, tc.status, <-status, errs.String())

			after, err := s.Fleet(t.Context())
			require.True(t, errors.Is(err, storage.ErrNotFound) == errors.Is(beforeErr, storage.ErrNotFound), "%v", err)
			require.Equal(t, before, after)
			q, err := stream.Open(context.Background(), stream.Options{URLs: []string{server.URL()}, Shards: 64})
			require.NoError(t, err)
			defer func() { require.NoError(t, q.Close()) }()
			id, err := q.Identity(t.Context())
			require.NoError(t, err)
			require.Zero(t, id)
		})
	}
}
