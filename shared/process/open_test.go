package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/stream"
)

func TestAway(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		away bool
	}{
		"refused":        {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, true},
		"reset":          {os.NewSyscallError("read", syscall.ECONNRESET), true},
		"cut off":        {io.EOF, true},
		"cut off half":   {io.ErrUnexpectedEOF, true},
		"timeout":        {os.ErrDeadlineExceeded, true},
		"loading":        {errors.New("LOADING Redis is loading the dataset in memory"), true},
		"store away":     {fate.Errorf(fate.Unavailable, "no primary"), true},
		"another fleet":  {stream.ErrShards, false},
		"wrong password": {errors.New("WRONGPASS invalid username-password pair"), false},
		"asked to stop":  {context.Canceled, false},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.away, away(fmt.Errorf("connect to redis: %w", c.err)))
		})
	}
}
