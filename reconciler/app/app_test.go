package app_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tarn-sync/tarn/reconciler"
	"github.com/tarn-sync/tarn/reconciler/app"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(redistest.Reuse())) }

// definition is of a provider that has customers and nothing else.
const definition = `
provider: shop
signature: {scheme: timestamped-hmac, headers: [Shop-Signature]}
envelope: {id: id, type: type, created_at: created_at, time: rfc3339, context: context}
api:
  pagination: {style: cursor, items: data, next: next, limit: 2}
  errors: message
  probe: /ping
kinds:
  customer: {get: "/customers/{customer}", list: /customers}
events:
  customer: {touches: [customer]}
`

// verify runs the command against a shop that answers so when asked for its
// list, and for any customer. The mirror is empty.
func verify(t *testing.T, list, customer string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/customers":
			if list == "" {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			_, _ = io.WriteString(w, list)
		default:
			_, _ = io.WriteString(w, customer)
		}
	}))
	defer shop.Close()
	settings := shopSettings(t, redistest.Start(t).URL(), shop.URL)
	var out, errs bytes.Buffer
	status = process.Main(app.Program(), process.System{
		Args: append([]string{"verify", "--config", settings}, args...), Stdout: &out, Stderr: &errs,
	})
	return status, out.String(), errs.String()
}

func TestVerifyInSync(t *testing.T) {
	t.Parallel()
	status, out, errs := verify(t, `{"data":[],"next":null}`, `{}`)
	require.Zero(t, status, errs)
	require.Equal(t, "shop: in sync (0 entities compared, 0 could not be, 0 not due yet, 1 API calls)\n", out)
}

// A difference is checked twice, which takes ten seconds.
func TestVerifyDifferent(t *testing.T) {
	t.Parallel()
	status, out, errs := verify(t, `{"data":[{"id":"c0"}],"next":null}`, `{"id":"c0"}`, "--json")
	require.Equal(t, 3, status, errs)
	var report reconciler.Report
	require.NoError(t, json.Unmarshal([]byte(out), &report), out)
	require.Equal(t, "shop", report.Source)
	require.Equal(t, []reconciler.ReportDifference{{Kind: "customer", ID: "c0", Type: storage.Missing}}, report.Differences)
	require.Contains(t, errs, "comparing the provider's lists with the mirror")
	require.Contains(t, errs, "waiting before the second look")
}

func TestVerifyThatCouldNotCompare(t *testing.T) {
	t.Parallel()
	status, out, errs := verify(t, ``, `{}`)
	require.Equal(t, 4, status)
	require.Contains(t, out, "shop: not known")
	require.Contains(t, errs, "1 lists or entities could not be compared")
}

func TestVerifyOfWhatIsNotConfigured(t *testing.T) {
	t.Parallel()
	status, out, errs := verify(t, `{"data":[],"next":null}`, `{}`, "--source", "elsewhere")
	require.Equal(t, 1, status)
	require.Empty(t, out)
	require.Contains(t, errs, `no source \"elsewhere\" is configured`)
}
