package simulator

import "net/http"

// stripe is Stripe's API, in live mode.
var stripe = newDialect(dialect{
	name: Stripe, kinds: stripeKinds, eventTypes: []string{everyType},
	eventForm: eventForm{
		writeEvent: writeStripeEvent, readEvent: readStripeEvent, thinEvent: thinStripeEvent, testEvent: testStripeEvent,
		eventTime: stripeTime, futureTime: stripeFuture, oddTimes: stripeOddTimes,
		signatureHeader: "Stripe-Signature", sign: signStripe, userAgent: "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
	},
	apiForm: apiForm{
		routes: stripeRoutes, admit: admitStripe, headers: stripeHeaders, writeError: writeStripeError, show: showStripe,
		unknown: unknownStripe, gone: goneFromStripe, tooMany: tooManyStripe, locked: lockedStripe,
		keys: stripeKeys,
		badPages: []*refusal{
			refuse(http.StatusInternalServerError, "An unknown error occurred"),
			{status: http.StatusBadRequest, Message: "No such object", code: "resource_missing", param: "starting_after"},
			{status: http.StatusNotFound, Message: "No such object", code: "resource_missing", param: "starting_after"},
		},
	},
	story: story{
		beginnings: stripeBeginnings, goOn: stripeGoOn, first: beginStripeCustomer, idle: touchStripeCustomer,
		loadParent: (*change).loadCustomer, loadChild: (*change).loadOfCustomer, recallLoad: recallStripeLoad,
		stirParent: func(c *change, id string) { c.stirCustomer(c.w.find("customer", id)) }, stirChild: (*change).stirOfCustomer,
		drifting: []string{"customer", "product", "price", "subscription", "invoice", "charge", "refund"},
		drift:    driftStripe, removable: "product",
		trouble: trouble{kind: "product", create: restingProduct, move: (*change).stirProduct, edit: rename},
	},
})
