// Package rawjson reads JSON without changing a byte of it.
//
// A mirror of money must not round what it copies: 1.10 stays 1.10 and
// 12345678901234567890 keeps its last digit. Packages that decode into Go
// values lose the text. This one parses a document once into positions and then
// answers three questions about the same bytes: which value is at a path, what is
// the document without some members (Cut), and are two documents the same state
// (Canonical).
//
// It is an RFC 8259 parser with the two limits that bytes from outside need: a
// maximal depth, and in strict mode unique names and strings that are Unicode, so
// that two readers cannot see two different documents.
package rawjson
