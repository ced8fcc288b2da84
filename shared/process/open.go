package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/identity"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/open"
	"github.com/tarn-sync/tarn/shared/stream"
)

// tryEvery is the pause between two tries to reach something at the start.
const tryEvery = time.Second

// Streams connects to Redis as the settings say, waiting for it if it is away.
func (p *Process) Streams(ctx context.Context) (*stream.Streams, error) {
	redis := p.Config.Redis
	streams, err := await(ctx, p, "redis", func() (*stream.Streams, error) {
		return stream.Open(ctx, stream.Options{
			URLs: addresses(p.Config), Prefix: redis.Prefix, Shards: p.Config.Shards, LeaseTTL: redis.LeaseTTL,
			TLS:       stream.TLS{CA: p.beside("redis.tls.ca", redis.TLS.CA), Cert: p.beside("redis.tls.cert", redis.TLS.Cert), Key: p.beside("redis.tls.key", redis.TLS.Key)},
			DedupeTTL: p.Config.Dedupe.TTL, WaitReplicas: redis.WaitReplicas, Logger: p.Logger,
			OnLack: func(lacking bool) { p.Metrics.RedisUnconfirmed.Set(map[bool]float64{true: 1}[lacking]) },
		})
	})
	if err != nil {
		return nil, err
	}
	p.OnReload(func(c *config.Config) error { return streams.SetURLs(addresses(c)) })
	return streams, nil
}

// addresses are those of Redis.
func addresses(c *config.Config) []string {
	urls := make([]string, len(c.Redis.URL))
	for i, u := range c.Redis.URL {
		urls[i] = string(u)
	}
	return urls
}

// beside is the path that is the value of a key, "" if it has none.
func (p *Process) beside(key, path string) string {
	if path == "" {
		return ""
	}
	return p.Config.Beside(key, path)
}

// Store opens the database the settings name, waiting for it if it is away.
func (p *Process) Store(ctx context.Context) (storage.Store, error) {
	keep := p.Config.Retention
	return await(ctx, p, "store", func() (storage.Store, error) {
		return open.Open(ctx, open.Options{
			URL: string(p.Config.Store.URL), BulkSize: p.Config.Store.Bulk, Logger: p.Logger,
			Retention: storage.Retention{Events: keep.Events, Commands: keep.Commands, Audit: keep.Audit, Discrepancies: keep.Discrepancies},
		})
	})
}

// Source is a configured source with its provider's definition.
type Source struct {
	Name string
	config.Source
	Definition *provider.Definition
}

// Sources loads the definitions of all sources of c, by name. An error names the
// line and the key. Settings for kinds a definition does not have are one: a
// name that is misspelt would leave the kind it means with the defaults.
func Sources(c *config.Config) ([]Source, error) {
	var sources []Source
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(c.Sources)) {
		definition, err := definition(c, name)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		s := Source{Name: name, Source: c.Sources[name], Definition: definition}
		sources, wrong = append(sources, s), append(wrong, s.checkKinds(c), s.checkHorizon(c))
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	return sources, nil
}

// definition loads the definition that a source names.
func definition(c *config.Config, source string) (*provider.Definition, error) {
	key, name := "sources."+source+".provider", c.Sources[source].Provider
	load := provider.Builtin
	if provider.IsFile(name) {
		load, name = provider.LoadFile, c.Beside(key, name)
	}
	d, err := load(name)
	if err != nil {
		return nil, c.Problem(key, "%w", err)
	}
	settings := map[string]string{}
	for name, value := range c.Sources[source].Settings {
		settings[name] = string(value)
	}
	if d, err = d.With(settings); err != nil {
		return nil, c.Problem("sources."+source+".settings", "%w", err)
	}
	if !c.Sources[source].Scoped {
		return d, nil
	}
	if d, err = d.Scoped(); err != nil {
		return nil, c.Problem("sources."+source+".scoped", "%w", err)
	}
	return d, nil
}

func (s Source) checkKinds(c *config.Config) error {
	var wrong []error
	check := func(key, kind string) {
		if s.Definition.Kind(kind) != nil {
			return
		}
		var known []string
		for _, k := range s.Definition.Kinds() {
			known = append(known, k.Name)
		}
		wrong = append(wrong, c.Problem(key, "is no kind of provider %s; there are %s", s.Definition.Name, strings.Join(known, ", ")))
	}
	for _, kind := range slices.Sorted(maps.Keys(s.Reconcile.Kinds)) {
		check("sources."+s.Name+".reconcile.kinds."+kind, kind)
	}
	for i, w := range c.Webhooks {
		for j, kind := range w.Kinds {
			if w.Source == s.Name {
				check(fmt.Sprintf("webhooks[%d].kinds[%d]", i, j), kind)
			}
		}
	}
	return errors.Join(wrong...)
}

// checkHorizon refuses a pause between two readings of the list of events in which
// the provider forgets some.
func (s Source) checkHorizon(c *config.Config) error {
	list, gaps := s.Definition.EventList(), s.Reconcile.Gaps
	if !list.Kept || list.Horizon <= 0 || list.Horizon > gaps.Every {
		return nil
	}
	return c.Problem("sources."+s.Name+".reconcile.gaps.every", "is %s, and provider %s keeps events for %s only (api.events.horizon of its definition): it would forget some before they are listed",
		gaps.Every, s.Definition.Name, list.Horizon)
}

// Reloaded returns the source with the settings c has for it. The definition
// stays the one that was loaded at the start, whatever its file holds now:
// what is running is made for its kinds.
func (s Source) Reloaded(c *config.Config) Source {
	if settings, ok := c.Sources[s.Name]; ok {
		s.Source = settings
	}
	return s
}

// Client returns a client for the source's API.
func (s Source) Client() (*provider.Client, error) { return s.client(nil) }

// client is Client with what comes before each further page of a list kind.
func (s Source) client(page func(context.Context) error) (*provider.Client, error) {
	client, err := provider.NewClient(s.Definition, provider.ClientOptions{
		BaseURL: s.APIURL, Key: string(s.APIKey), Timeout: s.Timeout,
		Concurrency: s.Rate.Concurrency, Principal: s.Principal, Page: page,
		MaxPages: s.Reconcile.MaxPages,
	})
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.Name, err)
	}
	return client, nil
}

// Verifier returns what checks the signatures of the source's webhooks. A
// tolerance of 0 is the definition's.
func (s Source) Verifier(tolerance time.Duration) (*provider.Verifier, error) {
	secrets := make([]string, len(s.WebhookSecrets))
	for i, secret := range s.WebhookSecrets {
		secrets[i] = string(secret)
	}
	verifier, err := provider.NewVerifier(s.Definition, provider.VerifierOptions{Secrets: secrets, URL: s.WebhookURL, Tolerance: tolerance})
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.Name, err)
	}
	return verifier, nil
}

// await calls open until it succeeds or fails for another reason than that the
// other side is away.
func await[T any](ctx context.Context, p *Process, what string, open func() (T, error)) (T, error) {
	loop := p.Health.Loop("start")
	defer loop.Done()
	// Also while open runs: a database that builds an index first may take hours, and
	// a restart of this process would only begin that again.
	loop.Waiting(what)
	var opened T
	err := loops.Retry{Server: what, Away: away, Pause: tryEvery, Logger: p.Logger}.
		Do(ctx, loops.Call{Health: loop}, func() (err error) {
			opened, err = open()
			return err
		})
	if err != nil && ctx.Err() != nil {
		return opened, fmt.Errorf("waiting for %s: %w", what, ctx.Err())
	}
	return opened, err
}

// away distinguishes a server that is not there (yet) from settings that are wrong. A
// connection may break at any word of the greeting, so every network error is
// one that may be over in a second.
func away(err error) bool {
	if class, _ := fate.Of(err); class == fate.Unavailable {
		return true
	}
	var network net.Error
	var system syscall.Errno
	if errors.As(err, &network) || errors.As(err, &system) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	return slices.ContainsFunc(notYet, func(word string) bool { return strings.Contains(err.Error(), word) })
}

// notYet are words of what Redis answers while it is not ready: reading its append-only
// file, without a cluster's majority, without its master, a replica that is about to be
// promoted, slots that move, fewer replicas than it is set to want, a disk that takes no
// more, or too many clients; and what the client says when it waited in vain for a
// connection.
var notYet = []string{
	"LOADING", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "TRYAGAIN", "NOREPLICAS", "MISCONF", "max number of clients", "connection pool timeout",
}

// Checks returns what must answer for the process to be ready.
func Checks(streams *stream.Streams, store storage.Store, k *identity.Keeper) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{"redis": streams.Ping, "store": store.Ping, "identity": k.Check}
}
