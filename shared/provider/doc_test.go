package provider

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// documented returns the blocks of YAML in the package's documentation.
func documented(t *testing.T) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	apart := true
	for line := range strings.Lines(string(text)) {
		code, ok := strings.CutPrefix(line, "//\t")
		switch {
		case ok && apart:
			blocks = append(blocks, code)
		case ok:
			blocks[len(blocks)-1] += code
		}
		apart = !ok && (apart || strings.TrimSpace(line) != "//")
	}
	return blocks
}

// The definition in the package's documentation is a definition.
func TestTheDocumentedDefinitionIsValid(t *testing.T) {
	d, err := Parse("doc.go", []byte(documented(t)[0]))
	require.NoError(t, err)
	require.Len(t, d.Kinds(), 7)
	status, ok := d.Expects("order.done", "order")
	require.True(t, ok)
	require.Equal(t, "done", status)
}

// So is the signature, once it says one thing of what excludes each other.
func TestTheDocumentedSignatureIsValid(t *testing.T) {
	for _, block := range documented(t)[1:] {
		text, ok := strings.CutPrefix(block, "signature:")
		if !ok {
			continue
		}
		for _, without := range []string{`(?m)^  prefix:.*\n`, `(?m)^    header:.*\n`} {
			text = regexp.MustCompile(without).ReplaceAllString(text, "")
		}
		d, err := signing(t, text)
		require.NoError(t, err)
		require.Equal(t, "hmac", d.Signature().Name())
		return
	}
	t.Fatal("the documentation has no signature")
}
