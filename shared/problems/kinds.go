package problems

import "net/http"

// Base begins every type. Types are names, not addresses: the guide of the api says what
// they mean.
const Base = "urn:tarn:problem:"

// Kind is one type of problem.
type Kind struct {
	// Name is the type without Base.
	Name string
	// Statuses are the HTTP statuses that it comes with.
	Statuses []int
	// Means says what went wrong, and what to do about it where that is not obvious.
	Means string
}

// Names of types that several packages use, or that a client tells from other answers of
// the same status.
const (
	Unknown     = "unknown-value"
	NoFilter    = "no-filter"
	Token       = "token"
	Forbidden   = "forbidden"
	NotYet      = "not-yet"
	NotFresh    = "not-fresh"
	Ambiguous   = "ambiguous"
	NotOpen     = "not-open"
	Over        = "over"
	Standing    = "standing"
	Parents     = "parents-differ"
	Configured  = "configured"
	NoWriteKey  = "no-write-key"
	BadCommand  = "bad-command"
	KeyReused   = "key-reused"
	InState     = "in-state"
	Erased      = "erased"
	ErasedWith  = "erased-with"
	NotErased   = "not-erased"
	Erasing     = "erasing"
	CursorGone  = "cursor-gone"
	Followers   = "followers"
	Route       = "route"
	Starting    = "starting"
	NotReady    = "not-ready"
	Stuck       = "stuck"
	notFound    = "not-found"
	badRequest  = "bad-request"
	internal    = "internal"
	unavailable = "unavailable"
)

// Kinds are all types, in the order of the guide's table. The document and the guide list
// them from here.
var Kinds = []Kind{
	{badRequest, []int{400}, "The request cannot be read: its body is missing or no JSON, or the cursor is of another list; `detail` says what to send"},
	{Unknown, []int{400}, "A filter, or a field of a body, has a value that is not known; `known` has those that are"},
	{NoFilter, []int{400}, "An act on many things has no filter: give one, or set `all` to true if everything is meant"},
	{BadCommand, []int{400}, "What is asked for is none of the provider's changes, or its key is missing; `errors` says where, and what is wanted"},
	{Token, []int{401}, "A token is needed, or the one sent is not accepted"},
	{Forbidden, []int{403}, "The token is a viewer's or a writer's; or, without tokens, the request comes from elsewhere"},
	{NoWriteKey, []int{403}, "Nothing is changed at the provider through this source: set `sources.<name>.write_key`"},
	{notFound, []int{404}, "No such source, kind, event, dead letter, sync, job, sweep, command or ref"},
	{NotYet, []int{404}, "The entity was never fetched"},
	{Route, []int{404, 405}, "No such route, or not with this method"},
	{"conflict", []int{409}, "The request contradicts the state of what it is about"},
	{Ambiguous, []int{409}, "Several entities or events have this id; `detail` says how to name one"},
	{NotOpen, []int{409}, "The dead letter is closed"},
	{Over, []int{409}, "The job or sweep has ended"},
	{Standing, []int{409}, "The work never ends and cannot be cancelled: pause its source"},
	{Parents, []int{409}, "The parents given contradict the mirror"},
	{Configured, []int{409}, "The source is configured, so its work cannot be discarded"},
	{InState, []int{409}, "The command is in a state in which this cannot be done; `detail` says which and what is wanted"},
	{ErasedWith, []int{409}, "The entity was erased with another one: restore that; `detail` names it"},
	{NotErased, []int{409}, "The entity is not erased, so it cannot be restored"},
	{Erasing, []int{409}, "A job that erases or restores the entity is under way; it is carried through, and cannot be cancelled: ask again when it is over"},
	{Erased, []int{410}, "An operator erased the entity; `erased` says since when and by whom"},
	{CursorGone, []int{410}, "Nothing can be read from the cursor any more; `reason` says why. Begin again with `resync`"},
	{"media-type", []int{415}, "Send JSON, with `Content-Type: application/json`"},
	{"invalid", []int{422}, "`errors` says which part of the request does not fit"},
	{KeyReused, []int{422}, "The `Idempotency-Key` is that of another command, which asks for something else: take a new key for a new wish"},
	{internal, []int{500}, "The request failed; the log of the process says why"},
	{"panic", []int{500}, "A handler panicked; the log of the process has the stack"},
	{"encoding", []int{500}, "The answer could not be written as JSON; the log of the api says why"},
	{unavailable, []int{503}, "Redis or the database does not answer; `Retry-After` says when to ask again"},
	{Followers, []int{503}, "As many requests follow changes here as may; ask again after `Retry-After`, or another replica"},
	{Starting, []int{503}, "The process waits for Redis or the store; `Retry-After` says when to ask again"},
	{NotReady, []int{503}, "Of `/readyz`: the process is not ready; `checks` has each check"},
	{Stuck, []int{503}, "Of `/healthz`: loops of the process have not turned for 30 s; restart it"},
	{NotFresh, []int{504}, "The state did not become as fresh as asked for in time"},

	// Of a webhook: the label reason of tarn_rejected_total has the same words, with
	// underscores.
	{"unknown-source", []int{404}, "Of a webhook: no source of this name is configured"},
	{"too-large", []int{413}, "The body is larger than `webhook.max_body`, or than an operation takes"},
	{"slow", []int{408}, "The body did not arrive in time"},
	{"incomplete", []int{400}, "Of a webhook: the body ended before its declared length"},
	{"missing", []int{401}, "Of a webhook: it has no signature, or no time of one"},
	{"malformed", []int{401}, "Of a webhook: the signature cannot be read"},
	{"doubled", []int{401}, "Of a webhook: it has a header of the signature twice"},
	{"mismatch", []int{401}, "Of a webhook: the signature is not that of the body by any of the source's secrets"},
	{"too-old", []int{401}, "Of a webhook: the signature's time is longer ago than `webhook.tolerance`"},
	{"in-future", []int{401}, "Of a webhook: the signature's time is further ahead than `webhook.tolerance`"},
	{"signature", []int{401}, "Of a webhook: the signature was not accepted for another reason"},
	{"encoded", []int{400}, "Of a webhook: the body has a `Content-Encoding`; send it as it was signed"},
	{"bad-event", []int{400}, "Of a webhook: the body is not a readable event"},
	{"challenge", []int{403}, "Of a webhook: the challenge of a GET, or its token, is missing or wrong"},
	{"unconfirmed", []int{503}, "Of a webhook: Redis did not confirm the event; `Retry-After` says when to send it again"},
	{"timeout", []int{503}, "Of a webhook: Redis did not confirm the event in time; `Retry-After` says when to send it again"},
	{"full", []int{503}, "Of a webhook: Redis is nearly full; `Retry-After` says when to send it again"},
}

// ofStatus are the names of answers that have no type of their own.
var ofStatus = map[int]string{
	http.StatusBadRequest: badRequest, http.StatusUnauthorized: Token, http.StatusForbidden: Forbidden,
	http.StatusNotFound: notFound, http.StatusConflict: "conflict", http.StatusRequestEntityTooLarge: "too-large",
	http.StatusUnsupportedMediaType: "media-type", http.StatusUnprocessableEntity: "invalid", http.StatusRequestTimeout: "slow",
	http.StatusInternalServerError: internal, http.StatusServiceUnavailable: unavailable,
}

// OfStatus returns the name of the type of an answer that has none of its own.
func OfStatus(status int) string {
	switch name := ofStatus[status]; {
	case name != "":
		return name
	case status < http.StatusInternalServerError:
		return badRequest
	}
	return internal
}
