package process

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Command is something a binary does besides what it is for, and that ends by
// itself: "reconciler verify". It logs to standard error.
type Command struct {
	// Name is the argument that names it: "verify".
	Name string
	// Short is what it does, in a few words; About in a few lines, with its
	// exit statuses.
	Short, About string
	// Flags declares the flags it has besides --config, --help and --version.
	// May be nil.
	Flags func(set *flag.FlagSet)
	// Run does it. A Status it returns is the exit status. Any other error after
	// ctx has ended means that it was cut off: the exit status is CutOff.
	Run func(ctx context.Context, p *Process) error
}

// Status is an exit status that is no failure, such as that of a comparison
// that found something.
type Status int

// CutOff is the exit status of a command that ended before it was done: what it
// was asked is not known, and neither success nor failure may be read from it.
const CutOff = Status(4)

// Error names the status.
func (s Status) Error() string { return "exit status " + strconv.Itoa(int(s)) }

// command returns the command that the arguments name, or nil.
func (p Program) command(args []string) *Command {
	if len(args) == 0 {
		return nil
	}
	for i := range p.Commands {
		if p.Commands[i].Name == args[0] {
			return &p.Commands[i]
		}
	}
	return nil
}

// program is the command as a program of its own.
func (c *Command) program(of Program) Program {
	declare := c.Flags
	if declare == nil {
		declare = func(*flag.FlagSet) {}
	}
	return Program{Name: of.Name + " " + c.Name, About: c.About, Run: c.Run, GC: of.GC, flags: declare}
}

// commandLines are the further lines of a program's usage.
func commandLines(p Program) string {
	var b strings.Builder
	for _, c := range p.Commands {
		fmt.Fprintf(&b, "       %-30s %s\n", p.Name+" "+c.Name+" [flags]", c.Short)
	}
	return b.String()
}

func commandUsage(w io.Writer, p Program) {
	_, _ = fmt.Fprintf(w, "Usage: %s [flags]\n\n%s\n  --config FILE  settings as YAML; the environment goes over them\n", p.Name, p.About)
	set := flag.NewFlagSet("", flag.ContinueOnError)
	p.flags(set)
	set.VisitAll(func(f *flag.Flag) {
		name, text := flag.UnquoteUsage(f)
		_, _ = fmt.Fprintf(w, "  %-14s %s\n", strings.TrimSpace("--"+f.Name+" "+name), text)
	})
	_, _ = fmt.Fprintf(w, "  --help         this text\n  --version      the version\n")
}
