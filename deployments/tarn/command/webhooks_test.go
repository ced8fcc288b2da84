package command

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	readingConsumer = `{"source":"lemon","consumer":"pull","form":"page","after":"0","position":0,"lag":{"positions":9,"seconds":9}}`
	activeHook      = `{"source":"lemon","consumer":"billing","form":"webhook","after":"A.7.B","position":7,"lag":{"positions":3,"seconds":1.24},"webhook":{"status":"active","parked":2,"error":"the receiver answered 422\u001b[2J"}}`
)

// Webhooks are listed with what holds them up, consumers that read are not; with --json each
// is a line as it came.
func TestWebhooks(t *testing.T) {
	f := newFakeAPI(t, map[string][]string{"GET /v1/subscriptions": {`{"items":[` + readingConsumer + `,` + activeHook + `,
{"source":"lemon","consumer":"ledger","form":"webhook","after":"0","position":0,"snapshot":true,"lag":{"positions":0,"seconds":4000},"webhook":{"status":"active","parked":0}},
{"source":"lime","consumer":"away","form":"webhook","lag":{"positions":0,"seconds":0},"webhook":{"status":"waiting","until":"2026-07-01T12:00:01.000Z","reason":"r","parked":0,"error":"the receiver answered 502"}},
{"source":"lime","consumer":"moving","form":"webhook","lag":{"positions":0,"seconds":0},"webhook":{"status":"paused","by":"ops","reason":"it moves","parked":0}},
{"source":"lime","consumer":"ended","form":"webhook","lag":{"positions":0,"seconds":0},"webhook":{"status":"disabled","by":"receiver","reason":"the receiver answered 410","parked":0}}]}`}})
	got := f.asks(t, "webhooks")
	require.Equal(t, ran{OK, `NAME     SOURCE  STATE                                            POSITIONS  BEHIND  PARKED  LAST ERROR
billing  lemon   active                                           3          1.2s    2       the receiver answered 422\x1b[2J
ledger   lemon   active, a snapshot                               0          1h7m    0       -
away     lime    waiting until 2026-07-01 12:00:01Z               0          0s      0       the receiver answered 502
moving   lime    paused by ops: it moves                          0          0s      0       -
ended    lime    disabled by receiver: the receiver answered 410  0          0s      0       -
`, ""}, got)

	f.answers["GET /v1/subscriptions"] = []string{`{"items":[` + readingConsumer + `,` + activeHook + `]}`}
	require.Equal(t, ran{OK, activeHook + "\n", ""}, f.asks(t, "webhooks", "--json"))
	f.answers["GET /v1/subscriptions"] = []string{`{"items":[` + readingConsumer + `]}`}
	require.Equal(t, ran{OK, "no webhook is configured\n", ""}, f.asks(t, "webhooks"))
	require.Equal(t, ran{OK, "", ""}, f.asks(t, "webhooks", "--json"))
	require.Equal(t, "GET /v1/subscriptions", f.requests()[0], "the route has no parameters")
	require.Equal(t, Misused, f.asks(t, "webhooks", "billing").status)
}

func TestActsOnWebhooks(t *testing.T) {
	f := newFakeAPI(t, map[string][]string{
		"POST /v1/subscriptions/billing/pause":  {`{"consumer":"billing","asked":"pause"}`},
		"POST /v1/subscriptions/billing/resume": {`{"consumer":"billing","asked":"resume"}`},
		"POST /v1/subscriptions/billing/rewind": {`{"consumer":"billing","asked":"rewind","after":"snapshot"}`},
		"POST /v1/subscriptions/late/rewind":    {`{"type":"urn:tarn:problem:cursor-gone","status":410,"detail":"what follows the cursor is older than is kept"}`},
	})
	got := f.asks(t, "webhooks", "pause", "billing", "--reason", "it moves")
	require.Equal(t, ran{OK, "billing: the reconciler does the pause within seconds\n", ""}, got)
	require.Equal(t, OK, f.asks(t, "webhooks", "resume", "billing").status)
	require.Equal(t, OK, f.asks(t, "webhooks", "rewind", "billing").status)
	require.Equal(t, ran{OK, `{"consumer":"billing","asked":"rewind","after":"snapshot"}` + "\n", ""}, f.asks(t, "webhooks", "rewind", "billing", "--after", "A.7.B", "--json"))
	require.Equal(t, []string{
		`POST /v1/subscriptions/billing/pause {"reason":"it moves"}`, "POST /v1/subscriptions/billing/resume",
		`POST /v1/subscriptions/billing/rewind {"after":"snapshot"}`, `POST /v1/subscriptions/billing/rewind {"after":"A.7.B"}`,
	}, f.requests())

	got = f.asks(t, "webhooks", "rewind", "late", "--after", "A.1.B")
	require.Equal(t, ran{Wrong, "", "tarn webhooks rewind: what follows the cursor is older than is kept\n"}, got)
	require.Equal(t, Failed, f.asks(t, "webhooks", "resume", "nosuch").status)
	for _, args := range [][]string{{"webhooks", "pause", "billing"}, {"webhooks", "pause", "billing", "--reason", " "}, {"webhooks", "pause"}, {"webhooks", "resume"}, {"webhooks", "rewind"}} {
		require.Equal(t, Misused, f.asks(t, args...).status, args)
	}
}
