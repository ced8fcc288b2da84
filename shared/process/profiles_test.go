package process_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/process"
)

// Profiles show what the process has in memory: only an operator may take them.
func TestProfilesAreForOperators(t *testing.T) {
	const (
		tokens = "operator_tokens: [{name: ops, token: operator-0123456789, role: operator}, {name: grafana, token: viewer-0123456789}]\n"
		on     = "telemetry: {profiles: operators}\n"
	)
	for _, c := range []struct {
		name, settings, path, token string
		status                      int
		holds                       string
	}{
		{"off", tokens, "heap", "operator-0123456789", 404, ""},
		{"off, the index", tokens, "", "operator-0123456789", 404, ""},
		{"no token", tokens + on, "heap", "", 401, ""},
		{"a wrong token", tokens + on, "heap", "operator-0123456780", 401, ""},
		{"a part of a token", tokens + on, "heap", "operator-012345678", 401, ""},
		{"a viewer's token", tokens + on, "heap", "viewer-0123456789", 403, ""},
		{"a viewer's token, an unknown profile", tokens + on, "nothing", "viewer-0123456789", 403, ""},
		{"heap", tokens + on, "heap?debug=1", "operator-0123456789", 200, "heap profile:"},
		{"CPU", tokens + on, "profile?seconds=1", "operator-0123456789", 200, "\x1f\x8b"},
		{"goroutines", tokens + on, "goroutine?debug=1", "operator-0123456789", 200, "goroutine profile:"},
		{"index", tokens + on, "", "operator-0123456789", 200, "/debug/pprof/"},
		{"an unknown profile", tokens + on, "nothing", "operator-0123456789", 404, ""},
		{"command line", tokens + on, "cmdline", "operator-0123456789", 404, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			parsed, err := config.Load(files(t, settings+c.settings), nil)
			require.NoError(t, err)
			var logged bytes.Buffer
			p := process.New("test", parsed, &logged)
			ctx, cancel := context.WithCancel(t.Context())
			probe, err := p.Listen(ctx, "http.addr", parsed.HTTP.Addr)
			require.NoError(t, err)
			served := make(chan error, 1)
			go func() { served <- probe.Serve(ctx) }()
			defer cancel()

			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+probe.Addr()+process.ProfilesPath+c.path, nil)
			require.NoError(t, err)
			if c.token != "" {
				req.Header.Set("Authorization", "Bearer "+c.token)
			}
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			res, err := client.Do(req)
			require.NoError(t, err)
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.Equal(t, c.status, res.StatusCode, "%s", body)
			require.Contains(t, string(body), c.holds)
			cancel()
			require.NoError(t, <-served) // the log is written no more
			if c.token == "operator-0123456789" && c.settings != tokens {
				require.Contains(t, logged.String(), "a profile is taken")
				require.Contains(t, logged.String(), `"by":"ops"`)
			} else {
				require.NotContains(t, logged.String(), "a profile is taken")
			}
			require.NotContains(t, logged.String(), "0123456789", "no token is logged")
			require.Equal(t, c.status == http.StatusUnauthorized, res.Header.Get("WWW-Authenticate") != "")
		})
	}
}

func TestProfilesNeedAnOperatorsToken(t *testing.T) {
	for _, tokens := range []string{"", "operator_tokens: [{name: grafana, token: viewer-0123456789}]\n"} {
		_, err := config.Load(files(t, settings+tokens+"telemetry: {profiles: operators}\n"), nil)
		require.ErrorContains(t, err, "telemetry.profiles")
		require.ErrorContains(t, err, "role operator")
	}
}
