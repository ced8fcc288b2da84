package stream

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

//go:embed scripts/*.lua
var scripts embed.FS

// The scripts. Each file says what its KEYS and ARGV are and why it may run
// twice.
var (
	appendScript     = open("append.lua")
	furtherScript    = redis.NewScript("#!lua flags=allow-oom\n" + text("append.lua"))
	acquireScript    = open("acquire.lua", "clock.lua")
	renewScript      = fenced("renew.lua")
	releaseScript    = fenced("release.lua")
	readScript       = fenced("read.lua")
	takeOverScript   = fenced("takeover.lua")
	ackScript        = fenced("ack.lua", "clock.lua", "hint.lua")
	parkScript       = fenced("park.lua", "clock.lua")
	rebaseScript     = fenced("rebase.lua")
	parkBehindScript = fenced("parkbehind.lua")
	dueScript        = fenced("due.lua", "clock.lua", "part.lua")
	discardScript    = fenced("discard.lua", "clock.lua")
	deferScript      = fenced("defer.lua", "clock.lua")
	beginScript      = fenced("begin.lua", "clock.lua")
	parkedScript     = fenced("parked.lua", "spilled.lua")
	unparkScript     = fenced("unpark.lua", "clock.lua", "hint.lua")
	ringScript       = open("ring.lua", "clock.lua")
	rungScript       = open("rung.lua")
	oldestHintScript = open("oldesthint.lua", "clock.lua")
	tellFeedScript   = fenced("tellfeed.lua")
	heartbeatScript  = open("heartbeat.lua", "clock.lua")
	sourceScript     = open("source.lua", "clock.lua")
	sourcesScript    = open("sources.lua", "clock.lua", "part.lua")
	acceptScript     = open("accept.lua")
	pauseScript      = open("pause.lua", "clock.lua")
	probeScript      = open("probe.lua", "clock.lua")
	endProbeScript   = open("endprobe.lua")
	toldScript       = open("told.lua", "clock.lua")
	takeScript       = open("take.lua", "clock.lua")
	fleetScript      = open("fleet.lua", "clock.lua", "spilled.lua")
	quietScript      = open("quiet.lua")
	recoverScript    = open("recover.lua", "clock.lua")
	standingScript   = open("standing.lua")
	retryScript      = open("retry.lua", "clock.lua")
	retrySomeScript  = open("retrysome.lua", "clock.lua")
	retriedScript    = open("retried.lua")
	waitsScript      = open("waits.lua")
	needsScript      = open("needs.lua")
	withinScript     = open("within.lua", "clock.lua")
	forgetScript     = open("forget.lua", "clock.lua")
	identityScript   = open("identity.lua")
	tallyScript      = open("tally.lua")
)

// open returns a script that needs no lease, with the files named in before ahead of
// its body. A first line of flags stays first: Redis reads them from it.
func open(name string, before ...string) *redis.Script {
	flags, body := "", text(name)
	if strings.HasPrefix(body, "#!lua") {
		first, rest, _ := strings.Cut(body, "\n")
		flags, body = first+"\n", rest
	}
	for _, file := range before {
		flags += text(file)
	}
	return redis.NewScript(flags + body)
}

// fenced returns a script with fence.lua before everything else.
func fenced(name string, before ...string) *redis.Script {
	if !strings.HasPrefix(text(name), "#!lua") {
		panic(name + " does not begin with its flags")
	}
	return open(name, append([]string{"fence.lua"}, before...)...)
}

func text(name string) string {
	b, err := scripts.ReadFile("scripts/" + name)
	if err != nil {
		panic(err) // the files are in the binary
	}
	return string(b)
}

// run runs a script and turns the errors scripts answer with into those of
// this package. doing names the work in the error.
func run(ctx context.Context, c redis.Scripter, s *redis.Script, doing string, keys []string, args ...any) (any, error) {
	v, err := s.Run(ctx, c, keys, args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, explain(err, doing)
	}
	return v, nil
}

// scriptCall is a script with what it is called with. doing names the work in errors.
type scriptCall struct {
	script *redis.Script
	doing  string
	keys   []string
	args   []any
}

// runCalls runs scripts in one round trip, on a cluster one to each node, and returns the
// reply and the error of each.
func runCalls(ctx context.Context, c redis.UniversalClient, calls ...scriptCall) (replies []any, errs []error) {
	replies, errs = make([]any, len(calls)), make([]error, len(calls))
	if len(calls) == 1 {
		replies[0], errs[0] = run(ctx, c, calls[0].script, calls[0].doing, calls[0].keys, calls[0].args...)
		return replies, errs
	}
	pipe := c.Pipeline()
	cmds := make([]*redis.Cmd, len(calls))
	for i, one := range calls {
		cmds[i] = pipe.EvalSha(ctx, one.script.Hash(), one.keys, one.args...)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i, one := range calls {
		v, err := cmds[i].Result()
		switch {
		case noScript(err):
			replies[i], errs[i] = run(ctx, c, one.script, one.doing, one.keys, one.args...) // which loads it
		case err != nil && !errors.Is(err, redis.Nil):
			errs[i] = explain(err, one.doing)
		default:
			replies[i] = v
		}
	}
	return replies, errs
}

// explain wraps an error of Redis, with the error callers decide by if the
// first word of the reply names one.
func explain(err error, doing string) error {
	word, _, _ := strings.Cut(err.Error(), " ")
	if _, replied := err.(redis.Error); replied { //nolint:errorlint // a reply is never wrapped
		switch word {
		case "FENCED":
			return fmt.Errorf("%s: %w", doing, ErrFenced)
		case "HELD":
			return fmt.Errorf("%s: %w", doing, ErrHeld)
		case "RESYNC":
			return fmt.Errorf("%s: %w", doing, ErrResync)
		case "OOM":
			return fmt.Errorf("%s: %w: %w", doing, ErrFull, err)
		}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// noScript reports whether Redis did not know the script, so it did not run.
func noScript(err error) bool { return err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") }
