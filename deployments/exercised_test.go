package deployments

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every span has a test that names it.
func TestEverySpanIsExercised(t *testing.T) {
	begun := regexp.MustCompile(`(?:[tT]racer(?:\([^()]*\))?\.Start\([^"\n]*|\.step\()"(\w+) ?"`)
	tests, seen := testsBelow(t, ".."), 0
	for path, text := range programsBelow(t, "../api", "../worker", "../reconciler", "../shared") {
		for _, m := range begun.FindAllStringSubmatch(text, -1) {
			seen++
			name := regexp.MustCompile(`[sS]pan[\s\S]*"` + m[1] + `[ "]`)
			found := false
			for _, test := range tests {
				found = found || name.MatchString(test)
			}
			require.True(t, found, "%s begins a span %q that no test names", path, m[1])
		}
	}
	require.GreaterOrEqual(t, seen, 8)
}

// programsBelow returns the texts of the Go files below directories that are no tests, by
// path.
func programsBelow(t *testing.T, roots ...string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, root := range roots {
		require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			found[path] = string(text)
			return err
		}))
	}
	return found
}

// Every kind of alert is raised in a test, which has it by its constant.
func TestEveryAlertKindIsExercised(t *testing.T) {
	declared, err := os.ReadFile("../shared/alert/alert.go")
	require.NoError(t, err)
	kinds := regexp.MustCompile(`(?m)^\t(\w+) +Kind = "`).FindAllStringSubmatch(string(declared), -1)
	require.NotEmpty(t, kinds)
	tests := testsBelow(t, "../worker")
	for _, dir := range []string{"../reconciler", "../shared/identity"} {
		maps.Copy(tests, testsBelow(t, dir))
	}
	for _, kind := range kinds {
		raised := regexp.MustCompile(`\balert\.` + kind[1] + `\b`)
		found := false
		for _, text := range tests {
			found = found || raised.MatchString(text)
		}
		require.True(t, found, "no test raises alert.%s", kind[1])
	}
}
