package provider

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

// Envelopes of providers, with bodies of the documented shapes and made-up values: what
// each event says of itself and what it names.
func TestEnvelopesOfProviders(t *testing.T) {
	at := func(text string) time.Time {
		got, err := time.Parse(time.RFC3339Nano, text)
		require.NoError(t, err)
		return got.UTC()
	}
	type said struct {
		id, typ string
		names   string // kind/id of each entity, or the note
		at      string
	}
	const hashed = "hash"
	for name, c := range map[string]struct {
		envelope, kinds, events string
		header                  http.Header
		body                    string
		settings                map[string]string
		want                    []said
	}{
		"GitHub, an issue": {
			envelope: `
id: header:X-GitHub-Delivery
type: [header:X-GitHub-Event, action]
ids: {owner: repository.owner.login, repo: repository.name, issue: issue.number, pull: pull_request.number}`,
			kinds: `
repository: {get: "/repos/{owner}/{repo}"}
issue: {get: "/repos/{owner}/{repo}/issues/{issue}", ids: parents}
pull: {get: "/repos/{owner}/{repo}/pulls/{pull}", ids: parents}`,
			events: `
issues: {touches: [issue, repository]}
pull_request: {touches: [pull]}
push: {touches: [repository]}`,
			header: http.Header{"X-Github-Delivery": {"72d3162e-cc78-11e3-81ab-4c9367dc0958"}, "X-Github-Event": {"issues"}},
			body:   `{"action":"opened","issue":{"id":444500041,"number":2,"title":"Spelling"},"repository":{"id":186853002,"name":"hello","full_name":"octo/hello","owner":{"login":"octo","id":21}},"sender":{"login":"octo"}}`,
			want:   []said{{"72d3162e-cc78-11e3-81ab-4c9367dc0958", "issues.opened", "issue/2 repository/hello", ""}},
		},
		"GitHub, a push without an action": {
			envelope: `
id: header:X-GitHub-Delivery
type: [header:X-GitHub-Event, action]
ids: {owner: repository.owner.login, repo: repository.name}`,
			kinds:  `repository: {get: "/repos/{owner}/{repo}"}`,
			events: `push: {touches: [repository]}`,
			header: http.Header{"X-Github-Delivery": {"72d3162e"}, "X-Github-Event": {"push"}},
			body:   `{"ref":"refs/heads/main","before":"6113728f","repository":{"name":"hello","owner":{"login":"octo"}}}`,
			want:   []said{{"72d3162e", "push", "repository/hello", ""}},
		},
		"Shopify": {
			envelope: `
id: header:X-Shopify-Event-Id
type: header:X-Shopify-Topic
family_at: "/"
created_at: header:X-Shopify-Triggered-At
object: {id: id}
require: {header:X-Shopify-Shop-Domain: "{shop}"}`,
			kinds:    "order: {get: \"/orders/{order}\", list: /orders}",
			events:   "orders: {touches: [order]}",
			header:   http.Header{"X-Shopify-Event-Id": {"98880550-7158"}, "X-Shopify-Topic": {"orders/create"}, "X-Shopify-Triggered-At": {"2026-03-29T18:00:27.877041743Z"}, "X-Shopify-Shop-Domain": {"odd.myshopify.com"}},
			settings: map[string]string{"shop": "odd.myshopify.com"},
			body:     `{"id":820982911946154508,"admin_graphql_api_id":"gid:\/\/shopify\/Order\/820982911946154508","total_price":"10.00"}`,
			want:     []said{{"98880550-7158", "orders/create", "order/820982911946154508", "2026-03-29T18:00:27.877041743Z"}},
		},
		"Slack": {
			envelope: `
id: event_id
type: event.type
created_at: event_time
time: unix
ids: {channel: event.channel, user: event.user}
challenge: {when: {type: url_verification}, echo: challenge}`,
			kinds:  "channel: {get: \"/conversations.info/{channel}\"}\nuser: {get: \"/users.info/{user}\"}",
			events: "message: {touches: [channel, user]}",
			body:   `{"token":"x","team_id":"T123","api_app_id":"A1","event":{"type":"message","channel":"C1","user":"U1","text":"hi","ts":"1355517523.000005"},"type":"event_callback","event_id":"Ev123","event_time":1355517523}`,
			want:   []said{{"Ev123", "message", "channel/C1 user/U1", "2012-12-14T20:38:43Z"}},
		},
		"GoCardless": {
			envelope: `
each: events
id: "@.id"
type: ["@.resource_type", "@.action"]
created_at: "@.created_at"
ids: {payment: "@.links.payment", mandate: "@.links.mandate"}`,
			kinds:  "payment: {get: \"/payments/{payment}\", list: /payments}\nmandate: {get: \"/mandates/{mandate}\", list: /mandates}",
			events: "payments: {touches: [payment, mandate]}\nmandates: {touches: [mandate]}",
			body: `{"events":[{"id":"EV123","created_at":"2026-08-04T12:00:00.000Z","action":"confirmed","resource_type":"payments","links":{"payment":"PM123"},"details":{"origin":"gocardless"}},
{"id":"EV124","created_at":"2026-08-04T12:00:01.000Z","action":"cancelled","resource_type":"mandates","links":{"mandate":"MD1"}}],"meta":{"webhook_id":"WB123"}}`,
			want: []said{{"EV123", "payments.confirmed", "payment/PM123", "2026-08-04T12:00:00Z"}, {"EV124", "mandates.cancelled", "mandate/MD1", "2026-08-04T12:00:01Z"}},
		},
		"Xero": {
			envelope: `
each: events
id: body-hash
type: ["@.eventCategory", "@.eventType"]
object: {id: "@.resourceId"}`,
			kinds:  "invoice: {get: \"/Invoices/{invoice}\", list: /Invoices}\ncontact: {get: \"/Contacts/{contact}\", list: /Contacts}",
			events: "INVOICE: {touches: [invoice]}\nCONTACT: {touches: [contact]}",
			body:   `{"events":[{"resourceUrl":"https://api.xero.com/api.xro/2.0/Contacts/717f2bfc","resourceId":"717f2bfc","eventDateUtc":"2017-06-21T01:15:39.902","eventType":"UPDATE","eventCategory":"CONTACT","tenantId":"c2cc9b6e","tenantType":"ORGANISATION"}],"lastEventSequence":1,"firstEventSequence":1,"entropy":"S0m3r4Nd"}`,
			want:   []said{{hashed, "CONTACT.UPDATE", "contact/717f2bfc", ""}},
		},
		"Xero, the intent to receive": {
			envelope: "each: events\nid: body-hash\ntype: [\"@.eventCategory\", \"@.eventType\"]\nobject: {id: \"@.resourceId\"}",
			kinds:    "invoice: {get: \"/Invoices/{invoice}\", list: /Invoices}", events: "INVOICE: {touches: [invoice]}",
			body: `{"events":[],"firstEventSequence":0,"lastEventSequence":0,"entropy":"S0m3r4Nd"}`,
		},
		"QuickBooks, the old array": {
			envelope: `
each: eventNotifications.*.dataChangeEvent.entities
id: body-hash
type: ["@.name", "@.operation"]
created_at: "@.lastUpdated"
object: {id: "@.id"}`,
			kinds:  "customer: {get: \"/customer/{customer}\"}\nvendor: {get: \"/vendor/{vendor}\"}",
			events: "Customer: {touches: [customer]}\nVendor: {touches: [vendor]}",
			body:   `{"eventNotifications":[{"realmId":"1185883450","dataChangeEvent":{"entities":[{"name":"Customer","id":"1","operation":"Create","lastUpdated":"2026-10-05T14:42:19-07:00"},{"name":"Vendor","id":"2","operation":"Update","lastUpdated":"2026-10-05T14:42:19-07:00"}]}}]}`,
			want:   []said{{hashed, "Customer.Create", "customer/1", "2026-10-05T21:42:19Z"}, {hashed, "Vendor.Update", "vendor/2", "2026-10-05T21:42:19Z"}},
		},
		"QuickBooks, CloudEvents": {
			envelope: `
each: "."
id: "@.id"
type: "@.type"
created_at: "@.time"
object: {id: "@.intuitentityid"}
require: {"@.intuitaccountid": "{realm}"}`,
			kinds:    "customer: {get: \"/customer/{customer}\"}",
			events:   "qbo.customer.created: {touches: [customer]}",
			settings: map[string]string{"realm": "310687"},
			body: `[{"specversion":"1.0","id":"88cd52aa","source":"intuit.dsnBgbseACLLRZNxo2dfc4evmEJdxde58xeeYcZliOU=","type":"qbo.customer.created.v1","datacontenttype":"application/json","time":"2026-09-10T21:31:25.179550Z","intuitentityid":"1234","intuitaccountid":"310687","data":{}},
{"specversion":"1.0","id":"88cd52ab","type":"qbo.customer.created.v1","time":"2026-09-10T21:31:26Z","intuitentityid":"1235","intuitaccountid":"310688","data":{}}]`,
			want: []said{{"88cd52aa", "qbo.customer.created.v1", "customer/1234", "2026-09-10T21:31:25.17955Z"}, {"88cd52ab", "qbo.customer.created.v1", "require_unmet", "2026-09-10T21:31:26Z"}},
		},
		"HubSpot": {
			envelope: `
each: "."
id: "@.eventId"
type: "@.subscriptionType"
created_at: "@.occurredAt"
time: unix_ms
object: {id: "@.objectId"}`,
			kinds:  "contact: {get: \"/contacts/{contact}\", list: /contacts}",
			events: "contact: {touches: [contact]}",
			body:   `[{"eventId":100,"subscriptionId":1,"portalId":33,"appId":1160452,"occurredAt":1776000000123,"subscriptionType":"contact.creation","attemptNumber":0,"objectId":123,"changeSource":"CRM","changeFlag":"NEW"},{"eventId":3816279340,"subscriptionType":"contact.propertyChange","occurredAt":1776000000124,"objectId":1246965,"propertyName":"lifecyclestage","propertyValue":"subscriber"}]`,
			want:   []said{{"100", "contact.creation", "contact/123", "2026-04-12T13:20:00.123Z"}, {"3816279340", "contact.propertyChange", "contact/1246965", "2026-04-12T13:20:00.124Z"}},
		},
		"Adyen": {
			envelope: `
each: notificationItems.*.NotificationRequestItem
id: ["@.pspReference", "@.eventCode", "@.success"]
type: "@.eventCode"
created_at: "@.eventDate"
object: {id: "@.originalReference"}
require: {live: "{live}"}
ack: {body: "[accepted]"}`,
			kinds:    "payment: {get: \"/payments/{payment}\"}",
			events:   "CAPTURE: {touches: [payment]}",
			settings: map[string]string{"live": "false"},
			body:     `{"live":"false","notificationItems":[{"NotificationRequestItem":{"additionalData":{"hmacSignature":"x"},"amount":{"currency":"EUR","value":500},"eventCode":"CAPTURE","eventDate":"2026-01-01T01:02:01+02:00","merchantAccountCode":"TestMerchant","originalReference":"9913140798220028","pspReference":"7914073381342284","success":"true"}}]}`,
			want:     []said{{"7914073381342284.CAPTURE.true", "CAPTURE", "payment/9913140798220028", "2025-12-31T23:02:01Z"}},
		},
		"Unit": {
			envelope: `
each: data
id: "@.id"
type: "@.type"
created_at: "@.attributes.createdAt"
ids: {customer: "@.relationships.customer.data.id", application: "@.relationships.application.data.id"}`,
			kinds:  "customer: {get: \"/customers/{customer}\", list: /customers}\napplication: {get: \"/applications/{application}\", list: /applications}",
			events: "customer: {touches: [customer, application]}",
			body:   `{"data":[{"id":"53","type":"customer.created","attributes":{"createdAt":"2026-07-29T12:53:05.882Z"},"relationships":{"customer":{"data":{"id":"10000","type":"individualCustomer"}},"application":{"data":{"id":"100","type":"individualApplication"}}}}]}`,
			want:   []said{{"53", "customer.created", "customer/10000 application/100", "2026-07-29T12:53:05.882Z"}},
		},
		"Meta": {
			envelope: `
each: entry
id: body-hash
type: object
created_at: "@.time"
time: unix_ms
object: {id: "@.id"}
challenge: {get: hub.challenge, token: {hub.verify_token: "{verify_token}"}}`,
			kinds:    "page: {get: \"/{page}\"}",
			events:   "page: {touches: [page]}",
			settings: map[string]string{"verify_token": "sesame"},
			body:     `{"object":"page","entry":[{"id":"1067280970047460","time":1776000000123,"changes":[{"field":"feed","value":{"item":"post"}}]}]}`,
			want:     []said{{hashed, "page", "page/1067280970047460", "2026-04-12T13:20:00.123Z"}},
		},
		"Wise": {
			envelope: `
id: header:X-Delivery-Id
type: event_type
family_at: "#"
created_at: data.occurred_at
object: {id: data.resource.id}`,
			kinds:  "transfer: {get: \"/transfers/{transfer}\", list: /transfers}",
			events: "transfers: {touches: [transfer]}",
			header: http.Header{"X-Delivery-Id": {"7cd5e4d5"}},
			body:   `{"data":{"resource":{"id":111,"profile_id":222,"account_id":333,"type":"transfer"},"current_state":"processing","previous_state":"incoming_payment_waiting","occurred_at":"2026-01-01T12:34:56Z"},"subscription_id":"01234567","event_type":"transfers#state-change","schema_version":"2.0.0","sent_at":"2026-01-01T12:34:57Z"}`,
			want:   []said{{"7cd5e4d5", "transfers#state-change", "transfer/111", "2026-01-01T12:34:56Z"}},
		},
		"Modern Treasury": {
			envelope: `
id: header:X-Webhook-ID
type: [header:X-Topic, event]
object: {id: data.id, type: data.object}`,
			kinds:  "payment_order: {get: \"/payment_orders/{payment_order}\", list: /payment_orders}",
			events: "payment_order: {touches: [payment_order]}",
			header: http.Header{"X-Webhook-Id": {"11f1"}, "X-Topic": {"payment_order"}},
			body:   `{"event":"created","data":{"id":"f9a4","object":"payment_order","live_mode":true}}`,
			want:   []said{{"11f1", "payment_order.created", "payment_order/f9a4", ""}},
		},
		"Lemon Squeezy": {
			envelope: `
id: body-hash
type: meta.event_name
family_at: "_"
object: {id: data.id}
require: {data.attributes.test_mode: "{test_mode}"}`,
			kinds:    "order: {get: \"/orders/{order}\", list: /orders}",
			events:   "order: {touches: [order]}",
			settings: map[string]string{"test_mode": "false"},
			body:     `{"meta":{"event_name":"order_created","custom_data":{"customer_id":25}},"data":{"type":"orders","id":"1","attributes":{"store_id":1,"test_mode":false},"links":{"self":"https://api.lemonsqueezy.com/v1/orders/1"}}}`,
			want:     []said{{hashed, "order_created", "order/1", ""}},
		},
		"Twilio": {
			envelope: `
body: form
id: [MessageSid, MessageStatus]
type: [text:message, MessageStatus]
object: {id: MessageSid}`,
			kinds:  "message: {get: \"/Messages/{message}.json\", list: /Messages.json}",
			events: "message: {touches: [message]}",
			body:   "SmsSid=SM1a2b&SmsStatus=delivered&MessageStatus=delivered&To=%2B15551234567&MessageSid=SM1a2b&AccountSid=AC0&From=%2B15557654321&ApiVersion=2010-04-01",
			want:   []said{{"SM1a2b.delivered", "message.delivered", "message/SM1a2b", ""}},
		},
		"Mollie": {
			envelope: `
body: form
id: none
type: text:payment
object: {id: id}`,
			kinds:  "payment: {get: \"/payments/{payment}\", list: /payments}",
			events: "payment: {touches: [payment]}",
			body:   "id=tr_d0b0E3EA3v",
			want:   []said{{"drawn", "payment", "payment/tr_d0b0E3EA3v", ""}},
		},
		"Mollie, next-gen": {
			envelope: "id: id\ntype: type\ncreated_at: createdAt\nobject: {id: entityId}",
			kinds:    "payment_link: {get: \"/payment-links/{payment_link}\", list: /payment-links}",
			events:   "payment-link: {touches: [payment_link]}",
			body:     `{"resource":"event","id":"event_GvJ8","type":"payment-link.paid","entityId":"pl_qng5","createdAt":"2026-04-12T10:18:49.0Z","_links":{}}`,
			want:     []said{{"event_GvJ8", "payment-link.paid", "payment_link/pl_qng5", "2026-04-12T10:18:49Z"}},
		},
		"Paddle": {
			envelope: "id: event_id\ntype: event_type\ncreated_at: occurred_at\nobject: {id: data.id}",
			kinds:    "subscription: {get: \"/subscriptions/{subscription}\", list: /subscriptions}",
			events:   "subscription: {touches: [subscription]}",
			body:     `{"event_id":"evt_01","event_type":"subscription.created","occurred_at":"2026-04-12T10:18:49.621022Z","notification_id":"ntf_01","data":{"id":"sub_01","status":"active"}}`,
			want:     []said{{"evt_01", "subscription.created", "subscription/sub_01", "2026-04-12T10:18:49.621022Z"}},
		},
		"Square": {
			envelope: "id: event_id\ntype: type\ncreated_at: created_at\nobject: {id: data.id, type: data.type}",
			kinds:    "payment: {get: \"/payments/{payment}\", list: /payments}",
			events:   "payment: {touches: [payment]}",
			body:     `{"merchant_id":"6SSW","type":"payment.updated","event_id":"bc316346","created_at":"2026-11-22T21:16:51.086Z","data":{"type":"payment","id":"hYy9","object":{"payment":{"id":"hYy9"}}}}`,
			want:     []said{{"bc316346", "payment.updated", "payment/hYy9", "2026-11-22T21:16:51.086Z"}},
		},
		"PayPal": {
			envelope: "id: id\ntype: event_type\ncreated_at: create_time\nobject: {id: resource.id}",
			kinds:    "capture: {get: \"/v2/payments/captures/{capture}\"}",
			events:   "PAYMENT.CAPTURE: {touches: [capture]}",
			body:     `{"id":"WH-58D3","create_time":"2026-01-01T22:00:00.000Z","resource_type":"capture","event_type":"PAYMENT.CAPTURE.COMPLETED","resource":{"id":"42311647XV020574X","status":"COMPLETED"}}`,
			want:     []said{{"WH-58D3", "PAYMENT.CAPTURE.COMPLETED", "capture/42311647XV020574X", "2026-01-01T22:00:00Z"}},
		},
		"Coinbase Commerce": {
			envelope: "id: event.id\ntype: event.type\nfamily_at: \":\"\ncreated_at: event.created_at\nobject: {id: event.data.id}",
			kinds:    "charge: {get: \"/charges/{charge}\", list: /charges}",
			events:   "charge: {touches: [charge]}",
			body:     `{"attempt_number":1,"event":{"api_version":"2018-03-22","created_at":"2026-08-08T18:01:54Z","data":{"code":"66BEOV2A","id":"f765"},"id":"24934862","type":"charge:confirmed"},"id":"1"}`,
			want:     []said{{"24934862", "charge:confirmed", "charge/f765", "2026-08-08T18:01:54Z"}},
		},
		"Increase": {
			envelope: "id: id\ntype: category\ncreated_at: created_at\nobject: {id: associated_object_id, type: associated_object_type}",
			kinds:    "transaction: {get: \"/transactions/{transaction}\", list: /transactions}",
			events:   "transaction: {touches: [transaction]}",
			body:     `{"id":"event_001","created_at":"2026-01-31T23:59:59Z","associated_object_id":"transaction_uyrp","associated_object_type":"transaction","category":"transaction.created","type":"event"}`,
			want:     []said{{"event_001", "transaction.created", "transaction/transaction_uyrp", "2026-01-31T23:59:59Z"}},
		},
		"Column": {
			envelope: "id: id\ntype: type\ncreated_at: created_at\nobject: {id: data.id}",
			kinds:    "ach_transfer: {get: \"/transfers/ach/{ach_transfer}\", list: /transfers/ach}",
			events:   "ach.outgoing_transfer: {touches: [ach_transfer]}",
			body:     `{"id":"evnt_1","created_at":"2026-01-31T23:59:59Z","type":"ach.outgoing_transfer.completed","data":{"id":"acht_1"}}`,
			want:     []said{{"evnt_1", "ach.outgoing_transfer.completed", "ach_transfer/acht_1", "2026-01-31T23:59:59Z"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := enveloped(t, c.envelope, c.kinds, c.events).With(c.settings)
			require.NoError(t, err)
			events, err := d.Events("odd", c.header, []byte(c.body), now)
			require.NoError(t, err)
			require.Len(t, events, len(c.want))
			for i, e := range events {
				want := c.want[i]
				if want.id == hashed || want.id == "drawn" {
					require.True(t, strings.HasPrefix(e.ID, want.id+"_"), e.ID)
				} else {
					require.Equal(t, want.id, e.ID)
				}
				require.Equal(t, want.typ, e.Type)
				require.Equal(t, want.names, namesOf(e))
				if want.at == "" {
					require.Zero(t, e.CreatedAt)
				} else {
					require.Equal(t, at(want.at), e.CreatedAt)
				}
				require.False(t, e.Undated)
				requireStored(t, d, e)
			}
		})
	}
}

// namesOf is what an event names, or its note.
func namesOf(e *event.Event) string {
	if e.Note != 0 {
		return e.Note.String()
	}
	var names []string
	for _, ref := range e.Entities {
		names = append(names, ref.Key.Kind+"/"+ref.Key.ID)
	}
	return strings.Join(names, " ")
}
