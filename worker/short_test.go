package worker

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/stream"
)

// An error's text that is cut stays one that a database takes.
func TestErrorsAreCutBetweenCharacters(t *testing.T) {
	long := errors.New("x" + strings.Repeat("ü", longestStack))
	for _, text := range []string{short(long), last(fate.Permanent, long), last(fate.Panic, long)} {
		require.True(t, utf8.ValidString(text))
		require.NotContains(t, text, "\uFFFD")
	}
	require.Equal(t, "a\uFFFDb", short(errors.New("a\xffb")))
}

// An entity whose attempts have failed with texts that JSON makes six times as
// long can still be parked, with the attempts made last.
func TestParkedStateFitsWhatIsKept(t *testing.T) {
	var p parkState
	for n := range keptAttempts {
		p.Attempts = append(p.Attempts, numbered{N: n + 1, Error: short(errors.New(strings.Repeat("<", 2*longestError)))})
	}
	b := p.encode()
	require.LessOrEqual(t, len(b), stream.MaxState)
	var back parkState
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, keptAttempts, back.Attempts[len(back.Attempts)-1].N)
	require.Greater(t, len(back.Attempts), 5)
	require.Len(t, p.Attempts, keptAttempts, "the attempt's own record is whole")
}
