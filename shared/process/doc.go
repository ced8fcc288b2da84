// Package process is what every binary of Tarn has in common: flags, settings,
// logging, tracing, metrics, health, signals, and the way to Redis, the store
// and the providers. A main names its program and what to run, nothing else.
//
//	SIGTERM, SIGINT  the context ends; the process has 10 s, then it is cut off;
//	                 a second signal cuts it off at once. Exit status 0; that
//	                 of a command that was not done yet is 4.
//	SIGHUP           the settings are read again. Secrets, keys and rates take
//	                 effect; other differences are named in the log.
//
// A dependency that is away when the process starts is waited for, as it is
// later: orchestrators start things in any order.
package process
