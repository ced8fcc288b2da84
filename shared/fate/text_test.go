package fate_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
)

func TestShort(t *testing.T) {
	tests := []struct {
		name, text string
		n          int
		want       string
	}{
		{"fits", "ärger", 6, "ärger"},
		{"ascii", "timeout", 4, "time…"},
		{"the bound is between two characters", "äöü", 4, "äö…"},
		{"the bound is in a character of two bytes", "äöü", 3, "ä…"},
		{"the bound is in one of four bytes", "a😀b", 4, "a…"},
		{"no room for the first", "😀", 2, "…"},
		{"not UTF-8", "a\xffb", 10, "a\uFFFDb"},
		{"not UTF-8 at the bound", "a\x80\x80\x80\x80\x80\x80b", 5, "a\uFFFD…"},
		{"nothing", "", 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, fate.Short(tt.text, tt.n))
		})
	}
	for n := range 40 {
		got := fate.Short(strings.Repeat("aä€😀", 5), n)
		require.True(t, utf8.ValidString(got), "%d: %q", n, got)
		require.LessOrEqual(t, len(got), n+len("…"))
		require.NotContains(t, got, "\uFFFD")
	}
}
