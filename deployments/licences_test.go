package deployments

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
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
	for _, p := range shipped(t) {
		for _, file := range licenceFiles(t, p.Dir, p.Module.Dir) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			names := licences(string(text))
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

// linked is a package of another module.
type linked struct {
	Dir    string
	Module *struct {
		Path, Dir string
		Main      bool
	}
}

// shipped returns what the programs are linked from.
func shipped(t *testing.T) (out []linked) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=Dir,Module", "-tags", Tags(),
		"../api/cmd", "../worker/cmd", "../reconciler/cmd", "./standalone", "./simulator", "./tarn")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	stdout, err := cmd.Output()
	require.NoError(t, err)
	for dec := json.NewDecoder(strings.NewReader(string(stdout))); ; {
		var p linked
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		if p.Module != nil && !p.Module.Main {
			out = append(out, p)
		}
	}
}

// licenceFiles returns those of a package's directory, or of the nearest above it
// in its module.
func licenceFiles(t *testing.T, dir, root string) (files []string) {
	t.Helper()
	// What is named otherwise, LICENSE-LOGO or LICENSE-SQLITE, is of other things.
	is := regexp.MustCompile(`(?i)^(licen[cs]e|copying)(-3rd-party)?(\.txt|\.md)?$`)
	for ; within(dir, root); dir = filepath.Dir(dir) {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			if !e.IsDir() && is.MatchString(e.Name()) {
				files = append(files, filepath.Join(dir, e.Name()))
			}
		}
		if len(files) > 0 {
			return files
		}
	}
	return nil
}

// licences names the licences in a text; none if there is none that Tarn may ship.
func licences(text string) (names []string) {
	text = strings.Join(strings.Fields(text), " ")
	if strings.Contains(text, "Apache License, Version 2.0") || strings.Contains(text, "Apache License Version 2.0") {
		names = append(names, "Apache-2.0")
	}
	if strings.Contains(text, "Permission is hereby granted, free of charge") {
		names = append(names, "MIT")
	}
	if strings.Contains(text, "Permission to use, copy, modify, and distribute this software") && strings.Contains(text, "appear in all copies") {
		names = append(names, "ISC")
	}
	if strings.Contains(text, "Redistribution and use in source and binary forms") {
		if strings.Contains(text, "Neither the name") || strings.Contains(text, "The names of") {
			return append(names, "BSD-3-Clause")
		}
		return append(names, "BSD-2-Clause")
	}
	return names
}
