package sqlite

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A value that cannot be bound is named by its place and its Go type.
func TestBindNamesTheTypeItDoesNotKnow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tarn.db")
	s, err := Open(t.Context(), path, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	c, err := openConn(path, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.close()) }()

	_, err = c.exec("SELECT ?, ?", "text", time.Second)
	require.ErrorContains(t, err, "value 2 ")
	require.ErrorContains(t, err, "time.Duration")
	require.ErrorContains(t, err, "convert it")
	_, err = c.exec("SELECT ?, ?", "text", int64(time.Second))
	require.NoError(t, err, "the statement can be used again")
}
