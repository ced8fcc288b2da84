package outgoing_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/reconciler/outgoing"
	"github.com/tarn-sync/tarn/shared/egress"
)

const (
	secret      = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	otherSecret = "whsec_AfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

var now = time.Unix(1790000000, 0)

// receiver is a server with TLS, and the options of a client for it.
func receiver(t *testing.T, h http.HandlerFunc) (*httptest.Server, outgoing.Options) {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	return s, optionsOf(s)
}

// optionsOf are those of a client for a server.
func optionsOf(s *httptest.Server) outgoing.Options {
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return outgoing.Options{
		URL: s.URL + "/hook?token=hunter2", Secrets: []string{secret}, Guard: egress.Guard{Loopback: true}, Timeout: time.Minute,
		TLS: &tls.Config{RootCAs: roots}, Now: func() time.Time { return now },
	}
}

func client(t *testing.T, o outgoing.Options) *outgoing.Client {
	t.Helper()
	c, err := outgoing.New(o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func message(body string) outgoing.Message {
	return outgoing.Message{ID: "msg_tarn1", Type: "application/cloudevents+json", Body: []byte(body)}
}

// The signature is the one that the library of Standard Webhooks makes: the vector was made
// with it.
func TestSignature(t *testing.T) {
	const body = `{"type":"user.created","timestamp":"2026-09-21T14:13:20Z","data":{"id":"user_1"}}`
	got := make(chan http.Header, 1)
	read := make(chan string, 1)
	_, o := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		read <- string(b)
		got <- r.Header
	})
	c := client(t, o)
	require.Equal(t, outgoing.Answer{Outcome: outgoing.Accepted, Status: 200}, c.Send(t.Context(), message(body)))
	h := <-got
	require.Equal(t, body, <-read)
	const sign = "v1,vZyxb+EvmZOIh1SE/7rl4LcTvipr1Q3bqs/70if7VVA="
	require.Equal(t, []string{"msg_tarn1"}, h["Webhook-Id"])
	require.Equal(t, []string{"1790000000"}, h["Webhook-Timestamp"])
	require.Equal(t, []string{sign}, h["Webhook-Signature"])
	require.Equal(t, "application/cloudevents+json", h.Get("Content-Type"))

	// While a secret is replaced, both sign.
	require.NoError(t, c.SetSecrets([]string{otherSecret, secret}))
	require.Equal(t, outgoing.Accepted, c.Send(t.Context(), message(body)).Outcome)
	signs := strings.Fields((<-got).Get("Webhook-Signature"))
	<-read
	require.Len(t, signs, 2)
	require.Equal(t, sign, signs[1])
	require.NotEqual(t, sign, signs[0])
	require.Error(t, c.SetSecrets(nil))
	require.Error(t, c.SetSecrets([]string{"whsec_?"}))
}

// An id is sent as it is where it can be, and never has the full stop that separates the
// parts of the signed text.
func TestID(t *testing.T) {
	got := make(chan string, 1)
	_, o := receiver(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Get("Webhook-Id") })
	c := client(t, o)
	for id, want := range map[string]string{
		"order/bord_1@12": "order/bord_1@12", "order/a.b@1": "order/a%2Eb@1", "order/a%2Eb@1": "order/a%252Eb@1",
		"order/ü\n@1": "order/%C3%BC%0A@1", "order/a b@1": "order/a%20b@1",
	} {
		m := message("{}")
		m.ID = id
		require.Equal(t, outgoing.Accepted, c.Send(t.Context(), m).Outcome)
		require.Equal(t, want, <-got)
	}
}

// What each answer means.
func TestAnswers(t *testing.T) {
	status, header := http.StatusOK, http.Header{}
	s, o := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		for name := range header {
			w.Header().Set(name, header.Get(name))
		}
		w.WriteHeader(status)
	})
	c := client(t, o)
	for _, tc := range []struct {
		status     int
		retryAfter string
		want       outgoing.Outcome
		wait       time.Duration
	}{
		{200, "", outgoing.Accepted, 0}, {204, "", outgoing.Accepted, 0}, {299, "9", outgoing.Accepted, 0},
		{300, "", outgoing.Refused, 0}, {301, "", outgoing.Refused, 0}, {304, "", outgoing.Refused, 0}, {307, "", outgoing.Refused, 0},
		{400, "", outgoing.Refused, 0}, {401, "", outgoing.Refused, 0}, {404, "", outgoing.Refused, 0}, {409, "", outgoing.Refused, 0}, {422, "", outgoing.Refused, 0},
		{410, "", outgoing.Ended, 0},
		{429, "", outgoing.Throttled, 0}, {429, "7", outgoing.Throttled, 7 * time.Second}, {429, "86400", outgoing.Throttled, time.Hour},
		{429, "99999999999999999999", outgoing.Throttled, 0}, {429, "9223372036854775807", outgoing.Throttled, time.Hour}, {429, "-1", outgoing.Throttled, 0},
		{429, now.Add(time.Minute).UTC().Format(http.TimeFormat), outgoing.Throttled, time.Minute},
		{429, now.Add(2 * time.Hour).UTC().Format(http.TimeFormat), outgoing.Throttled, time.Hour},
		{429, now.Add(-time.Minute).UTC().Format(http.TimeFormat), outgoing.Throttled, 0},
		{503, "7", outgoing.Throttled, 7 * time.Second}, {503, "", outgoing.Away, 0}, {502, "", outgoing.Away, 0}, {504, "", outgoing.Away, 0},
		{500, "", outgoing.Refused, 0}, {501, "", outgoing.Refused, 0}, {599, "", outgoing.Refused, 0},
	} {
		status, header = tc.status, http.Header{}
		if tc.retryAfter != "" {
			header.Set("Retry-After", tc.retryAfter)
		}
		a := c.Send(t.Context(), message("{}"))
		require.Equal(t, tc.want, a.Outcome, "%d %s", tc.status, tc.retryAfter)
		require.Equal(t, tc.status, a.Status)
		require.Equal(t, tc.wait, a.RetryAfter, "%d %s", tc.status, tc.retryAfter)
		require.Equal(t, a.Outcome != outgoing.Accepted, a.Err != nil)
	}
	s.Close()
	a := client(t, o).Send(t.Context(), message("{}")) // c has a connection, on which the message may be cut off
	require.Equal(t, outgoing.Away, a.Outcome, "no connection")
	require.NotContains(t, a.Err.Error(), "hunter2")
}

// No redirect is followed, wherever it leads.
func TestRedirect(t *testing.T) {
	var followed atomic.Int32
	other, _ := receiver(t, func(http.ResponseWriter, *http.Request) { followed.Add(1) })
	for _, status := range []int{301, 302, 303, 307, 308} {
		s, o := receiver(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, status) })
		o.TLS.RootCAs.AddCert(other.Certificate())
		a := client(t, o).Send(t.Context(), message("{}"))
		require.Equal(t, outgoing.Refused, a.Outcome)
		require.ErrorContains(t, a.Err, "redirects are not followed")
		s.Close()
	}
	require.Zero(t, followed.Load())
}

// A receiver that is slow in any way is cut off, and one that sends without end.
func TestSlow(t *testing.T) {
	big := strings.Repeat("x", 32<<20) // more than any buffer between the two
	over := make(chan struct{})        // a server does not see a client go whose body it has not read
	for name, tc := range map[string]struct {
		handle http.HandlerFunc
		body   string
		over   func()
	}{
		"never answers": {func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, "{}", func() {}},
		"never reads": {func(http.ResponseWriter, *http.Request) { <-over }, big, func() { close(over) }},
		"answers slowly": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusOK)
			for tick := time.NewTicker(5 * time.Millisecond); r.Context().Err() == nil; <-tick.C {
				_, _ = w.Write([]byte("."))
				_ = http.NewResponseController(w).Flush()
			}
		}, "{}", func() {}},
	} {
		t.Run(name, func(t *testing.T) {
			_, o := receiver(t, tc.handle)
			t.Cleanup(tc.over)
			o.Timeout = 3 * time.Second // in which a slow machine shakes hands
			begun := time.Now()
			a := client(t, o).Send(t.Context(), message(tc.body))
			require.Equal(t, outgoing.Refused, a.Outcome)
			require.ErrorContains(t, a.Err, "takes too long")
			require.Less(t, time.Since(begun), 20*time.Second)
		})
	}
	t.Run("answers without end", func(t *testing.T) {
		ended := make(chan struct{})
		_, o := receiver(t, func(w http.ResponseWriter, r *http.Request) {
			defer close(ended)
			for chunk := bytes.Repeat([]byte("x"), 1<<10); r.Context().Err() == nil; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		})
		require.Equal(t, outgoing.Accepted, client(t, o).Send(t.Context(), message("{}")).Outcome)
		<-ended // its connection was closed
	})
	t.Run("answers with endless headers", func(t *testing.T) {
		_, o := receiver(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) })
		require.Equal(t, outgoing.Refused, client(t, o).Send(t.Context(), message("{}")).Outcome)
	})
	t.Run("is no server of TLS", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer func() { _ = l.Close() }()
		a := client(t, outgoing.Options{
			URL: "https://" + l.Addr().String(), Secrets: []string{secret}, Guard: egress.Guard{Loopback: true}, Timeout: 300 * time.Millisecond,
		}).Send(t.Context(), message("{}"))
		require.Equal(t, outgoing.Away, a.Outcome)
		require.ErrorContains(t, a.Err, "takes too long")
	})
}

// Which addresses are reached is decided when the connection is made: a name that resolves
// to this machine is refused as its address is.
func TestGuarded(t *testing.T) {
	var reached atomic.Int32
	s, o := receiver(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	require.NoError(t, err)
	for _, g := range []egress.Guard{{}, {Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}} {
		for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0.0.0.0", "127.1"} {
			o.Guard, o.URL = g, "https://"+host+":"+port
			a := client(t, o).Send(t.Context(), message("{}"))
			require.Equal(t, outgoing.Away, a.Outcome, host)
			require.Error(t, a.Err, host)
		}
	}
	require.Zero(t, reached.Load())
	o.Guard, o.URL = egress.Guard{}, "https://localhost:"+port
	var refused *egress.Refused
	require.ErrorAs(t, client(t, o).Send(t.Context(), message("{}")).Err, &refused)
}

// The certificate is checked.
func TestCertificate(t *testing.T) {
	_, o := receiver(t, func(http.ResponseWriter, *http.Request) {})
	o.TLS = nil
	require.Equal(t, outgoing.Away, client(t, o).Send(t.Context(), message("{}")).Outcome)
}
