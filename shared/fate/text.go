package fate

import (
	"strings"
	"unicode/utf8"
)

// Short returns text for a record, an alert or a line of a log: at most n
// bytes of it, and "…" if that is not all. It never ends in half a character,
// and bytes that are not UTF-8, which databases refuse, become U+FFFD.
func Short(text string, n int) string {
	if len(text) > n {
		end := n
		for end > max(0, n-utf8.UTFMax+1) && !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
