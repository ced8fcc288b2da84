package outgoing_test

import (
	"bufio"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/reconciler/outgoing"
	"github.com/tarn-sync/tarn/shared/egress"
)

// receiver2 is a receiver that speaks HTTP/2.
func receiver2(t *testing.T, h http.HandlerFunc) (*httptest.Server, outgoing.Options) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, optionsOf(s)
}

// speaking is a receiver that answers the nth connection, from 0, by itself: it reads
// requests and writes what it likes. The connection is closed when it returns.
func speaking(t *testing.T, answer func(n int, in *bufio.Reader, out net.Conn)) outgoing.Options {
	t.Helper()
	s, o := receiver(t, func(http.ResponseWriter, *http.Request) {})
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: s.TLS.Certificates})
	require.NoError(t, err)
	var served sync.WaitGroup
	t.Cleanup(served.Wait)
	t.Cleanup(func() { _ = l.Close() })
	served.Go(func() {
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer func() { _ = conn.Close() }()
				answer(n, bufio.NewReader(conn), conn)
			})
		}
	})
	o.URL = "https://" + l.Addr().String() + "/hook?token=hunter2"
	return o
}

// take reads one request.
func take(in *bufio.Reader) bool {
	r, err := http.ReadRequest(in)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, r.Body)
	return err == nil
}

// The status is what a receiver says, whatever becomes of the body behind it: one that wants
// to be left alone, or wants no more, must not have to write a good page about it.
func TestTheStatusIsTheAnswer(t *testing.T) {
	for answer, want := range map[string]outgoing.Answer{
		"410 Gone\r\nContent-Length: 100":                                     {Outcome: outgoing.Ended, Status: 410},
		"429 Slow Down\r\nRetry-After: 7\r\nContent-Length: 100":              {Outcome: outgoing.Throttled, Status: 429, RetryAfter: 7 * time.Second},
		"503 Busy\r\nRetry-After: 7\r\nTransfer-Encoding: chunked":            {Outcome: outgoing.Throttled, Status: 503, RetryAfter: 7 * time.Second},
		"502 Bad\r\nContent-Length: 100":                                      {Outcome: outgoing.Away, Status: 502},
		"422 No\r\nContent-Length: 100":                                       {Outcome: outgoing.Refused, Status: 422},
		"302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 9": {Outcome: outgoing.Refused, Status: 302},
		"200 OK\r\nContent-Length: 100":                                       {Outcome: outgoing.Refused}, // it may have died with it
	} {
		o := speaking(t, func(_ int, in *bufio.Reader, out net.Conn) {
			if take(in) {
				_, _ = io.WriteString(out, "HTTP/1.1 "+answer+"\r\n\r\nx")
			}
		})
		a := client(t, o).Send(t.Context(), message("{}"))
		require.Error(t, a.Err, answer)
		a.Err = nil
		require.Equal(t, want, a, answer)
	}
	t.Run("a page that never ends", func(t *testing.T) {
		o := speaking(t, func(_ int, in *bufio.Reader, out net.Conn) {
			if take(in) {
				_, _ = io.WriteString(out, "HTTP/1.1 410 Gone\r\nContent-Length: 100\r\n\r\nx")
				_, _ = in.ReadByte()
			}
		})
		o.Timeout = 3 * time.Second
		require.Equal(t, outgoing.Ended, client(t, o).Send(t.Context(), message("{}")).Outcome)
	})
}

// A receiver may close a connection that it has kept, just when a message is sent on it. The
// message goes again on a new one: its id is the same, so that it does no harm if the first
// was read. On a new connection it does not: that one the receiver has closed on purpose.
func TestClosedByTheReceiver(t *testing.T) {
	var connections atomic.Int32
	o := speaking(t, func(n int, in *bufio.Reader, out net.Conn) {
		connections.Add(1)
		if take(in) {
			_, _ = io.WriteString(out, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			take(in)
		}
	})
	c := client(t, o)
	for range 3 {
		require.Equal(t, outgoing.Accepted, c.Send(t.Context(), message("{}")).Outcome)
	}
	require.EqualValues(t, 3, connections.Load())

	connections.Store(0)
	o = speaking(t, func(_ int, in *bufio.Reader, _ net.Conn) { connections.Add(1); take(in) })
	a := client(t, o).Send(t.Context(), message("{}"))
	require.Equal(t, outgoing.Refused, a.Outcome)
	require.EqualValues(t, 1, connections.Load())
}

// What a receiver writes in place of HTTP is not kept: errors are saved for a thousand
// entities, and shown.
func TestNoHTTP(t *testing.T) {
	long := strings.Repeat("\x00hunter2", 1500)
	for name, answer := range map[string]string{
		"another protocol": long + "\r\n\r\n", "no number": "HTTP/1.1 " + long + "\r\n\r\n", "no header": "HTTP/1.1 200 OK\r\n" + long + "\r\n\r\n",
		"no length": "HTTP/1.1 200 OK\r\nContent-Length: " + long + "\r\n\r\n", "no coding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + long + "\r\n\r\n",
		"no address": "HTTP/1.1 302 Found\r\nLocation: http://[" + strings.Repeat("hunter2", 1500) + "\r\nContent-Length: 0\r\n\r\n",
		"no chunk":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + long + "\r\n",
		"no body":    "", "a switch of protocols": "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			o := speaking(t, func(_ int, in *bufio.Reader, out net.Conn) {
				if take(in) {
					_, _ = io.WriteString(out, answer)
				}
			})
			a := client(t, o).Send(t.Context(), message("{}"))
			require.Equal(t, outgoing.Refused, a.Outcome)
			require.Less(t, len(a.Err.Error()), 300, a.Err)
			require.NotContains(t, a.Err.Error(), "hunter2hunter2")
		})
	}
}

// Answers before the answer are passed over, unless there is no end of them; a switch of
// protocols is no answer, and not waited for.
func TestInformational(t *testing.T) {
	const hint = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
	for _, tc := range []struct {
		before string
		want   outgoing.Outcome
	}{{hint, outgoing.Accepted}, {strings.Repeat(hint, 5), outgoing.Accepted}, {strings.Repeat(hint, 2000), outgoing.Refused}} {
		o := speaking(t, func(_ int, in *bufio.Reader, out net.Conn) {
			if take(in) {
				_, _ = io.WriteString(out, tc.before+"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		})
		require.Equal(t, tc.want, client(t, o).Send(t.Context(), message("{}")).Outcome, len(tc.before))
	}
	over := make(chan struct{})
	defer close(over)
	o := speaking(t, func(_ int, in *bufio.Reader, out net.Conn) {
		if take(in) {
			_, _ = io.WriteString(out, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
			<-over
		}
	})
	a := client(t, o).Send(t.Context(), message("{}"))
	require.Equal(t, outgoing.Refused, a.Outcome)
	require.EqualError(t, a.Err, "the receiver answered 101")
}

// No answer is unpacked, since none is asked to be packed: a few bytes cannot become many.
func TestPacked(t *testing.T) {
	asked := make(chan http.Header, 1)
	_, o := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header
		w.Header().Set("Content-Encoding", "gzip")
		packed := gzip.NewWriter(w)
		_, _ = packed.Write(make([]byte, 1<<20))
		_ = packed.Close()
	})
	require.Equal(t, outgoing.Accepted, client(t, o).Send(t.Context(), message("{}")).Outcome)
	h := <-asked
	require.Empty(t, h.Get("Accept-Encoding"))
	require.Empty(t, h.Get("Idempotency-Key"))
	require.Equal(t, "Tarn", h.Get("User-Agent"))
}

// The address is used as it is in the settings: path, query and port. Nothing that an answer
// sets is sent back.
func TestAddress(t *testing.T) {
	got := make(chan string, 1)
	s, o := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		got <- r.Host + " " + r.RequestURI + " " + r.Header.Get("Cookie") + r.Header.Get("Authorization")
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
	})
	for path, want := range map[string]string{"": "/", "/": "/", "/a": "/a", "/a/": "/a/", "//a/../b": "//a/../b", "/a%2Fb%20c?x=%2F&y=a+b&z": "/a%2Fb%20c?x=%2F&y=a+b&z"} {
		o.URL = s.URL + path
		c := client(t, o)
		for range 2 {
			require.Equal(t, outgoing.Accepted, c.Send(t.Context(), message("{}")).Outcome)
			require.Equal(t, s.Listener.Addr().String()+" "+want+" ", <-got)
		}
	}
}

// A host is checked as what it is once it is written in ASCII.
func TestUnicodeHost(t *testing.T) {
	var reached atomic.Int32
	s, o := receiver(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	require.NoError(t, err)
	o.URL = "https://１２７。０。０。１:" + port
	require.Equal(t, outgoing.Accepted, client(t, o).Send(t.Context(), message("{}")).Outcome)
	o.Guard = egress.Guard{}
	a := client(t, o).Send(t.Context(), message("{}"))
	var refused *egress.Refused
	require.ErrorAs(t, a.Err, &refused)
	require.Equal(t, outgoing.Away, a.Outcome)
	require.EqualValues(t, 1, reached.Load())
}

// A proxy of the environment is not asked: the guard would see its address alone.
func TestProxy(t *testing.T) {
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var asked atomic.Int32
	var served sync.WaitGroup
	t.Cleanup(served.Wait)
	t.Cleanup(func() { _ = proxy.Close() })
	served.Go(func() {
		for {
			conn, err := proxy.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			_ = conn.Close()
		}
	})
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"} {
		t.Setenv(name, "http://"+proxy.Addr().String())
	}
	_, o := receiver(t, func(http.ResponseWriter, *http.Request) {})
	o.URL = "https://10.1.1.1/hook"
	a := client(t, o).Send(t.Context(), message("{}"))
	var refused *egress.Refused
	require.ErrorAs(t, a.Err, &refused)
	require.Equal(t, netip.MustParseAddr("10.1.1.1"), refused.Addr)
	require.Zero(t, asked.Load())
}

// A message that is sent again has the same id and a new time, which the signature covers:
// receivers refuse what is minutes old.
func TestSentAgainLater(t *testing.T) {
	got := make(chan http.Header, 1)
	_, o := receiver(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header })
	at := now
	o.Now = func() time.Time { return at }
	c := client(t, o)
	require.Equal(t, outgoing.Accepted, c.Send(t.Context(), message("{}")).Outcome)
	first := <-got
	at = at.Add(time.Hour)
	require.Equal(t, outgoing.Accepted, c.Send(t.Context(), message("{}")).Outcome)
	second := <-got
	require.Equal(t, first["Webhook-Id"], second["Webhook-Id"])
	require.Equal(t, fmt.Sprint(at.Unix()), second.Get("Webhook-Timestamp"))
	require.NotEqual(t, first["Webhook-Signature"], second["Webhook-Signature"])
}

// Over HTTP/2 the bounds are the same, and a connection that the receiver ends between two
// messages costs none of them.
func TestHTTP2(t *testing.T) {
	t.Run("goes away between messages", func(t *testing.T) {
		_, o := receiver2(t, func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor != 2 {
				t.Errorf("%s", r.Proto)
			}
			w.Header().Set("Connection", "close") // a GOAWAY
		})
		c := client(t, o)
		for range 20 {
			require.Equal(t, outgoing.Accepted, c.Send(t.Context(), message("{}")).Outcome)
		}
	})
	t.Run("answers without end", func(t *testing.T) {
		ended := make(chan struct{})
		_, o := receiver2(t, func(w http.ResponseWriter, r *http.Request) {
			defer close(ended)
			for chunk := make([]byte, 1<<10); r.Context().Err() == nil; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		})
		require.Equal(t, outgoing.Accepted, client(t, o).Send(t.Context(), message("{}")).Outcome)
		<-ended
	})
	t.Run("answers with endless headers", func(t *testing.T) {
		_, o := receiver2(t, func(w http.ResponseWriter, _ *http.Request) {
			for i := range 1 << 10 {
				w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("x", 1<<10))
			}
		})
		a := client(t, o).Send(t.Context(), message("{}"))
		require.Equal(t, outgoing.Refused, a.Outcome)
		require.Less(t, len(a.Err.Error()), 300)
	})
	t.Run("resets the stream", func(t *testing.T) {
		_, o := receiver2(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		require.Equal(t, outgoing.Refused, client(t, o).Send(t.Context(), message("{}")).Outcome)
	})
}

// A connection that is dead, though nothing has closed it, costs one message, not all until
// the system notices.
func TestDeadConnection(t *testing.T) {
	s, o := receiver2(t, func(http.ResponseWriter, *http.Request) {})
	var dead atomic.Bool // what the first connection carries is lost
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var served sync.WaitGroup
	t.Cleanup(served.Wait)
	over := make(chan struct{})
	t.Cleanup(func() { close(over); _ = l.Close() })
	served.Go(func() {
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			served.Go(func() { <-over; _ = conn.Close(); _ = to.Close() })
			for from, into := range map[net.Conn]net.Conn{conn: to, to: conn} {
				served.Go(func() {
					for b := make([]byte, 1<<10); ; {
						k, err := from.Read(b)
						if err != nil {
							return
						}
						if n > 0 || !dead.Load() {
							_, _ = into.Write(b[:k])
						}
					}
				})
			}
		}
	})
	o.URL, o.Timeout = "https://"+l.Addr().String(), 5*time.Second
	c := client(t, o)
	require.Equal(t, outgoing.Accepted, c.Send(t.Context(), message("{}")).Outcome)
	dead.Store(true)
	refused := 0
	for c.Send(t.Context(), message("{}")).Outcome != outgoing.Accepted {
		refused++
		require.Less(t, refused, 4)
	}
	require.Positive(t, refused)
}
