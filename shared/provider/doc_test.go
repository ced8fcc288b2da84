package provider

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The definition in the package's documentation is a definition.
func TestTheDocumentedDefinitionIsValid(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	var example strings.Builder
	for line := range strings.Lines(string(text)) {
		if code, ok := strings.CutPrefix(line, "//\t"); ok {
			example.WriteString(code)
		}
	}
	d, err := Parse("doc.go", []byte(example.String()))
	require.NoError(t, err)
	require.Len(t, d.Kinds(), 7)
	status, ok := d.Expects("order.done", "order")
	require.True(t, ok)
	require.Equal(t, "done", status)
}
