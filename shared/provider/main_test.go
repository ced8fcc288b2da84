package provider

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// now is when the tests take place.
var now = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return now }

func lemon(t testing.TB) *Definition {
	t.Helper()
	d, err := Builtin("lemon")
	require.NoError(t, err)
	return d
}

// example loads a definition of testdata.
func example(t testing.TB, name string) *Definition {
	t.Helper()
	d, err := Load(filepath.Join("testdata", name))
	require.NoError(t, err)
	return d
}

// lines reads a fixture without its comments.
func lines(t testing.TB, name string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	var out []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return out
}
