package receiver

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLoadIsCountedAndVerified(t *testing.T) {
	s := httptest.NewServer(bare())
	defer s.Close()
	load, err := send(t.Context(), s.Listener.Addr().String(), "test", 4, time.Second)
	require.NoError(t, err)
	require.Positive(t, load.Requests)
	require.Zero(t, load.Other, "the servers accept what the generator signs")

	refusing := httptest.NewServer(http.NotFoundHandler())
	defer refusing.Close()
	load, err = send(t.Context(), refusing.Listener.Addr().String(), "test", 1, time.Second)
	require.NoError(t, err)
	require.Equal(t, load.Requests, load.Other, "anything but 200 is seen")
}

func TestLoadReportsABrokenServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			_ = conn.Close()
		}
	}()
	_, err = send(t.Context(), l.Addr().String(), "test", 1, time.Second)
	require.Error(t, err)
}

func TestVerify(t *testing.T) {
	now := time.Unix(1700000000, 0)
	require.True(t, verify(Sign([]byte("{}"), now), []byte("{}"), now))
	require.False(t, verify(Sign([]byte("{}"), now), []byte("{ }"), now))
	require.False(t, verify(Sign([]byte("{}"), now), []byte("{}"), now.Add(time.Hour)))
	require.False(t, verify("", []byte("{}"), now))
}

func TestReportHoldsMediansAgainstTheLimits(t *testing.T) {
	rounds := func(rates ...int) (out []Load) {
		for _, r := range rates {
			out = append(out, Load{Requests: r, Seconds: 1})
		}
		return out
	}
	for name, c := range map[string]struct {
		tarn   []Load
		missed bool
	}{
		"held though one round was bad": {rounds(95, 1, 96), false},
		"missed":                        {rounds(80, 200, 70), true},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			got := map[string][]Load{"tarn": c.tarn, "gin": rounds(100, 100, 100), "bare": rounds(150, 150, 150)}
			require.Equal(t, c.missed, peers.report(&out, "always", got))
			require.Contains(t, out.String(), "tarn/gin")
			require.Contains(t, out.String(), "tarn/bare")
		})
	}
}
