package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// An event that the store refuses for good (its payload is longer than a row may
// be, say) must not hold up those it was read with. It is noted in the audit with
// the start of its payload, and an alert is raised. Then its row is written with
// a short text in place of the payload, and it goes on like any other event. If
// the store refuses that too, the event has no row: the note is its record, and
// what it names is fetched by signals of their own.

// keptRefused is how much of a refused event's payload its note holds, in bytes:
// as JSON it may grow sixfold, and a document of MongoDB's holds 16 MiB.
const keptRefused = 1 << 20

// flagRefused is in the metric of flags.
const flagRefused = "refused"

// logRows writes the rows of arrivals, however long the store is away.
func (s eventLog) logRows(arrivals []storage.Arrival) (logged []storage.Logged, err error) {
	err = s.w.persist(s.ctx, s.loop, "log events", func() (err error) {
		logged, err = s.w.Store.Log(s.ctx, arrivals)
		return err
	})
	return logged, err
}

// arrival is an entry's event, to be logged.
func (s eventLog) arrival(e event.Entry) storage.Arrival {
	return storage.Arrival{
		Event: e.Signal.Body, Signal: storage.SignalID{Shard: s.number, ID: e.ID}, TraceID: telemetry.TraceID(e.Signal.Trace),
	}
}

// logApart writes the rows of a batch one by one, after the store has refused
// them together. It answers one element for each entry that carries an event, and
// the ids of those entries whose event has no row and is in the audit as refused.
func (s eventLog) logApart(src *source, batch []event.Entry) (logged []storage.Logged, refused map[string]bool, err error) {
	refused = map[string]bool{}
	for i := range batch {
		e := &batch[i]
		if e.Signal.Body == nil {
			continue
		}
		one, err := s.logRows([]storage.Arrival{s.arrival(*e)})
		if fate.Is(err, fate.Permanent) {
			if err = s.noteRefused(src, *e, err); err != nil {
				return nil, nil, err
			}
			lean := *e.Signal.Body
			lean.Payload = standIn(lean.Payload)
			e.Signal.Body = &lean
			one, err = s.logRows([]storage.Arrival{s.arrival(*e)})
		}
		if fate.Is(err, fate.Permanent) {
			s.log.Error("the store refuses an event even without its payload; it is kept in the audit only, and what it names is fetched", "source", src.Name, "event", e.Signal.Body.ID, "error", short(err))
			refused[e.ID] = true
			one, err = []storage.Logged{{}}, nil
		}
		if err != nil {
			return nil, nil, err
		}
		logged = append(logged, one...)
	}
	return logged, refused, nil
}

// standIn returns the text that replaces, in a row, a payload that the store refuses.
// It is the same for the same payload, so that an event that comes again has the
// same body.
func standIn(payload []byte) []byte {
	sum := sha256.Sum256(payload)
	text, _ := json.Marshal(map[string]any{"tarn_refused": "the store refused the payload; its start is in the audit", "bytes": len(payload), "sha256": hex.EncodeToString(sum[:])})
	return text
}

// refusal is the reason in the note of a refused event.
type refusal struct {
	Error    string      `json:"error"`
	Type     string      `json:"type"`
	Entities []event.Ref `json:"entities,omitempty"`
	Bytes    int         `json:"bytes"`
	SHA256   string      `json:"sha256"`
	// Payload is its start, at most keptRefused bytes of it.
	Payload string `json:"payload"`
}

// noteRefused stores an event that the store refuses in the audit and raises an alert.
func (s eventLog) noteRefused(src *source, e event.Entry, cause error) error {
	b := e.Signal.Body
	sum := sha256.Sum256(b.Payload)
	reason, err := json.Marshal(refusal{ // which makes everything UTF-8
		Error: short(cause), Type: b.Type, Entities: b.Entities[:min(len(b.Entities), 100)],
		Bytes: len(b.Payload), SHA256: hex.EncodeToString(sum[:]), Payload: string(b.Payload[:min(len(b.Payload), keptRefused)]),
	})
	if err != nil {
		return err
	}
	id := strings.ToValidUTF8(b.ID, "\uFFFD")
	note := storage.Note{
		ID: "refused/" + strconv.Itoa(s.number) + "/" + e.ID, At: s.w.Now().UTC(), Source: src.Name,
		Kind: storage.NoteRefused, EventID: id, Reason: string(reason), Count: 1,
	}
	if err := s.note(s.ctx, s.loop, []storage.Note{note}); err != nil {
		return err
	}
	s.w.Metrics.Flagged.WithLabelValues(src.Name, flagRefused).Inc()
	s.w.Alerts.Raise(alert.Alert{
		Kind: alert.StoreRefuses, Source: src.Name, Event: id, Entity: e.Signal.Ref.Key.String(),
		Class: fate.Permanent.String(), TraceID: traceID(e), Reason: "event: " + firstLine(short(cause)),
	})
	return nil
}
