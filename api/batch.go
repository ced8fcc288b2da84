package api

import (
	"bytes"
	"context"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// takeMany appends the events of one request of a source whose provider sends several
// together. The answer is a success only when all are durable. It reports whether the
// body's buffer can be used again.
func (r *receiver) takeMany(ctx context.Context, w http.ResponseWriter, h http.Header, src *account, body *bytes.Buffer) bool {
	events, err := src.Provider.Events(src.Name, h, body.Bytes(), r.now().UTC())
	if err != nil {
		r.refuse(ctx, w, src.Name, refuseMalformed(err))
		return true
	}
	if len(events) == 0 {
		r.tally.empty(ctx, src.Name)
		answerMany(w, src, 0, 0)
		return true
	}
	duplicates, err := r.sendMany(ctx, events)
	if err != nil {
		r.refuse(ctx, w, src.Name, refuseUnconfirmed(err))
		return false // the pipeline may still read it
	}
	src.duplicates.Add(float64(duplicates))
	answerMany(w, src, len(events), duplicates)
	return true
}

// sendMany appends events in one pipeline for each master of Redis, in their order for
// each entity, and notes the duplicates. After an error some may have been appended:
// the sender repeats the request, and Redis knows their ids.
func (r *receiver) sendMany(ctx context.Context, events []*event.Event) (duplicates int, err error) {
	ctx, span := r.startSend(ctx, events[0])
	within := r.deadlines.take()
	drafts := make([]stream.Draft, len(events))
	trace := telemetry.Traceparent(ctx)
	for i, e := range events {
		drafts[i] = stream.Draft{Signal: event.Own(e, trace)}
	}
	receipts, err := r.appendMany(within, drafts)
	var notes []stream.Note
	for i, got := range receipts {
		if e := events[i]; got.Duplicate {
			notes = append(notes, stream.Note{At: e.ReceivedAt, Source: e.Source, Kind: "duplicate", EventID: e.ID, Count: 1})
		}
	}
	if err == nil && len(notes) > 0 {
		err = r.queue.AddNotes(within, notes)
	}
	first := stream.Receipt{}
	if len(receipts) > 0 {
		first = receipts[0]
	}
	endSend(span, first, err)
	return len(notes), err
}

func (r *receiver) appendMany(ctx context.Context, drafts []stream.Draft) ([]stream.Receipt, error) {
	if !fault.Off("append") {
		return r.queue.AppendAll(ctx, drafts)
	}
	receipts := make([]stream.Receipt, len(drafts))
	for i, d := range drafts {
		var err error
		if receipts[i], err = r.append(ctx, d); err != nil {
			return receipts[:i], err
		}
	}
	return receipts, nil
}

// answerMany writes how many events a request held, and how many of them had come
// before.
func answerMany(w http.ResponseWriter, src *account, events, duplicates int) {
	code, status := src.Ack.Accepted, "accepted"
	if events > 0 && duplicates == events {
		code, status = src.Ack.Duplicate, "duplicate"
	}
	if answerText(w, code, src.Provider.AckBody()) {
		return
	}
	b := append(append(make([]byte, 0, 64), `{"status":"`...), status...)
	b = strconv.AppendInt(append(b, `","events":`...), int64(events), 10)
	b = strconv.AppendInt(append(b, `,"duplicates":`...), int64(duplicates), 10)
	w.Header()["Content-Type"] = plainJSON
	w.WriteHeader(code)
	_, _ = w.Write(append(b, '}')) // if the sender is gone it will send the events again
}

var (
	plainText = []string{"text/plain; charset=utf-8"}
	noSniff   = []string{"nosniff"}
)

// answerText writes a text that the provider wants. False: it wants none.
func answerText(w http.ResponseWriter, code int, text string) bool {
	if text == "" {
		return false
	}
	h := w.Header()
	h["Content-Type"], h["X-Content-Type-Options"] = plainText, noSniff
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text))
	return true
}

// challenged answers GET /webhooks/{source}, by which some providers ask whether the
// address is ours.
func (r *receiver) challenged(c *gin.Context) {
	src := r.sources.get(c.Param("source"))
	if src == nil || !src.Provider.AnswersGET() {
		c.Writer.Header().Set("Allow", http.MethodPost)
		plainProblem(http.StatusMethodNotAllowed, "the route does not take this method")(c)
		return
	}
	echo, ok := src.Provider.ChallengeGET(c.Request.URL.Query())
	if !ok {
		r.refuse(c.Request.Context(), c.Writer, src.Name, refuseChallenge)
		return
	}
	answerText(c.Writer, http.StatusOK, echo)
}
