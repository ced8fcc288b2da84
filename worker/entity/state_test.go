package entity

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
)

// mostState is how much Redis keeps of it.
const mostState = 64 << 10

// An error's text that is cut stays one that a database takes.
func TestErrorsAreCutBetweenCharacters(t *testing.T) {
	long := errors.New("x" + strings.Repeat("ü", longestStack))
	for _, text := range []string{Text(long), lastText(fate.Permanent, long), lastText(fate.Panic, long)} {
		require.True(t, utf8.ValidString(text))
		require.NotContains(t, text, "\uFFFD")
	}
	require.Equal(t, "a\uFFFDb", Text(errors.New("a\xffb")))
}

// An entity whose attempts have failed with texts that JSON makes six times as
// long can still be parked, with the attempts made last.
func TestParkedStateFitsWhatIsKept(t *testing.T) {
	var p State
	for n := range keptAttempts {
		p.Attempts = append(p.Attempts, Attempt{N: n + 1, Error: Text(errors.New(strings.Repeat("<", 2*longestError)))})
	}
	b := p.Encode(mostState)
	require.LessOrEqual(t, len(b), mostState)
	var back State
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, keptAttempts, back.Attempts[len(back.Attempts)-1].N)
	require.Greater(t, len(back.Attempts), 5)
	require.Len(t, p.Attempts, keptAttempts, "the attempt's own record is whole")
}
