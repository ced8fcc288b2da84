package api

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// encoder writes answers as JSON. It encodes an answer whole before it sends the first
// byte, so that one that cannot be encoded is a 500 and not half of a 200.
type encoder struct {
	log      *slog.Logger
	failures prometheus.Counter
}

// format is the encoder as the operations take one.
func (e *encoder) format() huma.Format {
	f := huma.DefaultJSONFormat
	f.Marshal = e.marshal
	return f
}

func (e *encoder) marshal(w io.Writer, v any) error {
	var whole bytes.Buffer
	err := huma.DefaultJSONFormat.Marshal(&whole, v)
	if err == nil {
		_, _ = w.Write(whole.Bytes()) // the client is gone if this fails
		return nil
	}
	e.failures.Inc()
	e.log.Error("an answer could not be written as JSON", "answer", fmt.Sprintf("%T", v), "error", err)
	answer, ok := w.(http.ResponseWriter)
	if !ok {
		return err
	}
	refuseEncoding.write(answer)
	return nil
}

var refuseEncoding = &refusal{status: http.StatusInternalServerError, reason: "encoding",
	detail: "the answer could not be written as JSON; the log of the api says why"}
