package config

import "time"

// Config is all of Tarn's settings. The help tag of a field is its
// documentation; the package comment says why.
type Config struct {
	HTTP           HTTP              `yaml:"http"`
	Redis          Redis             `yaml:"redis"`
	Store          Store             `yaml:"store"`
	Shards         int               `yaml:"shards" default:"64" min:"1" max:"4096" help:"Number of shards, fixed when the fleet first starts. No more workers than this have work."`
	Dedupe         Dedupe            `yaml:"dedupe"`
	Webhook        Webhook           `yaml:"webhook"`
	Worker         Worker            `yaml:"worker"`
	OperatorTokens []OperatorToken   `yaml:"operator_tokens" help:"Who may use /v1 and the console. Without any, the api listens on 127.0.0.1 only, and an http.addr of another host is refused."`
	Sources        map[string]Source `yaml:"sources" required:"true" help:"The accounts mirrored, by name: a-z, 0-9, - and _, at most 32, a letter first."`
	Retry          Retry             `yaml:"retry"`
	Retention      Retention         `yaml:"retention"`
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
	Addr           string        `yaml:"addr" default:":8080" help:"Address to listen on, host:port. Without a host: all interfaces, for an api without operator_tokens 127.0.0.1. Workers and reconcilers serve health and metrics there, unless they have an address of their own."`
	WorkerAddr     string        `yaml:"worker_addr" help:"Address of a worker's health and metrics. Empty: http.addr, which is right where each process has a host of its own."`
	ReconcilerAddr string        `yaml:"reconciler_addr" help:"Address of a reconciler's health and metrics. Empty: http.addr."`
	ReadTimeout    time.Duration `yaml:"read_timeout" default:"10s" min:"100ms" max:"5m" help:"A client that has not sent its whole request by then is cut off."`
}

// Redis is the queue.
type Redis struct {
	URL          []Secret      `yaml:"url" default:"redis://127.0.0.1:6379" required:"true" help:"Address: redis:// or, with TLS, rediss://; several are nodes of a cluster, as is one redis+cluster://; sentinels are redis+sentinel://host:port,host:port/master; rediss+cluster and rediss+sentinel with TLS."`
	Prefix       string        `yaml:"prefix" default:"tarn" help:"Starts every key, so that fleets can share one Redis."`
	LeaseTTL     time.Duration `yaml:"lease_ttl" default:"5s" min:"500ms" max:"5m" help:"How long a shard waits for a worker that died."`
	WaitReplicas int           `yaml:"wait_replicas" default:"0" min:"0" max:"8" help:"Replicas that must confirm an event before it is accepted."`
}

// Store is the database.
type Store struct {
	URL  Secret `yaml:"url" required:"true" help:"mongodb://host/database, mongodb+srv://host/database, or sqlite:///path/tarn.db, whose folder must exist."`
	Bulk int    `yaml:"bulk" default:"1000" min:"1" max:"100000" help:"Most operations sent to MongoDB in one command."`
}

// Dedupe is how webhooks sent twice are told.
type Dedupe struct {
	TTL time.Duration `yaml:"ttl" default:"1h" min:"1m" max:"168h" help:"How long Redis remembers an event's id, 181 bytes each. Afterwards the event log tells, with the same outcome."`
}

// Webhook is the receiver.
type Webhook struct {
	Tolerance time.Duration `yaml:"tolerance" min:"1s" max:"24h" help:"How far a signature's time may be from ours, both ways. Left out: as the provider's definition says, which is 5m unless it says otherwise."`
	MaxBody   Bytes         `yaml:"max_body" default:"256KiB" min:"1KiB" max:"15MiB" help:"Largest webhook taken; larger ones are answered 413. At most 15MiB, which is what the log keeps."`
	Timeout   time.Duration `yaml:"timeout" default:"5s" min:"100ms" max:"9s" help:"How long Redis may take to confirm before the sender is told 503. Providers give up after about 10s."`
}

// Worker is what one worker holds in memory.
type Worker struct {
	InHand int `yaml:"in_hand" default:"20000" min:"1" max:"1000000" help:"Live entries of one source a worker has read and not yet finished, about 1 KB each, before it sets what waits for budget aside in Redis; background entries: half of it."`
}

// OperatorToken is a bearer token.
type OperatorToken struct {
	Name  string `yaml:"name" required:"true" help:"Who this is, for the audit."`
	Token Secret `yaml:"token" required:"true" help:"The bearer token, at least 16 characters."`
	Role  string `yaml:"role" default:"viewer" oneof:"viewer operator" help:"A viewer reads, an operator acts."`
}

// Source is one account at a provider.
type Source struct {
	Provider       string        `yaml:"provider" required:"true" help:"Name of a built-in definition (lemon) or path of a definition file; a relative one starts at the folder of this file."`
	APIURL         string        `yaml:"api_url" required:"true" help:"Address of the provider's API with its version."`
	APIKey         Secret        `yaml:"api_key" required:"true" reload:"true" help:"Key for the provider's API."`
	WebhookURL     string        `yaml:"webhook_url" help:"Address the provider sends this source's webhooks to, to compare its subscription with. Empty: any it has is taken for ours."`
	WebhookSecrets []Secret      `yaml:"webhook_secrets" required:"true" reload:"true" help:"Secrets webhooks are signed with, at least 16 characters each; several while one is rotated."`
	Rate           Rate          `yaml:"rate"`
	Timeout        time.Duration `yaml:"timeout" default:"10s" min:"100ms" max:"5m" help:"Bounds one request to the API, from sending to the last byte."`
	Principal      string        `yaml:"principal" default:"tarn-none" help:"Who asks, for providers that log who reads personal data."`
	Ack            Ack           `yaml:"ack"`
	Reconcile      Reconcile     `yaml:"reconcile"`
}

// Rate is what the provider's API stands.
type Rate struct {
	Limit       int           `yaml:"limit" default:"50" min:"0" max:"1000000" reload:"true" help:"Requests per period for the whole fleet. 0: unlimited."`
	Per         time.Duration `yaml:"per" default:"1s" min:"10ms" max:"24h" reload:"true" help:"The period."`
	Concurrency int           `yaml:"concurrency" default:"100" min:"1" max:"10000" help:"Requests under way at once, for each worker."`
}

// Ack is how the receiver answers.
type Ack struct {
	Accepted  int `yaml:"accepted" default:"200" help:"Status for an event taken: a 2xx."`
	Duplicate int `yaml:"duplicate" default:"200" help:"Status for an event that was there already: a 2xx, or 409."`
}

// Reconcile is how a source is kept true where events fail.
type Reconcile struct {
	Gaps     Gaps                     `yaml:"gaps"`
	Sweep    Sweep                    `yaml:"sweep"`
	Recover  Recover                  `yaml:"recover"`
	Grace    time.Duration            `yaml:"grace" default:"2m" min:"0s" max:"24h" help:"How long a difference may be explained by an event under way."`
	Window   time.Duration            `yaml:"window" default:"168h" min:"1m" max:"87600h" help:"How far back the first search for missed events goes."`
	MaxPages int                      `yaml:"max_pages" default:"10000" min:"10" max:"10000000" help:"Most pages read of one list of the provider's. A list with more is taken for one that never ends: reading stops there and people are told."`
	Kinds    map[string]ReconcileKind `yaml:"kinds" help:"Settings by kind of entity."`
}

// Gaps is the search for events that were never received.
type Gaps struct {
	Every   time.Duration `yaml:"every" default:"1m" min:"1s" max:"24h" help:"How often the provider's event list is read."`
	Overlap time.Duration `yaml:"overlap" default:"10m" min:"0s" max:"24h" help:"How far each reading reaches into the one before."`
}

// Sweep is the comparison of lists.
type Sweep struct {
	Every time.Duration `yaml:"every" default:"15m" min:"1s" max:"168h" help:"How often the provider's lists are compared with the mirror."`
}

// Recover is the search for work that Redis has lost.
type Recover struct {
	Every time.Duration `yaml:"every" default:"1m" min:"100ms" max:"24h" help:"How often unsettled events are looked for in Redis. When Redis has lost all, it is noticed within seconds."`
	After time.Duration `yaml:"after" default:"1m" min:"0s" max:"24h" help:"How long an event may be unsettled before its work is looked for."`
}

// ReconcileKind are the settings of one kind.
type ReconcileKind struct {
	VerifyEvery time.Duration `yaml:"verify_every" default:"24h" min:"1s" max:"87600h" help:"How old an unverified document of this kind may grow."`
}

// Retry is what becomes of work that failed and may succeed later.
type Retry struct {
	First    time.Duration `yaml:"first" default:"1m" min:"10ms" max:"24h" help:"Pause after the first failed attempt."`
	Factor   float64       `yaml:"factor" default:"2" min:"1" max:"10" help:"What each further pause is multiplied by."`
	Cap      time.Duration `yaml:"cap" default:"1h" min:"10ms" max:"168h" help:"Longest pause."`
	Attempts int           `yaml:"attempts" default:"10" min:"1" max:"1000" help:"Attempts before work becomes a dead letter."`
}

// Retention is how long records are kept, each a duration or "forever", which
// reads as 0.
type Retention struct {
	Events        time.Duration `yaml:"events" default:"forever" min:"1h" forever:"true" help:"How long the event log is kept."`
	Audit         time.Duration `yaml:"audit" default:"2160h" min:"1h" forever:"true" help:"How long the audit is kept."`
	Discrepancies time.Duration `yaml:"discrepancies" default:"8760h" min:"1h" forever:"true" help:"How long settled discrepancies are kept."`
}

// Alert is who is told when a human is needed.
type Alert struct {
	Webhook Secret `yaml:"webhook" help:"Address alerts are posted to as JSON. Empty: they are only logged."`
}

// Telemetry is tracing.
type Telemetry struct {
	OTLPEndpoint string  `yaml:"otlp_endpoint" help:"OTLP/HTTP address traces are sent to, http://127.0.0.1:4318. Empty: none are made."`
	SampleRatio  float64 `yaml:"sample_ratio" default:"1" min:"0.000001" max:"1" help:"Share of events traced."`
}

// Log is logging.
type Log struct {
	Level string `yaml:"level" default:"info" oneof:"debug info warn error" help:"Least level logged."`
}
