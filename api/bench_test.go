package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
	"github.com/tarn-sync/tarn/shared/telemetry/otlptest"
)

// BenchmarkReceive is the cost of one webhook without HTTP and Redis, without traces and
// while one in a hundred is traced.
func BenchmarkReceive(b *testing.B) {
	collector := otlptest.Start()
	defer collector.Close()
	for name, o := range map[string]telemetry.Options{
		"untraced": {}, "traced": {Service: "tarn-api", Endpoint: collector.URL(), SampleRatio: 0.01},
	} {
		b.Run(name, func(b *testing.B) { benchmarkReceive(b, o) })
	}
}

func benchmarkReceive(b *testing.B, traces telemetry.Options) {
	flush, err := telemetry.Start(b.Context(), traces)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = flush(context.Background()) }() // what is left does not count
	t := &testing.T{}
	now := time.Now()
	a, err := New(Options{
		Sources: []Source{lemon(t, nil, testSecret)}, Queue: agreeable{}, Store: &fakeStore{},
	})
	if err != nil {
		b.Fatal(err)
	}
	body := orderEvent("evt_1")
	header := http.Header{"Lmg-Signature": {signature(testSecret, body, now)}, "Content-Type": {"application/json"}}
	text := strings.NewReader(body)
	req, _ := http.NewRequest(http.MethodPost, "/webhooks/lemon", nil)
	req.Header, req.ContentLength = header, int64(len(body))
	w := discard{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		text.Reset(body)
		req.Body = io.NopCloser(text)
		a.engine.ServeHTTP(w, req)
	}
}

// agreeable is a queue that takes everything.
type agreeable struct{ Queue }

func (agreeable) Append(_ context.Context, d stream.Draft) (stream.Receipt, error) {
	_, err := d.Signal.Fields()
	return stream.Receipt{ID: "1-1"}, err
}
func (agreeable) AddNotes(context.Context, []stream.Note) error { return nil }
func (agreeable) Ping(context.Context) error                    { return nil }

type discard struct{ h http.Header }

func (d discard) Header() http.Header { return d.h }
func (d discard) WriteHeader(code int) {
	if code != http.StatusOK {
		panic(fmt.Sprint("status ", code))
	}
}
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
