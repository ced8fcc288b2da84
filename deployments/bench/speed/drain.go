package speed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/shared/storage/mongo/mongotest"
)

// cost is what it took a process to settle a backlog.
type cost struct {
	events int
	took   time.Duration
	// worker and provider are CPU times, user and system, with the process' start.
	worker, provider time.Duration
	redis            redisUse
	// mongo are the commands by name, of a MongoDB.
	mongo map[string]int64
	// peak is the most memory the process has had in RAM, in bytes.
	peak int64
}

// rate is the events settled a second.
func (c cost) rate() float64 { return float64(c.events) / c.took.Seconds() }

// each is a time per event in milliseconds.
func (c cost) each(t time.Duration) float64 {
	return float64(t) / float64(time.Millisecond) / float64(c.events)
}

func (c cost) workerCPU() float64 { return c.each(c.worker) }
func (c cost) redisCPU() float64  { return c.each(c.redis.cpu) }
func (c cost) peakMB() float64    { return mb(c.peak) }

// meter says what was used from its making on.
type meter struct {
	lab      *lab
	redis    redisUse
	mongo    map[string]int64
	provider time.Duration
}

func (l *lab) meter(ctx context.Context) (m meter, err error) {
	m.lab = l
	if l.mongo != "" {
		if m.mongo, err = mongotest.Commands(ctx, l.mongo); err != nil {
			return m, err
		}
	}
	if m.redis, err = redisUsed(ctx, l.client); err != nil {
		return m, err
	}
	m.provider, err = cpuOf(l.provider.pid())
	return m, err
}

// read returns what a process, started since, and those it talks to have used.
func (m meter) read(ctx context.Context, p *child) (c cost, err error) {
	used, err := redisUsed(ctx, m.lab.client)
	if err != nil {
		return c, err
	}
	c.redis = used.since(m.redis)
	if m.lab.mongo != "" {
		if c.mongo, err = mongotest.Commands(ctx, m.lab.mongo); err != nil {
			return c, err
		}
		c.mongo = more(c.mongo, m.mongo, notAsked)
	}
	if c.worker, err = cpuOf(p.pid()); err != nil {
		return c, err
	}
	if c.provider, err = cpuOf(m.lab.provider.pid()); err != nil {
		return c, err
	}
	c.provider -= m.provider
	c.peak, err = memoryOf(p.pid(), "VmHWM")
	return c, err
}

// drain has a fresh lab drain a backlog.
func drain(ctx context.Context, programs *fleet.Programs, s setup, sh shape, events int, p profiles) (c cost, err error) {
	l, err := newLab(ctx, programs, s)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	return l.drain(ctx, sh, 0, events, p)
}

// drain fills the streams, starts a worker and returns once everything is settled and
// acked. The time runs from the worker's being ready. first is the number of the first
// event.
func (l *lab) drain(ctx context.Context, sh shape, first, events int, p profiles) (c cost, err error) {
	if err := sh.fill(ctx, l.streams, first, events); err != nil {
		return c, err
	}
	m, err := l.meter(ctx)
	if err != nil {
		return c, err
	}
	w, err := l.startWorker(ctx, p)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	from := time.Now()
	if err := l.drained(ctx, w, time.Hour); err != nil {
		return c, err
	}
	took := time.Since(from)
	if c, err = m.read(ctx, w); err != nil {
		return c, err
	}
	c.events, c.took = events, took
	return c, l.settled(ctx)
}

// write writes the figures of one drain.
func (c cost) write(out io.Writer, sh shape) {
	n := float64(c.events)
	fmt.Fprintf(out, "shape %s: %s; %d events of %d entities\n", sh.name, sh.about, c.events, sh.entities(c.events))
	fmt.Fprintf(out, "  %.0f events/s   CPU per event: worker %.3f ms, redis %.3f ms (provider, apart: %.3f ms)   worker's peak memory %.1f MB\n",
		c.rate(), c.workerCPU(), c.redisCPU(), c.each(c.provider), c.peakMB())
	fmt.Fprintf(out, "  redis per event: %.2f commands (those inside scripts count), %.3f reads of a socket, %.0f bytes in, %.0f bytes out\n",
		float64(total(c.redis.calls))/n, float64(c.redis.reads)/n, float64(c.redis.bytesIn)/n, float64(c.redis.bytesOut)/n)
	writeCalls(out, c.redis.calls, n)
	if c.mongo != nil {
		fmt.Fprintf(out, "  mongodb per event: %.2f commands\n", float64(total(c.mongo))/n)
		writeCalls(out, c.mongo, n)
	}
}

// writeCalls writes a table of commands per event, most called first.
func writeCalls(out io.Writer, calls map[string]int64, n float64) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for i, name := range top(calls) {
		if i == mostCommands {
			break
		}
		fmt.Fprintf(table, "  \t%.3f\t%s\t\n", float64(calls[name])/n, name)
	}
	_ = table.Flush() // out is a terminal or a file; nothing better to say it on
}

// mostCommands is how many commands the table of one drain has.
const mostCommands = 16

func mb(n int64) float64 { return float64(n) / (1 << 20) }
