// Package probe finds out, when answers of a provider are bad, whether it is the
// source as a whole. The worker and the reconciler both do so, for the same
// source and for each of many bad answers, so it is bounded here:
//
//	prober.go   the probe path, asked one at a time for all who want to know
//	throttle.go the source that is asked too often, or one thing that always says so
//	witness.go  entities the mirror knows, asked to prove that the right account is
//
// What a bad probe means for the source is decided in package fate: see
// fate.Pauses.
package probe
