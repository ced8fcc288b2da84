package process

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// Version is the version of the binary, set when it is linked.
var Version = "dev"

// stopWithin is how long a process may take to stop: what orchestrators and
// people wait without thinking that it hangs.
const stopWithin = 10 * time.Second

// Program is one binary.
type Program struct {
	// Name is the binary's name: "api".
	Name string
	// About is what it does, a few lines for --help.
	About string
	// Run does it until ctx ends.
	Run func(ctx context.Context, p *Process) error
	// Commands are its commands, named by the first argument.
	Commands []Command
	// GC is how its garbage collector is set, and that of its commands.
	GC GC

	flags func(*flag.FlagSet) // set while a command runs
}

// System is the program's access to the operating system.
type System struct {
	Args, Environ  []string
	Stdout, Stderr io.Writer
}

// OS returns the real one.
func OS() System {
	return System{Args: os.Args[1:], Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr}
}

// Main runs a program, or one of its commands, and returns the exit status: 0
// after a stop that was asked for, 1 for an error, 2 for wrong flags or
// settings, or a Status. A command that was stopped before it was done has not
// succeeded: its status is CutOff.
func Main(program Program, system System) int {
	log := system.Stdout
	if c := program.command(system.Args); c != nil {
		// Only the answer of a command goes to standard output.
		log, system.Args = system.Stderr, system.Args[1:]
		program = c.program(program)
	}
	file, adopt, done, err := flags(program, system)
	switch {
	case err != nil && done:
		return 1
	case err != nil:
		return 2
	case done:
		return 0
	}
	settings, err := config.Load(file, system.Environ)
	if err != nil {
		_, _ = fmt.Fprintln(system.Stderr, err)
		return 2
	}
	p := New(program.Name, settings, log)
	p.Stdout, p.Adopt = system.Stdout, adopt
	err = p.run(program, file, system.Environ)
	var status Status
	switch {
	case errors.As(err, &status):
		return int(status)
	case err != nil:
		p.Logger.Error(program.Name+" failed", "error", err)
		return 1
	}
	return 0
}

// flags reads the command line; done means that it asked for a text only. The
// flag set has printed the error for the user.
func flags(program Program, system System) (file string, adopt, done bool, err error) {
	set := flag.NewFlagSet(program.Name, flag.ContinueOnError)
	set.SetOutput(system.Stderr)
	set.Usage = func() { usage(system.Stderr, program) }
	set.StringVar(&file, "config", "", "")
	version := set.Bool("version", false, "")
	help := set.Bool("help", false, "")
	address := new(string)
	if program.flags == nil {
		set.StringVar(address, "check", "", "")
		set.BoolVar(&adopt, "adopt", false, "")
	} else {
		program.flags(set)
	}
	switch err := set.Parse(system.Args); {
	case err != nil:
		return "", false, false, err
	case *help:
		usage(system.Stdout, program)
		return "", false, true, nil
	case *version:
		_, err := fmt.Fprintf(system.Stdout, "tarn %s %s\n", program.Name, Version)
		return "", false, true, err
	case *address != "":
		return "", false, true, tell(system, check(*address))
	case set.NArg() > 0:
		return "", false, false, tell(system, fmt.Errorf("%q is no flag: see --help", set.Arg(0)))
	}
	return file, adopt, false, nil
}

// tell prints an error for the user and returns it.
func tell(system System, err error) error {
	if err != nil {
		_, _ = fmt.Fprintln(system.Stderr, err)
	}
	return err
}

func usage(w io.Writer, program Program) {
	if program.flags != nil {
		commandUsage(w, program)
		return
	}
	_, _ = fmt.Fprintf(w, `Usage: %s [--config FILE] [--adopt] [--check URL] [--help] [--version]
%s
%s
  --config FILE  settings as YAML; the environment goes over them
  --adopt        once, by hand: let this redis and this database belong together
  --check URL    ask an address, exit 0 if it answers 200: for health checks
  --help         this text
  --version      the version

SIGTERM stops cleanly within 10 s; SIGHUP reads secrets, keys and rates again, as
does new content of a file that the settings name as ${file:…}, within seconds.

Settings. ${NAME} and ${file:/path} in values are expanded. Each can be set from
the environment: redis.lease_ttl is TARN_REDIS__LEASE_TTL.

`, program.Name, commandLines(program), program.About)
	_ = config.WriteHelp(w) // a closed pipe is no reason to fail
}

// Process has the parts that a program runs with.
type Process struct {
	// Name is the program's.
	Name   string
	Config *config.Config
	Logger *slog.Logger
	// Metrics are registered with what Gatherer gathers.
	Metrics  *telemetry.Metrics
	Gatherer prometheus.Gatherer
	Health   *telemetry.Health
	// Stdout is where a command answers.
	Stdout io.Writer
	// Adopt makes Redis and the database belong together at this start where
	// that is refused otherwise; see package identity.
	Adopt bool

	reloads *reloads
}

// New returns a process that logs to w, with metrics of its own.
func New(name string, c *config.Config, w io.Writer) *Process {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Process{
		Name: name, Config: c, Logger: telemetry.NewLogger(w, level(c.Log.Level), c.Log.Format).With("process", name),
		Metrics: NewMetrics(name, c, registry), Gatherer: registry,
		Health: telemetry.NewHealth(time.Now), reloads: &reloads{},
	}
}

// NewMetrics registers the metrics that a process of a name exports; all, if the name
// is of none of the binaries.
func NewMetrics(name string, c *config.Config, r prometheus.Registerer) *telemetry.Metrics {
	var exports []telemetry.Binary
	if b, ok := telemetry.BinaryOf(name); ok {
		exports = append(exports, b)
	}
	m := telemetry.NewMetrics(r, exports...)
	m.ShardSeries = c.Telemetry.ShardSeries
	m.Begin(known(c))
	return m
}

// known are the label values that the settings and definitions have.
func known(c *config.Config) telemetry.Known {
	k := telemetry.Known{Sources: map[string]map[string][]string{}}
	for name := range c.Sources {
		k.Sources[name] = map[string][]string{}
		d, err := definition(c, name)
		if err != nil {
			continue // the process is about to end by it
		}
		for _, kind := range d.Kinds() {
			k.Sources[name][kind.Name] = nil
			for _, op := range kind.Ops() {
				k.Sources[name][kind.Name] = append(k.Sources[name][kind.Name], op.Name)
			}
		}
	}
	for _, w := range c.Webhooks {
		k.Webhooks = append(k.Webhooks, w.Name)
	}
	return k
}

func level(name string) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(name)); err != nil {
		return slog.LevelInfo // the settings were checked: never
	}
	return l
}

func (p *Process) run(program Program, file string, environ []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	// From the first signal on the second one has its usual effect.
	context.AfterFunc(ctx, stop)

	LogLibraries(p.Logger)
	flush, err := telemetry.Start(ctx, telemetry.Options{
		Service: "tarn-" + strings.ReplaceAll(p.Name, " ", "-"), Version: Version, Endpoint: p.Config.Telemetry.OTLPEndpoint,
		SampleRatio: p.Config.Telemetry.SampleRatio, Environ: environ, Logger: p.Logger,
	})
	if err != nil {
		return err
	}
	p.Logger.Info("starting", "version", Version)
	defer program.GC.Set(environ)()
	limitMemory(ctx, p.Logger, environ, host)
	p.followSettings(ctx, file, environ)

	err = within(ctx, stopWithin, func() error { return program.Run(ctx, p) })
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if ferr := flush(last); ferr != nil {
		p.Logger.Warn("the last traces were not exported", "error", ferr)
	}
	p.Logger.Info("stopped")
	switch {
	case ctx.Err() == nil || err == nil:
		return err
	case program.flags != nil:
		return p.cutOff(err)
	case errors.Is(err, context.Canceled):
		return nil // it was asked to stop, and did
	}
	return err
}

// cutOff is the result of a command that was stopped by a signal. One that
// had its answer already keeps it.
func (p *Process) cutOff(err error) error {
	var status Status
	if errors.As(err, &status) {
		return status
	}
	p.Logger.Error(p.Name+" was cut off before it was done", "error", err)
	return CutOff
}

// within runs do, which has d to return once ctx has ended.
func within(ctx context.Context, d time.Duration, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	late := time.NewTimer(d)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		return fmt.Errorf("did not stop within %s and was cut off; nothing is lost, work begun is taken up again", d)
	}
}

// closeWithin bounds one Closing: a database that hangs must not make a clean
// stop a late one. What waits for it is not lost, it is done again.
const closeWithin = time.Second

// Closing closes something at the end of a run, when no caller is left to
// return an error to. It waits a second at most.
func (p *Process) Closing(what string, closing func() error) {
	closed := make(chan error, 1)
	go func() { closed <- closing() }()
	late := time.NewTimer(closeWithin)
	defer late.Stop()
	select {
	case err := <-closed:
		if err != nil {
			p.Logger.Warn("could not close "+what+" cleanly", "error", err)
		}
	case <-late.C:
		p.Logger.Warn("gave up closing "+what, "after", closeWithin.String())
	}
}
