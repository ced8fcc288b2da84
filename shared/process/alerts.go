package process

import (
	"context"

	"github.com/tarn-sync/tarn/shared/alert"
)

// Alerts returns the raiser of alerts that the settings describe. flush ends it:
// what waits is posted then, or given up after a second. It is called once no more
// alerts are raised.
func (p *Process) Alerts() (alerts *alert.Alerts, flush func()) {
	for name := range p.Config.Sources { // 0 from the start: a series that begins at 1 has not grown
		for _, kind := range alert.Kinds() {
			p.Metrics.Alerts.WithLabelValues(name, string(kind))
		}
	}
	for _, kind := range alert.Kinds() {
		p.Metrics.Alerts.WithLabelValues("", string(kind)) // of no source
	}
	alerts = alert.New(alert.Options{
		Webhook: string(p.Config.Alert.Webhook), Metrics: p.Metrics, Health: p.Health, Logger: p.Logger,
	})
	// Not the process' context: what stops last may still raise some.
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); alerts.Run(ctx) }()
	return alerts, func() { cancel(); <-done }
}
