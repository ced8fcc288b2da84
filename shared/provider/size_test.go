package provider

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// large is a definition of many kinds and event families.
func large(kinds, families int) []byte {
	var b strings.Builder
	b.WriteString(`provider: large
signature: {scheme: timestamped-hmac, headers: [X-Sig]}
envelope: {id: id, type: type, context: context}
api: {errors: {at: error.code, gone: [missing]}, probe: /me, pagination: {style: last-id}}
kinds:
`)
	for i := range kinds {
		fmt.Fprintf(&b, `  k%d:
    get: /k%d/{k%d}
    list: /k%d
    list_query: {status: all}
    deleted: deleted
    status: status
    statuses: [open, done]
    terminal: [done]
    verify_after: 5s
    volatile: [seen]
    complete: [{at: lines, path: "/k%d/{k%d}/lines"}]
`, i, i, i, i, i, i)
	}
	b.WriteString("events:\n")
	for i := range families {
		fmt.Fprintf(&b, "  f%d.done: {touches: [k%d, \"*\"], implies: suffix}\n", i, i%kinds)
	}
	return []byte(b.String())
}

// A definition of a provider as large as Stripe is loaded with work in proportion to
// its size.
func TestALargeDefinition(t *testing.T) {
	allocations := func(kinds, families int) float64 {
		text := large(kinds, families)
		return testing.AllocsPerRun(3, func() {
			_, err := Parse("large.yaml", text)
			require.NoError(t, err)
		})
	}
	small, big := allocations(50, 300), allocations(200, 1200)
	require.Less(t, small, 60_000.0)
	require.Less(t, big, 6*small)
}

func BenchmarkParse(b *testing.B) {
	text := large(50, 300)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("large.yaml", text); err != nil {
			b.Fatal(err)
		}
	}
}

// One that is too large is refused before it is read as YAML.
func TestADefinitionThatIsTooLarge(t *testing.T) {
	text := append([]byte(minimal), strings.Repeat("# more\n", maxDefinition/7)...)
	_, err := Parse("small.yaml", text)
	require.EqualError(t, err, "small.yaml: is longer than 524288 bytes, which is the most that a definition may have")
	file := filepath.Join(t.TempDir(), "mine.yaml")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	_, err = LoadFile(file)
	require.ErrorContains(t, err, "mine.yaml: is longer than 524288 bytes")

	var kinds strings.Builder
	for i := range maxKinds + 1 {
		fmt.Fprintf(&kinds, "  k%d: {get: \"/{k%d}\"}\n", i, i)
	}
	_, err = Parse("small.yaml", []byte(strings.Replace(minimal, "  totals:", kinds.String()+"  totals:", 1)))
	require.ErrorContains(t, err, "small.yaml:5: kinds: has 1003 kinds: a definition has at most 1000")
	_, err = Parse("most.yaml", large(maxKinds, 100))
	require.NoError(t, err)
}
