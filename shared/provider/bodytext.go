package provider

import "bytes"

// withoutMark returns a text without the byte order mark that some servers begin
// theirs with.
func withoutMark(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\ufeff")) }

// isUTF16 reports whether a text that is no JSON begins like one in UTF-16 or UTF-32:
// with a mark, or with a zero beside its first character.
func isUTF16(text []byte) bool {
	return bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) ||
		len(text) >= 2 && (text[0] == 0) != (text[1] == 0)
}

// isForm reports whether a text that is no JSON is a form, as GitHub sends unless it is
// told otherwise: pairs of letters, digits and escapes, without white space.
func isForm(text []byte) bool {
	name, _, pair := bytes.Cut(text, []byte("="))
	return pair && len(name) > 0 && !bytes.ContainsAny(name, `{}[]":`) && bytes.IndexFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}
