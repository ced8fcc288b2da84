package deployments

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// The workflows run targets that there are, with actions that are pinned to a commit, and
// may read alone, but for the job that publishes.
func TestWorkflows(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	require.NoError(t, err)
	files, err := filepath.Glob("../.github/workflows/*.yml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	pinned := regexp.MustCompile(`uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	target := func(words string) {
		name, _, _ := strings.Cut(words, " ")
		require.Regexp(t, `(?m)^`+regexp.QuoteMeta(name)+`:`, string(makefile), "there is no such target")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "uses:") {
				require.Regexp(t, pinned, strings.TrimRight(line, "\n"))
			}
			if _, words, ok := strings.Cut(line, "make "); ok && !strings.Contains(words, "${{") && !strings.HasPrefix(line, "#") {
				target(strings.TrimSpace(words))
			}
		}
		var w struct {
			Permissions map[string]string
			Jobs        map[string]struct {
				Strategy    struct{ Matrix struct{ Target []string } }
				Permissions map[string]string
				Timeout     int `yaml:"timeout-minutes"`
			}
		}
		require.NoError(t, yaml.Unmarshal(text, &w), file)
		require.Equal(t, map[string]string{"contents": "read"}, w.Permissions, file)
		for name, job := range w.Jobs {
			require.Positive(t, job.Timeout, "%s: %s", file, name)
			require.True(t, len(job.Permissions) == 0 || name == "release", "%s: %s", file, name)
			for _, words := range job.Strategy.Matrix.Target {
				target(words)
			}
		}
	}
}
