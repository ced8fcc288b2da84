package deployments

import (
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/licences"
)

var updateLicences = flag.Bool("licences", false, "write LICENCES.md")

const licencesHead = `# Licences of what ships

Every module that the programs of ` + "`make build`" + ` are linked from, beside Go's standard library (BSD-3-Clause) and
SQLite, which modernc.org/sqlite translates (public domain).
` + "`make licences`" + ` writes this list, and ` + "`TestLicencesAreListed`" + ` fails when it is not true or a licence is not known.

| module | licence |
|---|---|
`

func TestLicencesAreListed(t *testing.T) {
	if testing.Short() {
		t.Skip("lists all packages")
	}
	found := map[string]map[string]bool{} // module to licences
	linked, err := licences.Packages(Tags(), "../api/cmd", "../worker/cmd", "../reconciler/cmd", "./standalone", "./simulator/cmd", "./tarn", "./tarnd")
	require.NoError(t, err)
	for _, p := range linked {
		files, err := p.Files()
		require.NoError(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			names := licences.In(string(text))
			require.NotEmpty(t, names, "which licence is %s?", file)
			if found[p.Module.Path] == nil {
				found[p.Module.Path] = map[string]bool{}
			}
			for _, name := range names {
				found[p.Module.Path][name] = true
			}
		}
		require.NotEmpty(t, found[p.Module.Path], "%s has no licence", p.Module.Path)
	}
	require.Greater(t, len(found), 30, "the modules were not found")
	var list strings.Builder
	list.WriteString(licencesHead)
	for _, module := range slices.Sorted(maps.Keys(found)) {
		list.WriteString("| " + module + " | " + strings.Join(slices.Sorted(maps.Keys(found[module])), ", ") + " |\n")
	}
	if *updateLicences {
		require.NoError(t, os.WriteFile("LICENCES.md", []byte(list.String()), 0o644))
		return
	}
	checkedIn, err := os.ReadFile("LICENCES.md")
	require.NoError(t, err)
	require.Equal(t, string(checkedIn), list.String(), "run make licences")
}
