// Package deployments says how Tarn's programs are built. Its tests are those of
// the whole tree: who may import what, what may ship, and what the README
// promises. They read every file, with any build tags.
package deployments

import (
	_ "embed"
	"strings"
)

//go:embed tags
var tags string

// Tags returns the build tags of the programs that ship, and more, separated by
// commas, for the go command. The Makefile reads them from the same file:
//
//   - nomsgpack leaves out gin's MessagePack, which Tarn does not speak;
//   - grpcnotrace leaves out gRPC's trace pages. They call methods by name
//     through html/template, for which the linker keeps every exported method of
//     every type that is linked, 10 MB of them. gRPC itself comes with the
//     exporter of traces and is never called.
func Tags(more ...string) string {
	return strings.Join(append(more, strings.TrimSpace(tags)), ",")
}
