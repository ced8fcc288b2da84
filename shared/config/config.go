package config

import "time"

// Config is all of Tarn's settings. The help tag of a field is its
// documentation; the package comment says why.
type Config struct {
	HTTP           HTTP              `yaml:"http"`
	Redis          Redis             `yaml:"redis"`
	Store          Store             `yaml:"store"`
	Shards         int               `yaml:"shards" default:"64" min:"1" max:"4096" help:"Number of shards. It is fixed when the fleet first starts, and no more workers than this have work."`
	Dedupe         Dedupe            `yaml:"dedupe"`
	Webhook        Webhook           `yaml:"webhook"`
	Worker         Worker            `yaml:"worker"`
	OperatorTokens []OperatorToken   `yaml:"operator_tokens" help:"Bearer tokens of /v1. Without any, the api listens on 127.0.0.1 only and refuses an http.addr with another host."`
	Sources        map[string]Source `yaml:"sources" required:"true" help:"The accounts that are mirrored, by name: a-z, 0-9, - and _, at most 32 characters, the first a letter."`
	Webhooks       []OutgoingWebhook `yaml:"webhooks" help:"Receivers that every change of a source's mirror is sent to. The reconciler sends them; each goes on where it was. Without any: none is sent."`
	Retry          Retry             `yaml:"retry"`
	Retention      Retention         `yaml:"retention"`
	Feed           Feed              `yaml:"feed"`
	Alert          Alert             `yaml:"alert"`
	Telemetry      Telemetry         `yaml:"telemetry"`
	Log            Log               `yaml:"log"`

	// from is where it was read; not a setting.
	from origin
}

// HTTP is the listener of a process: the whole API of the api, health and
// metrics of the others. Processes on one host that share a file need an
// address each.
type HTTP struct {
	Addr           string        `yaml:"addr" default:":8080" help:"Address to listen on, host:port. Without a host: all interfaces; for an api without operator_tokens 127.0.0.1. Workers and reconcilers serve health and metrics there unless they have an address of their own."`
	WorkerAddr     string        `yaml:"worker_addr" help:"Address of a worker's health and metrics. Empty: http.addr, which is right where each process has its own host."`
	ReconcilerAddr string        `yaml:"reconciler_addr" help:"Address of a reconciler's health and metrics. Empty: http.addr."`
	ReadTimeout    time.Duration `yaml:"read_timeout" default:"10s" min:"100ms" max:"5m" help:"Time a client has to send its whole request; a slower one is cut off."`
}

// Redis is the queue.
type Redis struct {
	URL          []Secret      `yaml:"url" default:"redis://127.0.0.1:6379" required:"true" reload:"true" help:"Address of Redis: redis://host:port, or rediss:// with TLS. Several addresses, or one redis+cluster://host:port, are a cluster; redis+sentinel://host:port,host:port/master asks sentinels; rediss+cluster and rediss+sentinel use TLS. Of this only user and password are taken while running."`
	Prefix       string        `yaml:"prefix" default:"tarn" help:"Begins every key. One Redis, prefix and database are one fleet; a process whose Redis and database belong to different fleets does not start (--adopt joins them, once)."`
	LeaseTTL     time.Duration `yaml:"lease_ttl" default:"5s" min:"500ms" max:"5m" help:"Time after which the shards of a worker that died go to others."`
	WaitReplicas int           `yaml:"wait_replicas" default:"0" min:"0" max:"8" help:"Replicas that must confirm an event before it is accepted."`
	TLS          RedisTLS      `yaml:"tls"`
}

// RedisTLS are the files of TLS to Redis. They are read for each new connection.
type RedisTLS struct {
	CA   string `yaml:"ca" help:"File with the certificates, PEM, of those who vouch for Redis. A relative path starts at the folder of this file. Empty: the system's."`
	Cert string `yaml:"cert" help:"File with Tarn's own certificate, PEM, if Redis asks for one (tls-auth-clients)."`
	Key  string `yaml:"key" help:"File with the key of that certificate, PEM."`
}

// Store is the database.
type Store struct {
	URL  Secret `yaml:"url" required:"true" help:"Database: mongodb://host/database, mongodb+srv://host/database, or sqlite:///path/tarn.db, whose folder must exist."`
	Bulk int    `yaml:"bulk" default:"1000" min:"1" max:"100000" help:"Most operations in one MongoDB command."`
}

// Dedupe is how webhooks that come twice are recognised.
type Dedupe struct {
	TTL time.Duration `yaml:"ttl" default:"1h" min:"1m" max:"168h" help:"How long Redis remembers an event's id (181 bytes each). After that the event log recognises the event, with the same outcome."`
}

// Webhook is the receiver.
type Webhook struct {
	Tolerance time.Duration `yaml:"tolerance" min:"1s" max:"24h" help:"How far the time in a signature may be from the api's clock, both ways. Empty: the value of the provider's definition, which is 5m unless it sets another."`
	MaxBody   Bytes         `yaml:"max_body" default:"256KiB" min:"1KiB" max:"15MiB" help:"Largest webhook body. A larger one is answered 413. The log keeps at most 15MiB."`
	Timeout   time.Duration `yaml:"timeout" default:"5s" min:"100ms" max:"9s" help:"Time Redis has to confirm an event; after it the sender is answered 503. Providers commonly give up after 10s."`
}

// Worker is what one worker holds in memory.
type Worker struct {
	InFlight int `yaml:"in_hand" default:"20000" min:"1" max:"1000000" help:"Live entries of one source that a worker holds in memory, about 1 KB each, before it moves what waits for budget back to Redis. It reads background entries while live and background ones together, without delayed ones, are below half of it."`
}

// OperatorToken is a bearer token.
type OperatorToken struct {
	Name  string `yaml:"name" required:"true" help:"Name of the token's owner in the audit."`
	Token Secret `yaml:"token" required:"true" help:"The bearer token, at least 16 characters."`
	Role  string `yaml:"role" default:"viewer" oneof:"viewer writer operator" help:"A viewer reads; a writer, an application, also asks for changes at the provider; an operator also acts."`
}

// Source is one account at a provider.
type Source struct {
	Provider       string            `yaml:"provider" required:"true" help:"Name of a built-in definition (lemon, stripe), or path of a definition file. A relative path starts at the folder of this file."`
	APIURL         string            `yaml:"api_url" required:"true" help:"Address of the provider's API, with its version."`
	APIKey         Secret            `yaml:"api_key" required:"true" reload:"true" help:"Key of the provider's API."`
	WriteKey       Secret            `yaml:"write_key" reload:"true" help:"Key of the provider's API with which changes are sent, where the definition says what can be changed. Reads never use it. Empty: nothing is changed at the provider through this source."`
	WebhookURL     string            `yaml:"webhook_url" help:"Address the provider sends this source's webhooks to, as the provider has it. Required where the signature covers it. The reconciler compares the subscription of that address with the definition. Empty: it takes any subscription for this source's. Where the provider does not sign (scheme: none) it ends in the secret, and is as secret."`
	WebhookSecrets []Secret          `yaml:"webhook_secrets" required:"true" reload:"true" help:"Secrets that sign webhooks, at least 16 characters each; several while one is being rotated. Where the provider signs with a private key: its public keys, as PEM or base64. Where it does not sign: the last step of the path, /webhooks/SOURCE/SECRET."`
	Scoped         bool              `yaml:"scoped" default:"false" help:"Whether events may be about accounts that are connected to this one, where the definition says so (api.scope; stripe: a platform's endpoint of Connect). Keys of what belongs to such an account have its id, and requests for it name it in a header. Events without one are about this account's own."`
	Settings       map[string]Secret `yaml:"settings" help:"Values that the provider's definition leaves to its sources, by name, such as the mode that events must be of. A definition that needs one which is missing says so at the start."`
	Rate           Rate              `yaml:"rate"`
	Timeout        time.Duration     `yaml:"timeout" default:"10s" min:"100ms" max:"5m" help:"Bounds one request to the API, from sending to the last byte. Once a fifth of it (1s at least) has passed since the first byte, the answer must arrive at 1 KiB a second on average."`
	Outbox         bool              `yaml:"outbox" default:"false" help:"Whether the reconciler makes commands of the rows that applications insert into the collection, or table, outbox. Needs write_key."`
	Principal      string            `yaml:"principal" default:"tarn-none" help:"Name given to providers that log who reads personal data."`
	Ack            Ack               `yaml:"ack"`
	Reconcile      Reconcile         `yaml:"reconcile"`
}

// Rate is the limit of the provider's API.
type Rate struct {
	Limit       int           `yaml:"limit" default:"50" min:"0" max:"1000000" reload:"true" help:"Requests per period for the whole fleet. 0: unlimited."`
	Per         time.Duration `yaml:"per" default:"1s" min:"10ms" max:"24h" reload:"true" help:"The period."`
	Commands    float64       `yaml:"commands" default:"0.5" min:"0.01" max:"1" reload:"true" help:"Share of the limit that changes at the provider may take, before everything else. They take no more."`
	Concurrency int           `yaml:"concurrency" default:"100" min:"1" max:"10000" help:"Requests under way at once, for each worker."`
}

// Ack is how the receiver answers.
type Ack struct {
	Accepted  int `yaml:"accepted" default:"200" help:"HTTP status for a new event: a 2xx."`
	Duplicate int `yaml:"duplicate" default:"200" help:"HTTP status for an event that was accepted before: a 2xx, or 409."`
}

// Reconcile is how a source is kept true where events fail.
type Reconcile struct {
	Gaps     Gaps                     `yaml:"gaps"`
	Sweep    Sweep                    `yaml:"sweep"`
	Recover  Recover                  `yaml:"recover"`
	Grace    time.Duration            `yaml:"grace" default:"2m" min:"0s" max:"24h" help:"Time in which an event under way may explain a difference."`
	Window   time.Duration            `yaml:"window" default:"168h" min:"1m" max:"87600h" help:"How far back the first search for missed events goes; at least gaps.every and gaps.overlap together. Sweeps skip what has been terminal for longer and was verified since."`
	MaxPages int                      `yaml:"max_pages" default:"10000" min:"10" max:"10000000" help:"Most pages read of one list of the provider. A list with more counts as endless: reading stops and an alert is raised. A page over 16 MiB is asked for with a smaller limit."`
	Kinds    map[string]ReconcileKind `yaml:"kinds" help:"Settings by kind of entity."`
}

// Gaps is the search for events that were never received.
type Gaps struct {
	Every   time.Duration `yaml:"every" default:"1m" min:"1s" max:"24h" help:"Interval between two readings of the provider's event list."`
	Overlap time.Duration `yaml:"overlap" default:"10m" min:"0s" max:"24h" help:"How far each reading reaches into the one before."`
}

// Sweep is the comparison of lists.
type Sweep struct {
	Every time.Duration `yaml:"every" default:"15m" min:"1s" max:"168h" help:"Interval between two comparisons of the provider's lists with the mirror."`
}

// Recover is the search for work that Redis has lost.
type Recover struct {
	Every time.Duration `yaml:"every" default:"1m" min:"100ms" max:"24h" help:"Interval between two searches for unsettled events whose entry Redis has lost. A Redis that lost everything is noticed within seconds."`
	After time.Duration `yaml:"after" default:"1m" min:"0s" max:"24h" help:"Age at which an unsettled event is looked for in Redis."`
}

// ReconcileKind are the settings of one kind.
type ReconcileKind struct {
	VerifyEvery time.Duration `yaml:"verify_every" default:"24h" min:"1s" max:"87600h" help:"Age at which an unverified document of this kind is compared again."`
}

// OutgoingWebhook is a receiver of changes.
type OutgoingWebhook struct {
	Name        string   `yaml:"name" required:"true" help:"Name of the subscription: a-z, 0-9, - and _, at most 32 characters, the first a letter. How far it has come is kept under this name."`
	URL         Secret   `yaml:"url" required:"true" help:"Address that changes are posted to, https://… Redirects are not followed."`
	Secrets     []Secret `yaml:"secrets" required:"true" reload:"true" help:"Secrets of the signature as in Standard Webhooks: whsec_ and the base64 of 24 to 64 random bytes. Each signs, so that one can be replaced while the receiver accepts both."`
	Source      string   `yaml:"source" required:"true" help:"Name of the source whose changes are sent."`
	Kinds       []string `yaml:"kinds" help:"Only changes of these kinds. Empty: of all."`
	Types       []string `yaml:"types" help:"entity, command or both: only changes of entities, or what becomes of commands. Empty: both or, with kinds, entities alone."`
	Batch       int      `yaml:"batch" default:"1" min:"1" max:"100" help:"Most changes in one request. With more than 1, each request is a list, as batches of CloudEvents are."`
	Concurrency int      `yaml:"concurrency" default:"8" min:"1" max:"64" help:"Most requests under way at once. An entity is in one of them at a time."`
	Networks    []string `yaml:"networks" help:"Networks of private addresses that the host may resolve to, such as 10.20.0.0/16. Others are never reached, nor are link-local addresses and those of metadata services."`
	Loopback    bool     `yaml:"loopback" default:"false" help:"For development: the receiver may be on this machine, and its address may then be http://."`
}

// Retry is the back-off of work that failed and may succeed later.
type Retry struct {
	First    time.Duration `yaml:"first" default:"1m" min:"10ms" max:"24h" help:"Pause after the first failed attempt."`
	Factor   float64       `yaml:"factor" default:"2" min:"1" max:"10" help:"Each further pause is the one before times this."`
	Cap      time.Duration `yaml:"cap" default:"1h" min:"10ms" max:"168h" help:"Longest pause."`
	Attempts int           `yaml:"attempts" default:"10" min:"1" max:"1000" help:"Attempts before the work becomes a dead letter."`
}

// Retention is how long records are kept, each a duration or "forever", which
// reads as 0.
type Retention struct {
	Events        time.Duration `yaml:"events" default:"forever" min:"1h" forever:"true" help:"Age at which settled events, by received_at, and closed dead letters are removed."`
	Commands      time.Duration `yaml:"commands" default:"2160h" min:"1h" forever:"true" help:"Age at which commands that are over, by ended_at, are removed. Longer than feed.keep. So long a key names the same command; after that it is a new wish."`
	Audit         time.Duration `yaml:"audit" default:"2160h" min:"1h" forever:"true" help:"Age at which entries of the audit are removed."`
	Discrepancies time.Duration `yaml:"discrepancies" default:"8760h" min:"1h" forever:"true" help:"Age at which judged discrepancies, by found_at, are removed."`
}

// Feed is the change feed.
type Feed struct {
	Enabled bool          `yaml:"enabled" default:"true" help:"Whether changes of the mirror are added to the change feed. Changes made while it is off are added once it is on."`
	Keep    time.Duration `yaml:"keep" default:"72h" min:"1h" max:"87600h" help:"How long the change feed is kept. A consumer that was away for longer reads everything again. 50 changes a second take about 1 GB in 72h."`
}

// Alert is where alerts go.
type Alert struct {
	Webhook Secret `yaml:"webhook" help:"Address that alerts are posted to, as JSON in batches. Empty: alerts are only logged."`
}

// TraceIDMark is what stands for the id of a trace in telemetry.trace_url.
const TraceIDMark = "{trace_id}"

// Telemetry is tracing and profiles.
type Telemetry struct {
	OTLPEndpoint string  `yaml:"otlp_endpoint" help:"OTLP/HTTP address that traces are sent to, such as http://127.0.0.1:4318. Empty: no traces."`
	SampleRatio  float64 `yaml:"sample_ratio" default:"1" min:"0.000001" max:"1" help:"Share of events that are traced. OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG in the environment go over it."`
	ShardSeries  bool    `yaml:"shard_series" default:"false" help:"Whether the process that measures the queue exports tarn_shard_… metrics: four series for each shard and source, with the default of 64 shards 256 a source."`
	TraceURL     string  `yaml:"trace_url" help:"Address of a trace in the program that shows them, with {trace_id} in the place of its id: https://jaeger.example/trace/{trace_id}. Answers of the api that have a trace_id have it as trace_url. Empty: they have none."`
	Profiles     string  `yaml:"profiles" default:"off" oneof:"off operators" help:"operators: every process serves profiles of its CPU and memory below /debug/pprof/ to the tokens of operators, of which operator_tokens must have one."`
}

// Log is logging.
type Log struct {
	Level  string `yaml:"level" default:"info" oneof:"debug info warn error" help:"Lowest level that is logged."`
	Format string `yaml:"format" default:"json" oneof:"json text" help:"Format of a line of the log: an object of JSON, or key=value pairs."`
}
