package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// table aligns columns for people. Its cells are printable.
type table struct {
	out  *tabwriter.Writer
	rows int
}

func newTable(w io.Writer, heads ...string) *table {
	t := &table{out: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	_, _ = fmt.Fprintln(t.out, strings.Join(heads, "\t"))
	return t
}

func (t *table) row(cells ...string) {
	for i, cell := range cells {
		cells[i] = orNone(printable(cell))
	}
	t.rows++
	_, _ = fmt.Fprintln(t.out, strings.Join(cells, "\t"))
}

func (t *table) flush() { _ = t.out.Flush() }

// printable writes characters that steer a terminal as Go does in strings. Ids and errors
// come from a provider.
func printable(text string) string {
	if strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := fmt.Sprintf("%+q", r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

// at writes a time in UTC to the second, "" for none.
func at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// span writes a time in seconds as people do: 1.2s, 3m5s, 2h.
func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

// line prints an answer of the api as one line of JSON.
func (c *connection) line(raw json.RawMessage) {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return // it was read as JSON before
	}
	c.env.printf("%s\n", b.String())
}

// listing is a list of the api as a command shows it.
type listing[T any] struct {
	path  []string
	query url.Values
	most  int
	heads []string
	row   func(T) []string
	// none is printed if the list is empty.
	none string
}

// print prints the list, as a table or as JSON.
func (l listing[T]) print(ctx context.Context, c *connection) error {
	t := newTable(c.env.Out, l.heads...)
	var n int
	err := each(ctx, c, l.most, l.query, func(item T, raw json.RawMessage) bool {
		n++
		if c.json {
			c.line(raw)
		} else {
			t.row(l.row(item)...)
		}
		return true
	}, l.path...)
	switch {
	case err != nil:
		return err
	case c.json:
	case n == 0:
		c.env.printf("%s\n", l.none)
	default:
		t.flush()
		if n == l.most {
			_, _ = fmt.Fprintf(c.env.Err, "the first %d; --limit shows more\n", n)
		}
	}
	return nil
}
