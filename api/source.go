package api

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// unknownSource is the name of every source that is not configured, in metrics and
// notes: text that strangers put into the path must not become a label.
const unknownSource = "unknown"

// sourceName matches valid names of sources, which are part of URL paths, Redis keys and
// collection names.
var sourceName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// Source is one configured account at a provider, as the api needs it.
type Source struct {
	// Name is in the path: POST /webhooks/{name}. Lower-case letters,
	// digits, - and _, at most 63.
	Name string
	// Provider reads its events and knows its kinds.
	Provider Provider
	// Verifier checks its signatures.
	Verifier Verifier
	// SecretInPath says that its webhooks are not signed but come to
	// /webhooks/{name}/{secret}.
	SecretInPath bool
	// Writes says that the source has a key for changes. Without one it takes no commands.
	Writes bool
	// Ack are the answers to good webhooks.
	Ack Ack
	// Rate is what the provider allows the fleet, to show how much of it is
	// left. Zero: no limit.
	Rate stream.Rate
}

// Provider is what the api needs of a *provider.Definition.
type Provider interface {
	Event(source string, h http.Header, body []byte, received time.Time) (*event.Event, error)
	// Batches reports whether a request may hold several events or none. Events then
	// reads all of them.
	Batches() bool
	Events(source string, h http.Header, body []byte, received time.Time) ([]*event.Event, error)
	// Challenge returns what a webhook wants to have echoed, if it is no event.
	Challenge(h http.Header, body []byte) (echo string, ok bool)
	// AnswersGET reports whether the provider asks by GET whether the address is ours,
	// ChallengeGET returns what such a GET wants to have echoed.
	AnswersGET() bool
	ChallengeGET(query url.Values) (echo string, ok bool)
	// AckBody is the text of an answer that the provider wants. "": it wants none.
	AckBody() string
	// Kind returns the kind of that name, nil if there is none; Kinds all of them.
	Kind(name string) *provider.Kind
	Kinds() []*provider.Kind
	// WebhookTypes are the event types there are. None: the definition does not say.
	WebhookTypes() []string
	// Ref makes a reference to an entity that a caller names.
	Ref(key event.Key, parents map[string]string) (event.Ref, error)
	// EventList says whether the provider lists its events.
	EventList() provider.EventList
}

// Verifier is what the api needs of a *provider.Verifier.
type Verifier interface {
	VerifyRequest(r provider.WebhookRequest) error
}

// Ack are the status codes of good webhooks. Senders differ in what counts as
// success; some want a status of its own for a duplicate.
type Ack struct {
	// Accepted answers an event that was appended. Defaults to 200.
	Accepted int
	// Duplicate answers one that was there already. Defaults to 200.
	Duplicate int
}

func (a *Ack) setDefaults() {
	if a.Accepted == 0 {
		a.Accepted = http.StatusOK
	}
	if a.Duplicate == 0 {
		a.Duplicate = http.StatusOK
	}
}

// check refuses codes that would make a sender repeat a good event for ever,
// or that may not carry a body.
func (a Ack) check() error {
	for name, code := range map[string]int{"accepted": a.Accepted, "duplicate": a.Duplicate} {
		good := code >= 200 && code < 300 && code != http.StatusNoContent && code != http.StatusResetContent
		if !good && (name != "duplicate" || code != http.StatusConflict) {
			return fmt.Errorf("ack.%s is %d: want a 2xx that carries a body (or 409 for duplicates)", name, code)
		}
	}
	return nil
}

// account is a Source with its counters looked up once, not per request.
type account struct {
	Source
	received, duplicates prometheus.Counter
	seconds              prometheus.Observer
}

// accounts is the set of sources, swapped as a whole so that a request sees
// either the old configuration or the new one.
type accounts struct {
	metrics *telemetry.Metrics
	set     atomic.Pointer[map[string]*account]
}

func (a *accounts) replace(sources []Source) error {
	set := make(map[string]*account, len(sources))
	for _, s := range sources {
		s.Ack.setDefaults()
		if err := checkSource(s); err != nil {
			return err
		}
		if set[s.Name] != nil {
			return fmt.Errorf("source %q is configured twice", s.Name)
		}
		set[s.Name] = &account{
			Source:     s,
			received:   a.metrics.Received.WithLabelValues(s.Name),
			duplicates: a.metrics.Duplicates.WithLabelValues(s.Name),
			seconds:    a.metrics.AcceptSeconds.WithLabelValues(s.Name),
		}
		for _, ours := range refusedByUs { // 0 from the start: a series that begins at 1 has not grown
			a.metrics.Rejected.WithLabelValues(s.Name, ours)
		}
	}
	a.set.Store(&set)
	return nil
}

// get returns the source of that name, or nil.
func (a *accounts) get(name string) *account { return (*a.set.Load())[name] }

// definition returns the definition of a source, nil if it is not configured.
func (a *accounts) definition(name string) *provider.Definition {
	src := a.get(name)
	if src == nil {
		return nil
	}
	def, _ := src.Provider.(*provider.Definition) // a test may have another
	return def
}

// names returns the names of all, sorted.
func (a *accounts) names() []string { return slices.Sorted(maps.Keys(*a.set.Load())) }

func checkSource(s Source) error {
	switch {
	case !sourceName.MatchString(s.Name):
		return fmt.Errorf("source %q: want 1 to 63 of a-z, 0-9, - and _", s.Name)
	case s.Name == unknownSource:
		return fmt.Errorf("source %q: the name stands for sources that are not configured", s.Name)
	case s.Provider == nil || s.Verifier == nil:
		return fmt.Errorf("source %q: a provider and a verifier are needed", s.Name)
	}
	if err := s.Ack.check(); err != nil {
		return fmt.Errorf("source %q: %w", s.Name, err)
	}
	return nil
}
