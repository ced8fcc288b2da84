package waiting_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/waiting"
)

// mostKept is how much Redis keeps of a record.
const mostKept = 64 << 10

// An entity whose attempts have failed with texts that JSON makes six times as
// long can still be parked, with the attempts made last.
func TestRecordFitsWhatIsKept(t *testing.T) {
	var p waiting.Record
	for n := range waiting.KeptAttempts {
		p.Attempts = append(p.Attempts, waiting.Attempt{N: n + 1, Error: strings.Repeat("<", 1000)})
	}
	b := p.Encode(mostKept)
	require.LessOrEqual(t, len(b), mostKept)
	back, err := waiting.Decode(b)
	require.NoError(t, err)
	require.Equal(t, waiting.KeptAttempts, back.Attempts[len(back.Attempts)-1].N)
	require.Greater(t, len(back.Attempts), 5)
	require.Len(t, p.Attempts, waiting.KeptAttempts, "the attempt's own record is whole")
}

// TestLatest: a record of an older version has only attempts.
func TestLatest(t *testing.T) {
	older, err := waiting.Decode([]byte(`{"attempts":[{"n":1,"at":"2026-03-01T12:00:00Z","error":"HTTP 500"}]}`))
	require.NoError(t, err)
	require.Equal(t, waiting.Failed, older.Latest().Reason)
	require.Equal(t, "HTTP 500", older.Latest().Error)

	none, err := waiting.Decode(nil)
	require.NoError(t, err)
	require.Equal(t, waiting.Why{Reason: waiting.Failed}, none.Latest())

	why := waiting.Why{Reason: waiting.NeverSeen, Class: "gone", Error: "HTTP 404"}
	older.Why = &why
	again, err := waiting.Decode(older.Encode(mostKept))
	require.NoError(t, err)
	require.Equal(t, why, again.Latest())
}
