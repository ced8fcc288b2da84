package receiver

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// Secret is shared by the load generator and all servers.
const Secret = "78147840b851c1532382bc311147e52c4756ba67be1edc48a5daf504c886ac64"

// Sign returns a signature header of the lemon.markets scheme.
func Sign(body []byte, at time.Time) string {
	t := strconv.FormatInt(at.Unix(), 10)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac(t, body))
}

func mac(t string, body []byte) []byte {
	m := hmac.New(sha256.New, []byte(Secret))
	m.Write([]byte(t))
	m.Write([]byte{'.'})
	m.Write(body)
	return m.Sum(nil)
}

// verify is the check as a peer would write it: split, compare the time,
// compare the HMAC.
func verify(header string, body []byte, now time.Time) bool {
	t, v1, ok := strings.Cut(strings.TrimPrefix(header, "t="), ",v1=")
	if !ok {
		return false
	}
	sent, err := strconv.ParseInt(t, 10, 64)
	if err != nil || now.Sub(time.Unix(sent, 0)).Abs() > 5*time.Minute {
		return false
	}
	given, err := hex.DecodeString(v1)
	return err == nil && hmac.Equal(given, mac(t, body))
}
