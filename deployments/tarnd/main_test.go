package main

import (
	"bytes"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/image/names"
	"github.com/tarn-sync/tarn/shared/process"
)

func TestTheNameChoosesTheProgram(t *testing.T) {
	for name, tc := range map[string]struct {
		args     []string
		status   int
		out, err string
	}{
		"a link":                 {[]string{"/usr/local/bin/api", "--version"}, 0, "tarn api dev\n", ""},
		"the first argument":     {[]string{"/usr/local/bin/tarnd", "worker", "--version"}, 0, "tarn worker dev\n", ""},
		"a program's command":    {[]string{"reconciler", "verify", "--version"}, 0, "tarn reconciler verify dev\n", ""},
		"the command line":       {[]string{"tarn", "version"}, 0, "dev", ""},
		"wrong flags of a link":  {[]string{"api", "--nope"}, 2, "", "flag provided but not defined"},
		"none":                   {[]string{"tarnd"}, 0, "Programs: api worker reconciler simulator tarn\n", ""},
		"help":                   {[]string{"tarnd", "--help"}, 0, "Usage: tarnd PROGRAM", ""},
		"version":                {[]string{"tarnd", "--version"}, 0, "tarn tarnd dev\n", ""},
		"one that there is not":  {[]string{"tarnd", "moon"}, 2, "", `"moon" is none of its programs`},
		"a link that is no name": {[]string{"moon", "api"}, 2, "", `"moon" is none of its programs`},
	} {
		t.Run(name, func(t *testing.T) {
			var out, problems bytes.Buffer
			require.Equal(t, tc.status, run(tc.args, process.System{Stdout: &out, Stderr: &problems}), problems.String())
			require.Contains(t, out.String(), tc.out)
			require.Contains(t, problems.String(), tc.err)
		})
	}
	require.ElementsMatch(t, names.Programs, slices.Collect(maps.Keys(programs)))
}

// What compose and Kubernetes start, and ask for health, must be in the image.
func TestManifestsStartPrograms(t *testing.T) {
	started := regexp.MustCompile(`(?m)(?:command: \[|test: \[CMD, |command:\n\s+- )([a-z]+)`)
	for file, most := range map[string][]string{
		"../docker/compose.yaml":                    {"redis", "mongosh", "haproxy", "bash"}, // of other images
		"../kubernetes/base/api.yaml":               nil,
		"../kubernetes/base/worker.yaml":            nil,
		"../kubernetes/base/reconciler.yaml":        nil,
		"../kubernetes/overlays/dev/simulator.yaml": nil,
	} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		found := started.FindAllStringSubmatch(string(text), -1)
		require.NotEmpty(t, found, file)
		for _, m := range found {
			if !slices.Contains(most, m[1]) {
				require.Contains(t, programs, m[1], file)
			}
		}
	}
}
