package main

import (
	_ "embed"
	"time"

	"github.com/tarn-sync/tarn/deployments/simulator"
)

// look is what a first look at a provider shows.
type look struct {
	// dir is where its data is, by default.
	dir string
	// settings are those of the processes, whose one source has the provider's name.
	settings []byte
	// kind is the kind of the examples.
	kind string
	// header is that of the signature, and event the body of an event that says of an
	// entity of the kind what is the case already: of another status a worker would
	// not believe the provider's answer at once.
	header string
	event  func(event, id string, e entity, at time.Time) map[string]any
}

//go:embed standalone.yaml
var lemonSettings []byte

//go:embed stripe.yaml
var stripeSettings []byte

// looks are the providers there are.
var looks = map[string]*look{
	simulator.Lemon: {
		dir: ".tarn", settings: lemonSettings, kind: "order", header: "LMG-Signature",
		event: func(event, id string, e entity, at time.Time) map[string]any {
			return map[string]any{
				"id": event, "type": "order." + e.Status, "created_at": at.Format(time.RFC3339Nano),
				"context": map[string]string{"order": id, "account": e.Parents["account"]},
			}
		},
	},
	simulator.Stripe: {
		dir: ".tarn/stripe", settings: stripeSettings, kind: "subscription", header: "Stripe-Signature",
		event: func(event, id string, _ entity, at time.Time) map[string]any {
			return map[string]any{
				"id": event, "object": "event", "type": "customer.subscription.updated", "created": at.Unix(), "livemode": true,
				"data": map[string]any{"object": map[string]string{"id": id, "object": "subscription"}},
			}
		},
	},
}
