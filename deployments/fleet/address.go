package fleet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
)

// Ports from firstPort up to lastPort are below those from which systems choose for a program
// that asks for any port.
const firstPort, lastPort = 10_000, 32_000

// The ports are given in turn, from one on that each process draws; given counts them.
var (
	given atomic.Uint64
	drawn = rand.Uint64N(lastPort - firstPort)
)

// FreeAddr returns a loopback address without a listener, each time another one. A program
// that asks for any port does not get it, so it stays free until it is used, and while the
// program that listens there is killed and started again.
func FreeAddr() (string, error) {
	var failed error
	for range lastPort - firstPort {
		port := firstPort + (drawn+given.Add(1))%(lastPort-firstPort)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return l.Addr().String(), l.Close()
		}
		failed = err
	}
	return "", errors.Join(errors.New("no port is free"), failed)
}
