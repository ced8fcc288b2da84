package config

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"strings"
)

// expand replaces ${NAME} and ${file:path}; $${ is a plain ${. What comes out
// is not expanded again, so a secret may hold any text.
func (d *decoder) expand(text string) (string, error) {
	var b strings.Builder
	for {
		i := strings.Index(text, "${")
		if i < 0 {
			b.WriteString(text)
			return b.String(), nil
		}
		if i > 0 && text[i-1] == '$' {
			b.WriteString(text[:i-1] + "${")
			text = text[i+2:]
			continue
		}
		b.WriteString(text[:i])
		name, rest, closed := strings.Cut(text[i+2:], "}")
		if !closed {
			return "", fmt.Errorf("${ without }: close it, or write $${ for a plain ${")
		}
		value, err := d.lookup(name)
		if err != nil {
			return "", err
		}
		b.WriteString(value)
		text = rest
	}
}

func (d *decoder) lookup(name string) (string, error) {
	if path, ok := strings.CutPrefix(name, "file:"); ok {
		file := d.beside(path)
		content, err := d.readFile(file)
		if err != nil {
			return "", fmt.Errorf("${%s}: %w", name, err)
		}
		d.files[file] = sha256.Sum256(content)
		// Editors and echo end a file with newlines that no secret has. A file of nothing is
		// one that is being written, or that a full disk has cut off.
		text := strings.TrimRight(string(content), "\r\n")
		if text == "" {
			return "", fmt.Errorf("${%s}: is empty", name)
		}
		return text, nil
	}
	value, ok := d.vars[name]
	if !ok {
		return "", fmt.Errorf("environment variable %s is not set", name)
	}
	return value, nil
}

// beside returns a path of the file, where a relative one starts at the file's
// folder: the folder a process is started in differs from host to host.
func (o origin) beside(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(o.file), path)
}
