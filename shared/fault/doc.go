// Package fault is where tests break Tarn on purpose. It has two bodies: the
// ordinary build compiles every function here to nothing, and the build with
// the tag "fault", made only by tests, reads TARN_FAULT from the environment.
//
// TARN_FAULT is a comma-separated list:
//
//	leases-off, lanes-off, …    Off("leases") answers true: a negative control
//	kill@NAME                   the process kills itself at Point("NAME")
//	kill@NAME:N                 … the Nth time it gets there
//
// No switch that turns a guarantee off is in a binary that ships: `make build`
// does not set the tag, and a test looks for the names in the binaries.
package fault
