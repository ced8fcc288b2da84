package app_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/reconciler/app"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// The exit status of a backfill says whether it has had everything.
func TestBackfillThatLostAList(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		second       int // status of the second page
		status       int
		out, problem string
	}{
		"all lists are read":              {http.StatusOK, 0, `"phase":"done"`, ""},
		"a page that is refused for good": {http.StatusUnprocessableEntity, 1, `"failed_lists":[{"kind":"customer","error":"page 2: `, "1 lists could not be read whole"},
	} {
		t.Run(name, func(t *testing.T) {
			shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				answer := `{"data":[],"next":"second"}`
				if r.URL.Query().Get("cursor") != "" {
					w.WriteHeader(tc.second)
					answer = `{"data":[],"next":null,"message":"no"}`
				}
				_, _ = io.WriteString(w, answer)
			}))
			defer shop.Close()
			server := redistest.Start(t)
			settings := shopSettings(t, server.URL(), shop.URL)
			store, err := sqlite.Open(t.Context(), filepath.Join(filepath.Dir(settings), "tarn.db"), sqlite.Options{})
			require.NoError(t, err)
			_, err = store.FoundFleet(t.Context(), storage.Fleet{ID: "x", Prefix: "tarn", Shards: 64, Data: "1"})
			require.NoError(t, err)
			require.NoError(t, store.Close())
			streams, err := stream.Open(t.Context(), stream.Options{URLs: []string{server.URL()}, Shards: 64})
			require.NoError(t, err)
			_, err = streams.Identify(t.Context(), stream.Identity{Fleet: "x", Data: "1"})
			require.NoError(t, err)
			require.NoError(t, streams.Close())

			var out, errs log
			status := process.Main(app.Program(), process.System{Args: []string{"backfill", "--config", settings}, Stdout: &out, Stderr: &errs})
			require.Equal(t, tc.status, status, errs.String())
			require.Contains(t, out.String(), tc.out)
			require.Contains(t, errs.String(), tc.problem)
		})
	}
}
