// Package receiver measures how many webhooks a second three servers take in:
//
//	tarn  the api of this project: verify, parse, append with the event's mark
//	      in one script, answer once Redis has confirmed it
//	gin   a Gin handler with the same HMAC, encoding/json into a struct and one
//	      plain XADD per request
//	bare  a Gin handler that reads the body, checks the HMAC and answers: what
//	      HTTP and the signature alone cost
//
// With -traced it compares Tarn with itself instead, without traces and while it traces
// one webhook in a hundred and sends what it traced to a collector that keeps nothing.
//
// Each server is a process, Redis is a process, the load generator is a
// process, and they share the machine's cores in every round alike. Rounds are
// interleaved (tarn, gin, bare, tarn, …), so that a machine that slows down
// slows all three; the medians are compared.
//
// The load generator is the one in load.go: 64 keep-alive connections, one
// request in flight on each, HTTP/1.1 written and read by hand since a general
// client costs more than the servers measured. Bodies are made and signed
// before the round, each with an event id of its own.
package receiver
