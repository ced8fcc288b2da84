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
	c, err := config.Load(files(t, settings), nil)
	require.NoError(t, err)
	p := process.New("test", c, io.Discard)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, taken.Close()) }()
	for own, want := range map[string]string{
		taken.Addr().String(): "tarn.yaml: http.worker_addr: " + taken.Addr().String() + " is in use by another process of this host: give each one an address of its own (http.addr, http.worker_addr",
		"":                    "",
	} {
		err := p.Probed(t.Context(), "http.worker_addr", own, func(context.Context, *process.Probe) error { return errors.New("ran") })
		if want == "" {
			want = "ran"
		}
		require.ErrorContains(t, err, want)
	}
}
