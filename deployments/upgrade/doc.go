// Package upgrade has the end-to-end test of a rolling upgrade and of the way back. `make
// e2e-upgrade` runs it, from the last release or, while there is none, from the commit before
// this one; FROM=v1.2.0 names another.
//
// A fleet of the old programs is under load, on MongoDB's wire protocol. Its processes are
// replaced one by one by new ones, then by old ones again, then by new ones: no event may
// be lost, no document wrong, no order inverted. A SQLite file is upgraded by all its
// processes at once, so it is no part of this.
package upgrade
