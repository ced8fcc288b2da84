// Package app puts the reconciler together from its settings.
package app

import (
	"context"

	"github.com/tarn-sync/tarn/shared/process"
)

// About is what --help says.
const About = `Will find what events missed and have it repaired. This release has no sweeps
yet: the process connects, serves health and metrics, and waits. What was lost
on the way from the provider stays unnoticed until they are there.
`

// Run is the reconciler until ctx ends.
func Run(ctx context.Context, p *process.Process) error {
	return p.Probed(ctx, func(ctx context.Context, probe *process.Probe) error { return wait(ctx, p, probe) })
}

func wait(ctx context.Context, p *process.Process, probe *process.Probe) error {
	streams, err := p.Streams(ctx)
	if err != nil {
		return err
	}
	defer p.Closing("redis", streams.Close)
	store, err := p.Store(ctx)
	if err != nil {
		return err
	}
	defer p.Closing("store", store.Close)
	probe.Ready(process.Checks(streams, store))
	p.Logger.Warn("this release has no sweeps yet: nothing is reconciled")
	<-ctx.Done()
	return nil
}
