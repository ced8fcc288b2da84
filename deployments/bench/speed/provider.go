package speed

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

// ProviderMode is the argument that makes the binary the provider.
const ProviderMode = "speed-provider"

// The paths that tell the provider to close every connection without an answer, and to
// answer again.
const (
	goDown = "/_down"
	comeUp = "/_up"
)

// ProviderMain answers for every entity of the lemon definition until its standard
// input ends, which it does when the process that started it is gone. HTTP/1.1 is read
// and written by hand: a general server costs as much as what is measured.
func ProviderMain(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(ProviderMode, flag.ContinueOnError)
	addr := flags.String("addr", "", "where to listen")
	if err := flags.Parse(args); err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", *addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // however it ends, the parent is gone
		_ = l.Close()
	}()
	return serveProvider(l)
}

// serveProvider answers until the listener is closed.
func serveProvider(l net.Listener) error {
	var p source
	for {
		conn, err := l.Accept()
		if err != nil {
			return nil //nolint:nilerr // the listener was closed
		}
		go p.serve(conn)
	}
}

// source is the provider's state.
type source struct{ down atomic.Bool }

// serve answers the requests of one connection. They are GETs without a body.
func (p *source) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReaderSize(conn, 4096)
	var out, body []byte
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		_, target, _ := bytes.Cut(line, []byte{' '})
		target, _, _ = bytes.Cut(target, []byte{' '})
		path := string(target)
		for len(bytes.TrimRight(line, "\r\n")) > 0 {
			if line, err = in.ReadSlice('\n'); err != nil {
				return
			}
		}
		switch path {
		case goDown, comeUp:
			p.down.Store(path == goDown)
		default:
			if p.down.Load() {
				return
			}
		}
		body = appendAnswer(body[:0], path)
		out = append(out[:0], "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "...)
		out = strconv.AppendInt(out, int64(len(body)), 10)
		out = append(append(out, "\r\n\r\n"...), body...)
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

// The answers have the fields and sizes of the API reference's examples. Every one has
// the history that the events of the shapes imply.
const (
	orderRest = `","side":"buy","type":"market","instrument":"IE00B4L5Y983","amount":"250.00","fee":"0.10",` +
		`"fees":{"pct":"0.00","base_amount":"0.10"},"currency":"EUR","regulatory_disclosures":{"estimated_amount":"250.00",` +
		`"estimated_price":"98.7300","estimated_quantity":"2.532158","service_costs_total":"0.10","service_costs_total_pct":"0.04",` +
		`"grants_total":"0.00","grants_total_pct":"0.00","exit_costs_total":"0.10","exit_costs_total_pct":"0.04"},` +
		`"appropriateness_check":{"required":false},"sca":{"required":true,"challenge":"c2ltdWxhdGVkIGNoYWxsZW5nZQ=="},` +
		`"securities_account":"cssa_6b27f7f801d4ce997747470ab720001","history":[` +
		`{"status":"executed","timestamp":"2026-01-05T09:00:03.000000+00:00"},{"status":"accepted","timestamp":"2026-01-05T09:00:02.000000+00:00"},` +
		`{"status":"confirmed","timestamp":"2026-01-05T09:00:01.000000+00:00"},{"status":"created","timestamp":"2026-01-05T09:00:00.000000+00:00"}]}`
	accountRest = `","status":"opened","customer":{"type":"person","id":"cusp_1"},"declaration_of_acting_on_own_account":true,` +
		`"cash_account":{"iban":"DE02120300000000202051","holder":"Erika Mustermann"},"securities_account":{"number":"1000000001"},` +
		`"agreements":[{"agreement":"agr_1","accepted_at":"2026-01-02T08:00:00.000000+00:00","person":"cusp_1"}],"history":[` +
		`{"status":"opened","timestamp":"2026-01-02T08:00:01.000000+00:00"},{"status":"created","timestamp":"2026-01-02T08:00:00.000000+00:00"}]}`
	actionRest = `","type":"dividend","instrument":"IE00B4L5Y983","ex_date":"2026-01-05","payment_date":"2026-01-09",` +
		`"amount_per_share":"0.4200","currency":"EUR","description":"Cash distribution","history":[` +
		`{"status":"processed","timestamp":"2026-01-09T09:00:00.000000+00:00"},{"status":"created","timestamp":"2026-01-05T09:00:00.000000+00:00"}]}`
	emptyList = `{"data":[],"pagination":{"next_cursor":null}}`
	balances  = `{"balance":"1000.00","available_balance":"1000.00","currency":"EUR"}`
)

// appendAnswer appends what is true of a path: /v1/accounts/a/orders/o is an order, an
// odd number of steps a list or a singleton.
func appendAnswer(b []byte, path string) []byte {
	path, _, _ = strings.Cut(strings.TrimPrefix(path, "/v1/"), "?")
	parent, id := "", path
	if at := strings.LastIndexByte(path, '/'); at >= 0 {
		parent, id = path[:at], path[at+1:]
	}
	if strings.Count(path, "/")%2 == 0 {
		if strings.HasSuffix(id, "financials") {
			return append(b, balances...)
		}
		return append(b, emptyList...)
	}
	b = append(append(b, `{"id":"`...), id...)
	switch {
	case strings.HasSuffix(parent, "/orders"):
		return append(b, orderRest...)
	case parent == "accounts":
		return append(b, accountRest...)
	default:
		return append(b, actionRest...)
	}
}
