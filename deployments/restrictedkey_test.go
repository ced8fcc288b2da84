package deployments_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// restricted is a definition for the API of the guide, with a kind that has no list and
// with webhooks that can be disabled.
const restricted = `provider: larder
signature: {scheme: hmac, headers: [X-Larder-Signature], prefix: "sha256=", encoding: hex}
envelope: {id: id, type: type, ids: {customer: customer, voucher: voucher}}
api:
  auth: {header: X-Larder-Key}
  pagination: {style: page, items: results, total: total, limit: 50, limit_param: per_page}
  errors: {at: code, gone: [no_such_thing]}
  probe: /customers?per_page=1
  webhooks: {path: /webhooks, url: url, types: types, live: {at: status, is: enabled}, expected: {customer: [made], voucher: [made]}}
kinds:
  customer: {get: "/customers/{customer}", list: /customers}
  voucher: {get: "/vouchers/{voucher}"}
events:
  customer: {touches: [customer]}
  voucher: {touches: [voucher]}
`

const restrictedSettings = `http: {addr: "127.0.0.1:8080", worker_addr: "127.0.0.1:8081", reconciler_addr: "127.0.0.1:8082"}
redis: {url: "redis://127.0.0.1:6379"}
store: {url: "sqlite:///var/lib/tarn/tarn.db"}
retry: {first: 1s}
sources:
  larder:
    provider: larder.yaml
    api_url: https://api.larder.example/v1
    api_key: larder-test-key
    webhook_secrets: ["0123456789abcdef"]
`

// With real processes: a key that may not read one kind holds up no other, which is said
// once; a webhook that is disabled at the provider is reported; both end with their cause.
func TestARestrictedKeyAndADisabledWebhook(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs all processes")
	}
	const vouchers = 8
	g := newGuide(t)
	var allowed, enabled atomic.Bool
	others := g.larder.Config.Handler
	g.larder.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, isVoucher := strings.CutPrefix(r.URL.Path, "/v1/vouchers/")
		switch {
		case isVoucher && !allowed.Load():
			answer(w, http.StatusForbidden, `{"code": "not_permitted"}`)
		case isVoucher:
			answer(w, http.StatusOK, fmt.Sprintf(`{"id": %s}`, id))
		case r.URL.Path == "/v1/webhooks":
			status := map[bool]string{true: "enabled", false: "disabled"}[enabled.Load()]
			g.larder.page(w, r, []string{fmt.Sprintf(`{"url": "https://here.example", "types": ["*"], "status": %q}`, status)})
		default:
			others.ServeHTTP(w, r)
		}
	})
	for name, text := range map[string]string{"larder.yaml": restricted, "tarn.yaml": restrictedSettings} {
		require.NoError(t, os.WriteFile(filepath.Join(g.dir, name), []byte(g.here.Replace(text)), 0o600))
	}
	const api, worker, reconciler = "bin/api --config tarn.yaml", "bin/worker --config tarn.yaml", "bin/reconciler --config tarn.yaml"
	for _, command := range []string{api, worker, reconciler} {
		g.start(command)
	}
	for _, port := range []string{"8080", "8081", "8082"} {
		g.reads("http://127.0.0.1:"+port+"/readyz", `"status":"ready"`)
	}

	for i := 1; i <= vouchers; i++ {
		g.sends(fmt.Sprintf(`{"id": "v%d", "type": "voucher.made", "voucher": %d}`, i, i))
	}
	g.sends(`{"id": "c1", "type": "customer.made", "customer": 12}`)
	g.reads("http://127.0.0.1:8080/v1/events/c1", `"status":"processed"`)
	const metrics = "http://127.0.0.1:8081/metrics"
	g.reads(metrics, fmt.Sprintf(`tarn_parked_entities{source="larder"} %d`, vouchers))
	g.reads(metrics, `tarn_alerts_total{kind="kind_refused",source="larder"} 1`)
	require.Contains(t, g.reads(metrics), `tarn_alerts_total{kind="dead_letter",source="larder"} 0`)
	require.NotContains(t, g.reads("http://127.0.0.1:8080/v1/dead-letters"), `"id"`)
	g.reads("http://127.0.0.1:8080/v1/discrepancies?type=subscription_gap", `"status":"confirmed"`)
	g.reads("http://127.0.0.1:8082/metrics", `tarn_alerts_total{kind="discrepancy",source="larder"} 1`)

	allowed.Store(true)
	g.run("curl -s --fail-with-body -X POST http://127.0.0.1:8080/v1/sources/larder/retry")
	for i := 1; i <= vouchers; i++ {
		g.reads(fmt.Sprintf("http://127.0.0.1:8080/v1/events/v%d", i), `"status":"processed"`)
	}
	require.Contains(t, g.reads(metrics), `tarn_alerts_total{kind="dead_letter",source="larder"} 0`)
	require.Contains(t, g.reads(metrics), `tarn_alerts_total{kind="kind_refused",source="larder"} 1`, "once")

	enabled.Store(true)
	g.stop(reconciler) // it asks once an hour, and when it starts
	g.start(reconciler)
	g.reads("http://127.0.0.1:8080/v1/discrepancies?type=subscription_gap", `"status":"repaired"`)
}

// sends sends an event to the api, signed.
func (g *guide) sends(body string) {
	g.t.Helper()
	require.NoError(g.t, os.WriteFile(filepath.Join(g.dir, "event.json"), []byte(body), 0o600))
	g.run("bin/tarn webhook send --url http://127.0.0.1:8080/webhooks/larder --provider larder.yaml --secret 0123456789abcdef --event event.json")
}
