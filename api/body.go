package api

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"sync"
)

const (
	// firstBody is the most memory reserved for a body before it arrives: a slow
	// sender that declares 256 KiB must not hold 256 KiB.
	firstBody = 16 << 10
	// keptBody is the largest buffer that is kept for reuse: one big event must not
	// hold its memory for good.
	keptBody = 64 << 10
)

// bodies reads request bodies into reused buffers.
type bodies struct {
	max  int64
	pool sync.Pool
}

func newBodies(max int64) *bodies {
	return &bodies{max: max, pool: sync.Pool{New: func() any { return new(bytes.Buffer) }}}
}

// read reads the whole body. The caller returns the buffer with free once nothing
// refers to its bytes any more.
func (b *bodies) read(w http.ResponseWriter, req *http.Request) (*bytes.Buffer, *refusal) {
	if req.ContentLength > b.max {
		return nil, refuseTooLarge(b.max)
	}
	buf := b.pool.Get().(*bytes.Buffer)
	buf.Reset()
	// ReadFrom grows a buffer that has less than MinRead left, also just to
	// learn that nothing follows.
	buf.Grow(int(max(0, min(req.ContentLength, firstBody))) + bytes.MinRead)
	body := req.Body
	if req.ContentLength < 0 { // the server lets a body of declared length be no longer
		body = http.MaxBytesReader(w, body, b.max)
	}
	if _, err := buf.ReadFrom(body); err != nil {
		b.free(buf)
		return nil, b.refuse(err)
	}
	return buf, nil
}

func (b *bodies) refuse(err error) *refusal {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return refuseTooLarge(b.max)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuseSlow
	default:
		return refuseIncomplete
	}
}

func (b *bodies) free(buf *bytes.Buffer) {
	if buf.Cap() <= keptBody {
		b.pool.Put(buf)
	}
}
