package provider

import (
	"os"
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

// What the documentation shows of the API's keys can be used, and so can the table of
// pagination styles.
func TestTheDocumentedAPIKeysAreValid(t *testing.T) {
	found := map[string]bool{}
	for _, block := range documented(t) {
		first, _, _ := strings.Cut(block, ":")
		switch {
		case first == "auth":
			_, err := Parse("doc.go", []byte(strings.Replace(minimal, "probe: /me", "probe: /me, "+strings.TrimSpace(block), 1)))
			require.NoError(t, err)
		case first == "errors":
			_, err := Parse("doc.go", []byte(strings.Replace(minimal, "errors: message", strings.TrimSpace(block), 1)))
			require.NoError(t, err)
		case strings.HasPrefix(block, "style "):
			for line := range strings.Lines(block) {
				words := strings.Fields(line)
				style, ok := pagers[words[0]]
				if !ok {
					require.Equal(t, "style", words[0])
					first = "styles"
					continue
				}
				found[words[0]] = true
				require.Equal(t, style.items, words[1], line)
				require.Contains(t, line, style.next)
				require.Contains(t, line, style.param)
			}
			for name := range pagers {
				require.True(t, found[name], name)
			}
		}
		found[first] = true
	}
	require.True(t, found["auth"] && found["errors"] && found["styles"], "the test finds them")
}
