package app

import (
	"errors"
	"fmt"

	"github.com/tarn-sync/tarn/reconciler"
	"github.com/tarn-sync/tarn/reconciler/outgoing"
	"github.com/tarn-sync/tarn/shared/config"
)

// receivers are the clients of outgoing webhooks, by name.
type receivers map[string]*outgoing.Client

func newReceivers(c *config.Config) (receivers, error) {
	all := receivers{}
	for _, w := range c.Webhooks {
		client, err := outgoing.New(outgoing.Options{
			URL: string(w.URL), Secrets: texts(w.Secrets), Guard: w.Guard(), Connections: w.Concurrency,
		})
		if err != nil {
			return nil, fmt.Errorf("webhook %s: %w", w.Name, err)
		}
		all[w.Name] = client
	}
	return all, nil
}

// webhooks are the receivers with their settings.
func (all receivers) webhooks(c *config.Config) []reconciler.Webhook {
	out := make([]reconciler.Webhook, len(c.Webhooks))
	for i, w := range c.Webhooks {
		out[i] = reconciler.Webhook{
			Name: w.Name, Source: w.Source, Kinds: w.Kinds, Types: w.Types, Batch: w.Batch, Concurrency: w.Concurrency, Client: all[w.Name],
		}
	}
	return out
}

// reload takes the secrets of settings that were read again. A receiver whose
// new secrets cannot be used keeps those it has; the others take theirs all the same.
func (all receivers) reload(c *config.Config) error {
	var failed []error
	for _, w := range c.Webhooks {
		if client := all[w.Name]; client != nil {
			if err := client.SetSecrets(texts(w.Secrets)); err != nil {
				failed = append(failed, fmt.Errorf("webhook %s: %w", w.Name, err))
			}
		}
	}
	return errors.Join(failed...)
}

func (all receivers) close() {
	for _, client := range all {
		client.Close()
	}
}

func texts(secrets []config.Secret) []string {
	out := make([]string, len(secrets))
	for i, s := range secrets {
		out[i] = string(s)
	}
	return out
}
