package worker

import (
	"context"
	"errors"
	"runtime/debug"
	"strings"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/worker/entity"
)

// panicError is a panic as an error, with the stack from where it happened.
func panicError(p any) error {
	stack := string(debug.Stack())
	if _, from, ok := strings.Cut(stack, "\npanic("); ok {
		stack = "panic(" + from
	}
	return fate.Errorf(fate.Panic, "panic: %v\n%s", p, stack)
}

// fromStore classifies an error of the store: one it did not classify is taken
// for the store being away, since that charges no attempt.
func fromStore(err error) error {
	if class, _ := fate.Of(err); class == fate.Transient && !errors.Is(err, context.Canceled) {
		return fate.New(fate.Unavailable, err)
	}
	return err
}

// fromRedis does the same for Redis, but for the loss of the lease.
func fromRedis(err error) error {
	if errors.Is(err, stream.ErrFenced) || errors.Is(err, context.Canceled) {
		return err
	}
	return fate.New(fate.Unavailable, err)
}

// firstLine is the line of a text that says what happened; a stack may follow.
func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// short is an error's text, cut to what is kept of it.
func short(err error) string { return entity.Text(err) }
