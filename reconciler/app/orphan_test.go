package app_test

import (
	"context"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/reconciler/app"
	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// text is a log that is read while it is written.
type text struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *text) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *text) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A reconciler tells at its start of work that no worker does.
func TestTellsOfWorkOfASourceThatIsNotConfigured(t *testing.T) {
	redis, shop := redistest.Start(t).URL(), httptest.NewServer(nil)
	defer shop.Close()
	body, err := os.ReadFile(shopSettings(t, redis, shop.URL))
	require.NoError(t, err)
	c, err := config.Parse("tarn.yaml", append(body, "http: {addr: \"127.0.0.1:0\"}\n"...), nil)
	require.NoError(t, err)
	q, err := stream.Open(t.Context(), stream.Options{URLs: []string{redis}, Shards: c.Shards})
	require.NoError(t, err)
	defer func() { require.NoError(t, q.Close()) }()
	require.NoError(t, q.Remember(t.Context(), []string{"former", "shop"}))
	_, err = q.Append(t.Context(), stream.Draft{Signal: event.Own(&event.Event{
		Source: "former", ID: "evt_1", Type: "customer.created", CreatedAt: time.Now(), ReceivedAt: time.Now(),
		Entities: []event.Ref{{Key: event.Key{Source: "former", Kind: "customer", ID: "c1"}}}, Payload: []byte(`{}`),
	}, "")})
	require.NoError(t, err)
	said, done := &text{}, make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- app.Run(ctx, process.New("reconciler", c, said)) }()
	require.Eventually(t, func() bool { return strings.Contains(said.String(), "/discard") }, 20*time.Second, 20*time.Millisecond, said)
	require.Contains(t, said.String(), "former")
	cancel()
	require.NoError(t, <-done)
}
