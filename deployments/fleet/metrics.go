package fleet

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// totals are the counters of a member over all its lives: what the processes
// before had when they were last asked, and what this one has.
type totals struct{ before, now map[string]float64 }

// restart keeps what is known of the process before.
func (t *totals) restart() {
	if t.before == nil {
		t.before = map[string]float64{}
	}
	for name, v := range t.now {
		t.before[name] += v
	}
	t.now = nil
}

// watchMetrics reads every member's metrics each second, so that those of a
// process that is killed are known up to a second before.
func (f *Fleet) watchMetrics(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		for _, m := range f.Members("") {
			m.readMetrics(ctx, 500*time.Millisecond)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// readMetrics asks the process for its metrics. One that does not answer within so
// long, as it is starting or frozen, has those of before.
func (m *Member) readMetrics(ctx context.Context, within time.Duration) {
	m.mu.Lock()
	p := m.now
	m.mu.Unlock()
	if p == nil || p.ended() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	read, err := scrape(ctx, m.Addr)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil && m.now == p && !p.ended() {
		m.totals.now = read
	}
}

// scrape reads a process' metrics, summed over their labels.
func scrape(ctx context.Context, addr string) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Body.Close() }() // read to its end or failed
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics of %s: %s", addr, r.Status)
	}
	sums := map[string]float64{}
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		name, value, ok := metric(lines.Text())
		if ok {
			sums[name] += value
		}
	}
	return sums, lines.Err()
}

// metric reads a line of Prometheus' text format: name{labels} value.
func metric(line string) (name string, value float64, ok bool) {
	at := strings.LastIndexByte(line, ' ')
	if strings.HasPrefix(line, "#") || at < 0 {
		return "", 0, false
	}
	name, _, _ = strings.Cut(line[:at], "{")
	value, err := strconv.ParseFloat(line[at+1:], 64)
	return name, value, err == nil
}

// countWithin is how long a member that runs may take to answer Count.
const countWithin = 10 * time.Second

// Count returns the sum of a counter over all members, labels and lives. What
// a killed process counted in its last second is missing.
func (f *Fleet) Count(ctx context.Context, counter string) int64 {
	sum := 0.0
	for _, m := range f.Members("") {
		if m.Running() {
			m.readMetrics(ctx, countWithin)
		}
		m.mu.Lock()
		sum += m.totals.before[counter] + m.totals.now[counter]
		m.mu.Unlock()
	}
	return int64(sum)
}
