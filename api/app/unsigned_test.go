package app_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/api/app"
	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// logs is a log that is written and read at once.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// shop returns settings of a source shop, whose definition has the signature given.
func shop(t *testing.T, addr, signature, more string) *config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "shop.yaml")
	require.NoError(t, os.WriteFile(file, []byte(fmt.Sprintf(`provider: shop
signature: %s
envelope: {id: id, type: type, context: context}
api: {errors: message, probe: /me}
kinds:
  order: {get: "/orders/{order}"}
events:
  order: {touches: [order]}
`, signature)), 0o600))
	c, err := config.Parse("tarn.yaml", []byte(fmt.Sprintf(`
http: {addr: %q}
redis: {url: %q}
store: {url: "sqlite://%s/tarn.db"}
sources:
  shop: {provider: %q, api_url: "http://127.0.0.1:1", api_key: k, webhook_secrets: [a-secret-of-the-shop]%s}
`, addr, redistest.Start(t).URL(), t.TempDir(), file, more)), nil)
	require.NoError(t, err)
	return c
}

// A source that nothing but its address protects is named at the start. The address is in
// no log, on no route and in no metric, though webhook_url holds it.
func TestUnsignedSourcesAreWarnedOf(t *testing.T) {
	addr, said := freeAddr(t), &logs{}
	const address = `, webhook_url: "https://hooks.example.com/webhooks/shop/a-secret-of-the-shop"`
	stop := running(t, process.New("api", shop(t, addr, "{scheme: none}", address), said))
	require.Eventually(t, func() bool { return status(t, "http://"+addr+"/readyz") == http.StatusOK }, time.Minute, 20*time.Millisecond)
	body := `{"id":"evt_1","type":"order.made","context":{"order":"o1"}}`
	require.Equal(t, http.StatusOK, post(t, "http://"+addr+"/webhooks/shop/a-secret-of-the-shop", body))
	require.Equal(t, http.StatusUnauthorized, post(t, "http://"+addr+"/webhooks/shop", body))
	for _, path := range []string{"/metrics", "/readyz", "/healthz", "/openapi.json", "/v1/fleet", "/v1/events", "/v1/events/evt_1", "/v1/audit", "/v1/discrepancies"} {
		res, err := http.Get("http://" + addr + path)
		require.NoError(t, err)
		text, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.NotEmpty(t, text, path)
		require.NotContains(t, string(text), "a-secret-of-the-shop", path)
		require.NotContains(t, string(text), "hooks.example.com", path)
	}
	require.NoError(t, stop())
	require.NotContains(t, said.String(), "hooks.example.com")
	require.Equal(t, 1, strings.Count(said.String(), "webhooks of this source are not signed"))
	require.NotContains(t, said.String(), "a-secret-of-the-shop")
}

// The address that a signature covers comes from the settings.
func TestSignedAddressesAreConfigured(t *testing.T) {
	const signature = `{scheme: hmac, headers: [X-Sig], signed: "{url}{body}"}`
	addr := freeAddr(t)
	err := app.Run(t.Context(), process.New("api", shop(t, addr, signature, ""), &logs{}))
	require.ErrorContains(t, err, "source shop: no webhook_url: the signature covers the address that the provider sends to")
	stop := running(t, process.New("api", shop(t, addr, signature, `, webhook_url: "https://hooks.example.com/shop"`), &logs{}))
	require.Eventually(t, func() bool { return status(t, "http://"+addr+"/readyz") == http.StatusOK }, time.Minute, 20*time.Millisecond)
	require.NoError(t, stop())
}
