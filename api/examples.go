package api

import "github.com/danielgtaylor/huma/v2"

// fields are those of an example.
type fields = map[string]any

// requestExamples are the bodies of requests that the document shows, by operation. Each is
// one that its route takes.
var requestExamples = map[string]any{
	"receive-webhook":          eventExample,
	"receive-unsigned-webhook": eventExample,
	"discard-dead-letter":      fields{"reason": "the account is closed"},
	"redrive-dead-letters":     fields{"source": "lemon", "kind": "order", "rate": 20, "dry_run": true},
	"discard-dead-letters":     fields{"source": "lemon", "class": "permanent", "reason": "the provider has closed these accounts", "dry_run": true},
	"redrive-events":           fields{"source": "lemon", "note": "require_unmet", "dry_run": true},
	"pause-source":             fields{"reason": "the provider maintains until 12:00"},
	"resume-source":            fields{"accept_deletions": false},
	"discard-source":           fields{"reason": "the account is closed"},
	"retry-parked":             fields{"source": "lemon", "class": "transient"},
	"send-command": fields{
		"source": "lemon", "kind": "order", "op": "create", "ref": "order-2026-1042", "parents": fields{"account": "cusa_1"},
		"body": fields{"side": "buy", "type": "market", "instrument": "US0378331005", "amount": "250.00", "fees": fields{"base_amount": "0"}, "currency": "EUR"},
	},
	"discard-command":     fields{"reason": "the customer has withdrawn the order"},
	"resolve-command":     fields{"outcome": "done", "id": "bord_1"},
	"link-ref":            fields{"id": "bord_1"},
	"pause-subscription":  fields{"reason": "the receiver moves to another host"},
	"rewind-subscription": fields{"after": "snapshot"},
	"start-sweep":         fields{"source": "lemon", "mode": "sweep", "kinds": []string{"order"}},
}

var eventExample = fields{
	"id": "evt_mine_1", "type": "order.created", "created_at": "2026-03-01T12:00:00Z",
	"context": fields{"order": "bord_1", "account": "cusa_1"},
}

// addExamples gives every request body in the document its example.
func addExamples(doc *huma.OpenAPI) {
	for _, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Patch, item.Delete} {
			if op == nil || op.RequestBody == nil {
				continue
			}
			for _, content := range op.RequestBody.Content {
				content.Example = requestExamples[op.OperationID]
			}
		}
	}
}
