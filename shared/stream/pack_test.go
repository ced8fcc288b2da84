package stream

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

func TestPackKeepsEveryByte(t *testing.T) {
	t.Parallel()
	signal := happened("evt \xff\x00:1", "a b:c")
	packed, err := pack(event.Entry{ID: "1-0", Signal: signal})
	require.NoError(t, err)
	e, err := parkedEntry("1-0 2 "+packed, 5)
	require.NoError(t, err)
	signal.Body = logged(signal.Body)
	require.Equal(t, event.Entry{ID: "1-0", Tier: event.TierLive, Signal: signal, Attempts: 3}, e)
}

// logged is what a parked list keeps of an event.
func logged(e *event.Event) *event.Event {
	e = e.Logged()
	e.Payload = []byte{}
	return e
}

func FuzzParkedEntry(f *testing.F) {
	packed, err := pack(event.Entry{Signal: happened("evt_1", "a")})
	require.NoError(f, err)
	f.Add("1-0 0 " + packed)
	f.Add("1-0 0 3:k")
	f.Add("1-0 0 99999999999999999999:k")
	f.Add("1-0 x 1:k1:v")
	f.Fuzz(func(t *testing.T, item string) {
		e, err := parkedEntry(item, 1)
		if err == nil {
			require.NoError(t, e.Err)
			_, err = pack(e)
			require.NoError(t, err)
		}
	})
}
