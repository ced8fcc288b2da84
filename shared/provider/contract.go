package provider

import (
	"context"
	"net/http"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
)

// Definition is a provider as its YAML says it is, checked.
type Definition struct {
	// Name is the provider's name: "lemon".
	Name string
}

// Shape is how an entity of a kind is read.
type Shape string

// The shapes.
const (
	// ShapeEntity has an id and a GET of its own.
	ShapeEntity Shape = "entity"
	// ShapeSingleton is one GET per parent; its id is the parent's.
	ShapeSingleton Shape = "singleton"
	// ShapeList is all pages of a list under a parent, as one JSON array; its
	// id is the parent's.
	ShapeList Shape = "list"
)

// Kind is one kind of entity.
type Kind struct {
	Name  string
	Shape Shape
	// Every is how often at most a derived kind is refreshed.
	Every time.Duration
	// ReadLag and VerifyAfter: a kind whose state proves nothing about an event
	// (no history), fetched within ReadLag of the event, is fetched once more
	// after VerifyAfter. Zero VerifyAfter: it is not.
	ReadLag, VerifyAfter time.Duration
	// GoneKnown and GoneUnknown are how long after a first 404 the provider is
	// asked again before the entity is taken for gone: if the mirror knows it,
	// and if it was never seen. Default 5 s and 10 min.
	GoneKnown, GoneUnknown time.Duration
}

// Builtin returns a definition embedded in the binary.
func Builtin(name string) (*Definition, error) { panic("not built") }

// Load returns the built-in definition of that name, or the one in the file
// of that path if the name holds a slash or ends in .yaml or .yml.
func Load(nameOrPath string) (*Definition, error) { panic("not built") }

// Parse reads a definition; file names it in errors, which give line and key.
func Parse(file string, text []byte) (*Definition, error) { panic("not built") }

// Kind returns the kind of that name, or nil.
func (d *Definition) Kind(name string) *Kind { panic("not built") }

// Kinds returns all kinds, by name.
func (d *Definition) Kinds() []*Kind { panic("not built") }

// Event reads one webhook body (or one element of the provider's event list)
// into an event with the entities it names. Errors are *EnvelopeError: the
// body is malformed and the sender is told so.
func (d *Definition) Event(source string, h http.Header, body []byte, received time.Time) (*event.Event, error) {
	panic("not built")
}

// Expects returns the status an event of that type says an entity of the kind
// has had, and whether it says any.
func (d *Definition) Expects(eventType, kind string) (status string, ok bool) { panic("not built") }

// Read interprets a state of a kind as fetched, or as the mirror holds it.
func (d *Definition) Read(kind string, raw []byte) (*Snapshot, error) { panic("not built") }

// EnvelopeError says what is wrong with a webhook body.
type EnvelopeError struct{ Reason string }

// Error returns the reason.
func (e *EnvelopeError) Error() string { return e.Reason }

// Snapshot is one state of an entity.
type Snapshot struct {
	// Raw is the provider's JSON as it came, secret fields cut out.
	Raw []byte
	// Hash is of the canonical form (RFC 8785 key order, numbers by text)
	// without volatile fields: equal hashes mean the same state.
	Hash string
	// Status is the current status, "" where the kind has none.
	Status string
	// Terminal: the status is one the entity never leaves.
	Terminal bool
	// History are the status changes, as given.
	History []Change
	// SentAt is when the request was sent; zero for one not fetched.
	SentAt time.Time
	// Deleted: the provider answered with its stub for a deleted entity.
	Deleted bool
}

// Change is one entry of an entity's history.
type Change struct {
	Status string
	At     string // the provider's own text: compared, never computed with
}

// Had reports whether the status stands in the history or is the current one.
func (s *Snapshot) Had(status string) bool { panic("not built") }

// Lacks reports whether prev holds history that s does not: s is older than
// prev, or the provider has rewritten its history. False for kinds without
// history, and when prev is nil.
func (s *Snapshot) Lacks(prev *Snapshot) bool { panic("not built") }

// Verifier checks webhook signatures of one source.
type Verifier struct{}

// VerifierOptions are the settings of a Verifier.
type VerifierOptions struct {
	// Secrets are tried in turn: several while one is being rotated.
	Secrets []string
	// Tolerance is how far the timestamp may be from now, both ways. Defaults
	// to 5 minutes; negative: any time is accepted.
	Tolerance time.Duration
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// NewVerifier returns a verifier for the definition's scheme.
func NewVerifier(d *Definition, o VerifierOptions) (*Verifier, error) { panic("not built") }

// Verify checks the signature of a raw body. Errors are *SignatureError.
func (v *Verifier) Verify(h http.Header, body []byte) error { panic("not built") }

// SignatureError says why a signature was not accepted. Reason is from a
// fixed list, fit for a metric: missing, malformed, mismatch, too_old,
// in_future.
type SignatureError struct {
	Reason string
	Detail string
}

// Error returns the reason and the detail.
func (e *SignatureError) Error() string { return e.Reason + ": " + e.Detail }

// ClientOptions are the settings of a Client.
type ClientOptions struct {
	// BaseURL is the API's address with its version: "https://…/v1".
	BaseURL string
	// Key is the API key.
	Key string
	// Timeout bounds one request, from sending to the last byte of the answer.
	// Defaults to 10 s.
	Timeout time.Duration
	// Concurrency is how many connections are kept for HTTP/1.1. Defaults to 100.
	Concurrency int
	// MaxBody is the largest answer taken, in bytes. Defaults to 16 MiB.
	MaxBody int64
	// Principal and the justification of each call fill headers of the
	// definition that ask for them. Defaults to "tarn-none".
	Principal string
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// Client asks one provider's API. Safe for concurrent use.
type Client struct{}

// NewClient returns a client.
func NewClient(d *Definition, o ClientOptions) (*Client, error) { panic("not built") }

// Fetch asks for the current state of one entity. why is the justification
// sent where the provider wants one: "webhook-evt_1". Errors carry their
// class: see package fate.
func (c *Client) Fetch(ctx context.Context, ref event.Ref, why string) (*Snapshot, error) {
	panic("not built")
}

// Probe asks the definition's probe path: nil if the provider accepts us.
func (c *Client) Probe(ctx context.Context) error { panic("not built") }

// Close lets idle connections go.
func (c *Client) Close() { panic("not built") }
