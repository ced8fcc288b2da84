package reconciler

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProgress(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var c pacer
	looks := []progress{
		{At: at, Asked: 0},
		{At: at.Add(10 * time.Second), Asked: 1500, Waiting: 500, Share: 0.1, Listed: 1500, Kinds: map[string]int64{"order": 1200, "account": 290, "trade": 6, "person": 4}},
		{At: at.Add(20 * time.Second), Asked: 2500, Waiting: 500, Share: 0.25, Listed: 2500},
	}
	for i := range looks {
		c.mark(&looks[i])
	}
	require.Zero(t, looks[0].Rate)
	require.Zero(t, looks[0].ETA)
	require.InDelta(t, 25, looks[1].Rate, 0.1, "smoothed")
	require.InDelta(t, 90, looks[1].ETA, 0.1)
	require.InDelta(t, 60, looks[2].ETA, 0.1)

	require.Equal(t, "[==                  ]  10 %  1500 listed, 1000 of 1500 fetched, 25/s, 1m30s left  (order 1200, account 290, trade 6, …)", looks[1].line())
	require.Equal(t, "0 listed, 0 of 0 fetched, 0/s", looks[0].line(), "nothing is known yet")

	var out bytes.Buffer
	d := newDisplay(&out)
	d.show(looks[0])
	d.show(looks[1])
	d.end()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 2, "no terminal: lines of JSON")
	var back progress
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &back))
	require.Equal(t, looks[1], back)

	out.Reset()
	bar := &display{w: &out, bar: true}
	bar.show(looks[1])
	bar.show(looks[0])
	bar.end()
	drawn := strings.Split(out.String(), "\r")
	require.Len(t, drawn, 3)
	require.GreaterOrEqual(t, len(drawn[2]), len(looks[1].line()), "what was drawn before is covered")
}
