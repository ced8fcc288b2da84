// Package names says what the programs in the container image are called.
package names

// Binary is the file that all programs are in, and Programs are the links to it.
const Binary = "tarnd"

// Programs are what Binary can run as.
var Programs = []string{"api", "worker", "reconciler", "simulator", "tarn"}
