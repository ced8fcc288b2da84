package config

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the table of keys into the guide")

const (
	guide     = "README.md"
	tableFrom = "<!-- The table is made from the tags of Config: go test ./shared/config -run TestTheGuideHasEveryKey -update -->\n"
	tableTo   = "<!-- end of the table -->\n"
)

// The guide has every key with its values, default and unit, as the struct tags
// say them.
func TestTheGuideHasEveryKey(t *testing.T) {
	text, err := os.ReadFile(guide)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(text), tableFrom)
	require.True(t, found, "%s does not say where the table begins", guide)
	_, after, found := strings.Cut(rest, tableTo)
	require.True(t, found, "%s does not say where the table ends", guide)
	want := before + tableFrom + keyTable() + tableTo + after
	if *update {
		require.NoError(t, os.WriteFile(guide, []byte(want), 0o644)) //nolint:gosec // a page for everyone
		return
	}
	require.Equal(t, want, string(text), "run this test with -update")
}

// The settings that the guide shows first can be used as they are.
func TestTheGuidesSettingsAreGood(t *testing.T) {
	text, err := os.ReadFile(guide)
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(text), "```yaml\n")
	require.True(t, found)
	settings, _, _ := strings.Cut(rest, "```")
	c := parsed(t, settings, "TARN_OPS_TOKEN=0123456789abcdef", "LEMON_API_KEY=key", "LEMON_WEBHOOK_SECRET=0123456789abcdef", "BILLING_SECRET="+whsec)
	require.Equal(t, "lemon", c.Sources["lemon"].Provider)
}

// keyTable is a row for each key.
func keyTable() string {
	var b strings.Builder
	b.WriteString("| Key | Values | Default | What it does |\n|---|---|---|---|\n")
	for _, k := range Keys() {
		if k.Type == "map" {
			k.Path += ".<name>"
		}
		values := strings.ReplaceAll(k.Type, " | ", ", ")
		def := "none"
		switch {
		case k.Default != "":
			def = "`" + k.Default + "`"
		case k.Required:
			def = "required"
		}
		help := k.Help
		if k.Reload {
			help += " Read again on SIGHUP."
		}
		_, _ = fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Path, values, def, cmp.Or(help, "–"))
	}
	return b.String()
}
