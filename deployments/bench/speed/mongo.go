package speed

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"

	"github.com/tarn-sync/tarn/shared/storage/mongo/mongotest"
)

// notAsked are the commands that looking sends, and what drivers send by themselves.
var notAsked = []string{"serverStatus", "hello", "isMaster", "ismaster", "ping", "endSessions", "saslStart", "saslContinue"}

// freshDatabase returns the URI of a database of a name not used yet, and a function
// that drops it.
func freshDatabase(ctx context.Context, uri string) (of string, drop func() error, err error) {
	u, err := url.Parse(uri)
	if err != nil {
		return "", nil, fmt.Errorf("-uri: %w", err)
	}
	name := "tarn_bench_" + strings.ToLower(rand.Text()[:10])
	u.Path = "/" + name
	return u.String(), func() error { return mongotest.Drop(context.WithoutCancel(ctx), uri, name) }, nil
}
