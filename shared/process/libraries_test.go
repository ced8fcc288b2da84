package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/process"
)

// Whatever a library logs is a line of our log.
func TestLibrariesLogAsWeDo(t *testing.T) {
	var out, problems output
	status := start(func(context.Context, *process.Process) error {
		log.Print("http: TLS handshake error")
		otel.Handle(errors.New("export refused"))
		return redis.NewClient(&redis.Options{ClientSideCacheStrategy: 99}).Close()
	}, &out, &problems, "--config", files(t, settings))
	require.Zero(t, status, problems.String())
	for _, said := range []string{"http: TLS handshake error", "export refused", "unknown ClientSideCacheStrategy"} {
		require.Contains(t, out.String(), said)
	}
	for line := range strings.Lines(out.String()) {
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields), line)
		require.Equal(t, "test", fields["process"], line)
	}
}

// Two processes of one host cannot listen on one address; the error says what
// to write where.
func TestAnAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, taken.Close()) }()
	addr := taken.Addr().String()
	const free = "127.0.0.1:0"
	inUse := " is in use by another process of this host: give each one an address of its own (http.addr, http.worker_addr"
	for name, tc := range map[string]struct{ shared, own, want string }{
		"its own":                  {free, addr, "tarn.yaml: http.worker_addr: " + addr + inUse},
		"the shared one":           {addr, "", "tarn.yaml:2: http.addr: " + addr + inUse},
		"the shared one, not used": {addr, free, "ran"},
		"none":                     {free, "", "ran"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := config.Load(files(t, strings.ReplaceAll(settings, free, tc.shared)), nil)
			require.NoError(t, err)
			p := process.New("test", c, io.Discard)
			err = p.Probed(t.Context(), "http.worker_addr", tc.own, func(context.Context, *process.Probe) error { return errors.New("ran") })
			require.ErrorContains(t, err, tc.want)
		})
	}
}
