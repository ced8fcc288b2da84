package speed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
)

// drained is how one worker settled a backlog.
type drained struct {
	shape  shape
	events int
	took   time.Duration
	// worker, redis and provider are CPU times, user and system, of the whole drain
	// with the worker's start.
	worker, provider time.Duration
	redis            redisUse
	// peak is the most memory the worker has had in RAM, in bytes.
	peak int64
}

// rate is the events settled a second.
func (d drained) rate() float64 { return float64(d.events) / d.took.Seconds() }

// each is a time per event in milliseconds.
func (d drained) each(t time.Duration) float64 {
	return float64(t) / float64(time.Millisecond) / float64(d.events)
}

// drain fills the streams, starts a worker and returns once everything is settled and
// acked. The time runs from the worker's being ready.
func drain(ctx context.Context, programs *fleet.Programs, s setup, sh shape, events int, p profiles) (d drained, err error) {
	d = drained{shape: sh, events: events}
	l, err := newLab(ctx, programs, s)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	if err := sh.fill(ctx, l.streams, events); err != nil {
		return d, err
	}
	before, err := redisUsed(ctx, l.client)
	if err != nil {
		return d, err
	}
	asked, err := cpuOf(l.provider.pid())
	if err != nil {
		return d, err
	}
	w, err := l.startWorker(ctx, p)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	from := time.Now()
	if err := l.drained(ctx, w, time.Hour); err != nil {
		return d, err
	}
	d.took = time.Since(from)
	if err := d.measure(ctx, l, w, before, asked); err != nil {
		return d, err
	}
	return d, l.settled(ctx)
}

// measure reads what the drain has cost.
func (d *drained) measure(ctx context.Context, l *lab, w *child, before redisUse, asked time.Duration) (err error) {
	after, err := redisUsed(ctx, l.client)
	if err != nil {
		return err
	}
	d.redis = after.since(before)
	if d.worker, err = cpuOf(w.pid()); err != nil {
		return err
	}
	answered, err := cpuOf(l.provider.pid())
	if err != nil {
		return err
	}
	d.provider = answered - asked
	d.peak, err = memoryOf(w.pid(), "VmHWM")
	return err
}

// write writes the figures of one drain.
func (d drained) write(out io.Writer) {
	n := float64(d.events)
	fmt.Fprintf(out, "shape %s: %s; %d events of %d entities\n", d.shape.name, d.shape.about, d.events, d.shape.entities(d.events))
	fmt.Fprintf(out, "  %.0f events/s   CPU per event: worker %.3f ms, redis %.3f ms (provider, apart: %.3f ms)   worker's peak memory %.1f MB\n",
		d.rate(), d.each(d.worker), d.each(d.redis.cpu), d.each(d.provider), mb(d.peak))
	fmt.Fprintf(out, "  redis per event: %.2f commands (those inside scripts count), %.3f reads of a socket, %.0f bytes in, %.0f bytes out\n",
		float64(d.redis.total())/n, float64(d.redis.reads)/n, float64(d.redis.bytesIn)/n, float64(d.redis.bytesOut)/n)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for i, name := range d.redis.top() {
		if i == mostCommands {
			break
		}
		fmt.Fprintf(table, "  \t%.3f\t%s\t\n", float64(d.redis.calls[name])/n, name)
	}
	_ = table.Flush() // out is a terminal or a file; nothing better to say it on
}

// mostCommands is how many commands the table of one drain has.
const mostCommands = 16

func mb(n int64) float64 { return float64(n) / (1 << 20) }
