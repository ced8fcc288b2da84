package command

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every command line of the runbook names a command there is, with flags it has.
func TestTheRunbookNamesCommandsThatExist(t *testing.T) {
	text, err := os.ReadFile("../../prometheus/RUNBOOK.md")
	require.NoError(t, err)
	lines := regexp.MustCompile("`bin/tarn ([^`]+)`").FindAllStringSubmatch(string(text), -1)
	require.Greater(t, len(lines), 15)
	for _, l := range lines {
		words := strings.Fields(l[1])
		var name string
		for _, c := range commands {
			of := strings.Fields(c.Name)
			if len(words) >= len(of) && slices.Equal(of, words[:len(of)]) && len(c.Name) > len(name) {
				name = c.Name
			}
		}
		require.NotEmpty(t, name, "the runbook has %q", l[0])
		help := run(t, "", append(strings.Fields(name), "--help")...).out
		for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(l[1], -1) {
			require.Regexp(t, `(?m)^  `+flag+` `, help, "the runbook has %q", l[0])
		}
	}
}
