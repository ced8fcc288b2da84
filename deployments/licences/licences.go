// Package licences finds the texts of licences of modules that programs are linked from.
package licences

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Linked is a package of another module that a program is linked from.
type Linked struct {
	// Dir is where it is, and Module the module it is of.
	Dir    string
	Module *Module
}

// Module is a module, and where it is.
type Module struct {
	Path, Dir string
	Main      bool
}

// Packages returns what programs of this module are linked from, for Linux on amd64.
func Packages(tags string, programs ...string) (out []Linked, err error) {
	args := append([]string{"list", "-deps", "-json=Dir,Module", "-tags", tags}, programs...)
	cmd := exec.Command("go", args...) //nolint:gosec // our own packages
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	listed, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(listed))); ; {
		var p Linked
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("list packages: %w", err)
		}
		if p.Module != nil && !p.Module.Main {
			out = append(out, p)
		}
	}
}

// file is what licences are called. What is named otherwise, LICENSE-LOGO or
// LICENSE-SQLITE, is of other things.
var file = regexp.MustCompile(`(?i)^(licen[cs]e|copying)(-3rd-party)?(\.txt|\.md)?$`)

// notice is what has to be passed on beside a licence.
var notice = regexp.MustCompile(`(?i)^notice(\.txt|\.md)?$`)

// Files returns the licences in a package's directory, or in the nearest above it in its
// module.
func (p Linked) Files() ([]string, error) { return p.named(file) }

// Notices returns the notices, likewise.
func (p Linked) Notices() ([]string, error) { return p.named(notice) }

func (p Linked) named(is *regexp.Regexp) (files []string, err error) {
	for dir := p.Dir; dir == p.Module.Dir || strings.HasPrefix(dir, p.Module.Dir+string(filepath.Separator)); dir = filepath.Dir(dir) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !e.IsDir() && is.MatchString(e.Name()) {
				files = append(files, filepath.Join(dir, e.Name()))
			}
		}
		if len(files) > 0 {
			return files, nil
		}
	}
	return nil, nil
}

// In names the licences in a text; none if there is none that Tarn may ship.
func In(text string) (names []string) {
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
