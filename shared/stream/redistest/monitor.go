package redistest

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
)

// Monitor returns what clients sent to a server between now and the call of stop,
// each command as MONITOR shows its words, without their quotes. Commands inside
// scripts are left out.
func Monitor(t testing.TB, s *Server) (stop func() [][]string) {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	lines := bufio.NewReader(c)
	if _, err := io.WriteString(c, "MONITOR\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := lines.ReadString('\n'); err != nil { // +OK
		t.Fatal(err)
	}
	var seen [][]string
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			_, of, ok := strings.Cut(line, " [")
			from, command, found := strings.Cut(of, "] ")
			if !ok || !found || strings.HasSuffix(from, " lua") {
				continue
			}
			words := strings.Split(strings.TrimSpace(command), " ")
			for i, w := range words {
				words[i] = strings.Trim(w, `"`)
			}
			seen = append(seen, words)
		}
	}()
	return func() [][]string {
		_ = c.Close()
		<-done
		return seen
	}
}
