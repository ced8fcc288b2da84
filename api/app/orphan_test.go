package app_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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

// An api tells at its start of work that no worker does: it may be the only
// process whose log the person who renamed the source reads.
func TestTellsOfWorkOfASourceThatIsNotConfigured(t *testing.T) {
	addr, redis := freeAddr(t), redistest.Start(t).URL()
	c := settings(t, addr, redis, "sqlite://"+t.TempDir()+"/tarn.db")
	q, err := stream.Open(t.Context(), stream.Options{URLs: []string{redis}, Shards: c.Shards})
	require.NoError(t, err)
	defer func() { require.NoError(t, q.Close()) }()
	require.NoError(t, q.Remember(t.Context(), []string{"former", "lemon"}))
	_, err = q.Append(t.Context(), stream.Draft{Signal: event.Own(&event.Event{
		Source: "former", ID: "evt_1", Type: "account.created", CreatedAt: time.Now(), ReceivedAt: time.Now(),
		Entities: []event.Ref{{Key: event.Key{Source: "former", Kind: "account", ID: "cusa_1"}}}, Payload: []byte(`{}`),
	}, "")})
	require.NoError(t, err)
	said := &text{}
	stop := running(t, process.New("api", c, said))
	require.Eventually(t, func() bool { return strings.Contains(said.String(), "/discard") }, 20*time.Second, 20*time.Millisecond, said)
	require.Contains(t, said.String(), "former")
	require.Equal(t, http.StatusOK, status(t, "http://"+addr+"/readyz"))
	require.NoError(t, stop())
}

// A source that only the api has in its settings is accepted and told as one
// that no worker works on.
func TestASourceThatOnlyTheAPIHasIsRemembered(t *testing.T) {
	addr, redis := freeAddr(t), redistest.Start(t).URL()
	c := settings(t, addr, redis, "sqlite://"+t.TempDir()+"/tarn.db")
	stop := running(t, process.New("api", c, &text{}))
	q, err := stream.Open(t.Context(), stream.Options{URLs: []string{redis}, Shards: c.Shards})
	require.NoError(t, err)
	defer func() { require.NoError(t, q.Close()) }()
	workers := []string{"other"} // what a worker has in its settings
	require.Eventually(t, func() bool {
		former, err := q.Former(t.Context(), workers)
		return err == nil && len(former) == 1 && former[0] == "lemon"
	}, 20*time.Second, 20*time.Millisecond)
	require.Equal(t, http.StatusOK, send(t, addr, "old", "evt_1"))
	orphans, err := q.Orphans(t.Context(), workers)
	require.NoError(t, err)
	require.Len(t, orphans, 1)
	require.Equal(t, int64(1), orphans[0].Live)
	require.NoError(t, stop())
}
