package fleet

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/reconciler/outgoing"
	"github.com/tarn-sync/tarn/shared/egress"
)

// The receiver believes what is signed, keeps the greater version, and does with a reset
// what the guide says. What it refuses or drops it does not keep, unless it is told to.
func TestReceiver(t *testing.T) {
	r, err := Receive("ledger", "order")
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	send := func(secret, body string) outgoing.Answer {
		c, err := outgoing.New(outgoing.Options{
			URL: "http://" + r.addr, Secrets: []string{secret}, Guard: egress.Guard{Loopback: true, OnlyLoopback: true},
		})
		require.NoError(t, err)
		defer c.Close()
		return c.Send(t.Context(), outgoing.Message{ID: "order/a@1", Type: "application/cloudevents+json", Body: []byte(body)})
	}
	change := func(id string, version int) string {
		return fmt.Sprintf(`{"type":"dev.tarn.entity.changed","subject":"order/%s","data":{"version":%d,"state":{"v":%[2]d}}}`, id, version)
	}
	held := func() map[string]int64 {
		r.Consumer.mu.Lock()
		defer r.Consumer.mu.Unlock()
		out := map[string]int64{}
		for subject, is := range r.held {
			out[subject] = is.version
		}
		return out
	}
	good := func(body string) { require.Equal(t, outgoing.Accepted, send(receiverSecret, body).Outcome) }
	good(change("a", 2))
	good(change("a", 1))
	good(change("b", 1))
	require.Equal(t, map[string]int64{"order/a": 2, "order/b": 1}, held())
	require.Empty(t, r.Backwards())

	require.Equal(t, http.StatusUnauthorized, send("whsec_AfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", change("a", 9)).Status)
	require.Len(t, r.Forged(), 1)
	for _, trouble := range []Trouble{{Status: 500}, {Cut: true}, {Status: 429, RetryAfter: 7}} {
		r.Troubled(func() Trouble { return trouble })
		require.NotEqual(t, outgoing.Accepted, send(receiverSecret, change("a", 9)).Outcome)
	}
	require.EqualValues(t, 2, held()["order/a"])
	r.Troubled(func() Trouble { return Trouble{Cut: true, Keep: true} })
	require.Equal(t, outgoing.Refused, send(receiverSecret, change("a", 3)).Outcome)
	require.EqualValues(t, 3, held()["order/a"])
	r.Troubled(nil)
	good(`{"type":"dev.tarn.command.done","subject":"command/cmd_1","data":{"version":1}}`)
	require.NotContains(t, held(), "command/cmd_1", "it is of no entity")

	good(`{"type":"dev.tarn.feed.reset","data":{"reason":"retention"}}`)
	require.Len(t, held(), 2)
	good(change("a", 4))
	good(`{"type":"dev.tarn.feed.synced","data":{}}`)
	require.Equal(t, map[string]int64{"order/a": 4}, held(), "what the snapshot did not name is gone")
	good(`{"type":"dev.tarn.feed.reset","data":{"reason":"restored"}}`)
	require.Empty(t, held())
	good(change("a", 1))
	require.Equal(t, map[string]int64{"order/a": 1}, held())
	require.Equal(t, 2, r.Resyncs())
	require.Contains(t, r.Settings(), "loopback: true")
}

// A receiver that is killed refuses connections, does not store what it had begun with, and
// comes back at its address with what it had stored.
func TestReceiverIsKilled(t *testing.T) {
	r, err := Receive("ledger")
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	c, err := outgoing.New(outgoing.Options{
		URL: "http://" + r.addr, Secrets: []string{receiverSecret}, Guard: egress.Guard{Loopback: true, OnlyLoopback: true},
	})
	require.NoError(t, err)
	defer c.Close()
	send := func(version int) outgoing.Answer {
		body := fmt.Sprintf(`{"type":"dev.tarn.entity.changed","subject":"order/a","data":{"version":%d,"state":{}}}`, version)
		return c.Send(t.Context(), outgoing.Message{ID: "order/a@1", Type: "application/cloudevents+json", Body: []byte(body)})
	}
	version := func() int64 {
		r.Consumer.mu.Lock()
		defer r.Consumer.mu.Unlock()
		return r.held["order/a"].version
	}
	require.Equal(t, outgoing.Accepted, send(1).Outcome)

	begun, killed := make(chan struct{}), make(chan struct{})
	r.Troubled(func() Trouble {
		close(begun)
		return Trouble{Late: time.Hour}
	})
	go func() {
		defer close(killed)
		<-begun
		r.Kill()
	}()
	require.NotEqual(t, outgoing.Accepted, send(2).Outcome)
	<-killed
	r.Troubled(nil)
	require.Equal(t, outgoing.Away, send(3).Outcome)
	require.NoError(t, r.Start(t.Context()))
	require.EqualValues(t, 1, version(), "it has what it had stored, and no more")
	require.Equal(t, outgoing.Accepted, send(3).Outcome)
	require.EqualValues(t, 3, version())
}
