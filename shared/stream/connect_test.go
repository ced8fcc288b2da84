package stream

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// A cluster's client dials once at each of its repetitions; others dial often enough to
// outlast a short absence of Redis.
func TestDials(t *testing.T) {
	for url, want := range map[string]int{"redis+cluster://127.0.0.1:1": 1, "redis://127.0.0.1:1": 5} {
		client, err := connect(Options{URLs: []string{url}}, &writes{}, &account{})
		require.NoError(t, err)
		var got int
		switch c := client.(type) {
		case *redis.ClusterClient:
			got = c.Options().DialerRetries
		case *redis.Client:
			got = c.Options().DialerRetries
		}
		require.Equal(t, want, got, url)
		require.NoError(t, client.Close())
	}
}
