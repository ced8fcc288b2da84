package command

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every command is run by a test for what it does, beside those of its help.
func TestEveryCommandIsExercised(t *testing.T) {
	names, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	var tests strings.Builder
	for _, name := range names {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		tests.Write(text)
	}
	var missing []string
	for _, c := range commands {
		words := `"` + strings.Join(strings.Fields(c.Name), `", "`) + `"`
		ran := regexp.MustCompile(`(?:asks\(t, |run\(t, [^,()]*, |\{)` + regexp.QuoteMeta(words))
		if !ran.MatchString(tests.String()) {
			missing = append(missing, c.Name)
		}
	}
	require.Empty(t, missing, "no test runs these")
}
