package config

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tarn-sync/tarn/shared/egress"
)

const (
	// webhookSecretPrefix begins the secrets of Standard Webhooks.
	webhookSecretPrefix = "whsec_"
	// The bounds of the bytes of such a secret.
	// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
	minWebhookSecret, maxWebhookSecret = 24, 64
)

// Guard returns which addresses the receiver may have. Networks that cannot be read are
// left out: Load has refused them.
func (w OutgoingWebhook) Guard() egress.Guard {
	u, err := url.Parse(string(w.URL))
	g := egress.Guard{Loopback: w.Loopback, OnlyLoopback: err != nil || u.Scheme != "https"}
	for _, text := range w.Networks {
		if n, err := netip.ParsePrefix(text); err == nil {
			g.Networks = append(g.Networks, n)
		}
	}
	return g
}

// checkWebhooks refuses receivers that nothing could, or should, be sent to.
func (d *decoder) checkWebhooks(c *Config) {
	names := map[string]bool{}
	d.rule("webhooks", len(c.Webhooks) == 0 || c.Feed.Enabled, "need the change feed, and feed.enabled is false")
	for i, w := range c.Webhooks {
		at := fmt.Sprintf("webhooks[%d]", i)
		d.rule(at+".name", w.Name == "" || nameOK(w.Name), "want a name of a-z, 0-9, - and _, at most 32, a letter first")
		d.rule(at+".name", w.Name == "" || !names[w.Name], "is taken: how far a subscription has come is kept under its name")
		names[w.Name] = true
		_, known := c.Sources[w.Source]
		d.rule(at+".source", w.Source == "" || known, "is none of the sources")
		for j, kind := range w.Kinds {
			d.rule(fmt.Sprintf("%s.kinds[%d]", at, j), kind != "" && !slices.Contains(w.Kinds[:j], kind), "is empty, or here twice")
		}
		for j, t := range w.Types {
			d.rule(fmt.Sprintf("%s.types[%d]", at, j), t == "entity" || t == "command", "%q: want entity or command", t)
			d.rule(fmt.Sprintf("%s.types[%d]", at, j), !slices.Contains(w.Types[:j], t), "is here twice")
		}
		d.checkWebhookURL(at+".url", string(w.URL), w.Loopback)
		for j, secret := range w.Secrets {
			d.checkWebhookSecret(fmt.Sprintf("%s.secrets[%d]", at, j), string(secret))
			d.rule(fmt.Sprintf("%s.secrets[%d]", at, j), secret == "" || !slices.Contains(w.Secrets[:j], secret), "is here twice")
		}
		for j, text := range w.Networks {
			d.checkNetwork(fmt.Sprintf("%s.networks[%d]", at, j), text)
		}
	}
}

// checkWebhookURL does not quote the address, which may hold a token.
func (d *decoder) checkWebhookURL(path, text string, loopback bool) {
	if text == "" {
		return
	}
	u, err := url.Parse(text)
	d.rule(path, err == nil && u.Hostname() != "" && u.Opaque == "", "want an address with a host: https://…")
	if err != nil {
		return
	}
	d.rule(path, u.Scheme == "https" || u.Scheme == "http" && loopback, "want https://…; http:// is for receivers on this machine, with loopback: true")
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	d.rule(path, u.Port() == "" || err == nil && port > 0, "has port %s: want 1 to 65535", u.Port())
	d.rule(path, u.User == nil, "holds a user or password: the signature shows the receiver who sends")
	d.rule(path, u.Fragment == "", "has a part behind #, which is not sent")
}

func (d *decoder) checkWebhookSecret(path, secret string) {
	if secret == "" {
		return
	}
	text, ok := strings.CutPrefix(secret, webhookSecretPrefix)
	key, err := base64.StdEncoding.DecodeString(text)
	d.rule(path, ok && err == nil, "want %s and base64, such as `echo whsec_$(openssl rand -base64 32)` prints", webhookSecretPrefix)
	d.rule(path, len(key) >= minWebhookSecret && len(key) <= maxWebhookSecret, "has %d bytes: want %d to %d", len(key), minWebhookSecret, maxWebhookSecret)
}

func (d *decoder) checkNetwork(path, text string) {
	n, err := netip.ParsePrefix(text)
	d.rule(path, err == nil, "%q: want a network such as 10.20.0.0/16", text)
	if err == nil {
		err = egress.CheckNetwork(n)
		d.rule(path, err == nil, "%v", err)
	}
}
