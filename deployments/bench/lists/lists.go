package lists

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/api"
)

// limit bounds the 99th percentile of a page of pageSize rows.
const (
	limit    = 50 * time.Millisecond
	pageSize = 100
	// patience is how long one list is read again and again.
	patience = 20 * time.Second
)

var errMissed = errors.New("a limit was missed")

// Commands are the measurements, by name.
var Commands = map[string]func(ctx context.Context, args []string, out io.Writer) error{"lists": Lists}

// Lists measures pages of every list.
func Lists(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("lists", flag.ContinueOnError)
	var s sizes
	flags.IntVar(&s.events, "rows", 1_000_000, "events in the log: about 1 KB of disk each")
	flags.IntVar(&s.others, "others", 20_000, "dead letters, differences, acts and entities, of each; a tenth of it: tasks, and what is parked")
	looks := flags.Int("looks", 100, "times each list is read in a round, within 20 s")
	rounds := flags.Int("rounds", 3, "rounds through all lists; the round with the least 99th percentile counts, since a busy machine makes any one slow")
	dir := flags.String("dir", "", "where the files are; none: a temporary directory")
	check := flags.Bool("check", false, "fail if a limit is missed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return withWorld(ctx, *dir, s, func(w *world) error {
		_, _ = fmt.Fprintf(out, "lists: %d events, %d others, made in %.0f s\n", s.events, s.others, w.took.Seconds())
		address, stop, err := serve(ctx, w)
		if err != nil {
			return err
		}
		missed, err := measure(ctx, out, address, w, *rounds, *looks)
		if err = errors.Join(err, stop()); err == nil && missed && *check {
			err = errMissed
		}
		return err
	})
}

// serve answers with the api on this machine.
func serve(ctx context.Context, w *world) (address string, stop func() error, err error) {
	a, err := api.New(api.Options{Sources: w.sources, Queue: w.streams, Store: w.store, Logger: quiet})
	if err != nil {
		return "", nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listen: %w", err)
	}
	serving, end := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- a.Serve(serving, l) }()
	return "http://" + l.Addr().String(), func() error { end(); return <-done }, nil
}

// page is what a list answers.
type page struct {
	Items []json.RawMessage `json:"items"`
	Next  string            `json:"next_cursor"`
}

// measure reads each list, and the page behind the first, in rounds.
func measure(ctx context.Context, out io.Writer, address string, w *world, rounds, looks int) (missed bool, err error) {
	best := make([]figures, len(requests))
	for round := range rounds {
		for i, r := range requests {
			got, err := r.measure(ctx, address, w, looks)
			if err != nil {
				return false, fmt.Errorf("%s: %w", r, err)
			}
			if round == 0 || got.p99 < best[i].p99 {
				best[i] = got
			}
		}
	}
	for i, r := range requests {
		word := "held"
		if best[i].p99 > limit {
			word, missed = "MISSED", true
		}
		_, _ = fmt.Fprintf(out, "lists: %-72s rows=%-3d p50=%6.2fms p99=%6.2fms (≤ %d ms): %s\n",
			r, best[i].rows, ms(best[i].p50), ms(best[i].p99), limit.Milliseconds(), word)
	}
	return missed, nil
}

// figures are what the pages of a list took, and how many rows the longest had.
type figures struct {
	p50, p99 time.Duration
	rows     int
}

// measure reads a list again and again, with another value of its filters each time.
func (r request) measure(ctx context.Context, address string, w *world, looks int) (f figures, err error) {
	rng := rand.New(rand.NewPCG(1, 2))
	var took []time.Duration
	for began := time.Now(); looks > 0 && time.Since(began) < patience; looks-- {
		query := r.query(w, rng)
		for cursor, pages := "", 0; pages < 2; pages++ {
			asked := time.Now()
			p, err := read(ctx, address+r.path(), query, cursor)
			if err != nil {
				return f, err
			}
			took = append(took, time.Since(asked))
			f.rows = max(f.rows, len(p.Items))
			if cursor = p.Next; cursor == "" {
				break
			}
		}
	}
	slices.Sort(took)
	f.p50, f.p99 = took[len(took)/2], took[min(len(took)-1, len(took)*99/100)]
	return f, nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// read reads one page.
func read(ctx context.Context, address string, query url.Values, cursor string) (p page, err error) {
	query.Set("limit", fmt.Sprint(pageSize))
	query.Del("cursor")
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"?"+query.Encode(), nil)
	if err != nil {
		return p, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return p, err
	}
	if answer.StatusCode != http.StatusOK {
		return p, fmt.Errorf("HTTP %d: %s", answer.StatusCode, body)
	}
	return p, json.Unmarshal(body, &p)
}

// inDirectory makes a directory in dir for the time of f.
func inDirectory(dir string, f func(dir string) error) (err error) {
	made, err := os.MkdirTemp(dir, "tarn-lists-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(made)) }()
	return f(made)
}
