package process

import (
	"crypto/rand"
	"os"
	"strings"
)

// NewID names a process in the fleet: the host, for people, and 40 random bits,
// new at every start, since one that starts again must not be taken for the
// one that died holding leases.
func NewID() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "host"
	}
	host, _, _ = strings.Cut(host, ".")
	return host + "-" + strings.ToLower(rand.Text()[:8])
}
