// Package provider reads providers' webhooks and fetches from their APIs. It is
// the only package that makes HTTP requests to providers.
//
// # A provider is data
//
// A YAML definition describes a provider, so that supporting another one, or
// following a change of one, needs a file and not a release. What data cannot
// express is code, as small named strategies: the signatures of Adyen, seven
// pagination styles, three error styles, two styles of rate headers, three formats
// of time. definitions/lemon.yaml is built in; testdata/stripe.yaml and
// testdata/standard.yaml show that the format fits other providers.
//
//	provider: shop                       # its name: lower case, digits, _
//
//	signature:                           # see Signatures below
//	  scheme: timestamped-hmac           # or standard-webhooks, hmac, public-key, adyen-items, none
//	  headers: [Shop-Signature]          # the first that is there counts, alone
//	  tolerance: 5m                      # how far the clocks may differ, both ways; default 5m
//
//	envelope:                            # where to find things in an event; see Places
//	  id: id                             # or header:webhook-id, of several families that whose signature counts; see Ids of events
//	  type: type                         # or [header:X-Topic, action]: joined by dots
//	  family_at: "."                     # default: what separates the family of a type from what happened
//	  created_at: created_at             # optional
//	  time: rfc3339                      # default; or unix; unix_ms
//	  context: context                   # an object of ids by name; or, for one object per event:
//	  # object: {id: data.id, type: data.object}   # without type: the first kind of the family
//	  ids: {account: account_id}         # optional: further ids by name; missing ones are left out
//	  require: {livemode: "{mode}"}      # optional: values an event must have to be followed
//	  # each: events                     # a request holds several events; see Several events
//	  body: json                         # default; or form
//	  ack: {body: "[accepted]"}          # optional: the text that answers a webhook
//	  challenge:                         # optional: how it asks whether an address is ours
//	    when: {type: url_verification}   # by a signed webhook with these values …
//	    echo: challenge                  # … whose value there is echoed; or by a GET:
//	    get: hub.challenge               # the parameter that is echoed …
//	    token: {hub.verify_token: "{verify_token}"}   # … if this one has the value of a setting
//
//	api:
//	  auth: bearer                       # default; or basic, with the key as the user; see Keys below
//	  headers: {Shop-Reason: "{justification}"}   # {principal}, {justification} are filled in
//	  pagination: {style: cursor, items: data, next: pagination.next_cursor, limit: 100}   # see Pages below
//	  errors: message                    # how its own 404 looks: message, error-type, problem; see Errors below
//	  rate_headers: none                 # default; or x-ratelimit, ratelimit: how it says what is left
//	  probe: /accounts?limit=1           # asked to learn whether our key is accepted
//	  identity: {path: /me, value: id}   # optional: where it says whose key it is
//	  events:                            # optional: where events can be listed again
//	    path: /events
//	    since: since                     # parameter of the lower bound
//	    query: {sort: asc}               # what neither since nor pagination sets
//	    order: oldest_first              # default; or newest_first
//	    horizon: 720h                    # how long events are kept; default: not known
//	    pagination: {items: events}      # optional: where this list differs from api.pagination
//	  webhooks:                          # optional: where it lists the webhooks it sends
//	    path: /webhooks
//	    url: url                         # path of the address in one …
//	    types: events                    # … and the list of event types
//	    expected: {order: [created, done]}   # the types there are, by family
//	    live: {at: status, is: enabled}  # optional: its value while a webhook is sent
//
//	history: {status: status, at: timestamp}      # fields of a history's entries; these are the defaults
//
//	kinds:
//	  account:
//	    get: /accounts/{account}         # placeholders are context keys; the last is the id
//	    list: /accounts                  # optional: where they are all found
//	    status: status                   # path of the status …
//	    proof: [owner.name]              # fields of every answer: taken without an id if all are there
//	    id: id                           # path of the id in an answer and an element; this is the default
//	    deleted: deleted                 # if true there, the answer says that the entity is gone
//	  order:
//	    get: /accounts/{account}/orders/{order}   # {account} is a parent
//	    list: /accounts/{account}/orders
//	    element: whole                   # default; or partial: the list shows less than the GET (see below)
//	    ids: provider                    # default: unique by themselves; parents: under the same parents only
//	    history: history                 # … or the history whose newest entry is the status
//	    statuses: [created, done]        # on the way of an entity: decides between equal times
//	    terminal: [done]                 # never left again
//	    query: {expand: "all"}           # sent with every request; values may have placeholders too …
//	    list_query: {state: all}         # … or, where this is given, with the GET alone, and this with the list
//	    pagination: {items: orders}      # optional: where this list differs from api.pagination
//	    answer: order                    # where the entity stands in the GET's answer; default: it is the answer
//	    complete:                        # lists inside the entity that are read to their end
//	      - at: fills                    # the object with the first elements, and true at has_more if there are more
//	        path: /accounts/{account}/orders/{order}/fills   # of the list; also query and pagination
//	        more: has_more               # default
//	        items: data                  # default: items of the pagination
//	    volatile: [last_seen]            # kept, but a change of it is no drift
//	    secret: [sca.challenge]          # cut out before anything is kept
//	    gone_after: {known: 5s, unknown: 10m}     # until a 404 is believed; these are the defaults
//	  trade:
//	    get: /accounts/{account}/trades/{trade}
//	    verify_after: 5s                 # read once more then, if read within …
//	    read_lag: 2s                     # … of the event (default 2s); for states that prove nothing
//	  financials:
//	    shape: singleton                 # one per parent, which lends its id
//	    get: /accounts/{account}/financials
//	    proof: [balance, currency]       # without it: any answer that is neither empty nor like an error
//	    every: 5s                        # derived: no events of its own, refreshed at most so often
//	  positions:
//	    shape: list                      # all pages are one entity, a JSON array
//	    list: /accounts/{account}/positions
//	    unordered: true                  # the order of its elements is no change
//	    volatile: ["*.latest_bid"]       # "*" is every element or member
//	    every: 5s
//	  vaults:
//	    shape: list
//	    list: /vaults
//	    element: vault                   # its elements are parents of other kinds, and have no GET
//	  coin: {get: "/vaults/{vault}/coins/{coin}", list: "/vaults/{vault}/coins"}
//
//	events:                              # by family: the event type without its last step
//	  order:
//	    touches: [order, "*"]            # the primary first; "*": every other kind of the context
//	    implies: suffix                  # order.done says that the order has been done
//	    derived: [financials]
//	  deposit:
//	    touches: [{first_of: [trade, account]}]   # the first whose ids the context has
//	  update:
//	    touches: [order]
//	    implies: {succeeded: done}       # where the words differ
//
// Unknown keys, wrong types, references to nothing and missing things are
// errors that name file, line and key; all of a file are reported at once.
// Anchors, aliases and merge keys do not exist.
//
// # Signatures
//
// The scheme hmac is a template, of which timestamped-hmac (Stripe's) and
// standard-webhooks (Standard Webhooks 1.0.0) are two settings:
//
//	signature:
//	  scheme: hmac
//	  headers: [Shop-Signature]
//	  hash: sha256                       # default; or sha1, sha512
//	  encoding: hex                      # default; or base64
//	  prefix: "sha256="                  # begins the header; not with parts
//	  secret: text                       # default; or hex, base64: how a secret becomes a key
//	  secret_prefix: sk_                 # no part of the key; secrets may come without it
//	  parts:                             # a header of parts with names: ts=1700000000;h1=0a1b;h1=2c3d
//	    separator: ";"                   # " " is any white space
//	    equals: "="                      # default
//	    time: ts                         # or time.header
//	    signature: h1                    # of several any may be right
//	  time:
//	    header: Shop-Time                # or parts.time
//	    unit: s                          # default; or ms, rfc3339
//	  signed: "{time}:{body}"            # default {body}; also {url}, {method}, {header:Name}
//
// The {url} is the source's webhook_url, never an address that the request names. A
// header that begins with "-" is a sister of the signature header: beside
// Shop-Signature, {header:-id} is Shop-id. What is signed can be read once only:
// {body} must be in signed, and so must {time} if a time is said to stand somewhere.
// Where no time is signed there is no tolerance: a request that was recorded is
// accepted for ever, and costs one fetch each time after the event's id is forgotten.
//
// The scheme public-key has the keys of hmac but hash, secret and secret_prefix, and
// needs algorithm: ed25519, rsa-sha256 or ecdsa-p256. Its public keys are the
// source's webhook_secrets, as PEM or base64; none is fetched from an address. A key
// whpk_… checks the signatures v1a of standard-webhooks.
//
// With adyen-items each item of the body holds its own signature; one bad item
// refuses the request. With none nothing is signed: the provider sends to
// /webhooks/SOURCE/SECRET, and the api warns at its start.
//
// # Places
//
// A place is where a value of an event stands:
//
//   - data.object.id: a path in the JSON of the body, or the field of a form
//   - "@.id": a path in the element of each, in quotes since YAML reserves @
//   - header:X-GitHub-Event: a header, which must have one value
//   - text:payment: the text itself
//   - [header:X-Topic, event]: several of these, joined by dots
//
// All parts of an id must be there. Parts of a type behind the first may be missing,
// since some types of a provider have an action and others have none.
//
// Values that stand outside the payload of an event, in a header or in the rest of a
// request, are kept with the event (event.Event.Given). With them Stored reads an event
// of the log exactly as it was read at first.
//
// # Ids of events
//
// An id is a text, or a whole number as it is written. 1.0, 1e3 and -0 are none, since
// two readers can write them in two ways. With "id: body-hash" equal bodies of one type
// are one event. With "id: none" each request is one event, which is right where a body
// says no more than that something has changed: a hash would take news for a repeat.
//
// # Several events in one request
//
// With each, a request holds several events or none. The way there is made of names,
// and "*" for every element of an array; "." is a body that is an array. It ends at
// arrays of events, or, behind a "*", at single events. Null and an empty array hold
// none. The payload of an event is its element.
//
// An element that cannot be read must not cost the others, nor be lost. If the whole
// request were refused for it, the sender would repeat the request until it gives up,
// and all of its events would be lost. So the element becomes an event with the note
// "unreadable", kept with the reason, whose id is a hash of its text. If no element can
// be read, the request is refused: the definition or the sender is wrong, and the sender
// keeps the request. The same is true of a body without the way to its events, of one with
// another kind of value there, and of more than 10,000 events.
//
// # What an event must have
//
// An event that lacks a value of require is kept in the log with the note
// "require_unmet", and names nothing. A value in braces is a setting of the source, which
// With fills in. The values are compared as texts: true is the text true. Once a setting is
// corrected, the events with this note can be redriven: Stored reads them again.
//
// # Which ids are unique
//
// A kind says whether its ids are unique by themselves (ids: provider, the
// default) or under the same parents only (ids: parents). In the second case the
// ids of the parents qualify the key of every entity of the kind, in the order of
// its path: shop/order@acc_1/o1 and shop/order@acc_2/o1 are two entities, with
// their own documents, lanes, events and dead letters. Kind.Ref makes the keys. An
// event that names such an entity without its parents means the one entity that
// the mirror has under that id. If there are several it means none, and is flagged.
//
// Keys never change: a definition that changes ids: of a kind with documents is
// refused at the start.
//
// # What an event names
//
// An event is read for identifiers only. Its family says which ones. An unknown
// family touches the kind whose ids the context has under the family's name, if
// there is one, and every other kind whose ids are in the context. A whole number is an id by its text. An entity
// whose own id is missing or unusable is left out. An entity whose parents are
// missing is named without them, since the mirror may have them (see Complete).
// The event itself is always kept, and flagged if it does not name the entity its
// type is about. An unreadable time is dropped. Only a malformed body is refused,
// with an EnvelopeError.
//
// A kind that stands under nothing, such as a balance, can be named by an event without
// any id. An event that names nothing, whose type is unknown, or that lacks what is
// required has a note (event.Note).
//
// A definition is refused if its envelope cannot name a kind that a family touches, or
// if neither events nor lists can ever fill the placeholders of a kind. A context may
// hold any id, so that this can be told only of envelopes without one.
//
// The fields that are used are read strictly (a name occurs once, a type is a
// string), because the signature of a body that two readers can read differently
// proves nothing. Fields that are never read may repeat names or hold half a
// surrogate pair: an event refused for them would be lost.
//
// # Snapshots
//
// Client fetches one entity and returns a Snapshot: the provider's JSON with every
// token as it came, its status, the history it proves, and a hash that is equal for
// equal states. Package internal/rawjson does this without decoding a number. A
// Snapshot has the time before the first byte of its request was sent, so that it
// never counts as newer than it is.
//
// # Lists
//
// A list may have up to ClientOptions.MaxPages pages. One with more, or with a
// cursor that comes again, is an error (see Cursors). A page longer than
// ClientOptions.MaxBody is requested again with half the limit, down to 1, and the
// list keeps that limit for an hour. Where the cursor determines the size, the list
// is read from its beginning again. The definition says how a list is ordered;
// nothing here checks that.
//
// Sweeps compare the elements of a list with the mirror, which holds answers of
// the GET. Where the list shows less than the GET, every element differs, and each
// sweep fetches every entity. With "element: partial" a sweep compares only the
// members that the element has. It fetches an entity if one of these differs or
// the mirror does not have it, and once per verify_every for the other members. A
// sweep that fetches in vain because this key is missing says so in the log.
//
// A list inside an entity, as Stripe shows the first ten lines of an invoice, is read
// to its end where complete names it: Fetch puts all elements in the place of those
// shown, and the flag says false. Each request beyond the first costs a token
// (ClientOptions.Page). An element of a list whose flag is set shows less than a
// Fetch (Item.Cut), so sweeps fetch it each time.
//
// A parent that a list needs and the GET does not, as in list_query: {subscription:
// "{subscription}"}, is no parent of the entities, since no answer to their GET could
// prove it. A list of entities whose parents no other list leads to is refused: no
// sweep would ever read it.
//
// # Pages
//
// A definition with a list says how it comes in pages: in api.pagination, or in a
// pagination of the list's own. What that leaves out is as in api.pagination, unless
// it names another style. The styles and their defaults:
//
//	style     items  next                     param           goes on
//	cursor    data   pagination.next_cursor   cursor          at the cursor in the answer; alone, or keep: true with all parameters
//	last-id   data   has_more                 starting_after  after the last element, while next is true
//	page      data   optional                 page            with the next number; first: 0 if that of the first page is not 1
//	offset    data   optional                 offset          after the elements so far
//	next-url  data   next                                     at the address in the answer
//	link      .      header Link, rel="next" (RFC 8288)       at the address in the header
//	whole     data                                            not at all: the answer is the list
//
// The path "." is the answer itself. limit (default 100, none for no limit) goes as
// limit_param (default limit), and param is the name of the other parameter. Lists by
// page and offset end with an empty page; or where next is false, null or empty; or
// where total, the path of the number of all elements, is reached. A total that
// becomes smaller while the list is read, or a page with the elements of the one
// before it, is an error (ErrChanged, ErrEndless).
//
// An address of a next page is followed only under the base address: same scheme,
// host and port, no user, no step "..". Anything else is an error, since the key goes
// with every request.
//
// A list is read from its beginning again, once, if a page after the first is refused
// (its cursor may name what is deleted since) or if the list became shorter.
//
// # Keys
//
// Besides bearer and basic, auth may be {header: X-API-Key}, or OAuth 2 client
// credentials (RFC 6749 section 4.4), with id:secret as the source's api_key:
//
//	auth: {oauth2: {token_url: /oauth2/token, scopes: [read]}}
//
// token_url is a path under api_url or an https address. A token is replaced up to a
// minute before it expires, and once when a request with it is answered 401. A token
// endpoint that fails is a transient failure of the request, one that refuses the id or
// the secret is a refusal of the key.
//
// # Errors
//
// Errors have a class of package fate: only this package distinguishes failures of
// the network, of the entity and of the key. A 200 is the entity only if it proves
// so (proof.go); an answer that cannot be read is retried. A 404 or 410 means that
// the entity is gone only if its body is the provider's own; a 404 of a proxy or of
// a mistyped address is a failure like any other. Where the provider's 404 of an
// unknown path looks the same, a code tells them apart:
//
//	errors: {at: error.code, gone: [resource_missing], entity: {429: [lock_timeout]}}
//
// Under entity are the codes, by HTTP status, of failures that are of the one entity
// alone (fate.Error.Alone). Redirects are never followed,
// since the key would go with them. Ids from outside are checked and escaped
// before they become part of a path.
package provider
