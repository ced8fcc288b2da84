package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

func TestAway(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		away bool
	}{
		"refused":          {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, true},
		"reset":            {os.NewSyscallError("read", syscall.ECONNRESET), true},
		"cut off":          {io.EOF, true},
		"cut off half":     {io.ErrUnexpectedEOF, true},
		"timeout":          {os.ErrDeadlineExceeded, true},
		"loading":          {errors.New("LOADING Redis is loading the dataset in memory"), true},
		"too few replicas": {errors.New("NOREPLICAS Not enough good replicas to write."), true},
		"disk full":        {errors.New("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk."), true},
		"too many clients": {errors.New("ERR max number of clients reached"), true},
		"slots move":       {errors.New("TRYAGAIN Multiple keys request during rehashing of slot"), true},
		"store away":       {fate.Errorf(fate.Unavailable, "no primary"), true},
		"another fleet":    {stream.ErrShards, false},
		"wrong password":   {errors.New("WRONGPASS invalid username-password pair"), false},
		"asked to stop":    {context.Canceled, false},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.away, away(fmt.Errorf("connect to redis: %w", c.err)))
		})
	}
}

// A database may build an index for hours when it is opened. A process that was
// restarted for that would never be done.
func TestOpeningMayTakeLong(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	p := New("test", &config.Config{}, io.Discard)
	p.Health = telemetry.NewHealth(func() time.Time { return now })
	opened, err := await(t.Context(), p, "store", func() (string, error) {
		now = now.Add(time.Hour)
		answer := httptest.NewRecorder()
		p.Health.Healthz().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/healthz?verbose", nil))
		require.Equal(t, http.StatusOK, answer.Code, answer.Body)
		require.Contains(t, answer.Body.String(), `"waiting_on":"store"`)
		return "the store", nil
	})
	require.NoError(t, err)
	require.Equal(t, "the store", opened)
}

// What a definition leaves to its sources is filled in, or is an error with its line.
func TestSettingsOfDefinitions(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "shop.yaml"), []byte(`provider: shop
signature: {scheme: timestamped-hmac, headers: [X-Sig]}
envelope: {id: id, type: type, object: {id: id}, require: {livemode: "{mode}"}}
api: {errors: message, probe: /me, pagination: {style: cursor, items: data, next: next}}
kinds: {thing: {get: "/things/{thing}", list: /things}}
events: {thing: {touches: [thing]}}
`), 0o600))
	sources := func(settings string) ([]Source, error) {
		file := filepath.Join(folder, "tarn.yaml")
		require.NoError(t, os.WriteFile(file, []byte(`store: {url: "sqlite:///tmp/tarn.db"}
sources:
  shop: {provider: shop.yaml, api_url: "https://api.example.com", api_key: key, webhook_secrets: [secret-1-long-enough]`+settings+`}
`), 0o600))
		c, err := config.Load(file, nil)
		require.NoError(t, err)
		return Sources(c)
	}
	_, err := sources("")
	require.ErrorContains(t, err, `sources.shop.settings: provider shop needs the setting "mode": give it under settings, as in settings: {mode: …}`)
	_, err = sources(`, settings: {mode: "true", moed: "x"}`)
	require.ErrorContains(t, err, `tarn.yaml:3: sources.shop.settings: provider shop has no setting "moed": it has mode`)
	got, err := sources(`, settings: {mode: "true"}`)
	require.NoError(t, err)
	for body, note := range map[string]event.Note{`true`: 0, `false`: event.RequireUnmet} {
		e, err := got[0].Definition.Event("shop", nil, []byte(`{"id":"e_1","type":"thing.made","livemode":`+body+`}`), time.Now())
		require.NoError(t, err)
		require.Equal(t, note, e.Note)
	}
}
