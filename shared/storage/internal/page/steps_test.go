package page

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStepsKnowTheirLastOne(t *testing.T) {
	var s Steps
	_, known := s.End("orders", "")
	require.False(t, known)
	s.Keep("orders", "b", "f")
	for after, want := range map[string]bool{"": false, "a": false, "b": true, "e": true, "f": false, "g": false} {
		end, known := s.End("orders", after)
		require.Equal(t, want, known, "behind %q", after)
		require.True(t, !known || end == "f")
	}
	_, known = s.End("trades", "c")
	require.False(t, known)
}
