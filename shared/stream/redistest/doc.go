// Package redistest starts real Redis servers for tests: alone, with a
// replica or a sentinel, or as a cluster, on free ports of the loopback, in directories that
// go with the test. A test may kill one, restart it on what it had on disk, and
// put a Proxy in between that loses a reply. Programs that prove something
// start a Process, which is the same without a test around it.
//
// Tests of a package that calls Reuse take turns on servers they leave unharmed.
//
// redis-server is taken from PATH; a test that needs it and does not find it
// fails.
package redistest
