package reconciler

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/tarn-sync/tarn/reconciler/delivery"
	"github.com/tarn-sync/tarn/reconciler/outgoing"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// The media types of one CloudEvent and of several.
const (
	typeOne     = "application/cloudevents+json"
	typeSeveral = "application/cloudevents-batch+json"
)

// send sends all that may be sent now, with what is true now.
func (d *deliverer) send(ctx, sending context.Context) error {
	var taken []delivery.Message[feedPlace]
	var keys []event.Key
	for now := d.now(); d.lost == nil; {
		msg, ok := d.m.Take(now)
		if !ok {
			break
		}
		taken = append(taken, msg)
		for _, w := range msg.Wants {
			keys = append(keys, w.Key)
		}
	}
	if len(taken) == 0 {
		return nil
	}
	var states *feed.States
	err := d.persist(ctx, "read what a webhook is sent", func() (err error) {
		states, err = feed.ReadStates(ctx, d.store, keys)
		return err
	})
	if err != nil {
		return err
	}
	for _, msg := range taken {
		out, versions, err := d.message(msg.Wants, states)
		if err != nil {
			d.lost = err
			d.m.Dropped(msg)
			continue
		}
		d.under.Go(func() {
			answer := d.to.Client.Send(sending, out)
			if sending.Err() != nil && answer.Outcome != outgoing.Accepted {
				answer = outgoing.Answer{} // it was cut off
			}
			d.landed <- landing{msg, versions, answer}
		})
	}
	return nil
}

// message makes a message of what is true of its subjects. The error is feed.ErrOlder.
func (d *deliverer) message(wants []delivery.Want[feedPlace], states *feed.States) (out outgoing.Message, versions []int64, err error) {
	var parts [][]byte
	var ids []string
	for _, w := range wants {
		c, version, err := d.change(w, states)
		if err != nil {
			return out, nil, err
		}
		text, err := c.Encode()
		if err != nil {
			return out, nil, err
		}
		parts, ids, versions = append(parts, text), append(ids, c.ID), append(versions, version)
	}
	if d.to.Batch <= 1 {
		return outgoing.Message{ID: ids[0], Type: typeOne, Body: parts[0]}, versions, nil
	}
	sum := sha256.Sum256([]byte(strings.Join(ids, "\n")))
	body := append(append([]byte("["), bytes.Join(parts, []byte(","))...), ']')
	return outgoing.Message{ID: "batch_" + hex.EncodeToString(sum[:16]), Type: typeSeveral, Body: body}, versions, nil
}

// change returns what is true of an entity or a command, and its version.
func (d *deliverer) change(w delivery.Want[feedPlace], states *feed.States) (*feed.Change, int64, error) {
	if w.Key == d.to.event() {
		return d.feedChange(), w.Version, nil
	}
	at := w.Place.at
	if at.IsZero() { // as in a snapshot
		at = d.now()
		if doc := states.Document(w.Key); doc != nil && doc.Known() {
			at = doc.SyncedAt
		}
	}
	c, version, err := states.Change(storage.Item{Key: w.Key, Version: w.Version}, d.view(), at)
	if err == nil && !w.Place.at.IsZero() {
		c.Sequence = fmt.Sprintf("%020d", w.Place.Position)
	}
	return c, version, err
}

// view shows commands as the api does.
func (d *deliverer) view() feed.View {
	return feed.View{Traces: d.w.r.TraceURL, Operation: func(c *storage.Command) *provider.Op {
		op, _ := d.def.Op(c.Kind, c.Op)
		return op
	}}
}

// feedChange is the message about the feed itself.
func (d *deliverer) feedChange() *feed.Change {
	e := d.state.Event
	c := &feed.Change{
		SpecVersion: "1.0", ID: e.ID, Source: "/tarn/" + d.to.Source, Type: e.Type, Subject: "feed", Time: feed.MomentOf(e.At.UTC()),
		DataContentType: "application/json", PartitionKey: d.to.Source + "/feed", Data: struct {
			Reason string `json:"reason,omitempty"`
		}{e.Reason},
	}
	return c
}
