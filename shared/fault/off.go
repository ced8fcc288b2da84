//go:build !fault

package fault

// Enabled reports whether this binary was built with faults.
const Enabled = false

// Off reports whether a guarantee is switched off: never.
func Off(string) bool { return false }

// Point marks a step between which a test may kill the process: nothing.
func Point(string) {}
