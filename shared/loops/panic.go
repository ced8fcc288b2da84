package loops

import (
	"fmt"
	"runtime/debug"
)

// Panic is the error of work that panicked.
type Panic struct {
	// Value is what was passed to panic.
	Value any
	// Stack is where that happened.
	Stack []byte
}

// Error returns the value on its first line and the stack on those after it.
func (p *Panic) Error() string { return fmt.Sprintf("panic: %v\n%s", p.Value, p.Stack) }

// Safely runs do and returns its error, or a *Panic if it panicked.
func Safely(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &Panic{Value: p, Stack: debug.Stack()}
		}
	}()
	return do()
}
