package command

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// bar shows progress on standard error: on a terminal in one line that is written over,
// else one line for each change.
type bar struct {
	w        io.Writer
	terminal bool
	last     string
}

func newBar(env *Env) *bar {
	b := &bar{w: env.Err}
	if f, ok := env.Err.(*os.File); ok {
		info, err := f.Stat()
		b.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return b
}

// barWidth is the width of a bar in characters.
const barWidth = 30

// show shows a share from 0 to 1 and a text.
func (b *bar) show(share float64, text string) {
	text = printable(text)
	if text == b.last {
		return
	}
	if !b.terminal {
		_, _ = fmt.Fprintln(b.w, text)
		b.last = text
		return
	}
	full := int(share * barWidth)
	_, _ = fmt.Fprintf(b.w, "\r\033[K[%s%s] %s", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), text)
	b.last = text
}

// end clears the line.
func (b *bar) end() {
	if b.terminal && b.last != "" {
		_, _ = fmt.Fprint(b.w, "\r\033[K")
		b.last = ""
	}
}
