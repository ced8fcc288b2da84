package stream

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIdentityIsOfWhoComesFirst(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	got, err := s.Identity(t.Context())
	require.NoError(t, err)
	require.Zero(t, got)
	got, err = s.Identify(t.Context(), Identity{Fleet: "a", Data: "1"})
	require.NoError(t, err)
	require.Equal(t, Identity{Fleet: "a", Data: "1"}, got)
	got, err = s.Identify(t.Context(), Identity{Fleet: "b", Data: "2"})
	require.NoError(t, err)
	require.Equal(t, Identity{Fleet: "a", Data: "1"}, got)

	other := quiet(srv.URL())
	other.Prefix = "other"
	got, err = openStreams(t, other).Identity(t.Context())
	require.NoError(t, err)
	require.Zero(t, got, "another prefix is another fleet's")
}
