package speed

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/deployments/bench/receiver"
	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/open"
)

// promptness is how soon a document is to be readable at a rate of events a second. A
// slow disk is excused: commits times its commit, and the provider's time, are allowed.
type promptness struct {
	rate    int
	share   float64 // 0.5: the median
	limit   time.Duration
	commits int
}

var promptnesses = []promptness{
	{50, 0.5, 6 * time.Millisecond, 4},
	{500, 0.99, 20 * time.Millisecond, 4},
	{1000, 0.99, 60 * time.Millisecond, 4},
}

// Latency measures how long it takes from an event's being sent until its document can
// be read, as a reader that waits for it finds out.
func Latency(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("latency", flag.ContinueOnError)
	each := flags.Duration("for", 20*time.Second, "how long at each rate")
	readers := flags.Int("readers", 100, "documents waited for a second, at most")
	var p profiles
	flags.StringVar(&p.cpu, "profile", "", "`file` for a CPU profile of the worker")
	s, err := parseSeries(flags, args, "rates", "50,500,1000", "events a second")
	if err != nil {
		return err
	}
	return withPrograms(ctx, func(programs *fleet.Programs) (err error) {
		s.write(out)
		l, err := newLive(ctx, programs, s.setup, s.shape, p)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.close()) }()
		return s.each(func(rate int) (missed bool, err error) {
			t, err := l.turn(ctx, rate, *readers, *each)
			if err != nil {
				return false, fmt.Errorf("%d events a second: %w", rate, err)
			}
			return t.write(out, rate), nil
		})
	})
}

// live is a lab with an api and a worker, to which events are sent.
type live struct {
	*lab
	shape  shape
	api    string
	client *http.Client
	commit storage.Store // a file of its own on the same disk
	worker *child
	next   int // number of the next event
}

func newLive(ctx context.Context, programs *fleet.Programs, s setup, sh shape, p profiles) (_ *live, err error) {
	l := &live{shape: sh}
	if l.lab, err = newLab(ctx, programs, s); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if l.commit, err = open.Open(ctx, open.Options{URL: "sqlite://" + filepath.Join(l.dir, "commit.db"), Logger: quiet}); err != nil {
		return nil, err
	}
	l.later(l.commit.Close)
	api, addr, err := l.startProgram(ctx, "api", fleet.API, "", nil, []string{"--config", l.file})
	if err != nil {
		return nil, err
	}
	l.later(api.stop)
	if l.worker, err = l.startWorker(ctx, p); err != nil {
		return nil, err
	}
	l.later(l.worker.stop)
	l.api = "http://" + addr
	l.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}, Timeout: 40 * time.Second}
	return l, l.holdsAll(ctx, l.worker)
}

// times are how long things took in one turn.
type times struct {
	sent int
	// readable is from an event's being sent until a reader that waits has the document,
	// logged from the api's having read an event until its outcome is in the log.
	readable, logged []time.Duration
	// commit is what a commit of a SQLite store takes on the disk, with nothing else in
	// its file, provider what a request to the provider takes.
	commit, provider []time.Duration
}

// turn sends events at a rate for a while.
func (l *live) turn(ctx context.Context, rate, readers int, each time.Duration) (t times, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	from, began := time.Now().UTC(), l.next
	n := max(1, int(float64(rate)*each.Seconds()))
	step := max(1, rate/readers)
	var mu sync.Mutex
	var all sync.WaitGroup
	all.Go(func() {
		for i := 0; time.Since(from) < each && ctx.Err() == nil; i++ {
			commit, err := l.commits(ctx, began+i)
			provider, asked := l.asks(ctx)
			if err := errors.Join(err, asked); err != nil {
				cancel(err)
				return
			}
			t.commit, t.provider = append(t.commit, commit), append(t.provider, provider)
			loops.Sleep(ctx, 50*time.Millisecond)
		}
	})
	for i := range n {
		due := from.Add(time.Duration(i) * time.Second / time.Duration(rate))
		if wait := time.Until(due); wait > 0 && !loops.Sleep(ctx, wait) {
			break
		}
		number := began + i
		all.Go(func() {
			sent := time.Now()
			err := l.send(ctx, number)
			if err == nil && i%step == 0 {
				err = l.read(ctx, number)
				mu.Lock()
				t.readable = append(t.readable, time.Since(sent))
				mu.Unlock()
			}
			if err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	l.next, t.sent = began+n, n
	if err := context.Cause(ctx); err != nil {
		return t, err
	}
	if err := l.drained(ctx, l.worker, time.Minute); err != nil {
		return t, err
	}
	t.logged, err = l.logged(ctx, from)
	return t, err
}

// send posts an event as the provider does.
func (l *live) send(ctx context.Context, number int) error {
	body := []byte(l.shape.body(number, time.Now().UTC()))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.api+"/webhooks/"+sourceName, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("LMG-Signature", receiver.Sign(body, time.Now()))
	return l.do(req)
}

// read waits for the document of an event.
func (l *live) read(ctx context.Context, number int) error {
	kind, id := l.shape.entity(number)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.api+"/v1/entities/"+sourceName+"/"+kind+"/"+id+"?wait=30s", nil)
	if err != nil {
		return err
	}
	return l.do(req)
}

// do sends a request whose answer is to be 200.
func (l *live) do(req *http.Request) error {
	res, err := l.client.Do(req)
	if err != nil {
		return err
	}
	said, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", req.Method, req.URL.Path, res.Status, said)
	}
	return nil
}

// commits has a store on the same disk commit something.
func (l *live) commits(ctx context.Context, number int) (time.Duration, error) {
	began := time.Now()
	err := l.commit.Note(ctx, []storage.Note{{ID: "note_" + strconv.Itoa(number), At: began.UTC(), Source: sourceName, Kind: "bench", Count: 1}})
	return time.Since(began), err
}

// asks asks the provider for a document.
func (l *live) asks(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	_, err := get(ctx, "http://"+l.lab.api+"/v1/accounts")
	return time.Since(began), err
}

// logged are the times of the events received since, by the log.
func (l *live) logged(ctx context.Context, since time.Time) (all []time.Duration, err error) {
	for filter := (storage.EventFilter{From: since, Limit: 200}); ; {
		page, err := l.store.Events(ctx, filter)
		if err != nil {
			return nil, fmt.Errorf("read the event log: %w", err)
		}
		for _, row := range page.Items {
			if row.ProcessedAt.IsZero() {
				return nil, fmt.Errorf("event %s is %s", row.ID, row.Status)
			}
			all = append(all, row.ProcessedAt.Sub(row.ReceivedAt))
		}
		if filter.Cursor = page.NextCursor; filter.Cursor == "" {
			return all, nil
		}
	}
}

// write writes the times of one rate and reports whether its limit was missed.
func (t times) write(out io.Writer, rate int) (missed bool) {
	fmt.Fprintf(out, "latency: events=%d/s sent=%d read=%d readable_p50_ms=%.1f p99=%.1f most=%.1f; in_the_log_p50_ms=%.1f p99=%.1f; commit_p50_ms=%.1f p99=%.1f; provider_p50_ms=%.1f p99=%.1f",
		rate, t.sent, len(t.readable), ms(percentile(t.readable, 0.5)), ms(percentile(t.readable, 0.99)), ms(percentile(t.readable, 1)),
		ms(percentile(t.logged, 0.5)), ms(percentile(t.logged, 0.99)), ms(percentile(t.commit, 0.5)), ms(percentile(t.commit, 0.99)),
		ms(percentile(t.provider, 0.5)), ms(percentile(t.provider, 0.99)))
	for _, p := range promptnesses {
		if p.rate != rate {
			continue
		}
		slow := time.Duration(p.commits)*percentile(t.commit, p.share) + percentile(t.provider, p.share)
		held := percentile(t.readable, p.share) <= max(p.limit, slow)
		fmt.Fprintf(out, "; p%.0f ≤ %.0f ms, on a slow disk ≤ %d commits and the provider's time = %.1f ms: %s", 100*p.share, ms(p.limit), p.commits, ms(slow), verdict(held))
		missed = missed || !held
	}
	fmt.Fprintln(out)
	return missed
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// percentile returns the value below which a share of the values are, the greatest for 1.
func percentile(values []time.Duration, share float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	values = slices.Clone(values)
	slices.Sort(values)
	return values[min(len(values)-1, int(share*float64(len(values))))]
}
