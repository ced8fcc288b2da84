// Package process is what the api, the worker and the reconciler have in common:
// flags, settings, logging, tracing, metrics, health, signals, and the connections to
// Redis, the store and the providers. A main names its program and what to run, nothing else.
//
//	SIGTERM, SIGINT  the context ends; the process has 10 s, then it is cut off.
//	                 A second signal ends it at once. Exit status 0; 1 if it was
//	                 cut off; 4 for a command that was not done yet.
//	SIGHUP           the settings are read again. Secrets, keys and rates take
//	                 effect; other differences are named in the log.
//	new content      of a file that the settings name as ${file:…}: as SIGHUP,
//	                 once it has been the same for 2 s.
//
// Memory is bounded by GOMEMLIMIT, or by nine tenths of what the container may use; the
// log says by which. A container's bound that changes is taken within a minute. How late garbage is collected is a program's own, unless GOGC says it.
//
// A process waits for a dependency that is away, at the start as later on:
// orchestrators start containers in any order.
package process
