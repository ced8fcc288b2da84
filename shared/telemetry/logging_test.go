package telemetry

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
)

func TestLogLinesArePlain(t *testing.T) {
	for _, format := range []string{JSON, Text} {
		t.Run(format, func(t *testing.T) {
			var b strings.Builder
			log := NewLogger(&b, slog.LevelInfo, format)
			cause := fmt.Errorf("look at the shards: %w", fmt.Errorf("redis: %w", errors.New("redis: nil")))
			log.With("since", time.Time{}).Warn("source paused", "until", time.Time{}, "source", "", "error", cause, "reason", "missing: missing: order",
				"at", time.Date(2026, 3, 1, 13, 0, 0, 0, time.FixedZone("", 3600)), "stack", "a\nb")
			require.Equal(t, 1, strings.Count(b.String(), "\n"), "one line a record")
			line := strings.TrimSuffix(b.String(), "\n")
			_, line, _ = strings.Cut(line, "level") // the time differs
			require.Equal(t, map[string]string{
				JSON: `":"WARN","msg":"source paused","error":"look at the shards: redis: nil","reason":"missing: order","at":"2026-03-01T12:00:00Z","stack":"a\nb"}`,
				Text: `=WARN msg="source paused" error="look at the shards: redis: nil" reason="missing: order" at=2026-03-01T12:00:00.000Z stack="a\nb"`,
			}[format], line)
		})
	}
}

// lines collects what is logged by several goroutines.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// all returns the lines, each of which is JSON.
func (l *lines) all(t *testing.T) (all []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields), line)
		all = append(all, fields)
	}
	return all
}

// What a server of HTTP reports is one line, a panic an error with its stack.
func TestServersLogAsWeDo(t *testing.T) {
	var b lines
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic("boom")
		}
		w.WriteHeader(http.StatusOK)
		w.WriteHeader(http.StatusTeapot)
	}))
	server.Config.ErrorLog = ServerLog(NewLogger(&b, slog.LevelInfo, JSON))
	server.Start()
	defer server.Close()
	for _, path := range []string{"/", "/panic"} {
		if res, err := server.Client().Post(server.URL+path, "", nil); err == nil { // not repeated, as a GET would be
			require.NoError(t, res.Body.Close())
		}
	}
	said := b.all(t)
	require.Len(t, said, 2)
	for i, want := range []struct{ level, text string }{{"INFO", "superfluous response.WriteHeader call from "}, {"ERROR", "panic serving "}} {
		require.Equal(t, "the http server reports", said[i]["msg"])
		require.Equal(t, want.level, said[i]["level"])
		require.True(t, strings.HasPrefix(said[i]["text"].(string), want.text), said[i])
	}
	require.Contains(t, said[1]["stack"], "ServeHTTP")
}

// A server without file descriptors says so once a second, for as long as that lasts.
func TestAServerThatAcceptsNothing(t *testing.T) {
	var b lines
	log := ServerLog(NewLogger(&b, slog.LevelInfo, JSON))
	for range 5 {
		log.Printf("http: Accept error: %v; retrying in %v", syscall.EMFILE, time.Second)
	}
	said := b.all(t)
	require.Len(t, said, 1)
	require.Equal(t, "ERROR", said[0]["level"])
	require.Equal(t, "Accept error: too many open files; retrying in 1s", said[0]["text"])
}

// What OpenTelemetry logs has levels of ours: it has none of its own that we know.
func TestOpenTelemetryLogsAsWeDo(t *testing.T) {
	var b lines
	LogErrors(NewLogger(&b, slog.LevelDebug, JSON))
	defer LogErrors(slog.New(slog.DiscardHandler))
	log := slog.New(reports{NewLogger(&b, slog.LevelDebug, JSON).Handler()}).With("n", 1)
	for verbosity, want := range map[slog.Level]string{slog.LevelError: "ERROR", 0: "WARN", -1: "WARN", -4: "DEBUG", -8: "DEBUG"} {
		log.Log(t.Context(), verbosity, "dropped spans", "err", errors.New("queue is full"))
		said := b.all(t)
		line := said[len(said)-1]
		delete(line, "time")
		require.Equal(t, map[string]any{"level": want, "msg": "opentelemetry reports", "text": "dropped spans", "error": "queue is full", "n": 1.0}, line)
	}
	otel.Handle(errors.New("traces export: no route"))
	said := b.all(t)
	require.Equal(t, "traces are not being exported", said[len(said)-1]["msg"])
}
