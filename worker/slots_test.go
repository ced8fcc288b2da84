package worker_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/worker"
)

// However many entities wait for a proof, one slot is held by who asks for it.
func TestASlowWitnessHoldsUpNoOthers(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Sources[0].Concurrency = 4 })
	b.start("w1")
	const n = 8
	for i := range n {
		b.row(b.send("widget.sold", "widget", fmt.Sprint(i)), storage.Processed)
	}
	b.row(b.send("widget.sold", "widget", "witness"), storage.Processed)
	asked := make(chan struct{}, 100)
	b.provider.on("widget", "witness", func(ctx context.Context, _ int) (string, error) {
		asked <- struct{}{}
		<-ctx.Done()
		return "", ctx.Err()
	})
	for i := range n {
		b.provider.fails("widget", fmt.Sprint(i), -1, errGone)
		b.send("widget.made", "widget", fmt.Sprint(i))
	}
	<-asked
	for i := range n { // all have come to where they want a proof
		require.True(t, eventually(func() bool { return b.provider.fetches("widget", fmt.Sprint(i)) >= 3 || i > 0 }))
		b.row(b.send("gadget.sold", "gadget", fmt.Sprint(i)), storage.Processed)
	}
}

// A key that is revoked between two parents charges no attempt.
func TestAKeyRevokedBetweenTwoParentsPausesTheSource(t *testing.T) {
	t.Parallel()
	b, p := inShops(t)
	b.start("w1")
	known(b, p, "w1")
	p.in("s1", "w1", always("", errGone))
	p.in("s2", "w1", func(int) (string, error) {
		p.setProbe(fate.New(fate.Refused, errForbidden))
		return "", errForbidden
	})
	id := b.widget("w1", "s2")
	b.paused("credentials")
	require.Zero(t, b.row(id, storage.Pending).Attempts)
	p.move("w1", "s2")
	p.setProbe(nil)
	require.Zero(t, b.row(id, storage.Processed).Attempts)
}

// Answers that trickle hold all slots for no longer than the client lets them,
// and when they are tried again no more than half.
func TestAnswersThatTrickleHoldUpNoOthers(t *testing.T) { // alone: it measures time
	const n = 25
	var trickling atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		id := path.Base(r.URL.Path)
		body := fmt.Sprintf(`{"id":%q,"history":[{"status":"sold","timestamp":"2026-07-01T12:00:00Z"}]}`, id)
		if !strings.HasPrefix(id, "slow") {
			_, _ = fmt.Fprint(w, body)
			return
		}
		trickling.Add(1)
		for _, c := range []byte(body) {
			_, _ = w.Write([]byte{c})
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(time.Second):
			}
		}
	}))
	t.Cleanup(server.Close)
	b := setup(t)
	client, err := provider.NewClient(b.def, provider.ClientOptions{BaseURL: server.URL, Key: "k", Timeout: time.Minute})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	b.options.Sources = []worker.Source{{Name: "acme", Definition: b.def, Client: client, Concurrency: n}}
	b.options.Retry = fate.Backoff{First: 100 * time.Millisecond, Cap: 100 * time.Millisecond, Attempts: 100}
	b.start("w1")
	for i := range n {
		b.send("gadget.sold", "gadget", fmt.Sprintf("slow%d", i))
	}
	wait := func(ids string, most time.Duration) {
		t.Helper()
		begun := time.Now()
		for i := range n {
			b.row(b.send("gadget.sold", "gadget", fmt.Sprint(ids, i)), storage.Processed)
		}
		require.Less(t, time.Since(begun), most)
	}
	require.True(t, eventually(func() bool { return trickling.Load() == n }), "all slots are taken")
	wait("first", 45*time.Second) // the client's minute, if it let them trickle; it gives them 12 s
	require.True(t, eventually(func() bool { return trickling.Load() > n }), "they are tried again")
	wait("later", 10*time.Second) // 12 s, if those tried again held all slots
}
