package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// The exit statuses of all commands.
const (
	// OK: the command did what it was asked, and what it looked at is right.
	OK = 0
	// Failed: it could not do it, for a reason that standard error gives.
	Failed = 1
	// Misused: its flags or arguments are wrong.
	Misused = 2
	// Wrong: it did it, and what it looked at is not right.
	Wrong = 3
)

// Env is what a command reads from and writes to.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	// Version is what tarn --version prints.
	Version string
	// HTTP sends webhooks and asks the api. Defaults to a client that waits 60 s and
	// follows no redirects: one is no answer to a webhook, and a token stays with its host.
	HTTP *http.Client
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
	// Getenv reads the environment. Defaults to os.Getenv.
	Getenv func(string) string
}

func (e *Env) setDefaults() {
	if e.Now == nil {
		e.Now = time.Now
	}
	if e.Getenv == nil {
		e.Getenv = os.Getenv
	}
	if e.HTTP == nil {
		e.HTTP = &http.Client{
			Timeout:       60 * time.Second,
			Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
}

// printf writes to standard output.
func (e *Env) printf(format string, args ...any) { _, _ = fmt.Fprintf(e.Out, format, args...) }

// Command is one command of the command line.
type Command struct {
	// Name is the words that call it: "provider show".
	Name string
	// Args are its arguments, as usage shows them; one in brackets may be left out.
	// Default: none.
	Args string
	// Short is what it does, in one line.
	Short string
	// About says the rest. Default: nothing.
	About string
	// Example is a command line that works.
	Example string
	// Wrong says when the exit status is 3. Default: never.
	Wrong string
	// New declares its flags and returns the function that runs it with its arguments.
	// An error is Failed, unless it is a status or a misuse.
	New func(*flag.FlagSet) func(context.Context, *Env, []string) error
}

// commands are all commands, in the order in which usage lists them.
var commands []Command

// A command that lists all commands would refer to itself without this.
func init() {
	commands = []Command{
		statusCommand, events, findCommand, entityCommand, parkedCommand,
		lettersList, lettersShow, lettersRedrive, lettersDiscard, jobsCommand,
		sweepCommand, backfillCommand, verifyCommand, gapsCommand, sweepsCommand, driftCommand,
		sendCommand, changeCancel, changeRetry, changeDiscard, changeResolve, changesRelease, changesList, changeShow,
		pauseCommand, resumeCommand, retryCommand, auditCommand, eraseCommand, restoreCommand, erasuresCommand,
		changesCommand, hooksPause, hooksResume, hooksRewind, hooksList,
		providerShow, providerCheck, webhookSign, webhookSend, completion,
	}
}

// errWrong ends a command whose output has said what is wrong.
var errWrong = errors.New("wrong")

// misuse is an error of the flags or arguments of a command.
type misuse struct{ error }

func misused(format string, args ...any) error { return misuse{fmt.Errorf(format, args...)} }

// Run runs the command that the arguments name and returns its exit status.
func Run(ctx context.Context, env *Env, args []string) int {
	env.setDefaults()
	if len(args) == 0 {
		usage(env.Err)
		return Misused
	}
	switch args[0] {
	case "help", "--help", "-h":
		usage(env.Out)
		return OK
	case "version", "--version":
		env.printf("%s\n", env.Version)
		return OK
	}
	for i := range commands {
		if rest, ok := commands[i].named(args); ok {
			return commands[i].run(ctx, env, rest)
		}
	}
	if group := groupOf(args[0]); len(group) > 0 {
		return runGroup(env, group, args[1:])
	}
	_, _ = fmt.Fprintf(env.Err, "tarn: there is no command %q: tarn help lists them\n", strings.Join(args[:min(2, len(args))], " "))
	return Misused
}

// groupOf returns the commands of which the word is the first of several.
func groupOf(word string) (group []*Command) {
	for i := range commands {
		if strings.HasPrefix(commands[i].Name, word+" ") {
			group = append(group, &commands[i])
		}
	}
	return group
}

// runGroup answers a command line that names a group and none of its commands: it lists
// them.
func runGroup(env *Env, group []*Command, rest []string) int {
	w, status := env.Err, Misused
	if len(rest) > 0 && (rest[0] == "help" || rest[0] == "--help" || rest[0] == "-h") {
		w, status = env.Out, OK
	}
	word, _, _ := strings.Cut(group[0].Name, " ")
	if status == Misused && len(rest) > 0 {
		_, _ = fmt.Fprintf(w, "tarn: there is no command %q\n", word+" "+rest[0])
	}
	_, _ = fmt.Fprintf(w, "tarn %s is one of:\n", word)
	list(w, group)
	return status
}

// named returns the arguments after the command's name.
func (c *Command) named(args []string) (rest []string, ok bool) {
	words := strings.Fields(c.Name)
	if len(args) < len(words) || strings.Join(args[:len(words)], " ") != c.Name {
		return nil, false
	}
	return args[len(words):], true
}

func (c *Command) run(ctx context.Context, env *Env, args []string) int {
	set := flag.NewFlagSet(c.Name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	do := c.New(set)
	operands, err := parse(set, args)
	if errors.Is(err, flag.ErrHelp) {
		c.help(env.Out, set)
		return OK
	}
	if err == nil {
		err = c.checkArgs(len(operands))
	}
	if err == nil {
		err = do(ctx, env, operands)
	}
	var wrongUse misuse
	switch {
	case err == nil:
		return OK
	case errors.Is(err, errWrong):
		return Wrong
	case errors.As(err, &wrongUse):
		_, _ = fmt.Fprintf(env.Err, "tarn %s: %v\nusage: tarn %s --help\n", c.Name, err, c.Name)
		return Misused
	default:
		_, _ = fmt.Fprintf(env.Err, "tarn %s: %v\n", c.Name, err)
		return Failed
	}
}

// checkArgs returns an error unless the command takes so many arguments.
func (c *Command) checkArgs(got int) error {
	most := len(strings.Fields(c.Args))
	switch least := most - strings.Count(c.Args, "["); {
	case got >= least && got <= most:
		return nil
	case most == 0:
		return misused("want no arguments, not %d", got)
	}
	return misused("want %s, not %d arguments", c.Args, got)
}

// parse reads flags before, between and after the arguments.
func parse(set *flag.FlagSet, args []string) (operands []string, err error) {
	for {
		if err := set.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, misuse{err}
		}
		args = set.Args()
		if len(args) == 0 {
			return operands, nil
		}
		operands, args = append(operands, args[0]), args[1:]
	}
}

func usage(w io.Writer) {
	_, _ = fmt.Fprint(w, "Usage: tarn COMMAND [flags]\n\n")
	all := make([]*Command, len(commands))
	for i := range commands {
		all[i] = &commands[i]
	}
	list(w, all)
	_, _ = fmt.Fprint(w, "\ntarn COMMAND --help has the flags, an example and the exit statuses of each.\n")
}

// list prints commands, one a line.
func list(w io.Writer, all []*Command) {
	for _, c := range all {
		_, _ = fmt.Fprintf(w, "  %-32s %s\n", strings.TrimSpace("tarn "+c.Name+" "+c.Args), c.Short)
	}
}

func (c *Command) help(w io.Writer, set *flag.FlagSet) {
	_, _ = fmt.Fprintf(w, "Usage: tarn %s [flags]\n\n%s.\n", strings.TrimSpace(c.Name+" "+c.Args), c.Short)
	if c.About != "" {
		_, _ = fmt.Fprintf(w, "\n%s\n", c.About)
	}
	_, _ = fmt.Fprintf(w, "\nExample:\n  %s\n\nFlags:\n", strings.ReplaceAll(c.Example, "\n", "\n  "))
	set.VisitAll(func(f *flag.Flag) {
		name, text := flag.UnquoteUsage(f)
		_, _ = fmt.Fprintf(w, "  %-24s %s\n", strings.TrimSpace("--"+f.Name+" "+name), text)
	})
	_, _ = fmt.Fprintf(w, "  %-24s %s\n", "--help", "this text")
	if group := groupOf(c.Name); len(group) > 0 {
		_, _ = fmt.Fprintf(w, "\nCommands that begin with %s:\n", c.Name)
		list(w, group)
	}
	_, _ = fmt.Fprint(w, "\nExit status: 0 done, 1 it could not be done, 2 wrong flags")
	if c.Wrong != "" {
		_, _ = fmt.Fprintf(w, ", 3 %s", c.Wrong)
	}
	_, _ = fmt.Fprint(w, "\n")
}
