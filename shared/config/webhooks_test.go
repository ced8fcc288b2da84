package config

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/egress"
)

// whsec is a good secret of an outgoing webhook, otherWhsec another.
const (
	whsec      = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	otherWhsec = "whsec_AfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

// hook is the least configuration with one webhook, in whose settings one is replaced or
// added.
func hook(setting string) string {
	settings := []string{"name: billing", `url: "https://example.com/x"`, "source: lemon", "secrets: [" + whsec + "]"}
	key, _, _ := strings.Cut(setting, ":")
	for i, s := range settings {
		if strings.HasPrefix(s, key+":") {
			settings[i], setting = setting, ""
		}
	}
	if setting != "" {
		settings = append(settings, setting)
	}
	return minimal + "webhooks:\n  - {" + strings.Join(settings, ", ") + "}\n"
}

func TestWebhook(t *testing.T) {
	c := parsed(t, hook(""))
	require.Equal(t, []OutgoingWebhook{{
		Name: "billing", URL: "https://example.com/x", Secrets: []Secret{whsec}, Source: "lemon", Batch: 1, Concurrency: 8,
	}}, c.Webhooks)
	require.Equal(t, egress.Guard{}, c.Webhooks[0].Guard())
	require.Equal(t, egress.Guard{Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}, parsed(t, hook("networks: 10.1.0.0/16")).Webhooks[0].Guard())
	c = parsed(t, strings.ReplaceAll(hook("loopback: true"), "https://example.com", "http://localhost:8000"))
	require.Equal(t, egress.Guard{Loopback: true, OnlyLoopback: true}, c.Webhooks[0].Guard(), "without TLS nothing leaves the machine")
}

// All mistakes of all webhooks are reported at once, and none shows an address or a secret.
func TestMistakesOfWebhooks(t *testing.T) {
	message := refused(t, minimal+`webhooks:
  - {name: a, url: "http://hunter2.example", source: nowhere, secrets: [hunter2], networks: [0.0.0.0/0], batch: 0}
  - {name: a, url: "https://user:hunter2@x", source: lemon, secrets: ["whsec_hunter2"], color: red, types: [entity, spec, entity]}
`)
	require.Len(t, strings.Split(message, "\n"), 11, message)
	require.NotContains(t, message, "hunter2")
}

// Each setting that nothing could, or should, be sent with is refused, and says which it is.
func TestRefusedWebhooks(t *testing.T) {
	key := func(n int) string { return "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for setting, want := range map[string]string{
		`url: "https:///x"`: "webhooks[0].url: want an address with a host", `url: "https://:443/x"`: "webhooks[0].url: want an address with a host",
		`url: "https:x.example"`: "webhooks[0].url: want an address with a host", `url: "https://x.example/%zz"`: "webhooks[0].url: want an address with a host",
		`url: "https://x.example/\n"`: "webhooks[0].url: want an address with a host", `url: "https://x.example\r\nHost: y/"`: "webhooks[0].url: want an address with a host",
		`url: "http://x.example"`: "webhooks[0].url: want https://", `url: "ftp://x.example"`: "webhooks[0].url: want https://", `url: "//x.example/"`: "webhooks[0].url: want https://",
		`url: "https://x.example@10.0.0.1/"`: "webhooks[0].url: holds a user or password", `url: "https://x.example#@y.example/"`: "webhooks[0].url: has a part behind #",
		`url: "https://x.example:65536/"`: "webhooks[0].url: has port 65536", `url: "https://x.example:0/"`: "webhooks[0].url: has port 0",
		`name: "a\r\nX-Injected"`: "webhooks[0].name: want a name", `name: "../x"`: "webhooks[0].name: want a name",
		"source: nowhere": "webhooks[0].source: is none of the sources", `kinds: [order, order]`: "webhooks[0].kinds[1]: is empty, or here twice", `kinds: [""]`: "webhooks[0].kinds[0]: is empty",
		"secrets: [" + key(23) + "]": "has 23 bytes: want 24 to 64", "secrets: [" + key(65) + "]": "has 65 bytes: want 24 to 64",
		"secrets: [" + whsec + ", " + whsec + "]": "webhooks[0].secrets[1]: is here twice", `secrets: ["v1,` + whsec + `"]`: "webhooks[0].secrets[0]: want whsec_",
		`secrets: ["` + whsec + `\r\nX: y"]`: "webhooks[0].secrets[0]: want whsec_", `secrets: ["` + strings.TrimPrefix(whsec, "whsec_") + `"]`: "webhooks[0].secrets[0]: want whsec_",
		"secrets: [" + strings.TrimRight(key(32), "=") + "]": "webhooks[0].secrets[0]: want whsec_", "networks: [10.0.0.1]": "want a network such as", "networks: [8.8.8.0/24]": "is not within one block",
	} {
		message := refused(t, hook(setting))
		require.Contains(t, message, want, setting)
	}
	for _, n := range []int{24, 64} {
		require.Len(t, parsed(t, hook("secrets: ["+key(n)+"]")).Webhooks, 1)
	}
	for _, address := range []string{"https://bücher.example/x", "https://[2606:4700::1111]:8443/a%2Fb?token=x", "https://x.example:65535", "https://x.example./"} {
		require.Equal(t, address, string(parsed(t, hook(`url: "`+address+`"`)).Webhooks[0].URL))
	}
	require.Contains(t, refused(t, hook("")+"feed: {enabled: false}\n"), "webhooks: need the change feed")
}

// A reload takes secrets, unless the list is another one otherwise.
func TestWebhookSecretsAreReadAgain(t *testing.T) {
	two := hook("") + "  - {name: other, url: \"https://example.com/y\", source: lemon, secrets: [" + otherWhsec + "]}\n"
	running := parsed(t, two)
	read := parsed(t, strings.Replace(two, whsec, otherWhsec+", "+whsec, 1))
	require.Empty(t, NeedsRestart(running, read))
	next := Reloaded(running, read)
	require.Equal(t, []Secret{otherWhsec, whsec}, next.Webhooks[0].Secrets)
	require.Equal(t, []Secret{whsec}, running.Webhooks[0].Secrets, "what others read is not changed")

	read = parsed(t, strings.Replace(two, "example.com/x", "example.com/z", 1))
	read.Webhooks[0].Secrets = []Secret{otherWhsec}
	require.Equal(t, []string{"webhooks[0].url"}, NeedsRestart(running, read))
	require.Equal(t, []Secret{whsec}, Reloaded(running, read).Webhooks[0].Secrets, "they are those of another address")

	read = parsed(t, hook(""))
	require.Equal(t, []string{"webhooks"}, NeedsRestart(running, read))
	require.Len(t, Reloaded(running, read).Webhooks, 2)
}
