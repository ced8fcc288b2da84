// Package fault lets tests break Tarn on purpose. In the ordinary build every
// function here does nothing. The build with the tag "fault", which only tests
// make, reads TARN_FAULT from the environment.
//
// TARN_FAULT is a comma-separated list:
//
//	leases-off, lanes-off, …    Off("leases") returns true: a negative control
//	kill@NAME                   the process kills itself at Point("NAME")
//	kill@NAME:N                 the Nth time it gets there
//	stop@NAME, stop@NAME:N      it stops itself there, until it gets SIGCONT
//
// No shipped binary contains a switch that turns a guarantee off: `make build`
// does not set the tag, and a test searches the binaries for the names.
package fault
