package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/stream"
)

// serve runs the fixture's api on a port of its own until the test ends or
// stop is called; stop returns what Serve returned.
func (f *fixture) serve(t *testing.T) (addr string, stop func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Serve(ctx, l) }()
	stopped := false
	stop = func() error {
		cancel()
		stopped = true
		return <-ended
	}
	t.Cleanup(func() {
		if !stopped {
			require.NoError(t, stop())
		}
	})
	return l.Addr().String(), stop
}

// A balancer that closes idle connections later than we do sends webhooks into ones that we
// are closing, and answers 502. Google's wait for 10 minutes, and no setting changes that:
// https://cloud.google.com/load-balancing/docs/https/request-distribution#timeout-keepalive-backends
func TestIdleConnectionsOutlastThoseOfBalancers(t *testing.T) {
	require.Greater(t, NewServer(nil, time.Second).IdleTimeout, 10*time.Minute)
}

func TestSlowClientsAreCutOff(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) { o.ReadTimeout = 4 * time.Second })
	addr, _ := f.serve(t)
	for _, c := range []struct {
		name, sent, status string
	}{
		{"body never comes", "POST /webhooks/lemon HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"id\":", "408"},
		{"header never ends", "POST /webhooks/lemon HTTP/1.1\r\nHost: x\r\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, c.sent)
			require.NoError(t, err)
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
			answer, err := io.ReadAll(conn)
			require.NoError(t, err, "the server ends the connection, not our deadline")
			require.Contains(t, string(answer), c.status)
		})
	}
	require.Empty(t, f.queue.appended())
}

func TestWaitingOutlivesTheReadTimeout(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) { o.ReadTimeout = 4 * time.Second })
	addr, _ := f.serve(t)
	resp, err := http.Get("http://" + addr + "/v1/entities/lemon/order/bord_1?wait=6s")
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusNotFound, resp.StatusCode, "the wait ran its course: %s", body)
	http.DefaultClient.CloseIdleConnections()
}

func TestTooLargeEndsTheConnection(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	addr, _ := f.serve(t)
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	// The rest of the body would be read as a request if the connection lived.
	fmt.Fprintf(conn, "POST /webhooks/lemon HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 1<<30)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
	require.True(t, resp.Close)
}

func TestStopFinishesRequestsAndPutsCountsOnRecord(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	release := make(chan struct{})
	entered := make(chan struct{})
	f.o.Queue = nil // not used after New
	gate := &gatedQueue{fakeQueue: f.queue, entered: entered, release: release}
	f2 := newFixture(t, func(o *Options) { o.Queue = gate })
	addr, stop := f2.serve(t)

	stranger, err := http.Post("http://"+addr+"/webhooks/lime", "", strings.NewReader("{}"))
	require.NoError(t, err)
	stranger.Body.Close()
	require.Equal(t, http.StatusNotFound, stranger.StatusCode)

	answered := make(chan *http.Response, 1)
	go func() {
		req := webhook("lemon", orderEvent("evt_1"), noon)
		req.RequestURI, req.URL.Scheme, req.URL.Host = "", "http", addr
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		answered <- resp
	}()
	<-entered
	waiting := make(chan int, 1)
	f2.store.looked = make(chan struct{})
	go func() {
		resp, err := http.Get("http://" + addr + "/v1/entities/lemon/order/bord_1?wait=30s")
		if err != nil {
			waiting <- 0
			return
		}
		resp.Body.Close()
		waiting <- resp.StatusCode
	}()
	<-f2.store.looked

	stopped := make(chan error, 1)
	began := time.Now()
	go func() { stopped <- stop() }()
	<-f2.leaving
	require.Equal(t, http.StatusNotFound, <-waiting, "a waiting request is answered")
	close(release)
	require.NoError(t, <-stopped)
	require.Less(t, time.Since(began), 20*time.Second)
	resp := <-answered
	require.NotNil(t, resp, "the request under way was finished")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	notes := gate.noted()
	require.Len(t, notes, 1)
	require.Equal(t, "unknown_source", notes[0].Reason)
	http.DefaultClient.CloseIdleConnections()
}

// gatedQueue holds appends until the test lets them go.
type gatedQueue struct {
	*fakeQueue
	entered, release chan struct{}
}

func (q *gatedQueue) Append(ctx context.Context, d stream.Draft) (stream.Receipt, error) {
	close(q.entered)
	<-q.release
	return q.fakeQueue.Append(ctx, d)
}

func TestStopCutsOffWhoTakesTooLong(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	gate := &gatedQueue{fakeQueue: newFakeQueue(), entered: make(chan struct{}), release: release}
	f := newFixture(t, func(o *Options) { o.Queue, o.Grace = gate, 50*time.Millisecond })
	addr, stop := f.serve(t)
	gone := make(chan error, 1)
	go func() {
		req := webhook("lemon", orderEvent("evt_1"), noon)
		req.RequestURI, req.URL.Scheme, req.URL.Host = "", "http", addr
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		gone <- err
	}()
	<-gate.entered
	require.NoError(t, stop())
	require.Error(t, <-gone)
	http.DefaultClient.CloseIdleConnections()
}

func TestRunRefusesAnOpenDoor(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) { o.Addr = "0.0.0.0:0" })
	require.ErrorContains(t, f.Run(t.Context()), "operator_tokens")
}

func TestServeTellsWhenItCannotListen(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	f := newFixture(t, func(o *Options) { o.Addr = l.Addr().String() })
	require.ErrorContains(t, f.Run(t.Context()), "listen for http")
	f = newFixture(t)
	require.NoError(t, l.Close())
	require.True(t, errors.Is(f.Serve(t.Context(), l), net.ErrClosed))
}
