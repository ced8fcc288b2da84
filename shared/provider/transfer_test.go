package provider

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
)

// trickle writes n bytes of a text at a time, so often, until the client has gone.
func trickle(r *http.Request, text string, n int, every time.Duration, write func(string)) {
	for i := 0; i < len(text); i += n {
		select {
		case <-r.Context().Done():
			return
		case <-time.After(every):
			write(text[i:min(i+n, len(text))])
		}
	}
}

// An answer that trickles is left long before the timeout, whatever part of it
// trickles; one that is slow to begin or only slow enough is taken.
func TestAnAnswerThatTrickles(t *testing.T) {
	const timeout = 30 * time.Second // so 6 s of grace
	long := strings.Replace(order, "{", "{"+strings.Repeat(" ", 27000), 1)
	byteASecond := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			trickle(r, order, 1, time.Second, func(s string) { _, _ = fmt.Fprint(w, s); w.(http.Flusher).Flush() })
		}
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		fate   fate.Class
	}{
		"its body":                   {byteASecond(200), fate.Transient},
		"the body of an error":       {byteASecond(500), fate.Transient},
		"the body of a missing one":  {byteASecond(404), fate.Transient},
		"the body of what refuses":   {byteASecond(403), fate.Refused},
		"a fast beginning, no end":   {behaviour{body: order, timing: hangs}.ServeHTTP, fate.Transient},
		"its header":                 {trickledHeader, fate.Transient},
		"slow to begin":              {slowToBegin(0), taken},
		"slow to begin, with a hint": {slowToBegin(http.StatusEarlyHints), taken},
		"slow, but fast enough": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			trickle(r, long, 1000, 300*time.Millisecond, func(s string) { _, _ = fmt.Fprint(w, s); w.(http.Flusher).Flush() })
		}, taken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(c.answer)
			t.Cleanup(s.Close)
			client := clientOf(t, lemon(t), ClientOptions{Timeout: timeout}, s.URL)
			begun := time.Now()
			_, err := client.Fetch(t.Context(), orderRef, "x")
			took := time.Since(begun)
			if c.fate == taken {
				require.NoError(t, err)
				return
			}
			class, _ := fate.Of(err)
			require.Equal(t, c.fate, class, "%v", err)
			require.Less(t, took, timeout/2)
		})
	}
}

// trickledHeader writes a byte of a header each second until the client has gone.
func trickledHeader(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer func() { _ = conn.Close() }()
	for {
		if _, err := fmt.Fprint(conn, "H"); err != nil {
			return
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}

// slowToBegin answers after the grace, and before that with an interim status if
// one is given.
func slowToBegin(interim int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if interim != 0 {
			w.WriteHeader(interim)
		}
		time.Sleep(7 * time.Second) // of the provider's own
		answers(200, order)(w, r)
	}
}
