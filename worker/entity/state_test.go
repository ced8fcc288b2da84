package entity

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
)

// An error's text that is cut stays one that a database takes.
func TestErrorsAreCutBetweenCharacters(t *testing.T) {
	long := errors.New("x" + strings.Repeat("ü", longestStack))
	for _, text := range []string{Text(long), lastText(fate.Permanent, long), lastText(fate.Panic, long)} {
		require.True(t, utf8.ValidString(text))
		require.NotContains(t, text, "\uFFFD")
	}
	require.Equal(t, "a\uFFFDb", Text(errors.New("a\xffb")))
}
