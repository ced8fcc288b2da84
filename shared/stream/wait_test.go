package stream

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

var live = Place{"lemon", event.TierLive}

// blocked waits until so many clients block in a server.
func blocked(t *testing.T, srv *redistest.Server, n string) {
	t.Helper()
	c := srv.Client()
	require.Eventually(t, func() bool {
		return infoText(c.Info(t.Context(), "clients").Val(), "blocked_clients") == n
	}, soon, time.Millisecond)
}

// A wait names the streams that have something new, and it alone. A further one goes
// on from there on the same connection.
func TestWaiterNamesWhatIsNew(t *testing.T) {
	t.Parallel()
	for _, kind := range proxied {
		t.Run(kind.name, func(t *testing.T) {
			url, _ := kind.start(t)
			s := openStreams(t, quiet(url))
			l := ready(t, s, "w1")
			background := Place{"lemon", event.TierBackground}
			w := l.Waiter()
			defer w.Close()
			require.Nil(t, w.Done())
			w.Begin(t.Context(), []Place{live, background}, time.Minute)
			require.True(t, w.Covers([]Place{background}))
			require.False(t, w.Covers([]Place{live, {"other", event.TierLive}}))
			appended(t, s, look("a", event.Reconcile))
			<-w.Done()
			found, err := w.End()
			require.NoError(t, err)
			require.Equal(t, []Place{background}, found)

			w.Begin(t.Context(), []Place{live}, time.Minute)
			appended(t, s, happened("evt_1", "a"))
			<-w.Done()
			found, err = w.End()
			require.NoError(t, err)
			require.Equal(t, []Place{live}, found)
			require.Len(t, readLive(t, l), 1)
			require.False(t, l.More("lemon", event.TierLive))
		})
	}
}

// Closing ends a wait at once, in Redis too: no connection stays behind.
func TestWaiterIsClosedAtOnce(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	w := ready(t, s, "w1").Waiter()
	for range 3 {
		w.Begin(t.Context(), []Place{live}, time.Minute)
		done := w.Done()
		blocked(t, srv, "1")
		w.Close()
		<-done
		blocked(t, srv, "0")
	}
}

// A wait ends with an error when its server is gone. The next is at the one that is
// there then.
func TestWaiterComesBack(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	proxy := redistest.NewProxy(t, srv)
	s := openStreams(t, quiet(proxy.URL()))
	w := ready(t, s, "w1").Waiter()
	defer w.Close()
	w.Begin(t.Context(), []Place{live}, time.Minute)
	blocked(t, srv, "1")
	proxy.Cut()
	<-w.Done()
	_, err := w.End()
	require.Error(t, err)
	w.Begin(t.Context(), []Place{live}, time.Minute)
	blocked(t, srv, "1")
}

// A long wait ends just before a tick at which the worker wakes anyway, whenever it
// begins. A short one is as long as it may be, or up to a quarter shorter.
func TestLongWaitsEndWithATick(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const long, short = 2 * time.Minute, time.Second
		lengths := map[time.Duration]bool{}
		for range 100 {
			time.Sleep(77 * time.Millisecond)
			d := waitFor(long)
			require.LessOrEqual(t, d, long)
			require.Greater(t, d, long*3/4-2*time.Second-waitEarly)
			lengths[d.Truncate(time.Second)] = true
			require.Equal(t, (loops.UntilTick(time.Second)+time.Second-waitEarly)%time.Second, d%time.Second)

			d = waitFor(short)
			require.LessOrEqual(t, d, short)
			require.GreaterOrEqual(t, d, short*3/4)
		}
		require.Greater(t, len(lengths), 5, "they do not all end together")
		require.Equal(t, time.Millisecond, waitFor(0))
	})
}
