// Package provider reads providers' webhooks and fetches from their APIs. It is
// the only package that makes HTTP requests to providers.
//
// # A provider is data
//
// A YAML definition describes a provider, so that supporting another one, or
// following a change of one, needs a file and not a release. What data cannot
// express is code, as small named strategies: signatures, pagination styles, shapes
// of errors, styles of rate headers, formats of time. definitions/ holds those that
// are built in, examples/ others. README.md goes from an empty file to a mirror, and
// examples/template.yaml explains every key.
//
// Unknown keys, wrong types, references to nothing and missing things are
// errors that name file, line and key; all of a file are reported at once.
// Anchors, aliases and merge keys do not exist.
//
// # Signatures
//
// The scheme hmac is a template, of which timestamped-hmac (Stripe's) and
// standard-webhooks (Standard Webhooks 1.0.0) are two settings.
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
//   - {first_of: [data.id, item.id]}: the first of several paths at which there is a
//     value, for events of two forms
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
// # Scopes
//
// A platform reads the accounts that are connected to it with its own key. Each event
// says which account it is about, and a header of each request does. Such accounts are
// scopes:
//
//	scope: {id: account, header: Stripe-Account, of: account}
//
// Scopes are off unless the source says scoped: true (see Scoped): the same file serves an
// account without others. With them the scope is a parent before those of the path. It
// qualifies every key, so that two scopes' equal ids are two entities, and it goes
// with every request, taken from the key: a GET without the header would find nothing,
// and a missing entity becomes a tombstone. The lists of a scope are under its entity of
// the kind of (see Under), and each scope has a list of events (EventsKey).
//
// The platform's own are: what an event without a scope names; the scopes themselves;
// and every kind whose path or parameters have the scope's id, as
// /accounts/{account}/persons has, since such a request says which one it means. Their
// keys are as ever, and they are asked for without the header. So a source that
// becomes scoped keeps what it has.
//
// The id of a scope must be a token (RFC 9110): it goes into a header. An event with
// something else there has the note "scope_unusable" and names nothing, since a request
// for the platform instead would be for another entity. An event that the list of a
// scope shows is of that scope. If its payload does not say so, the scope is kept
// in Given.
//
// Kinds with ids: parents cannot be within scopes: their keys would have to tell
// scope and parents apart.
//
// # What an event names
//
// An event is read for identifiers only. Its family says which ones. An unknown
// family touches the kind whose ids the context has under the family's name, if
// there is one, and every other kind whose ids are in the context. An entity
// whose own id is missing or unusable is left out. An entity whose parents are
// missing is named without them, since the mirror may have them (see Complete).
// The event itself is always kept, and flagged if it does not name the entity its
// type is about. An unreadable time is dropped. Only a malformed body is refused,
// with an EnvelopeError.
//
// A kind without parents, such as a balance, can be named by an event without
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
// page and offset end with an empty page; or where next is false, 0, null or empty; or
// where total, the path of the number of all elements, is reached. A total that
// becomes smaller while the list is read, or a page with the elements of the one
// before it, is an error (ErrChanged, ErrEndless). A list whose answers have a cursor or
// an address to the very end says with more which flag is true while pages follow. A
// cursor is a text or a whole number. Every flag may be 1 or 0 in place of true or false.
//
// An address of a next page is followed only under the base address: same scheme,
// host and port, no user, no step "..". Anything else is an error, since the key goes
// with every request. An address of http under a base of https is asked for by https.
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
// # Writes
//
// A kind says in writes what can be done with its entities, and in fields what a body may
// have. Check and Render take a Command. Render makes its Request, which is kept and sent
// by every attempt, so that a new definition never changes what a key stands for.
// Render is a pure function: the ids of refs come from a Lookup. What is wrong with
// a command is an InvalidError with its path.
//
// Writer.Send sends a request with the write key. It never repeats one that may have
// reached the provider, and keeps Go's transport from doing so (oneShot). Its Answer says
// what is known of the effect (Outcome). If that is nothing, Op.Unclear names the
// strategies: Op.Look judges a state, Op.Find a list that Client.FindPage has read. Both
// are pure functions. Who calls them decides about time: a verdict NotThere counts only
// if it comes twice, Op.Settle apart.
//
// A create puts the ref of the application at ref, where the kind has room for it. RefIn
// finds it there again, so that an event about what was just created says which command
// has created it, though its answer was lost.
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
