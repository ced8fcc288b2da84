package simulator

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// signedAt reads the time out of a signature.
func signedAt(t *testing.T, signature string) time.Time {
	t.Helper()
	text, _, _ := strings.Cut(strings.TrimPrefix(signature, "t="), ",")
	n, err := strconv.ParseInt(text, 10, 64)
	require.NoError(t, err)
	return time.Unix(n, 0)
}

func TestSign(t *testing.T) {
	// The example of the provider's implementation guide.
	require.Equal(t, "t=0,v1=3523dcc0013f08dfa1855772441107330218793f399d7452bd3ff2159c6e0285",
		Sign(strings.Repeat("0", 64), time.Unix(0, 0), []byte("{}")))
}

// settledSoon waits until nothing is left to send.
func settledSoon(t *testing.T, s *Simulator) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, e := range s.Events() {
			if !e.Settled {
				return false
			}
		}
		return true
	}, soon, often)
}

func TestEveryEventIsPostedSignedUntilAccepted(t *testing.T) {
	to := newReceiver(t)
	tries := map[string]int{}
	to.answer = func(r *http.Request, body []byte) int {
		tries[string(body)]++
		switch tries[string(body)] {
		case 1:
			return http.StatusInternalServerError
		case 2:
			return http.StatusFound // a redirect is not acceptance
		}
		return http.StatusOK
	}
	r := start(t, to.options())
	grow(t, r.world, 40)
	settledSoon(t, r.Simulator)
	events := r.Events()
	require.Len(t, to.ids(), len(events))
	for _, e := range events {
		require.Equal(t, 3, e.Attempts)
		require.Equal(t, 1, e.Accepted)
		require.Equal(t, 2, e.Rejected)
	}
	for _, got := range to.taken() {
		require.Equal(t, Sign(testSecret, signedAt(t, got.signature), got.body), got.signature)
	}
	c := r.Counters().Webhooks
	require.Equal(t, []int64{int64(3 * len(events)), int64(len(events)), int64(2 * len(events))}, []int64{c.Sent, c.Accepted, c.Rejected})
}

func TestTheSenderGivesUp(t *testing.T) {
	to := newReceiver(t)
	to.answer = func(*http.Request, []byte) int { return http.StatusUnauthorized }
	r := start(t, to.options())
	grow(t, r.world, 5)
	settledSoon(t, r.Simulator)
	for _, e := range r.Events() {
		require.True(t, e.GaveUp)
		require.Equal(t, 4, e.Attempts, "once, and three retries")
	}
	to.mu.Lock()
	to.answer = func(*http.Request, []byte) int { return http.StatusOK }
	to.mu.Unlock()
	id := r.Events()[0].ID
	status, _, body := r.ask(http.MethodPost, "/_sim/redeliver", `{"events":["`+id+`","evt_unknown"]}`)
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"redelivered":1}`, string(body))
	require.Eventually(t, func() bool { return to.ids()[id] == 1 }, soon, often)
}

func TestAnAbsentReceiverIsTriedAgain(t *testing.T) {
	to := newReceiver(t)
	o := to.options()
	o.WebhookURL = "http://127.0.0.1:1/" // port 1 has no listener
	r := start(t, o)
	grow(t, r.world, 3)
	settledSoon(t, r.Simulator)
	for _, e := range r.Events() {
		require.Equal(t, 4, e.Failed)
		require.True(t, e.GaveUp)
	}
}

func TestWebhookChaos(t *testing.T) {
	const steps = 300
	for name, tc := range map[string]struct {
		chaos Chaos
		check func(t *testing.T, r *running, to *receiver)
	}{
		"nothing": {Chaos{}, func(t *testing.T, r *running, to *receiver) {
			for id, n := range to.ids() {
				require.Equal(t, 1, n, id)
			}
			require.Len(t, to.ids(), len(r.Events()))
		}},
		"duplicates": {Chaos{Duplicate: 0.5, MaxDelay: Duration(20 * time.Millisecond)}, func(t *testing.T, r *running, to *receiver) {
			twice := 0
			for _, n := range to.ids() {
				twice += n - 1
			}
			require.Len(t, to.ids(), len(r.Events()))
			require.InDelta(t, 0.5, float64(twice)/float64(len(r.Events())), 0.15)
			require.EqualValues(t, twice, r.Counters().Webhooks.Duplicated)
		}},
		"all twice at once": {Chaos{Duplicate: 1}, func(t *testing.T, r *running, to *receiver) {
			require.Len(t, to.taken(), 2*len(r.Events()))
		}},
		"disorder": {Chaos{Reorder: 0.3, MaxDelay: Duration(time.Second)}, func(t *testing.T, r *running, to *receiver) {
			require.Len(t, to.ids(), len(r.Events()))
			require.Greater(t, overtaken(r, to), len(r.Events())/10)
		}},
		"loss": {Chaos{Lose: 0.3}, func(t *testing.T, r *running, to *receiver) {
			lost := r.Counters().Webhooks.Lost
			require.InDelta(t, 0.3, float64(lost)/float64(len(r.Events())), 0.12)
			require.Len(t, to.ids(), len(r.Events())-int(lost))
			for _, e := range r.Events() {
				require.Equal(t, e.Lost, to.ids()[e.ID] == 0)
			}
		}},
		"wrong signatures": {Chaos{WrongSignature: 0.3}, func(t *testing.T, r *running, to *receiver) {
			c := r.Counters().Webhooks
			require.Positive(t, c.WronglySigned)
			require.Equal(t, c.WronglySigned, c.Rejected)
			require.Greater(t, len(to.ids()), len(r.Events())*9/10, "retried with the right one")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			to := newReceiver(t)
			to.answer = func(req *http.Request, body []byte) int {
				signature := req.Header.Get(SignatureHeader)
				if Sign(testSecret, signedAt(t, signature), body) != signature {
					return http.StatusUnauthorized
				}
				return http.StatusOK
			}
			o := to.options()
			o.Chaos = tc.chaos
			r := start(t, o)
			grow(t, r.world, steps)
			settledSoon(t, r.Simulator)
			tc.check(t, r, to)
		})
	}
}

// overtaken counts events that arrived after one of a later number.
func overtaken(r *running, to *receiver) (n int) {
	seq := map[string]int64{}
	for _, e := range r.Events() {
		seq[e.ID] = e.Seq
	}
	var newest int64
	for _, got := range to.taken() {
		if seq[got.id] < newest-20 { // more than concurrency alone does
			n++
		}
		newest = max(newest, seq[got.id])
	}
	return n
}

func TestEventsStartInOrder(t *testing.T) {
	to := newReceiver(t)
	o := to.options()
	o.Parallel = 1
	r := start(t, o)
	grow(t, r.world, 100)
	settledSoon(t, r.Simulator)
	var want, got []string
	for _, e := range r.Events() {
		want = append(want, e.ID)
	}
	for _, g := range to.taken() {
		got = append(got, g.id)
	}
	require.Equal(t, want, slices.Compact(got))
}
