package stream

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/telemetry"
)

// What the client says for every connection of a failure is one line of each kind in ten
// seconds, whatever is in it, and the next has how many there were.
func TestTheClientRepeatsNothing(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	now := time.Unix(0, 0)
	l := clientLog{telemetry.NewLogger(&out, slog.LevelInfo, telemetry.JSON), telemetry.NewRarely(clientEvery, func() time.Time { return now })}
	fail := func(n int) {
		for i := range n {
			l.Printf(t.Context(), "redis: connection pool: failed to dial after %d attempts: %v", i, errors.New("refused"))
		}
	}
	fail(170)
	l.Printf(t.Context(), "sentinel: new master=%q addr=%q", "main", "127.0.0.1:1")
	require.Equal(t, 2, strings.Count(out.String(), "\n"), out.String())
	out.Reset()
	now = now.Add(clientEvery)
	fail(2)
	require.Equal(t, 1, strings.Count(out.String(), "\n"), out.String())
	require.Contains(t, out.String(), `"more":169`)
	require.Contains(t, out.String(), `"msg":"the redis client reports"`)
}
