package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// materials is a software bill of materials in the form of CycloneDX 1.6, with the fields
// that matter here (https://cyclonedx.org/docs/1.6/json). It has neither a time nor a
// serial number: the same binary has the same bill.
type materials struct {
	Format      string      `json:"bomFormat"`
	SpecVersion string      `json:"specVersion"`
	Version     int         `json:"version"`
	Metadata    metadata    `json:"metadata"`
	Components  []component `json:"components"`
}

type metadata struct {
	Component component `json:"component"`
}

// component is a part: a module of Go, or the binary.
type component struct {
	Type     string    `json:"type"`
	Ref      string    `json:"bom-ref"`
	Name     string    `json:"name"`
	Version  string    `json:"version"`
	URL      string    `json:"purl,omitempty"`
	Hashes   []hash    `json:"hashes,omitempty"`
	Licences []licence `json:"licenses,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type licence struct {
	License struct {
		ID string `json:"id"`
	} `json:"license"`
}

// writeMaterials writes the bill of a binary, from what Go has written into it.
func writeMaterials(binary, file, version string, known map[string][]string) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return fmt.Errorf("read what %s is built from: %w", binary, err)
	}
	text, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	own := part("application", info.Main.Path, version, []string{"MIT"})
	own.Hashes = []hash{{"SHA-256", hex.EncodeToString(sum[:])}}
	bill := materials{
		Format: "CycloneDX", SpecVersion: "1.6", Version: 1, Metadata: metadata{own},
		Components: []component{part("library", "std", strings.TrimPrefix(info.GoVersion, "go"), []string{"BSD-3-Clause"})},
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		if len(known[m.Path]) == 0 {
			return fmt.Errorf("%s has no licence that is known", m.Path)
		}
		bill.Components = append(bill.Components, part("library", m.Path, m.Version, known[m.Path]))
	}
	out, err := json.MarshalIndent(bill, "", "  ")
	if err != nil {
		return err
	}
	return write(file, append(out, '\n'))
}

func part(kind, path, version string, licences []string) component {
	url := "pkg:golang/" + path + "@" + version
	c := component{Type: kind, Ref: url, Name: path, Version: version, URL: url}
	for _, id := range slices.Sorted(slices.Values(licences)) {
		var l licence
		l.License.ID = id
		c.Licences = append(c.Licences, l)
	}
	return c
}
