package command

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/api/app"
	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// startAPI runs an api with the sources lemon, shop and open, and returns its address.
func startAPI(t *testing.T, shopFile, openFile string) string {
	t.Helper()
	addr, err := fleet.FreeAddr()
	require.NoError(t, err)
	c, err := config.Parse("tarn.yaml", []byte(fmt.Sprintf(`
http: {addr: %q}
redis: {url: %q}
store: {url: "sqlite://%s/tarn.db"}
sources:
  lemon: {provider: lemon, api_url: "http://127.0.0.1:1", api_key: k, webhook_secrets: [%[4]s]}
  shop: {provider: %[5]q, api_url: "http://127.0.0.1:1", api_key: k, webhook_secrets: [%[4]s]}
  open: {provider: %[6]q, api_url: "http://127.0.0.1:1", api_key: k, webhook_secrets: [%[4]s]}
`, addr, redistest.Start(t).URL(), t.TempDir(), secretText, shopFile, openFile)), nil)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx, process.New("api", c, io.Discard)) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	require.Eventually(t, func() bool {
		res, err := client.Get("http://" + addr + "/readyz")
		return err == nil && res.Body.Close() == nil && res.StatusCode == http.StatusOK
	}, time.Minute, 20*time.Millisecond)
	return "http://" + addr
}

// What is sent is accepted by an api, and its answers are told apart by the exit status.
func TestWebhookSend(t *testing.T) {
	shopFile := file(t, "shop.yaml", shop)
	openFile := file(t, "open.yaml", strings.Replace(shop, shop[strings.Index(shop, "signature:"):strings.Index(shop, "envelope:")], "signature: {scheme: none}\n", 1))
	api := startAPI(t, shopFile, openFile)
	send := func(args ...string) ran {
		var out, failed bytes.Buffer
		env := &Env{In: strings.NewReader(orderEvent), Out: &out, Err: &failed, HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
		status := Run(t.Context(), env, append([]string{"webhook", "send", "--secret", secretText}, args...))
		require.NotContains(t, out.String()+failed.String(), secretText)
		return ran{status, out.String(), failed.String()}
	}
	lemon := []string{"--url", api + "/webhooks/lemon", "--provider", "lemon", "--type", "order.created", "--id", "account=cusa_1", "--id", "order=bord_1", "--event-id", "evt_1"}
	got := send(lemon...)
	require.Equal(t, ran{OK, "200 OK\n" + `{"status":"accepted","id":"evt_1"}` + "\n", ""}, got)

	got = send("--url", api+"/webhooks/shop", "--provider", shopFile, "--event", "-")
	require.Equal(t, OK, got.status, got.out+got.err)
	require.Contains(t, got.out, `{"status":"accepted","id":"evt_1"}`)
	require.Contains(t, send("--url", api+"/webhooks/shop", "--provider", shopFile, "--event", "-").out, `{"status":"duplicate","id":"evt_1"}`)
	got = send("--url", api+"/webhooks/open/", "--provider", openFile, "--event", "-")
	require.Equal(t, OK, got.status, got.out+got.err)

	got = send("--url", api+"/webhooks/shop", "--provider", shopFile, "--event", "-", "--at", "2020-01-01T00:00:00Z")
	require.Equal(t, Wrong, got.status)
	require.Contains(t, got.out, "401 Unauthorized\n")
	require.Contains(t, got.out, "signed more than 5m0s ago")
	require.Contains(t, send("--url", api+"/webhooks/moon", "--provider", "lemon", "--type", "a.b").out, "404 Not Found\n")
	require.Equal(t, Misused, send("--provider", "lemon", "--type", "a").status)
	require.Equal(t, Failed, send("--url", "http://127.0.0.1:1", "--provider", "lemon", "--type", "a").status)
}
