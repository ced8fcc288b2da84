package deployments

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// workflow is what is looked at of a workflow.
type workflow struct {
	text        string
	Permissions map[string]string
	Jobs        map[string]struct {
		Strategy    struct{ Matrix struct{ Target []string } }
		Permissions map[string]string
		Timeout     int `yaml:"timeout-minutes"`
		Needs       string
		Outputs     map[string]string
		Steps       []struct {
			ID, Uses, Run string
			With, Env     map[string]any
		}
	}
}

// workflows returns them by the names of their files.
func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	files, err := filepath.Glob("../.github/workflows/*.yml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	found := map[string]workflow{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		w := workflow{text: string(text)}
		require.NoError(t, yaml.Unmarshal(text, &w), file)
		found[filepath.Base(file)] = w
	}
	return found
}

// mayWrite is what jobs may do besides reading: no other job has permissions of its own.
var mayWrite = map[string]map[string]string{
	"release.yml image":   {"contents": "read", "packages": "write", "id-token": "write", "attestations": "write"},
	"release.yml release": {"contents": "write"},
}

// The workflows run targets that there are, with actions that are pinned to a commit, and
// may read alone, but for the jobs that publish.
func TestWorkflows(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	require.NoError(t, err)
	pinned := regexp.MustCompile(`uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	target := func(words string) {
		name, _, _ := strings.Cut(words, " ")
		require.Regexp(t, `(?m)^`+regexp.QuoteMeta(name)+`:`, string(makefile), "there is no such target")
	}
	writing := 0
	for file, w := range workflows(t) {
		for line := range strings.Lines(w.text) {
			if strings.Contains(line, "uses:") {
				require.Regexp(t, pinned, strings.TrimRight(line, "\n"))
			}
			if _, words, ok := strings.Cut(line, "make "); ok && !strings.Contains(words, "${{") && !strings.HasPrefix(line, "#") {
				target(strings.TrimSpace(words))
			}
		}
		require.Equal(t, map[string]string{"contents": "read"}, w.Permissions, file)
		for name, job := range w.Jobs {
			require.Positive(t, job.Timeout, "%s: %s", file, name)
			require.Equal(t, mayWrite[file+" "+name], job.Permissions, "%s: %s", file, name)
			if job.Permissions != nil {
				writing++
			}
			for _, words := range job.Strategy.Matrix.Target {
				target(words)
			}
			for _, step := range job.Steps {
				require.NotContains(t, step.Run, "${{ github.", "%s: what an event says would run as a command", name)
			}
		}
	}
	require.Equal(t, len(mayWrite), writing)
}

// A tag publishes an image once the tests are green: make's own, under the version, with a
// record of its digest. The release names that digest, and comes last.
func TestAReleaseHasAnImage(t *testing.T) {
	jobs := workflows(t)["release.yml"].Jobs
	require.Equal(t, "make test", jobs["test"].Steps[2].Run)
	image, release := jobs["image"], jobs["release"]
	require.Equal(t, []string{"test", "image"}, []string{image.Needs, release.Needs})
	const digest = "${{ steps.publish.outputs.digest }}"
	require.Equal(t, digest, image.Outputs["digest"])
	var published, recorded bool
	for _, step := range image.Steps {
		if step.ID == "publish" {
			published = true
			require.Contains(t, step.Run, `make publish IMAGE="ghcr.io/$GITHUB_REPOSITORY:${GITHUB_REF_NAME#v}" VERSION="$GITHUB_REF_NAME"`)
			require.Contains(t, step.Run, `echo "digest=$(cat .tarn/image.digest)" >>"$GITHUB_OUTPUT"`)
		}
		if strings.HasPrefix(step.Uses, "actions/attest@") {
			recorded = true
			require.True(t, published, "it is recorded once it is there")
			require.Equal(t, digest, step.With["subject-digest"])
			require.Equal(t, "ghcr.io/${{ github.repository }}", step.With["subject-name"])
			require.Equal(t, true, step.With["push-to-registry"])
		}
	}
	require.True(t, recorded)
	last := release.Steps[len(release.Steps)-1]
	require.Contains(t, last.Run, "@$DIGEST")
	require.Equal(t, "${{ needs.image.outputs.digest }}", last.Env["DIGEST"])
}

// Both architectures are built and pushed, and one name is for both.
func TestPublish(t *testing.T) {
	said, err := exec.CommandContext(t.Context(), "make", "-C", "..", "--no-print-directory", "--dry-run", "publish", "IMAGE=r.example/t:1", "VERSION=v1").Output()
	require.NoError(t, err)
	for _, arch := range []string{"amd64", "arm64"} {
		require.Contains(t, string(said), "GOARCH="+arch+" .tarn/make-image -out .tarn/image/image -version v1\n")
		require.Regexp(t, `docker build --platform linux/`+arch+` .* -t r.example/t:1-`+arch+` `, string(said))
		require.Contains(t, string(said), "docker push r.example/t:1-"+arch+"\n")
	}
	require.Contains(t, string(said), "docker manifest create r.example/t:1 r.example/t:1-amd64 r.example/t:1-arm64\n")
	require.Contains(t, string(said), "docker manifest push --purge r.example/t:1 >.tarn/image.digest\n")
}

// What takes too long for every change runs each night.
func TestEveryEndToEndTestRunsAtNight(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	require.NoError(t, err)
	targets := regexp.MustCompile(`(?m)^(e2e-[a-z]+):`).FindAllStringSubmatch(string(makefile), -1)
	require.Greater(t, len(targets), 5)
	nightly := workflows(t)["nightly.yml"]
	for _, target := range targets {
		found := false
		for _, job := range nightly.Jobs {
			for _, words := range job.Strategy.Matrix.Target {
				found = found || words == target[1]
			}
			for _, step := range job.Steps {
				found = found || strings.HasSuffix(step.Run, "make "+target[1])
			}
		}
		require.True(t, found, "make %s", target[1])
	}
}
