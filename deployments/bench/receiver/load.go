package receiver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// LoadMode is the argument that makes the binary a load generator.
const LoadMode = "receiver-load"

// Load has the measurements of one round.
type Load struct {
	Requests int     `json:"requests"`
	Seconds  float64 `json:"seconds"`
	P50Ms    float64 `json:"p50_ms"`
	P99Ms    float64 `json:"p99_ms"`
	// Other counts answers that were not 200.
	Other int `json:"other"`
	// CPU time of the processes, user and system.
	OwnSeconds    float64 `json:"own_seconds"`
	ServerSeconds float64 `json:"-"`
	RedisSeconds  float64 `json:"-"`
}

// each is a CPU time per request, in microseconds.
func (l Load) each(seconds float64) float64 { return seconds / float64(l.Requests) * 1e6 }

// Rate is the requests answered a second.
func (l Load) Rate() float64 { return float64(l.Requests) / l.Seconds }

// maxRate is more than any server here answers on a connection each second;
// that many bodies are made for it.
const maxRate = 900

// LoadMain sends webhooks to -addr for -each and writes the result as JSON.
func LoadMain(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet(LoadMode, flag.ContinueOnError)
	addr := flags.String("addr", "", "address of the server")
	each := flags.Duration("each", 3*time.Second, "how long")
	conns := flags.Int("conns", 64, "connections")
	run := flags.String("run", "0", "part of the event ids, different in every round")
	if err := flags.Parse(args); err != nil {
		return err
	}
	load, err := send(ctx, *addr, *run, *conns, *each)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(load)
}

// send keeps one request under way on each connection until the time is up.
func send(ctx context.Context, addr, run string, conns int, each time.Duration) (Load, error) {
	clients := make([]*client, conns)
	for i := range clients {
		c, err := dial(ctx, addr, fmt.Sprintf("%s_%d", run, i), int(each.Seconds()*maxRate)+1)
		if err != nil {
			return Load{}, err
		}
		defer c.conn.Close()
		clients[i] = c
	}
	ownBefore := ownCPU()
	began := time.Now()
	var all sync.WaitGroup
	for _, c := range clients {
		all.Go(func() { c.run(began.Add(each)) })
	}
	all.Wait()
	load, err := sum(clients, time.Since(began))
	load.OwnSeconds = ownCPU() - ownBefore
	return load, err
}

func sum(clients []*client, took time.Duration) (Load, error) {
	load := Load{Seconds: took.Seconds()}
	var times []time.Duration
	for _, c := range clients {
		if c.err != nil {
			return load, c.err
		}
		load.Requests += len(c.times)
		load.Other += c.other
		times = append(times, c.times...)
	}
	if len(times) == 0 {
		return load, fmt.Errorf("no request was answered")
	}
	slices.Sort(times)
	load.P50Ms = times[len(times)/2].Seconds() * 1e3
	load.P99Ms = times[len(times)*99/100].Seconds() * 1e3
	return load, nil
}

// client is one connection with its requests, ready to be written.
type client struct {
	conn     net.Conn
	answers  *bufio.Reader
	requests [][]byte
	times    []time.Duration
	other    int
	err      error
}

func dial(ctx context.Context, addr, run string, n int) (*client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to the server: %w", err)
	}
	c := &client{conn: conn, answers: bufio.NewReader(conn), requests: make([][]byte, n), times: make([]time.Duration, 0, n)}
	for i := range c.requests {
		c.requests[i] = request(addr, run, i)
	}
	return c, nil
}

// request is a webhook as the provider sends it: an order of one of 500
// accounts.
func request(addr, run string, i int) []byte {
	body := fmt.Sprintf(`{"id":"evt_%s_%d","type":"order.executed","created_at":"%s",`+
		`"context":{"account":"cusa_33531f7f801d4ce997747470ab72%04d","order":"bord_a8b11a37eccc49ecacb372e3a92a%04d"}}`,
		run, i, time.Now().UTC().Format("2006-01-02T15:04:05.000000+00:00"), i%500, i%500)
	return fmt.Appendf(nil, "POST /webhooks/lemon HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"+
		"LMG-Signature: %s\r\nContent-Length: %d\r\n\r\n%s", addr, Sign([]byte(body), time.Now()), len(body), body)
}

func (c *client) run(until time.Time) {
	for _, req := range c.requests {
		sent := time.Now()
		if !sent.Before(until) {
			return
		}
		if _, c.err = c.conn.Write(req); c.err != nil {
			return
		}
		status, err := c.answer()
		if err != nil {
			c.err = fmt.Errorf("read an answer: %w", err)
			return
		}
		if status != 200 {
			c.other++
		}
		c.times = append(c.times, time.Since(sent))
	}
}

// answer reads one response of known length and returns its status.
func (c *client) answer() (status int, err error) {
	length := 0
	for first := true; ; first = false {
		line, err := c.answers.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case first:
			if len(line) < 12 {
				return 0, fmt.Errorf("status line %q", line)
			}
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return 0, fmt.Errorf("status line %q", line)
			}
		case len(line) == 0:
			_, err = c.answers.Discard(length)
			return status, err
		case bytes.HasPrefix(line, []byte("Content-Length: ")):
			if length, err = strconv.Atoi(string(line[len("Content-Length: "):])); err != nil {
				return 0, fmt.Errorf("header %q", line)
			}
		}
	}
}
