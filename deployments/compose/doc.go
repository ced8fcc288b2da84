// Package compose proves that the stack of containers, as deployments/docker/compose.yaml
// describes it, loses nothing and stops for no longer than it must, whatever dies. The test
// itself has the build tag e2e and needs a Docker engine:
//
//	make e2e-compose
//
// It starts the stack with two apis, three workers and two reconcilers, has the simulated
// provider send 100 events a second, and makes one fault after another happen. After each it
// waits until all is calm, compares everything with the provider's truth (package fleet),
// runs `reconciler verify` in a container, which must end with 0, and prints a line:
//
//	events     events of the provider in this time, each accepted by an api
//	lost       those that are not in the event log
//	wrong      entities whose mirror is not the truth, events that are not processed, and
//	           times a covering claim decreases along an entity's stream
//	settling   the longest time in which a shard that had work settled none of it: with
//	           events that wait for a shard that lost its reader, and with the others
//	intake     the longest time between two events that were accepted
//	p99        from an event's receipt to its document, the 99th percentile
//
// The first fault is none: it shows what the machine itself costs. The time in which Redis,
// killed, does not answer is added to what that may cost.
//
// No image can be pulled where the test is to run, so that it makes them from scratch out of
// this machine's files. override.yaml names what stands in for what; the test says it too.
//
//	pause.go           pauses and percentiles, from the event log
//	table.go           the lines, and what they may show at most
//	override_test.go   the compose file as docker-compose reads it with override.yaml
//	engine_e2e_test.go images and containers
//	stack_e2e_test.go  the stack, started, attached to, judged
//	faults_e2e_test.go what goes wrong
package compose
