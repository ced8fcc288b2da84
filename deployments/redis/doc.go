// Package redis has the end-to-end tests of Tarn on the kinds of Redis there are: one
// server, a cluster, sentinels, TLS with client certificates, and a user with no more
// rights than shared/stream/REDIS.md shows, on a server without CONFIG and INFO. `make
// e2e-redis` runs them.
//
// Each is a fleet of one api, two workers and a reconciler under a load of 100 events a
// second. Something happens to Redis meanwhile. Then the fleet is compared with the
// simulator: no event may be lost, no document wrong, no order inverted, and `reconciler
// verify` must end with 0. The longest time in which no event was accepted, and in which
// none was settled, have limits: of a server that is away, that time and 2 s; of a
// fail-over, the time after which the others take a master for dead and 4 s. On top of
// that comes what this machine pauses when nothing is wrong, which each run measures
// before the fault.
package redis
