// Package unconfiguredtest proves that a process warns of work of sources that are
// not configured.
package unconfiguredtest

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/stream"
)

// TellsAtStart requires that a process logs at its start that work of a source
// waits that c does not have, and that it stops cleanly. Its log may be the only
// one that the person who renamed the source reads. c names a Redis that is
// empty.
func TellsAtStart(t *testing.T, name string, c *config.Config, run func(context.Context, *process.Process) error) {
	t.Helper()
	q, err := stream.Open(t.Context(), stream.Options{URLs: []string{string(c.Redis.URL[0])}, Shards: c.Shards})
	require.NoError(t, err)
	defer func() { require.NoError(t, q.Close()) }()
	require.NoError(t, q.Remember(t.Context(), []string{"former"}))
	_, err = q.Append(t.Context(), stream.Draft{Signal: event.Own(&event.Event{
		Source: "former", ID: "evt_1", Type: "account.created", CreatedAt: time.Now(), ReceivedAt: time.Now(),
		Entities: []event.Ref{{Key: event.Key{Source: "former", Kind: "account", ID: "cusa_1"}}}, Payload: []byte(`{}`),
	}, "")})
	require.NoError(t, err)

	said, done := &log{}, make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { done <- run(ctx, process.New(name, c, said)) }()
	require.Eventually(t, func() bool { return strings.Contains(said.String(), "/discard") }, 20*time.Second, 20*time.Millisecond, said)
	require.Contains(t, said.String(), "former")
	cancel()
	require.NoError(t, <-done)
}

// log is read while it is written.
type log struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
