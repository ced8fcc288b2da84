package alert

import (
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// Kind is what an alert is about.
type Kind string

// The kinds.
const (
	DeadLetter   Kind = "dead_letter"   // an event's work on an entity was given up
	SourcePaused Kind = "source_paused" // a source is down, misconfigured or refuses us
	Rewritten    Kind = "rewritten"     // the provider took back history, and was believed
	Discrepancy  Kind = "discrepancy"   // mirror and provider differed and nothing explains it
	StoreSlow    Kind = "store_slow"    // a call of the store times out again and again
	StoreRefuses Kind = "store_refuses" // the database refuses a document for good: an event, or a settlement
	Blocked      Kind = "blocked"       // the search for missed events cannot go on as it should
	ListTooLong  Kind = "list_too_long" // a list of the provider's does not end, or a page of it is too long in any size
	ListFails    Kind = "list_fails"    // a list of the provider's cannot be read, sweep after sweep
	RequireUnmet Kind = "require_unmet" // all events of ten minutes lack a value that the definition requires
	Identity     Kind = "identity"      // redis and the database are not of one fleet
	KindRefused  Kind = "kind_refused"  // the provider accepts our key and refuses one kind
	ScopeRefused Kind = "scope_refused" // the provider accepts our key and refuses one scope
	NoWorker     Kind = "no_worker"     // a source has work and no worker is alive
	Asked        Kind = "asked"         // only an operator can know what became of a command
	RedisUnsafe  Kind = "redis_unsafe"  // redis is set, or holds something, so that work may be lost or held up
	Restored     Kind = "restored"      // the database was restored from an older copy

	DeliveryDisabled Kind = "delivery_disabled" // the receiver of an outgoing webhook wants no more
	DeliveryFails    Kind = "delivery_fails"    // the receiver of an outgoing webhook accepts nothing
)

// said is the log line of each kind.
var said = map[Kind]string{
	DeadLetter:       "dead letter",
	SourcePaused:     "source paused until it is well again",
	Rewritten:        "the provider has rewritten an entity's history; its answer was taken",
	Discrepancy:      "provider and mirror differed, and no event explains it",
	StoreSlow:        "the store takes longer than its time-out, again and again",
	StoreRefuses:     "the store refuses what is to be written",
	Blocked:          "the search for missed events is held up",
	ListTooLong:      "a list of the provider's does not end, or a page of it is too long to be read",
	ListFails:        "lists of the provider's could not be read by several sweeps in a row",
	RequireUnmet:     "no event has the values that the definition requires; none is followed",
	Identity:         "redis and the database are not of one fleet: nothing is read or written until they are",
	KindRefused:      "the provider refuses one kind, whose entities wait",
	ScopeRefused:     "an account refuses us; what belongs to it waits",
	NoWorker:         "no worker is alive, and work waits",
	Asked:            "it is not known what became of a command: an operator has to look",
	RedisUnsafe:      "redis is not as it must be for the queue",
	DeliveryDisabled: "the receiver of an outgoing webhook wants no more; it is disabled",
	DeliveryFails:    "the receiver of an outgoing webhook accepts nothing",
	Restored:         "the database was restored from an older copy; who follows the change feed reads everything again",
}

// Kinds returns all kinds, sorted.
func Kinds() []Kind { return slices.Sorted(maps.Keys(said)) }

// Alert is one of them. Empty fields are left out of the log and of the webhook.
type Alert struct {
	// At is when it happened. Defaults to now.
	At     time.Time `json:"at"`
	Kind   Kind      `json:"kind"`
	Source string    `json:"source,omitempty"`
	// ID is that of the dead letter or discrepancy.
	ID string `json:"id,omitempty"`
	// Event is an event's id, Entity an entity's key.
	Event  string `json:"event,omitempty"`
	Entity string `json:"entity,omitempty"`
	// Reason says what happened, one line, without payloads or secrets.
	Reason string `json:"reason,omitempty"`
	// Class is the fate class of a failure, or the type of a discrepancy.
	Class   string `json:"class,omitempty"`
	TraceID string `json:"trace_id,omitempty"`
	// Warning is the log line, at level WARN. "": the line of the kind, at level
	// ERROR.
	Warning string `json:"-"`
}

// ScopeIsRefused is the alert about a scope that refuses us, which is an entity of a kind.
func ScopeIsRefused(source, kind, scope string, err error) Alert {
	cause, _, _ := strings.Cut(err.Error(), "\n")
	return Alert{
		Kind: ScopeRefused, Source: source, Entity: source + "/" + kind + "/" + scope, Class: fate.Refused.String(),
		Reason: cause + "; its documents stay as they are and its work waits until it lets us in again; then retry what is parked",
	}
}

// Options configure Alerts.
type Options struct {
	// Webhook is the address alerts are posted to. "": they are only logged.
	Webhook string
	// Client posts. Defaults to one that gives up after 10 s and follows no
	// redirect.
	Client *http.Client
	// Queue is how many alerts may wait to be posted. Defaults to 1,000.
	Queue int
	// Batch is the most alerts posted at once. Defaults to 100.
	Batch int
	// Gather is how long the first alert of a batch waits for others. Defaults
	// to 1 s.
	Gather time.Duration
	// Retry is the back-off of a batch that was not taken; its Attempts mean
	// nothing here. Defaults to 1 s, 2 s, 4 s … 1 minute.
	Retry fate.Backoff
	// Flush bounds the last try when Run ends. Defaults to 1 s.
	Flush   time.Duration
	Metrics *telemetry.Metrics
	Health  *telemetry.Health
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Client == nil {
		o.Client = &http.Client{
			Timeout:       10 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	if o.Queue <= 0 {
		o.Queue = 1000
	}
	if o.Batch <= 0 {
		o.Batch = 100
	}
	if o.Gather <= 0 {
		o.Gather = time.Second
	}
	if o.Retry.First <= 0 {
		o.Retry.First = time.Second
	}
	if o.Retry.Cap <= 0 {
		o.Retry.Cap = time.Minute
	}
	o.Retry = o.Retry.WithDefaults()
	if o.Flush <= 0 {
		o.Flush = time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Alerts are those of one process. Safe for concurrent use.
type Alerts struct {
	opts   Options
	raised chan struct{} // something waits to be posted

	mu      sync.Mutex
	queue   []Alert
	dropped map[dropped]int
}

// dropped is the key by which alerts that did not fit are counted.
type dropped struct {
	Source string
	Kind   Kind
}

// New returns alerts that are logged and counted at once and posted while Run
// runs.
func New(o Options) *Alerts {
	return &Alerts{opts: o.withDefaults(), raised: make(chan struct{}, 1), dropped: map[dropped]int{}}
}

// Raise logs, counts and posts an alert. It never blocks.
func (a *Alerts) Raise(t Alert) {
	if t.At.IsZero() {
		t.At = a.opts.Now()
	}
	t.At = t.At.UTC()
	a.log(t)
	if a.opts.Metrics != nil {
		a.opts.Metrics.Alerts.WithLabelValues(t.Source, string(t.Kind)).Inc()
	}
	if a.opts.Webhook != "" {
		a.enqueue(t)
	}
}

func (a *Alerts) log(t Alert) {
	args := []any{"alert", string(t.Kind)}
	for _, f := range []struct{ name, value string }{
		{"source", t.Source}, {"id", t.ID}, {"event", t.Event}, {"entity", t.Entity},
		{"reason", t.Reason}, {"class", t.Class}, {"trace_id", t.TraceID},
	} {
		if f.value != "" {
			args = append(args, f.name, f.value)
		}
	}
	if t.Warning != "" {
		a.opts.Logger.Warn(t.Warning, args...)
		return
	}
	text, ok := said[t.Kind]
	if !ok {
		text = string(t.Kind)
	}
	a.opts.Logger.Error(text, args...)
}

func (a *Alerts) enqueue(t Alert) {
	a.mu.Lock()
	if len(a.queue) < a.opts.Queue {
		a.queue = append(a.queue, t)
	} else {
		a.dropped[dropped{t.Source, t.Kind}]++
	}
	a.mu.Unlock()
	select {
	case a.raised <- struct{}{}:
	default:
	}
}
