package open_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage/open"
)

func TestOpenSQLite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a dir")
	require.NoError(t, os.Mkdir(dir, 0o700))
	path := filepath.Join(dir, "tarn.db")
	s, err := open.Open(t.Context(), open.Options{URL: "sqlite://" + path})
	require.NoError(t, err)
	require.NoError(t, s.Ping(t.Context()))
	require.NoError(t, s.Close())
	require.FileExists(t, path)
}

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct{ url, want string }{
		"nothing":          {"", "no scheme: want mongodb://host:27017/database"},
		"a path":           {"/var/lib/tarn.db", "no scheme"},
		"another database": {"postgres://user:secret@host/db", `scheme "postgres"`},
		"no file":          {"sqlite://", "sqlite:///absolute/path"},
		"a relative file":  {"sqlite://tarn.db", "sqlite:///absolute/path"},
		"a directory":      {"sqlite:///var/", "sqlite:///absolute/path"},
		"no database":      {"mongodb://user:secret@127.0.0.1:1", "names no database"},
		"a bad option":     {"mongodb://user:secret@127.0.0.1:1/tarn?w=x&retryWrites=maybe", "the store's URL"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := open.Open(t.Context(), open.Options{URL: c.url})
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "secret")
			require.Nil(t, s)
		})
	}
}
