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
)

// BenchmarkReceive is the cost of one webhook without HTTP and Redis.
func BenchmarkReceive(b *testing.B) {
	t := &testing.T{}
	now := time.Now()
	a, err := New(Options{Sources: []Source{lemon(t, nil, testSecret)}, Queue: agreeable{}, Store: &fakeStore{}})
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
