// Package signature checks and makes the signatures of webhooks.
//
// A Spec says how a provider signs: which header holds the signature, how it is
// encoded, where the time stands and which text is signed. New checks a Spec and
// makes a Scheme of it. Scheme.Verifier checks requests with the secrets of one
// source; Scheme.Sign is its inverse, for tools, simulators and tests. The package
// reads no YAML, no clock and no network.
//
// # Schemes
//
//	hmac              a template: every key of Spec but Algorithm
//	timestamped-hmac  hmac with the settings of Stripe: t=TIME,v1=HEX
//	standard-webhooks hmac with those of Standard Webhooks 1.0.0; whpk_ keys check v1a
//	public-key        the same template with a public key instead of a secret
//	adyen-items       Adyen: each item of the body holds its own signature
//	none              no signature: a secret in the path of the address
//
// # Requests that a proxy has changed
//
// A header may arrive several times, or joined with itself by ", ", because proxies
// do that (RFC 9110, section 5.3). Equal copies count once. Different ones are
// refused, because another reader may take the other one.
//
// The first header of Spec.Headers that is there counts, alone: a second header
// must not be a second chance.
//
// # Time
//
// Where a scheme signs a time, a request is accepted for a while around it. Where it
// signs none, a recorded request is accepted for ever: only the
// event's id keeps it from being processed again.
package signature
