package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tarn-sync/tarn/deployments"
	"github.com/tarn-sync/tarn/deployments/image/names"
	"github.com/tarn-sync/tarn/deployments/licences"
)

// Directories of the image.
const (
	programs = "usr/local/bin"
	about    = "usr/share/doc/tarn"
	trust    = "etc/ssl/certs/ca-certificates.crt"
)

// tarnd is the package of the binary.
const tarnd = "./deployments/tarnd"

// root is the root directory of an image.
type root struct {
	dir, version string
	// authorities is the file with the certificates of this machine.
	authorities string
}

// make makes it. The working directory is the module's.
func (r root) make(ctx context.Context) error {
	if r.dir == "" {
		return errors.New("-out: is missing")
	}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		return err
	}
	for _, dir := range []string{programs, about, filepath.Dir(trust)} {
		if err := os.MkdirAll(filepath.Join(r.dir, dir), 0o755); err != nil {
			return err
		}
	}
	binary := filepath.Join(r.dir, programs, names.Binary)
	if err := build(ctx, ".", binary, r.version); err != nil {
		return err
	}
	for _, name := range names.Programs {
		if err := os.Symlink(names.Binary, filepath.Join(r.dir, programs, name)); err != nil {
			return err
		}
	}
	if err := duplicate(r.authorities, filepath.Join(r.dir, trust)); err != nil {
		return err
	}
	known, err := r.licences()
	if err != nil {
		return err
	}
	return writeMaterials(binary, filepath.Join(r.dir, about, "sbom.cdx.json"), r.version, known)
}

// build links the binary from a module's directory. Nothing of the directory, the user,
// the time or the commit is in it.
func build(ctx context.Context, module, binary, version string) error {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", deployments.Tags(), //nolint:gosec // our own package
		"-ldflags", "-s -w -buildid= -X github.com/tarn-sync/tarn/shared/process.Version="+version, "-o", binary, tarnd)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", tarnd, err, said)
	}
	return nil
}

// licences copies the licences and notices of all that is linked, each as
// licences/MODULE/FILE, and returns the names of the licences by module.
func (r root) licences() (map[string][]string, error) {
	linked, err := licences.Packages(deployments.Tags(), tarnd)
	if err != nil {
		return nil, err
	}
	known := map[string][]string{}
	for _, p := range linked {
		texts, err := p.Files()
		if err != nil {
			return nil, err
		}
		notices, err := p.Notices()
		if err != nil {
			return nil, err
		}
		for i, file := range slices.Concat(texts, notices) {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			if i < len(texts) {
				known[p.Module.Path] = append(known[p.Module.Path], licences.In(string(text))...)
			}
			below, err := filepath.Rel(p.Module.Dir, file)
			if err != nil {
				return nil, err
			}
			if err := write(filepath.Join(r.dir, about, "licences", p.Module.Path, below), text); err != nil {
				return nil, err
			}
		}
		slices.Sort(known[p.Module.Path])
		known[p.Module.Path] = slices.Compact(known[p.Module.Path])
	}
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("find Go: %w", err)
	}
	return known, errors.Join(
		duplicate(filepath.Join(strings.TrimSpace(string(goroot)), "LICENSE"), filepath.Join(r.dir, about, "licences/std/LICENSE")),
		duplicate("LICENSE", filepath.Join(r.dir, about, "LICENSE")),
		duplicate("deployments/LICENCES.md", filepath.Join(r.dir, about, "LICENCES.md")),
	)
}

// duplicate copies a small file.
func duplicate(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return write(to, text)
}

func write(file string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644) //nolint:gosec // any user of the container may read it
}
