package reconciler

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/storage"
)

// progress is how far a backfill is.
type progress struct {
	At     time.Time `json:"at"`
	Source string    `json:"source"`
	Task   string    `json:"task"`
	Phase  string    `json:"phase"`
	// Listed is how many entities lists have shown, Kinds how many of each kind.
	Listed int64            `json:"listed"`
	Kinds  map[string]int64 `json:"kinds"`
	// Asked is how many of them workers were asked to fetch, Waiting how many of
	// those, and of other background work, they have not fetched yet.
	Asked   int64 `json:"asked"`
	Waiting int64 `json:"waiting"`
	// APICalls is how often lists were asked for.
	APICalls int64 `json:"api_calls"`
	// Share is the part of the whole that is done, from 0 to 1; it is known only
	// once everything that has kinds under it is listed.
	Share float64 `json:"share,omitempty"`
	// Rate is how many entities were fetched a second lately.
	Rate float64 `json:"rate"`
	// ETA is the time left at that pace, in seconds. Absent if unknown.
	ETA float64 `json:"eta_s,omitempty"`
	// WaitsFor is what it waits for while nothing moves: a paused source and who
	// paused it, a spent budget, workers that do not run, queued signals.
	WaitsFor string `json:"waits_for,omitempty"`
	// FailedListCount and Missed are how many lists could not be read whole, and
	// how many entities could not be fetched in the end. The first of them are
	// named when it is over.
	FailedListCount int64 `json:"failed_list_count,omitempty"`
	Missed          int64 `json:"not_fetched_count,omitempty"`
	// UncheckedCount is how many entities could not be compared by id so far. The first
	// are named when it is over.
	UncheckedCount int64 `json:"unchecked_count,omitempty"`
	storage.SweepOutcome
}

// fetched is how many entities workers have fetched, as far as is known.
func (p progress) fetched() int64 { return max(0, p.Asked-p.Waiting) }

// moved reports whether something has changed since the last look.
func (c *pacer) moved(p progress) bool {
	return p.Listed != c.last.Listed || p.Asked != c.last.Asked || p.Waiting != c.last.Waiting || p.APICalls != c.last.APICalls || p.Phase != c.last.Phase
}

// pacer computes rates and ETAs from successive looks.
type pacer struct {
	first, last progress
	rate        float64
}

// mark completes a look with rate and ETA.
func (c *pacer) mark(p *progress) {
	if c.first.At.IsZero() {
		c.first, c.last = *p, *p
		return
	}
	if passed := p.At.Sub(c.last.At).Seconds(); passed > 0 {
		// Smoothed, since workers fetch in bursts.
		now := max(0, float64(p.fetched()-c.last.fetched())/passed)
		c.rate += (now - c.rate) / 4
	}
	c.last = *p
	p.Rate = c.rate
	if done := p.Share - c.first.Share; p.Share > 0 && done > 0 {
		p.ETA = p.At.Sub(c.first.At).Seconds() * (1 - p.Share) / done
	}
}

// display shows progress: a bar that is redrawn on a terminal, a line of JSON each
// time otherwise.
type display struct {
	w     io.Writer
	bar   bool
	width int // of what was drawn last
}

func newDisplay(w io.Writer) *display { return &display{w: w, bar: isTerminal(w)} }

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

func (d *display) show(p progress) {
	if !d.bar {
		out := json.NewEncoder(d.w)
		out.SetEscapeHTML(false)
		_ = out.Encode(p) // the reader is gone
		return
	}
	line := p.line()
	_, _ = fmt.Fprintf(d.w, "\r%-*s", d.width, line)
	d.width = len(line)
	for _, l := range p.FailedLists {
		_, _ = fmt.Fprintf(d.w, "\nnot read whole: %s", describe(l))
	}
	for _, e := range p.NotFetched {
		_, _ = fmt.Fprintf(d.w, "\nnot fetched: %s/%s (%s)", e.Kind, e.ID, e.Reason)
	}
	for _, e := range p.Unchecked {
		_, _ = fmt.Fprintf(d.w, "\nnot checked: %s (%s)", nameOfUnchecked(e), e.Reason)
	}
}

// end leaves the bar where it is.
func (d *display) end() {
	if d.bar {
		_, _ = fmt.Fprintln(d.w)
	}
}

const barWidth = 20

// line is the progress as one line of text.
func (p progress) line() string {
	var b strings.Builder
	if p.Share > 0 {
		full := min(barWidth, int(p.Share*barWidth))
		fmt.Fprintf(&b, "[%s%s] %3.0f %%  ", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), 100*p.Share)
	}
	fmt.Fprintf(&b, "%d listed, %d of %d fetched, %.0f/s", p.Listed, p.fetched(), p.Asked, p.Rate)
	if p.ETA > 0 {
		fmt.Fprintf(&b, ", %s left", (time.Duration(p.ETA) * time.Second).String())
	}
	if p.WaitsFor != "" {
		fmt.Fprintf(&b, ", waits for %s", p.WaitsFor)
	}
	if kinds := p.most(3); kinds != "" {
		fmt.Fprintf(&b, "  (%s)", kinds)
	}
	return b.String()
}

// most names the kinds with the most entities.
func (p progress) most(n int) string {
	names := slices.SortedFunc(maps.Keys(p.Kinds), func(a, b string) int {
		if p.Kinds[a] != p.Kinds[b] {
			return int(p.Kinds[b] - p.Kinds[a])
		}
		return strings.Compare(a, b)
	})
	var parts []string
	for _, name := range names[:min(n, len(names))] {
		parts = append(parts, fmt.Sprintf("%s %d", name, p.Kinds[name]))
	}
	if len(names) > n {
		parts = append(parts, "…")
	}
	return strings.Join(parts, ", ")
}
