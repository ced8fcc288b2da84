package command

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/tarn-sync/tarn/shared/provider"
)

// texts is a flag that may be given several times.
type texts []string

// String returns the values, for the flag package.
func (t *texts) String() string { return strings.Join(*t, ", ") }

// Set adds a value.
func (t *texts) Set(value string) error {
	*t = append(*t, value)
	return nil
}

// pairs reads values such as NAME=VALUE.
func (t texts) pairs(flag string) (map[string]string, error) {
	all := map[string]string{}
	for _, text := range t {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, misused("--%s %s: want NAME=VALUE", flag, text)
		}
		if _, twice := all[name]; twice {
			return nil, misused("--%s %s: %s is given twice", flag, text, name)
		}
		all[name] = value
	}
	return all, nil
}

// filledIn returns a definition with the settings of a source.
func (t texts) filledIn(d *provider.Definition) (*provider.Definition, error) {
	settings, err := t.pairs("setting")
	if err != nil {
		return nil, err
	}
	filled, err := d.With(settings)
	if err != nil {
		return nil, misused("--setting: %w", err)
	}
	return filled, nil
}

// headers reads values such as "Name: value".
func (t texts) headers() (http.Header, error) {
	h := http.Header{}
	for _, text := range t {
		name, value, ok := strings.Cut(text, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return nil, misused("--header %q: want 'Name: value'", text)
		}
		h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return h, nil
}

// secret returns a secret that a flag holds, or, after @, the content of a file without
// its last newline, so that it need not stand in a shell's history.
func secret(value string) (string, error) {
	file, ok := strings.CutPrefix(value, "@")
	if !ok {
		return value, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read a secret: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
}

// secrets is secret for several.
func (t texts) secrets() ([]string, error) {
	all := make([]string, len(t))
	for i, value := range t {
		var err error
		if all[i], err = secret(value); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// mostEvent bounds the file of an event: the api takes no larger body.
const mostEvent = 15 << 20

// content returns the content of a file, or of standard input for "-", byte by byte as
// it is: a signature covers the newline at its end.
func content(env *Env, file string) ([]byte, error) {
	in := env.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("read the event: %w", err)
		}
		defer func() { _ = f.Close() }() // read only
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, mostEvent+1))
	if err != nil {
		return nil, fmt.Errorf("read the event: %w", err)
	}
	if len(text) > mostEvent {
		return nil, fmt.Errorf("the event in %s has more than %d bytes", file, mostEvent)
	}
	return text, nil
}
