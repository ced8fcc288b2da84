package speed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"
)

// traffic is what clients asked of Redis, a command or a script each.
type traffic struct {
	// renewals are the leases that were renewed.
	renewals int64
	// others are the commands and scripts that renewed none, by what they are and the
	// first key they name.
	others map[string]int64
}

// monitor watches what a Redis is asked for so long. Looking is not free for Redis; it
// costs its clients nothing.
func monitor(ctx context.Context, addr string, within time.Duration) (t traffic, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return t, fmt.Errorf("watch redis: %w", err)
	}
	defer func() { _ = conn.Close() }() // it is read only
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		return t, err
	}
	if _, err := conn.Write([]byte("MONITOR\r\n")); err != nil {
		return t, fmt.Errorf("watch redis: %w", err)
	}
	in := bufio.NewReader(conn)
	var w watcher
	for {
		line, err := in.ReadString('\n')
		var late net.Error
		switch {
		case errors.As(err, &late) && late.Timeout():
			return w.done(), ctx.Err()
		case err != nil:
			return t, fmt.Errorf("watch redis: %w", err)
		}
		w.line(line)
	}
}

// watcher adds up the lines of MONITOR. What a script does follows the script.
type watcher struct {
	traffic
	// open is the command or script of the last lines, renewing whether it renewed.
	open     string
	renewing bool
}

// A line is: 1339518083.107412 [0 127.0.0.1:60866] "evalsha" "5bdd…" "1" "{tarn:7}:lease" …
// and, of what a script does, 1339518083.107412 [0 lua] "PEXPIRE" "{tarn:7}:lease" "5000".
func (w *watcher) line(line string) {
	_, rest, ok := strings.Cut(line, "] ")
	if !ok {
		return // "+OK"
	}
	words := strings.Split(strings.TrimSpace(rest), " ")
	inside := strings.Contains(line[:len(line)-len(rest)], " lua]")
	if !inside {
		w.close()
		w.open = label(words)
	}
	if len(words) > 1 && strings.EqualFold(words[0], `"pexpire"`) && strings.HasSuffix(words[1], `:lease"`) {
		w.renewals++
		w.renewing = true
	}
}

// close counts the command or script that has ended.
func (w *watcher) close() {
	if w.open != "" && !w.renewing {
		if w.others == nil {
			w.others = map[string]int64{}
		}
		w.others[w.open]++
	}
	w.open, w.renewing = "", false
}

func (w *watcher) done() traffic {
	w.close()
	return w.traffic
}

// number is what of a key says which shard or source it is of.
var number = regexp.MustCompile(`\{tarn:\d+\}|\b` + sourceName + `\d*`)

// mostKeys is how many keys a label names.
const mostKeys = 3

// label names a command or script and its first keys, of any shard and source.
func label(words []string) string {
	name := strings.ToLower(strings.Trim(words[0], `"`))
	keys := 0
	for _, w := range words[1:] {
		if key := strings.Trim(w, `"`); strings.HasPrefix(key, "{tarn") && keys < mostKeys {
			name += " " + number.ReplaceAllStringFunc(key, anyOf)
			keys++
		}
	}
	return name
}

func anyOf(part string) string {
	if part[0] == '{' {
		return "{tarn:*}"
	}
	return sourceName + "*"
}
