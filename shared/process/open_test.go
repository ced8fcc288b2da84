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
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

func TestAway(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		away bool
	}{
		"refused":        {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, true},
		"reset":          {os.NewSyscallError("read", syscall.ECONNRESET), true},
		"cut off":        {io.EOF, true},
		"cut off half":   {io.ErrUnexpectedEOF, true},
		"timeout":        {os.ErrDeadlineExceeded, true},
		"loading":        {errors.New("LOADING Redis is loading the dataset in memory"), true},
		"store away":     {fate.Errorf(fate.Unavailable, "no primary"), true},
		"another fleet":  {stream.ErrShards, false},
		"wrong password": {errors.New("WRONGPASS invalid username-password pair"), false},
		"asked to stop":  {context.Canceled, false},
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
		p.Health.Healthz().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/healthz", nil))
		require.Equal(t, http.StatusOK, answer.Code, answer.Body)
		require.Contains(t, answer.Body.String(), `"waiting_on":"store"`)
		return "the store", nil
	})
	require.NoError(t, err)
	require.Equal(t, "the store", opened)
}
