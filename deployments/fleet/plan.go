package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	sim "github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/storage/mongo/mongotest"
)

// Source is the name of the one source that a fleet of ours has.
const Source = "acme"

const (
	// APIKey, WriteKey, WebhookSecret and Token are the secrets of a fleet: what
	// processes say to the simulator, the simulator to them, and operators.
	APIKey        = "fleet-api-key-0123"
	WriteKey      = "fleet-write-key-0123"
	WebhookSecret = "fleet-webhook-secret-0123"
	Token         = "fleet-operator-token-0123"
)

// Plan describes a fleet. The zero value is a simulator, a redis-server and a store.
type Plan struct {
	// Source is the name of the source. Defaults to the constant of that name.
	Source string
	// Provider is simulator.Lemon or simulator.Stripe, of which the definition is the
	// built-in one. Defaults to lemon.
	Provider string
	// Definition is the file of the provider's definition. "": the built-in one.
	Definition string
	// Hurried: the provider's definition waits for seconds for what becomes of a command,
	// as is enough for a simulator; a real provider is waited for ten times as long.
	Hurried bool
	// Scoped: the source reads the accounts connected to it too.
	Scoped bool
	// Dir is where everything is kept. "": a fresh directory that goes with the
	// fleet.
	Dir string
	// MongoDB makes mongotest's server the store, one command at a time; it
	// bears some hundred documents. Otherwise it is a SQLite file.
	MongoDB bool
	// Commands: the source takes commands, also from the outbox. The simulator then wants
	// WriteKey of them.
	Commands bool
	// Journal keeps, in the database's own order, every state the mirror ever
	// showed.
	Journal bool
	// APIs, Workers and Reconcilers are how many of them are started.
	APIs, Workers, Reconcilers int
	// Shards defaults to 64, and Prefix, which begins every key in Redis, to "tarn".
	Shards int
	Prefix string
	// LeaseTTL defaults to 2 s.
	LeaseTTL time.Duration
	// Rate is the source's limit of requests a second. 0: none.
	Rate int
	// Concurrency is how many syncs a worker runs at once. Defaults to 64, and to
	// 4 on a MongoDB that does one thing at a time: more would only wait for it
	// until they time out, and be done twice.
	Concurrency int
	// First, Cap and Attempts are the back-off. Default to 500 ms, 2 s and 50:
	// chaos is not to exhaust them.
	First, Cap time.Duration
	Attempts   int
	// Fsync is Redis' appendfsync. Defaults to "always".
	Fsync string
	// Redis are further settings of redis-server: name, value, name, value.
	Redis []string
	// RedisURLs are the addresses of a Redis that is there: members get them, and there is
	// neither a server of the fleet's own nor a link before it.
	RedisURLs []string
	// RedisOwn are the addresses of the same for the fleet's own questions. Defaults to
	// RedisURLs.
	RedisOwn []string
	// RedisSettings are further settings of redis, as YAML in one line: "wait_replicas: 1".
	RedisSettings string
	// Reconcile is the source's reconcile section, as YAML in one line:
	// {gaps: {every: 5s}}.
	Reconcile string
	// Settings are further lines of the settings file.
	Settings string
	// Level is the least level logged. Defaults to "info".
	Level string
	// Faults are TARN_FAULT of programs, by their directory; those have the
	// build in which it means something.
	Faults map[string]string
	// Env is added to the environment of every process of Tarn.
	Env []string
	// Retries is the simulator's schedule of redeliveries. Defaults to 200 ms
	// and then each second for an hour, so that it never gives up.
	Retries string
	// Simulator are further flags of the simulator.
	Simulator []string
	// Network puts the members on hosts of their own. Nil: they are on this one.
	Network Network
}

func (p Plan) withDefaults() Plan {
	p.Source = orDefault(p.Source, Source)
	p.Provider = orDefault(p.Provider, sim.Lemon)
	p.Shards = orDefault(p.Shards, 64)
	p.Prefix = orDefault(p.Prefix, "tarn")
	p.LeaseTTL = orDefault(p.LeaseTTL, 2*time.Second)
	if p.MongoDB {
		p.Concurrency = orDefault(p.Concurrency, 4)
	}
	p.Concurrency = orDefault(p.Concurrency, 64)
	p.First = orDefault(p.First, 500*time.Millisecond)
	p.Cap = orDefault(p.Cap, 2*time.Second)
	p.Attempts = orDefault(p.Attempts, 50)
	p.Fsync = orDefault(p.Fsync, "always")
	p.Reconcile = orDefault(p.Reconcile, "{}")
	p.Level = orDefault(p.Level, "info")
	if p.Network == nil {
		p.Network = here{}
	}
	p.Retries = orDefault(p.Retries, "200ms"+strings.Repeat(",1s", 3600))
	return p
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

func (p Plan) bulk() int {
	if p.MongoDB {
		return mongotest.BulkSize
	}
	return 1000
}

// sourceSettings are the values that the definition leaves to its sources.
func (p Plan) sourceSettings() string {
	if p.Provider == sim.Stripe {
		return `{livemode: "true"}`
	}
	return "{}"
}

// commandSettings are further lines of the source.
func (p Plan) commandSettings() string {
	if !p.Commands {
		return ""
	}
	return fmt.Sprintf("\n    write_key: %s\n    outbox: true", WriteKey)
}

// Of a hurried definition: how long a request that changes something may take, which is
// longer than the simulator hangs, and how far apart two looks for its effect are.
const hurriedWrite, hurriedLooks = 10 * time.Second, 4 * time.Second

var (
	writesOf  = regexp.MustCompile(`(?m)(^ *writes:(?: \{|\n +))(encoding: )`)
	unclearOf = regexp.MustCompile(`unclear: \[[^\]]*\]`)
	inBlock   = regexp.MustCompile(`(?m)^( +)unclear: \[[^\]]*\]`)
)

// hurry writes the built-in definition as a hurried one, into the directory of the plan.
func (p Plan) hurry(ctx context.Context) (string, error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	file := p.Provider + ".yaml"
	text, err := os.ReadFile(filepath.Join(root, "shared/provider/definitions", file))
	if err != nil {
		return "", fmt.Errorf("read the definition of %s: %w", p.Provider, err)
	}
	hurried := writesOf.ReplaceAllStringFunc(string(text), func(at string) string {
		m := writesOf.FindStringSubmatch(at)
		between := ", "
		if _, indent, block := strings.Cut(m[1], "\n"); block {
			between = "\n" + indent
		}
		return fmt.Sprintf("%stimeout: %s%s%s", m[1], hurriedWrite, between, m[2])
	})
	hurried = inBlock.ReplaceAllString(hurried, "${0}\n${1}settle: "+hurriedLooks.String())
	lines := strings.SplitAfter(hurried, "\n")
	for i, line := range lines {
		if !inBlock.MatchString(line) { // it is inside of braces
			lines[i] = unclearOf.ReplaceAllString(line, "${0}, settle: "+hurriedLooks.String())
		}
	}
	path := filepath.Join(p.Dir, file)
	if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600); err != nil {
		return "", fmt.Errorf("write the definition of %s: %w", p.Provider, err)
	}
	return path, nil
}

// writeSettings writes the settings file all processes share.
func (p Plan) writeSettings(redis []string, store, simulator string) (string, error) {
	urls, err := json.Marshal(redis) // which is YAML too
	if err != nil {
		return "", err
	}
	further := ""
	if p.RedisSettings != "" {
		further = ", " + p.RedisSettings
	}
	path := filepath.Join(p.Dir, "tarn.yaml")
	text := fmt.Sprintf(`redis: {url: %s, prefix: %s, lease_ttl: %s%s}
store: {url: %q, bulk: %d}
shards: %d
operator_tokens: [{name: fleet, token: %q, role: operator}]
sources:
  %s:
    provider: %s
    api_url: http://%s/v1
    api_key: %s
    webhook_secrets: [%s]
    scoped: %t
    settings: %s
    rate: {limit: %d, per: 1s, concurrency: %d}
    reconcile: %s%s
retry: {first: %s, cap: %s, attempts: %d}
log: {level: %s}
%s
`, urls, p.Prefix, p.LeaseTTL, further, store, p.bulk(), p.Shards, Token, Source, orDefault(p.Definition, p.Provider), simulator, APIKey, WebhookSecret, p.Scoped, p.sourceSettings(),
		p.Rate, p.Concurrency, p.Reconcile, p.commandSettings(), p.First, p.Cap, p.Attempts, p.Level, p.Settings)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("write settings: %w", err)
	}
	return path, nil
}
