package proof

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// A secret that Kubernetes mounts is rotated by swapping the link of its directory. The api
// takes it without a signal and without a restart.
func TestAMountedSecretRotates(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("runs processes")
	}
	dir, addr := t.TempDir(), freeAddr(t)
	mount := filepath.Join(dir, "secret")
	swap := func(version, secret string) {
		t.Helper()
		next := filepath.Join(mount, version)
		require.NoError(t, os.MkdirAll(next, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(next, "signing"), []byte(secret+"\n"), 0o600))
		require.NoError(t, os.Symlink(version, filepath.Join(mount, "..data_tmp")))
		require.NoError(t, os.Rename(filepath.Join(mount, "..data_tmp"), filepath.Join(mount, "..data")))
	}
	const first, second = "first-0123456789", "second-0123456789"
	swap("..v1", first)
	require.NoError(t, os.Symlink("..data/signing", filepath.Join(mount, "signing")))
	file := filepath.Join(dir, "tarn.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `
http: {addr: %q}
redis: {url: %q}
store: {url: "sqlite://%s/tarn.db"}
sources:
  lemon: {provider: lemon, api_url: "http://127.0.0.1:1/v1", api_key: k, webhook_secrets: ["${file:secret/signing}"]}
`, addr, redistest.Start(t).URL(), dir), 0o600))
	runProgram(t, fleet.API, file)
	require.Eventually(t, func() bool { return ready(addr) }, time.Minute, 50*time.Millisecond)

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	n := 0
	send := func(secret string) int {
		n++
		body := fmt.Sprintf(`{"id":"evt_%d","type":"account.created","created_at":"2026-01-01T00:00:00Z","context":{"account":"cusa_1"}}`, n)
		stamp := fmt.Sprint(time.Now().Unix())
		mac := hmac.New(sha256.New, []byte(secret))
		_, _ = mac.Write([]byte(stamp + "." + body))
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/webhooks/lemon", strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("LMG-Signature", "t="+stamp+",v1="+hex.EncodeToString(mac.Sum(nil)))
		res, err := client.Do(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.StatusCode
	}
	require.Equal(t, http.StatusOK, send(first))
	require.Equal(t, http.StatusUnauthorized, send(second))
	swap("..v2", second)
	require.Eventually(t, func() bool { return send(second) == http.StatusOK }, time.Minute, 100*time.Millisecond)
	require.Equal(t, http.StatusUnauthorized, send(first))
}
