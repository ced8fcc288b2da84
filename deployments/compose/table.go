package compose

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// row is what became of the events during one fault.
type row struct {
	fault               string
	events, lost, wrong int
	// own and others are the pauses of settling: of the shards that lost their reader, and of
	// all others. hit reports whether there are such shards.
	own, others time.Duration
	hit         bool
	intake, p99 time.Duration
	// verify is the exit status of reconciler verify.
	verify int
	limit  limit
}

// limit is the most that the pauses of settling may be; 0: no matter.
type limit struct{ own, others time.Duration }

// allowing is the limit where Redis did not answer for so long.
func (l limit) allowing(absence time.Duration) limit {
	if l.own > 0 {
		l.own += absence
	}
	if l.others > 0 {
		l.others += absence
	}
	return l
}

// problems names what a row may not show.
func (r row) problems() (found []string) {
	add := func(bad bool, format string, args ...any) {
		if bad {
			found = append(found, r.fault+": "+fmt.Sprintf(format, args...))
		}
	}
	add(r.events == 0, "no events")
	add(r.lost > 0, "%d events are lost", r.lost)
	add(r.wrong > 0, "%d are wrong", r.wrong)
	add(r.verify != 0, "verify ends with %d", r.verify)
	add(r.hit && r.limit.own > 0 && r.own > r.limit.own, "shards that lost their reader paused for %s, of at most %s", seconds(r.own), seconds(r.limit.own))
	add(r.limit.others > 0 && r.others > r.limit.others, "shards paused for %s, of at most %s", seconds(r.others), seconds(r.limit.others))
	return found
}

// write writes rows as a table in Markdown.
func write(out io.Writer, rows []row) error {
	t := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	line := func(cells ...string) { _, _ = fmt.Fprintf(t, "| %s |\n", strings.Join(cells, "\t| ")) } // Flush returns the error
	line("Fault", "Events", "Lost", "Wrong", "Pause of settling", "At most", "Pause of intake", "p99 event to document", "verify")
	line("---", "---", "---", "---", "---", "---", "---", "---", "---")
	for _, r := range rows {
		line(r.fault, fmt.Sprint(r.events), fmt.Sprint(r.lost), fmt.Sprint(r.wrong),
			both(r.hit, r.own, r.others), both(r.limit.own > 0, r.limit.own, r.limit.others), seconds(r.intake), seconds(r.p99), fmt.Sprint(r.verify))
	}
	return t.Flush()
}

// both writes a figure, or that of the shards that were hit and that of the others.
func both(hit bool, own, others time.Duration) string {
	if hit {
		return seconds(own) + ", others " + seconds(others)
	}
	return seconds(others)
}

func seconds(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
