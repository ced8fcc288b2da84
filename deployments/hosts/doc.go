// Package hosts has the end-to-end tests of a fleet whose processes run on several hosts.
// `make e2e-hosts` runs them, as root, on Linux.
//
// Each host is a network namespace of this machine with one process of Tarn: two apis, two
// workers, a reconciler. Redis, the store and the provider are three addresses of a bridge
// that all hosts are connected to. Under a load of 100 events a second, links are cut one way
// or both, left half open, slowed down, or lose packets, and a host's clock is set. Then all is
// healed, and the fleet is compared with the simulator: no event may be lost, no document wrong,
// no order inverted, and `reconciler verify` must end with 0.
//
// Packets are dropped by rules of nftables on the host. A delay is made by what stands before a
// server, since not every kernel has netem. A clock is that of a binary which is built with
// another time.Now: Go's programs ask the kernel without a library that could be replaced. The
// store is a SQLite file that the hosts share, but where the link to the store is cut: that is
// MongoDB's wire protocol, with fewer events.
package hosts
