package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const minimal = `store: {url: "sqlite:///tmp/tarn.db"}
sources:
  lemon:
    provider: lemon
    api_url: https://sandbox.api.lemon.markets/v1
    api_key: key-1
    webhook_secrets: [secret-1-long-enough]
`

func noFiles(path string) ([]byte, error) { return nil, fmt.Errorf("open %s: no such file", path) }

func parsed(t *testing.T, text string, environ ...string) *Config {
	t.Helper()
	c, err := parse("tarn.yaml", []byte(text), environ, noFiles)
	require.NoError(t, err)
	return c
}

func refused(t *testing.T, text string, environ ...string) string {
	t.Helper()
	c, err := parse("tarn.yaml", []byte(text), environ, noFiles)
	require.Error(t, err)
	require.Nil(t, c)
	return err.Error()
}

// A file's newlines at its end are an editor's, however many. A file of nothing is one that
// was cut off while it was written: it is refused, rather than taken for a key that is gone
// or for a Redis without a password.
func TestFilesOfValues(t *testing.T) {
	const text = minimal + "redis: {url: \"redis://u:${file:/secret}@h:1\"}\n"
	for content, want := range map[string]string{
		"geheim": "geheim", "geheim\n": "geheim", "geheim\r\n": "geheim", "geheim\n\n": "geheim", " a b ": " a b ", "": "", "\n": "", "\r\n\r\n": "",
	} {
		c, err := parse("tarn.yaml", []byte(text), nil, func(string) ([]byte, error) { return []byte(content), nil })
		if want == "" {
			require.ErrorContains(t, err, "tarn.yaml:8: redis.url[0]: ${file:/secret}: is empty", "%q", content)
			continue
		}
		require.NoError(t, err, "%q", content)
		require.Equal(t, Secret("redis://u:"+want+"@h:1"), c.Redis.URL[0], "%q", content)
	}
}

// A password of Redis may hold any characters: package stream reads it as it is.
func TestPasswordsInAddressesOfRedis(t *testing.T) {
	for _, password := range []string{"a/b+c==", "a@b:c", "a#b?c", "100%", "a b"} {
		c, err := parse("tarn.yaml", []byte(minimal+"redis: {url: \"redis://u:${P}@h:1\"}\n"), []string{"P=" + password}, noFiles)
		require.NoError(t, err, password)
		require.Equal(t, Secret("redis://u:"+password+"@h:1"), c.Redis.URL[0])
	}
	require.Contains(t, refused(t, minimal+"redis: {url: \"redis://u:a/b@\"}\n"), "redis.url[0]: want an address with a host")
}

func TestDefaults(t *testing.T) {
	c := parsed(t, minimal)
	lemon := c.Sources["lemon"]
	require.Equal(t, ":8080", c.HTTP.Addr)
	require.Equal(t, []Secret{"redis://127.0.0.1:6379"}, c.Redis.URL)
	require.Equal(t, 64, c.Shards)
	require.Equal(t, 5*time.Second, c.Redis.LeaseTTL)
	require.Equal(t, Bytes(256<<10), c.Webhook.MaxBody)
	require.Equal(t, time.Duration(0), c.Retention.Events)
	require.Equal(t, 90*24*time.Hour, c.Retention.Audit)
	require.Equal(t, Rate{Limit: 50, Per: time.Second, Commands: 0.5, Concurrency: 100}, lemon.Rate)
	require.Equal(t, Ack{Accepted: 200, Duplicate: 200}, lemon.Ack)
	require.Equal(t, 168*time.Hour, lemon.Reconcile.Window)
	require.Equal(t, Recover{Every: time.Minute, After: time.Minute}, lemon.Reconcile.Recover)
	require.Equal(t, Retry{First: time.Minute, Factor: 2, Cap: time.Hour, Attempts: 10}, c.Retry)
}

// The whole of what the documentation shows, each key with a value that is not
// its default.
func TestEverything(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("from-a-file\n"), 0o600))
	whsecFile := filepath.Join(dir, "whsec")
	require.NoError(t, os.WriteFile(whsecFile, []byte(whsec+"\n"), 0o600))
	file := filepath.Join(dir, "tarn.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`
http: {addr: "127.0.0.1:9000", read_timeout: 20s}
redis: {url: ["redis://a:1", "redis://b:2"], prefix: fleet-2, lease_ttl: 10s, wait_replicas: 1}
store: {url: "mongodb://${DB_HOST}/tarn", bulk: 50}
shards: 16
dedupe: {ttl: 2h}
webhook: {tolerance: 1m, max_body: 1MiB}
worker: {in_hand: 5}
operator_tokens: [{name: ops, token: "${TOKEN}", role: operator}]
sources:
  lemon:
    provider: lemon
    api_url: http://127.0.0.1:1/v1
    api_key: ${file:`+secret+`}
    webhook_url: https://tarn.example.com/webhooks/lemon
    webhook_secrets: ["${S1}", "a-long-secret$${b}"]
    rate: {limit: 0, per: 100ms, concurrency: 3}
    ack: {accepted: 202, duplicate: 409}
    reconcile: {gaps: {every: 2m, overlap: 1m}, sweep: {every: 1h}, recover: {every: 2s, after: 3s}, grace: 1m, window: 24h, kinds: {order: {verify_every: 2h}}}
retry: {first: 1s, factor: 1.5, cap: 1m, attempts: 3}
retention: {events: 720h, audit: forever}
telemetry: {otlp_endpoint: "http://jaeger:4318", sample_ratio: 0.5}
webhooks: [{name: billing, url: "https://billing.example/t?key=1", secrets: ["${file:`+whsecFile+`}"], source: lemon, kinds: [order], batch: 5, concurrency: 2, networks: [10.1.0.0/16], loopback: true}]
log: {level: debug}
`), 0o600))
	c, err := Load(file, []string{"DB_HOST=db", "TOKEN=0123456789abcdef", "S1=${x}", "S1=${TOKEN}-and-more"})
	require.NoError(t, err)
	lemon := c.Sources["lemon"]
	require.Equal(t, []Secret{"redis://a:1", "redis://b:2"}, c.Redis.URL)
	require.Equal(t, Secret("mongodb://db/tarn"), c.Store.URL)
	require.Equal(t, Secret("from-a-file"), lemon.APIKey)
	require.Equal(t, []Secret{"${TOKEN}-and-more", "a-long-secret${b}"}, lemon.WebhookSecrets, "what came out is not expanded again")
	require.Equal(t, OperatorToken{"ops", "0123456789abcdef", "operator"}, c.OperatorTokens[0])
	require.Equal(t, 2*time.Hour, lemon.Reconcile.Kinds["order"].VerifyEvery)
	require.Equal(t, Recover{Every: 2 * time.Second, After: 3 * time.Second}, lemon.Reconcile.Recover)
	require.Equal(t, "https://tarn.example.com/webhooks/lemon", lemon.WebhookURL)
	require.Zero(t, c.Retention.Audit)
	require.InDelta(t, 1.5, c.Retry.Factor, 0)
	require.Equal(t, Bytes(1<<20), c.Webhook.MaxBody)
	require.Equal(t, []OutgoingWebhook{{
		Name: "billing", URL: "https://billing.example/t?key=1", Secrets: []Secret{whsec}, Source: "lemon", Kinds: []string{"order"},
		Batch: 5, Concurrency: 2, Networks: []string{"10.1.0.0/16"}, Loopback: true,
	}}, c.Webhooks)
}

func TestEnvironment(t *testing.T) {
	c := parsed(t, minimal,
		"TARN_SHARDS=8", "TARN_REDIS__URL=redis://a:1, redis://b:2", "TARN_REDIS__LEASE_TTL=1s",
		"TARN_STORE__URL=mongodb://db/x", "TARN_SOURCES__LEMON__API_KEY=${not expanded}",
		"TARN_SOURCES__LEMON__WEBHOOK_SECRETS=[one-0123456789ab, two-0123456789ab]", "TARN_SOURCES__LEMON__RATE__LIMIT=7",
		"TARN_OPERATOR_TOKENS=[{name: ops, token: 0123456789abcdefg}]", "TARN_LOG__LEVEL=warn",
		"TARN_API_PORT=tcp://10.0.0.1:80", "OTHER__THING=1")
	lemon := c.Sources["lemon"]
	require.Equal(t, 8, c.Shards)
	require.Equal(t, []Secret{"redis://a:1", "redis://b:2"}, c.Redis.URL)
	require.Equal(t, Secret("mongodb://db/x"), c.Store.URL)
	require.Equal(t, Secret("${not expanded}"), lemon.APIKey)
	require.Equal(t, []Secret{"one-0123456789ab", "two-0123456789ab"}, lemon.WebhookSecrets)
	require.Equal(t, 7, lemon.Rate.Limit)
	require.Equal(t, "lemon", lemon.Provider, "the file's other keys stay")
	require.Equal(t, "ops", c.OperatorTokens[0].Name)
	require.Equal(t, "warn", c.Log.Level)
}

func TestEnvironmentAlone(t *testing.T) {
	c, err := Load("", []string{
		"TARN_STORE__URL=sqlite:///x.db", "TARN_SOURCES__ACME__PROVIDER=lemon", "TARN_SOURCES__ACME__API_URL=https://x/v1",
		"TARN_SOURCES__ACME__API_KEY=12345", "TARN_SOURCES__ACME__WEBHOOK_SECRETS=0123456789abcdef"})
	require.NoError(t, err)
	require.Equal(t, Secret("12345"), c.Sources["acme"].APIKey)
}

func TestEnvironmentFindsDashes(t *testing.T) {
	c := parsed(t, strings.ReplaceAll(minimal, "lemon:\n", "lemon-two:\n"), "TARN_SOURCES__LEMON_TWO__TIMEOUT=3s")
	require.Len(t, c.Sources, 1)
	require.Equal(t, 3*time.Second, c.Sources["lemon-two"].Timeout)
}

func TestSettingsOfASource(t *testing.T) {
	c := parsed(t, minimal+"    settings: {mode: \"true\", token: \"${TOKEN}\"}\n", "TOKEN=hunter2", "TARN_SOURCES__LEMON__SETTINGS__MODE=false")
	require.Equal(t, map[string]Secret{"mode": "false", "token": "hunter2"}, c.Sources["lemon"].Settings)
	require.NotContains(t, fmt.Sprintf("%+v", c.Sources["lemon"]), "hunter2")
	other := parsed(t, minimal+"    settings: {mode: \"true\"}\n")
	require.Equal(t, []string{"sources.lemon.settings"}, NeedsRestart(c, other))
	require.Equal(t, c.Sources["lemon"].Settings, Reloaded(c, other).Sources["lemon"].Settings)
}

func TestRefused(t *testing.T) {
	cases := map[string]struct {
		text string
		env  []string
		want string
	}{
		"unknown key":                {text: minimal + "shard: 64\n", want: "tarn.yaml:8: shard: is not a key; known here: http, redis"},
		"unknown key below":          {text: minimal + "redis:\n  lease_tl: 5s\n", want: "tarn.yaml:9: redis.lease_tl: is not a key; known here: url, prefix, lease_ttl, wait_replicas"},
		"unknown key of a source":    {text: minimal + "    key: x\n", want: "tarn.yaml:8: sources.lemon.key: is not a key"},
		"twice":                      {text: minimal + "shards: 1\nshards: 2\n", want: "tarn.yaml:9: shards: is here twice"},
		"no value":                   {text: minimal + "shards:\n", want: "tarn.yaml:8: shards: has no value"},
		"text for a number":          {text: minimal + "shards: many\n", want: `tarn.yaml:8: shards: "many": want a whole number`},
		"fraction for a number":      {text: minimal + "shards: 1.5\n", want: `tarn.yaml:8: shards: "1.5": want a whole number`},
		"number for text":            {text: minimal + "log: {level: 3}\n", want: "tarn.yaml:8: log.level: want text, not a number: put it in quotes"},
		"yes for text":               {text: minimal + "log: {level: true}\n", want: "tarn.yaml:8: log.level: want text, not a yes or no"},
		"list for text":              {text: minimal + "log: {level: [info]}\n", want: "tarn.yaml:8: log.level: want debug | info | warn | error, not a list"},
		"text for keys":              {text: minimal + "log: info\n", want: "tarn.yaml:8: log: want keys and values, not text"},
		"text for a list of keys":    {text: minimal + "operator_tokens: x\n", want: "tarn.yaml:8: operator_tokens: want a list, not text"},
		"list for names":             {text: "sources: [lemon]\n", want: "tarn.yaml:1: sources: want keys and values, not a list"},
		"number without unit":        {text: minimal + "redis: {lease_ttl: 5}\n", want: `tarn.yaml:8: redis.lease_ttl: "5": want a duration`},
		"days":                       {text: minimal + "retention: {events: 7d}\n", want: `tarn.yaml:8: retention.events: "7d": want a duration: 1h, 2160h, or forever`},
		"zero retention":             {text: minimal + "retention: {events: 0s}\n", want: `want a time above 0, or forever`},
		"forever for another":        {text: minimal + "dedupe: {ttl: forever}\n", want: `dedupe.ttl: "forever": want a duration`},
		"no size":                    {text: minimal + "webhook: {max_body: 1MB}\n", want: `webhook.max_body: "1MB": want a size`},
		"huge size":                  {text: minimal + "webhook: {max_body: 9999999999999GiB}\n", want: `want a size`},
		"not a number":               {text: minimal + "retry: {factor: .nan}\n", want: "retry.factor"},
		"unset variable":             {text: minimal + "http: {addr: \"${ADDR}\"}\n", want: "tarn.yaml:8: http.addr: environment variable ADDR is not set"},
		"unset file":                 {text: minimal + "http: {addr: \"${file:/none}\"}\n", want: "tarn.yaml:8: http.addr: ${file:/none}: open /none: no such file"},
		"open variable":              {text: minimal + "http: {addr: \"${ADDR\"}\n", want: "tarn.yaml:8: http.addr: ${ without }"},
		"bad variable value":         {text: minimal, env: []string{"TARN_SHARDS=x"}, want: "TARN_SHARDS: shards: want a whole number"},
		"unknown variable":           {text: minimal, env: []string{"TARN_REDIS__UR=x"}, want: "TARN_REDIS__UR: is no setting"},
		"variable for a group":       {text: minimal, env: []string{"TARN_SOURCES__LEMON=x"}, want: "TARN_SOURCES__LEMON: is no setting"},
		"variable with a bad list":   {text: minimal, env: []string{"TARN_REDIS__URL=[a"}, want: "TARN_REDIS__URL: redis.url: want a list"},
		"variable with a bad name":   {text: minimal, env: []string{"TARN_SOURCES__9__API_KEY=x"}, want: "sources.9: want a name"},
		"source name in capitals":    {text: strings.ReplaceAll(minimal, "lemon:\n", "Lemon:\n"), want: "tarn.yaml:3: sources.Lemon: want a name of a-z"},
		"source name too long":       {text: strings.ReplaceAll(minimal, "lemon:\n", strings.Repeat("a", 33)+":\n"), want: "want a name"},
		"a setting without quotes":   {text: minimal + "    settings: {mode: true}\n", want: "tarn.yaml:8: sources.lemon.settings.mode: want text, not a yes or no: put it in quotes"},
		"a setting of a bad name":    {text: minimal + "    settings: {Mode: a}\n", want: "tarn.yaml:8: sources.lemon.settings.Mode: want a name"},
		"settings that are a list":   {text: minimal + "    settings: [a]\n", want: "tarn.yaml:8: sources.lemon.settings: want keys and values, not a list"},
		"no sources":                 {text: "store: {url: \"sqlite:///x\"}\n", want: "tarn.yaml: sources: is missing"},
		"no store":                   {text: "", want: "tarn.yaml: store.url: is missing"},
		"no api key":                 {text: strings.ReplaceAll(minimal, "    api_key: key-1\n", ""), want: "tarn.yaml:3: sources.lemon.api_key: is missing"},
		"empty secret":               {text: strings.ReplaceAll(minimal, "secret-1-long-enough", `""`), want: "sources.lemon.webhook_secrets: is missing"},
		"no secret":                  {text: strings.ReplaceAll(minimal, "[secret-1-long-enough]", "[]"), want: "sources.lemon.webhook_secrets: is missing"},
		"ack without a body":         {text: minimal + "    ack: {accepted: 204}\n", want: "tarn.yaml:8: sources.lemon.ack.accepted: want a 2xx that carries a body"},
		"ack that is an error":       {text: minimal + "    ack: {duplicate: 404}\n", want: "tarn.yaml:8: sources.lemon.ack.duplicate: want a 2xx that carries a body, or 409"},
		"a source named unknown":     {text: strings.ReplaceAll(minimal, "lemon:\n", "unknown:\n"), want: "tarn.yaml:3: sources.unknown: stands for"},
		"api address":                {text: strings.ReplaceAll(minimal, "https://sandbox", "ftp://sandbox"), want: "tarn.yaml:5: sources.lemon.api_url: want an address"},
		"redis address":              {text: minimal + "redis: {url: \"localhost:6379\"}\n", want: "tarn.yaml:8: redis.url[0]: want an address with a host: redis://…"},
		"redis prefix":               {text: minimal + "redis: {prefix: \"{x}\"}\n", want: "tarn.yaml:8: redis.prefix: want letters"},
		"store scheme":               {text: strings.ReplaceAll(minimal, "sqlite://", "postgres://"), want: "tarn.yaml:1: store.url: want mongodb://"},
		"store without a path":       {text: strings.ReplaceAll(minimal, "sqlite:///tmp/tarn.db", "sqlite://"), want: "tarn.yaml:1: store.url: want mongodb://"},
		"store relative":             {text: strings.ReplaceAll(minimal, "sqlite:///tmp/tarn.db", "sqlite://data/tarn.db"), want: "tarn.yaml:1: store.url: names no absolute path of a file: write sqlite:// and the whole path, as in sqlite:///var/lib/tarn/tarn.db"},
		"store that is a folder":     {text: strings.ReplaceAll(minimal, "sqlite:///tmp/tarn.db", "sqlite:///tmp/"), want: "tarn.yaml:1: store.url: names no absolute path of a file"},
		"store without a name":       {text: strings.ReplaceAll(minimal, "sqlite:///tmp/tarn.db", "mongodb://u:p@db:27017?w=1"), want: "tarn.yaml:1: store.url: names no database: write its name after the host, as in mongodb://host/tarn"},
		"store with a slash only":    {text: strings.ReplaceAll(minimal, "sqlite:///tmp/tarn.db", "mongodb+srv://db/?w=1"), want: "as in mongodb+srv://host/tarn"},
		"store without a host":       {text: strings.ReplaceAll(minimal, "sqlite:///tmp/tarn.db", "mongodb:///tarn"), want: "tarn.yaml:1: store.url: want mongodb://host/database"},
		"short webhook secret":       {text: strings.ReplaceAll(minimal, "[secret-1-long-enough]", "[secret-1-long-enough, hunter2]"), want: "tarn.yaml:7: sources.lemon.webhook_secrets[1]: is too short: at least 16 characters, such as `openssl rand"},
		"webhook secret one short":   {text: strings.ReplaceAll(minimal, "secret-1-long-enough", "0123456789abcde"), want: "tarn.yaml:7: sources.lemon.webhook_secrets[0]: is too short: at least 16 characters"},
		"short secret of a variable": {text: minimal, env: []string{"TARN_SOURCES__LEMON__WEBHOOK_SECRETS=hunter2"}, want: "TARN_SOURCES__LEMON__WEBHOOK_SECRETS: sources.lemon.webhook_secrets[0]: is too short"},
		"worker's address":           {text: minimal + "http: {worker_addr: x}\n", want: "tarn.yaml:8: http.worker_addr: want host:port"},
		"reconciler's address":       {text: minimal + "http: {reconciler_addr: x}\n", want: "tarn.yaml:8: http.reconciler_addr: want host:port"},
		"alert address":              {text: minimal + "alert: {webhook: x}\n", want: "tarn.yaml:8: alert.webhook: want an address"},
		"trace address":              {text: minimal + "telemetry: {otlp_endpoint: \"x:4318\"}\n", want: "telemetry.otlp_endpoint: want an address"},
		"trace url without its id":   {text: minimal + "telemetry: {trace_url: \"https://jaeger/trace/\"}\n", want: "tarn.yaml:8: telemetry.trace_url: lacks {trace_id}, in the place of the trace's id: https://jaeger.example/trace/{trace_id}"},
		"trace url without a host":   {text: minimal + "telemetry: {trace_url: \"/trace/{trace_id}\"}\n", want: "tarn.yaml:8: telemetry.trace_url: want an address with a host"},
		"log format":                 {text: minimal + "log: {format: xml}\n", want: `tarn.yaml:8: log.format: "xml": want one of json, text`},
		"listen address":             {text: minimal + "http: {addr: \"8080\"}\n", want: "tarn.yaml:8: http.addr: want host:port"},
		"listen port":                {text: minimal + "http: {addr: \":80800\"}\n", want: "tarn.yaml:8: http.addr: want host:port"},
		"log level":                  {text: minimal + "log: {level: loud}\n", want: `tarn.yaml:8: log.level: "loud": want one of debug, info, warn, error`},
		"token role":                 {text: minimal + "operator_tokens: [{name: a, token: 0123456789abcdefg, role: root}]\n", want: `operator_tokens[0].role: "root": want one of viewer, writer, operator`},
		"short token":                {text: minimal + "operator_tokens: [{name: a, token: short}]\n", want: "operator_tokens[0].token: is too short: at least 16 characters"},
		"token one short":            {text: minimal + "operator_tokens: [{name: a, token: 0123456789abcde}]\n", want: "operator_tokens[0].token: is too short: at least 16 characters"},
		"token without a name":       {text: minimal + "operator_tokens: [{token: 0123456789abcdefg}]\n", want: "tarn.yaml:8: operator_tokens[0].name: is missing"},
		"two tokens of one name":     {text: minimal + "operator_tokens: [{name: a, token: 0123456789abcdefg}, {name: a, token: 0123456789abcdefh}]\n", want: "operator_tokens[1].name: is taken"},
		"one token for two":          {text: minimal + "operator_tokens: [{name: a, token: 0123456789abcdefg}, {name: b, token: 0123456789abcdefg}]\n", want: "operator_tokens[1].token: is another one's"},
		"webhook without a name":     {text: minimal + "webhooks: [{url: \"https://a\"}]\n", want: "tarn.yaml:8: webhooks[0].name: is missing"},
		"webhook name":               {text: hook("name: Billing"), want: "tarn.yaml:9: webhooks[0].name: want a name of a-z"},
		"two webhooks of one name":   {text: hook("") + "  - {name: billing, url: \"https://a\", source: lemon, secrets: [" + whsec + "]}\n", want: "tarn.yaml:10: webhooks[1].name: is taken"},
		"webhook of no source":       {text: hook("source: stripe"), want: "tarn.yaml:9: webhooks[0].source: is none of the sources"},
		"webhook kind twice":         {text: hook("kinds: [order, order]"), want: "tarn.yaml:9: webhooks[0].kinds[1]: is empty, or here twice"},
		"webhook without TLS":        {text: hook("url: \"http://example.com/x\""), want: "tarn.yaml:9: webhooks[0].url: want https://…"},
		"webhook without a host":     {text: hook("url: \"https:///x\""), want: "tarn.yaml:9: webhooks[0].url: want an address with a host"},
		"webhook with a password":    {text: hook("url: \"https://a:hunter2@example.com/x\""), want: "tarn.yaml:9: webhooks[0].url: holds a user or password"},
		"webhook with a fragment":    {text: hook("url: \"https://example.com/#x\""), want: "tarn.yaml:9: webhooks[0].url: has a part behind #"},
		"webhook without secrets":    {text: hook("secrets: []"), want: "tarn.yaml:9: webhooks[0].secrets: is missing"},
		"webhook secret of others":   {text: hook("secrets: [hunter2-hunter2-hunter2]"), want: "tarn.yaml:9: webhooks[0].secrets[0]: want whsec_ and base64"},
		"webhook secret too short":   {text: hook("secrets: [whsec_aHVudGVyMg==]"), want: "tarn.yaml:9: webhooks[0].secrets[0]: has 7 bytes: want 24 to 64"},
		"webhook secret twice":       {text: hook("secrets: [" + whsec + ", " + whsec + "]"), want: "tarn.yaml:9: webhooks[0].secrets[1]: is here twice"},
		"webhook network":            {text: hook("networks: [10.1.2.3]"), want: "tarn.yaml:9: webhooks[0].networks[0]: \"10.1.2.3\": want a network"},
		"webhook network too wide":   {text: hook("networks: [10.0.0.0/8, 0.0.0.0/0]"), want: "tarn.yaml:9: webhooks[0].networks[1]: 0.0.0.0/0 is not within one block of private addresses"},
		"webhook metadata network":   {text: hook("networks: [169.254.169.254/32]"), want: "webhooks[0].networks[0]: 169.254.169.254/32 is not within"},
		"webhook key":                {text: hook("secret: x"), want: "tarn.yaml:9: webhooks[0].secret: is not a key; known here: name, url, secrets, source"},
		"webhook without the feed":   {text: hook("") + "feed: {enabled: false}\n", want: "tarn.yaml:9: webhooks: need the change feed"},
		"webhook batch":              {text: hook("batch: 101"), want: "tarn.yaml:9: webhooks[0].batch: \"101\": is too large: at most 100"},
		"cap below first":            {text: minimal + "retry: {first: 2h}\n", want: "retry.cap: is shorter than retry.first"},
		"commands below the feed":    {text: minimal + "retention: {commands: 72h}\n", want: "tarn.yaml:8: retention.commands: is 72h0m0s, not longer than feed.keep (72h0m0s)"},
		"an alias":                   {text: minimal + "log: &a {level: info}\nredis: *a\n", want: "not an alias"},
		"a merge":                    {text: minimal + "log: {<<: {level: info}}\n", want: "tarn.yaml:8: log: want a plain key"},
		"a list as a key":            {text: minimal + "? [a]\n: b\n", want: "want a plain key"},
		"no mapping":                 {text: "- a\n", want: "tarn.yaml:1: want keys and values"},
		"two documents":              {text: minimal + "---\nshards: 1\n", want: "more than one YAML document"},
		"no YAML":                    {text: "a: [", want: "tarn.yaml:1: "},
		"kind name":                  {text: minimal + "    reconcile: {kinds: {Order: {}}}\n", want: "sources.lemon.reconcile.kinds.Order: want a name"},
		"window below the overlap":   {text: minimal + "    reconcile: {window: 5m}\n", want: "tarn.yaml:8: sources.lemon.reconcile.window: is 5m0s, shorter than gaps.every and gaps.overlap together (11m0s)"},
		"log below the search":       {text: minimal + "    reconcile: {gaps: {every: 40m}}\nretention: {events: 1h}\n", want: "tarn.yaml:9: retention.events: is 1h0m0s, too short for sources.lemon.reconcile.gaps"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, refused(t, tc.text, tc.env...), tc.want)
		})
	}
}

// Relative paths in a file start at its folder, so that it does not matter where
// a process is started.
func TestPathsStartAtTheFolderOfTheFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "secrets"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "secrets", "key"), []byte("from-a-file\n"), 0o600))
	file := filepath.Join(dir, "tarn.yaml")
	text := strings.ReplaceAll(strings.ReplaceAll(minimal, "provider: lemon", "provider: ./shop.yaml"), "key-1", "${file:secrets/key}")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	c, err := Load(file, nil)
	require.NoError(t, err)
	require.Equal(t, Secret("from-a-file"), c.Sources["lemon"].APIKey)
	const key = "sources.lemon.provider"
	require.Equal(t, filepath.Join(dir, "shop.yaml"), c.Beside(key, c.Sources["lemon"].Provider))
	require.Equal(t, "/etc/shop.yaml", c.Beside(key, "/etc/shop.yaml"))
	c, err = Load(file, []string{"TARN_SOURCES__LEMON__PROVIDER=./shop.yaml"})
	require.NoError(t, err)
	require.Equal(t, "./shop.yaml", c.Beside(key, c.Sources["lemon"].Provider), "the shell that set it knows where it runs")
}

func TestAllMistakesAtOnce(t *testing.T) {
	message := refused(t, "shards: 0\nlog: {level: x}\n")
	require.Len(t, strings.Split(message, "\n"), 4, "shards, level, store and sources:\n%s", message)
	message = refused(t, strings.ReplaceAll(minimal, "secret-1-long-enough", `"${UNSET}"`))
	require.Len(t, strings.Split(message, "\n"), 1, "one mistake, one line:\n%s", message)
}

func TestFileMissing(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "read configuration: open")
}

func TestFileTooLarge(t *testing.T) {
	file := filepath.Join(t.TempDir(), "big.yaml")
	require.NoError(t, os.WriteFile(file, make([]byte, maxFile+1), 0o600))
	_, err := Load(file, nil)
	require.ErrorContains(t, err, "larger than 1 MiB")
}

// Every bound of every key, from the tags: just outside is refused by name,
// the bound itself is taken.
func TestBounds(t *testing.T) {
	tested := 0
	for path, f := range leaves(reflect.TypeFor[Config](), "") {
		if f.min == "" && f.max == "" {
			continue
		}
		for _, b := range []struct {
			bound   string
			outside int
			want    string
		}{{f.min, -1, "is too small: at least " + f.min}, {f.max, +1, "is too large: at most " + f.max}} {
			if b.bound == "" {
				continue
			}
			t.Run(path+" "+b.bound, func(t *testing.T) {
				name := envName(path)
				_, err := parse("tarn.yaml", []byte(minimal), []string{name + "=" + beyond(f, b.bound, b.outside)}, noFiles)
				require.ErrorContains(t, err, name+": "+path+": ")
				_, err = parse("tarn.yaml", []byte(minimal), []string{name + "=" + b.bound, "TARN_RETRY__FIRST=10ms", "TARN_RETRY__CAP=24h", "TARN_FEED__ENABLED=false"}, noFiles)
				if path != "retry.first" && path != "retry.cap" && !strings.HasSuffix(path, "reconcile.window") {
					require.NoError(t, err)
				}
			})
			tested++
		}
	}
	require.Greater(t, tested, 50)
}

func leaves(t reflect.Type, path string) map[string]field {
	out := map[string]field{}
	for _, f := range fieldsOf(t) {
		at := join(path, f.name)
		below := f.Type
		switch {
		case hasGroups(f.Type):
			below, at = f.Type.Elem(), join(at, map[string]string{"sources": "lemon", "kinds": "order"}[f.name])
		case !isGroup(f.Type):
			out[at] = f
			continue
		}
		for p, leaf := range leaves(below, at) {
			out[p] = leaf
		}
	}
	return out
}

// beyond is the next value past a bound.
func beyond(f field, bound string, by int) string {
	v := f.bound(bound)
	switch {
	case f.Type == durationType:
		return (time.Duration(v.Int()) + time.Duration(by)).String()
	case f.Type.Kind() == reflect.Float64:
		return fmt.Sprint(v.Float() + float64(by))
	default:
		return fmt.Sprint(v.Int() + int64(by))
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	c := parsed(t, minimal)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		require.NotContains(t, fmt.Sprintf(format, c.Sources["lemon"]), "key-1", format)
	}
	text, err := c.Sources["lemon"].APIKey.MarshalText()
	require.NoError(t, err)
	require.Equal(t, "[secret]", string(text))
	require.NotContains(t, refused(t, minimal+"    timeout: ${T}\n", "T=hunter2"), "hunter2")
	require.NotContains(t, refused(t, strings.ReplaceAll(minimal, "sqlite:///tmp/tarn.db", "postgres://u:hunter2@h/")), "hunter2")
}

func TestHelpNamesEveryKey(t *testing.T) {
	var b strings.Builder
	require.NoError(t, WriteHelp(&b))
	for _, k := range Keys() {
		require.NotEmpty(t, k.Help, k.Path)
		require.Contains(t, b.String(), k.Path)
		require.True(t, strings.HasSuffix(k.Help, "."), "%s: help is no sentence", k.Path)
	}
	require.Contains(t, b.String(), "redis.lease_ttl (duration 500ms to 5m, default 5s)")
	require.Contains(t, b.String(), "store.url (text, required)")
	require.Contains(t, b.String(), "retention.events (duration from 1h, or forever, default forever)")
	require.Error(t, WriteHelp(broken{}))
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("closed") }

func TestNeedsRestart(t *testing.T) {
	old := parsed(t, minimal)
	require.Empty(t, NeedsRestart(old, parsed(t, minimal)))
	require.Empty(t, NeedsRestart(old, parsed(t, minimal, "TARN_SOURCES__LEMON__API_KEY=2", "TARN_SOURCES__LEMON__RATE__LIMIT=9", "TARN_SOURCES__LEMON__WEBHOOK_SECRETS=a-0123456789abcd,b-0123456789abcd")))
	require.Equal(t, []string{"shards", "sources.lemon.timeout"}, NeedsRestart(old, parsed(t, minimal, "TARN_SHARDS=8", "TARN_SOURCES__LEMON__TIMEOUT=1s")))
	require.Equal(t, []string{"sources.lemon", "sources.other"}, NeedsRestart(old, parsed(t, strings.ReplaceAll(minimal, "lemon:\n", "other:\n"))))
}

// What the log says needs a restart waits for one.
func TestReloaded(t *testing.T) {
	running := parsed(t, minimal+"    reconcile: {kinds: {order: {verify_every: 1h}}}\n")
	before := *running
	read := parsed(t, strings.ReplaceAll(minimal, "sources:\n", `sources:
  other: {provider: lemon, api_url: "https://other.example/v1", api_key: k, webhook_secrets: [0123456789abcdef]}
`), "TARN_SHARDS=8", "TARN_WEBHOOK__TOLERANCE=1m", "TARN_SOURCES__LEMON__API_URL=https://elsewhere.example",
		"TARN_SOURCES__LEMON__TIMEOUT=1s", "TARN_SOURCES__LEMON__RATE__CONCURRENCY=7", "TARN_SOURCES__LEMON__ACK__ACCEPTED=202",
		"TARN_SOURCES__LEMON__API_KEY=2", "TARN_SOURCES__LEMON__RATE__LIMIT=9", "TARN_SOURCES__LEMON__RATE__PER=3s",
		"TARN_SOURCES__LEMON__WEBHOOK_SECRETS=a-0123456789abcd,b-0123456789abcd")
	got := Reloaded(running, read)

	want := *running
	lemon := running.Sources["lemon"]
	lemon.APIKey, lemon.WebhookSecrets, lemon.Rate.Limit, lemon.Rate.Per = "2", []Secret{"a-0123456789abcd", "b-0123456789abcd"}, 9, 3*time.Second
	want.Sources = map[string]Source{"lemon": lemon}
	require.Equal(t, &want, got)
	require.Equal(t, &before, running)
	require.NotEqual(t, lemon, running.Sources["lemon"], "what is running is not changed under those who read it")

	gone := parsed(t, strings.ReplaceAll(minimal, "lemon:\n", "other:\n"))
	require.Equal(t, got, Reloaded(got, gone), "a source that went stays, with the keys it had")
}

// Whatever package stream reads can be written, and nothing else.
func TestRedisAddresses(t *testing.T) {
	for _, good := range []string{
		"redis://h:6379/1", "rediss://u:p@h:6379", "redis+cluster://h:6379", "rediss+cluster://u:p@h:6379",
		"redis+sentinel://h:26379/main", "redis+sentinel://:p@h:26379,i:26379,j:26379/main", "rediss+sentinel://u:p@h:26379,i:26379/main/2",
		"redis://[::1]:6379", "redis+sentinel://u:p@[fd00::1]:26379,[fd00::2]:26379/main",
	} {
		require.Equal(t, []Secret{Secret(good)}, parsed(t, minimal+"redis: {url: \""+good+"\"}\n").Redis.URL)
	}
	for _, bad := range []string{"h:6379", "http://h", "redis+tls://h", "redis://", "redis://h:port", "redis+sentinel://h:1,/main", "redis://u:p@/1"} {
		require.Contains(t, refused(t, minimal+"redis: {url: \""+bad+"\"}\n"), "redis.url[0]: want an address with a host")
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{"0": 0, "512": 512, "1KiB": 1024, "256KiB": 256 << 10, "16MiB": 16 << 20, "1GiB": 1 << 30} {
		got, err := size(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, text, got.String())
	}
}

// Reading any file ends in a configuration or an error.
func FuzzFile(f *testing.F) {
	f.Add(minimal)
	f.Add("a: &a [*a]\n")
	f.Add(minimal + "http: {addr: \"${X}${file:/x}$${\"}\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse("tarn.yaml", []byte(text), []string{"X=1", "TARN_SHARDS=4"}, noFiles)
		if (c == nil) == (err == nil) {
			t.Fatalf("config %v, error %v", c, err)
		}
		if err == nil && (c.Shards != 4 || len(c.Sources) == 0 || c.Store.URL == "") {
			t.Fatalf("taken, but not whole: %+v", c)
		}
	})
}
