// Package outgoing sends signed messages to the receiver of an outgoing webhook, and says
// what its answer means.
//
// A message is a POST of JSON with the headers of Standard Webhooks: webhook-id,
// webhook-timestamp and webhook-signature, which has a signature by every secret.
//
//	answer                                       outcome
//	2xx                                          Accepted
//	410                                          Ended: the receiver wants no more
//	429, or 503 with Retry-After                 Throttled
//	502, 503, 504; no connection                 Away: nothing was asked, or a proxy says
//	                                             that what is behind it does not answer
//	another, also a redirect; cut off;           Refused: the next message may fare better
//	none in time; 2xx whose body is cut off
//
// # A receiver may be hostile
//
// A connection is made to addresses alone that package egress allows, never through a
// proxy of the environment, and no redirect is followed. A message takes 15 s at most, from
// the resolution of the name to the last byte: a receiver that reads or answers slowly is
// cut off. A connection that it has closed between two messages costs none: the second is
// sent again on a new one. Of an answer 16 KiB of headers and 4 KiB of the body are read, and nothing but the
// status and Retry-After is kept.
//
// Errors are short, and hold neither the address, which may have a token in it, nor a
// secret, nor what the receiver has written.
package outgoing
