package provider

import (
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// Names of operations with a meaning of their own. Any other name is an action on an
// entity, such as cancel.
const (
	// OpCreate makes an entity. Only it may have no id yet.
	OpCreate = "create"
	// OpUpdate sets fields of an entity.
	OpUpdate = "update"
	// OpDelete takes an entity away.
	OpDelete = "delete"
)

// Strategy is a way to learn what became of a request whose answer is not known.
type Strategy string

// The strategies.
const (
	// ByKey sends the same bytes under the same idempotency key again.
	ByKey Strategy = "key"
	// ByRepeat sends the request again: twice has the effect of once.
	ByRepeat Strategy = "repeat"
	// ByLook fetches the entity, whose state tells.
	ByLook Strategy = "look"
	// ByFind reads a list that shows what was created.
	ByFind Strategy = "find"
	// ByAsk asks an operator. It is always the last, also where it is not named.
	ByAsk Strategy = "ask"
)

// strategies in the words of a definition.
var strategies = []string{string(ByKey), string(ByRepeat), string(ByLook), string(ByFind), string(ByAsk)}

// Op is one operation on the entities of a kind, as the definition has it.
type Op struct {
	// Name is create, update, delete, or that of an action: "cancel".
	Name string
	// Method is the HTTP method.
	Method string
	// Unclear are the strategies to learn what became of a request without an answer,
	// in the order in which they are tried. Never empty; ByAsk is only ever the last.
	Unclear []Strategy
	// Settle is how long apart two looks or two readings of a list must be that both
	// show no effect, before the request counts as not done. Default 10 s.
	Settle time.Duration
	// Keep is how long the provider keeps an idempotency key. Zero: requests carry none.
	Keep time.Duration
	// ReplaysErrors: under a key that was used the provider answers again what it
	// answered first, errors of its own too, so that a replayed error does not say
	// whether there was an effect.
	ReplaysErrors bool
	// FindAgain: a list that does not show the entity proves that there is none.
	FindAgain bool
	// Shows: the answer is the entity as it is after the request.
	Shows bool
	// OwnID is the path in the body at which the entity's id is given, which is the ref
	// then. Empty: the provider chooses ids.
	OwnID string

	kind   *Kind
	path   endpoint
	id     rawjson.Path // of the id in the answer to a create
	fixed  *bodyValue   // what is always in the body; nil: nothing
	fields []rawjson.Path
	secret []rawjson.Path // of the body
	key    *keySpec       // nil: none is sent
	gone   []int          // statuses that say that the entity is gone, which is what was wanted
	done   []string       // statuses that say that it was done
	moot   []string       // statuses that say that it can never be done
	find   *findSpec
}

// keySpec says how a request carries its idempotency key.
type keySpec struct {
	header        string
	longest       int // in bytes
	keep          time.Duration
	replaysErrors bool
	replayed      string // header that marks a replayed answer, "" if there is none
}

// findSpec says how a list shows what was created.
type findSpec struct {
	query params
	// match are the fields that must be as they were sent. Without them it is the ref.
	match []rawjson.Path
	at    rawjson.Path // of the times of an entity, of which the earliest counts
}

// writesSpec is what a definition says of all writes.
type writesSpec struct {
	given    bool
	encoding string
	key      *keySpec
	busy     []int
	timeout  time.Duration
}

// The encodings of a body.
const (
	encodingJSON = "json"
	encodingForm = "form"
)

// writing is what a kind says of its writes.
type writing struct {
	ref     rawjson.Path   // of our ref in a state; nil: it has no place
	version rawjson.Path   // of what grows with each change; nil: nothing does
	write   []rawjson.Path // fields that may be set at any time
	fixed   []rawjson.Path // fields that may be set when the entity is created only
	clear   *string        // what unsets a field: JSON or a text; nil: nothing does
	ops     []*Op          // in the order of the file
}

// Ops returns the operations of the kind, in the order of the definition. Nil: the kind
// is read only.
func (k *Kind) Ops() []*Op { return slices.Clone(k.writing.ops) }

// opsOf returns the operations of a kind that is a copy of another, as its own.
func opsOf(k *Kind) []*Op {
	ops := slices.Clone(k.writing.ops)
	for i, o := range ops {
		own := *o
		own.kind = k
		ops[i] = &own
	}
	return ops
}

// Op returns the operation of that name, or nil.
func (k *Kind) Op(name string) *Op {
	for _, op := range k.writing.ops {
		if op.Name == name {
			return op
		}
	}
	return nil
}

// Writes reports whether entities of any kind can be changed through the API.
func (d *Definition) Writes() bool {
	return slices.ContainsFunc(d.kinds, func(k *Kind) bool { return len(k.writing.ops) > 0 })
}

// WriteTimeout bounds one request that changes something, from sending to the last byte.
func (d *Definition) WriteTimeout() time.Duration { return d.api.writes.timeout }

// Path returns the path of the operation with its placeholders and parameters, below the
// API's address.
func (o *Op) Path() string { return o.path.String() }

// Creates reports whether the operation makes an entity.
func (o *Op) Creates() bool { return o.Name == OpCreate }

// keyMargin is how long before the end of its life a key is no longer used, of one that
// lives long enough; of others it is half of their life. Clocks differ, and a provider may
// count from another moment.
const keyMargin = time.Hour

// KeyHolds reports whether the provider still knows a key that was first sent at a time.
// After that the same key would be a new request.
func (o *Op) KeyHolds(first, now time.Time) bool {
	return now.Before(first.Add(o.Keep - min(keyMargin, o.Keep/2)))
}

// tries reports whether a strategy is among those of the operation.
func (o *Op) tries(s Strategy) bool { return slices.Contains(o.Unclear, s) }

// RefIn returns the ref that a state of the kind carries, "" if it carries none. Only a
// text counts.
func (k *Kind) RefIn(state []byte) string {
	if k.writing.ref == nil {
		return ""
	}
	doc, err := rawjson.Parse(state, rawjson.Options{})
	if err != nil {
		return ""
	}
	ref, _ := doc.Root().At(k.writing.ref).Text()
	return ref
}

// VersionIn returns what a state of the kind has at version, as it is written, and
// whether the kind has one there: a whole number that grows with each change.
func (k *Kind) VersionIn(state []byte) (int64, bool) {
	if k.writing.version == nil {
		return 0, false
	}
	doc, err := rawjson.Parse(state, rawjson.Options{})
	if err != nil {
		return 0, false
	}
	return wholeOf(doc.Root().At(k.writing.version))
}
