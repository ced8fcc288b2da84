package event_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

var (
	created  = time.Date(2026, 3, 1, 9, 30, 0, 123456000, time.UTC)
	received = created.Add(150 * time.Millisecond)
	order    = event.Ref{
		Key:     event.Key{Source: "lemon", Kind: "order", ID: "bord_1"},
		Parents: map[string]string{"account": "cusa_1"},
	}
	qualified = event.Ref{
		Key:     event.Key{Source: "lemon", Kind: "order", ID: "bord_1", Under: event.Under("cusa/1")},
		Parents: map[string]string{"account": "cusa/1"},
	}
	account = event.Ref{Key: event.Key{Source: "lemon", Kind: "account", ID: "cusa_1"}}
	balance = event.Ref{Key: event.Key{Source: "lemon", Kind: "financials", ID: "cusa_1"}, Parents: map[string]string{"account": "cusa_1"}}
)

func TestSignalRoundTrip(t *testing.T) {
	whole := &event.Event{
		Source: "lemon", ID: "evt_1", Type: "order.executed", CreatedAt: created, ReceivedAt: received,
		Entities: []event.Ref{order, account}, Derived: []event.Ref{balance},
		Payload: []byte(`{"id":"evt_1", "amount": 1.10}`),
	}
	cases := map[string]event.Signal{
		"an event's own entry": event.Own(whole, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
		"an event that names nothing": event.Own(&event.Event{
			Source: "lemon", ID: "evt_2", Type: "weather.changed", CreatedAt: created, ReceivedAt: received, Payload: []byte(`{}`),
		}, ""),
		"an event dated in the future": event.Own(&event.Event{
			Source: "lemon", ID: "evt_3", Type: "order.executed", CreatedAt: created.Add(48 * time.Hour), ReceivedAt: received,
			Entities: []event.Ref{order}, Payload: []byte(`{}`),
		}, ""),
		"a further entity": {
			Ref: account, Cause: event.CauseEvent, CauseID: "evt_1", EventType: "order.executed", CreatedAt: created,
		},
		"one of two with its id": event.Own(&event.Event{
			Source: "lemon", ID: "evt_3", Type: "order.executed", CreatedAt: created, ReceivedAt: received, Payload: []byte(`{}`),
			Entities: []event.Ref{qualified, order, account},
		}, ""),
		"held back": {
			Ref: balance, Cause: event.CauseDerived, CauseID: "evt_1", Class: event.Reconcile, NotBefore: created.Add(5 * time.Second).Truncate(time.Millisecond),
		},
		"by hand": {Ref: order, Cause: event.CauseOperator, CauseID: "job_1", Class: event.Redrive},
	}
	for name, want := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := event.ParseSignal(stringly(t, want))
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}

func TestNoEventIsOrderedAfterItWasReceived(t *testing.T) {
	for name, c := range map[string]struct{ created, received, want time.Time }{
		"before it was received":      {created, received, created},
		"in the future":               {received.Add(48 * time.Hour), received, received},
		"undated":                     {time.Time{}, received, time.Time{}},
		"received at an unknown time": {created, time.Time{}, created},
	} {
		t.Run(name, func(t *testing.T) {
			s := event.Own(&event.Event{Source: "lemon", ID: "evt_1", CreatedAt: c.created, ReceivedAt: c.received}, "")
			require.Equal(t, c.want, s.CreatedAt)
			require.Equal(t, c.created, s.Body.CreatedAt, "the event keeps its own")
		})
	}
}

func TestOwnEntryIsSharded(t *testing.T) {
	named := event.Own(&event.Event{Source: "lemon", ID: "evt_1", Entities: []event.Ref{order, account}}, "")
	require.Equal(t, order.Key, named.Ref.Key, "by its primary entity")
	unnamed := event.Own(&event.Event{Source: "lemon", ID: "evt_1"}, "")
	require.Equal(t, event.Key{Source: "lemon", ID: "evt_1"}, unnamed.Ref.Key, "by its own id")
}

func TestParseSignalRefuses(t *testing.T) {
	good := stringly(t, event.Own(&event.Event{Source: "lemon", ID: "evt_1", CreatedAt: created, ReceivedAt: received, Entities: []event.Ref{order}}, ""))
	cases := map[string]struct{ field, value, says string }{
		"no key":       {"k", "", "source/kind/id"},
		"half a key":   {"k", "lemon/order", "source/kind/id"},
		"no head":      {"h", "", "head"},
		"half a head":  {"h", `{"c":"event"`, "head"},
		"no class":     {"h", `{"c":"event"}`, "class"},
		"bad class":    {"h", `{"q":"live"}`, "head"},
		"bad parents":  {"h", `{"q":0,"p":[]}`, "head"},
		"bad created":  {"h", `{"q":0,"a":"yesterday"}`, "head"},
		"bad received": {"h", `{"q":0,"r":"now"}`, "head"},
		"bad entities": {"h", `{"q":0,"e":{}}`, "head"},
		"bad held":     {"h", `{"q":0,"n":1.5}`, "head"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			fields := map[string]string{}
			for k, v := range good {
				fields[k] = v
			}
			fields[c.field] = c.value
			_, err := event.ParseSignal(fields)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func FuzzParseSignal(f *testing.F) {
	f.Add("lemon/order/bord_1", `{"c":"event","q":0,"a":1700000000000000,"r":1,"p":{"account":"a"},"e":[{"k":"order","i":"bord_1"}]}`)
	f.Fuzz(func(t *testing.T, key, head string) {
		s, err := event.ParseSignal(map[string]string{"k": key, "h": head, "b": "{}", "i": "e"})
		if err != nil {
			return
		}
		again, err := event.ParseSignal(stringly(t, s))
		require.NoError(t, err)
		require.Equal(t, s.Ref.Key, again.Ref.Key)
		require.True(t, s.CreatedAt.Equal(again.CreatedAt))
	})
}

func TestKey(t *testing.T) {
	k := event.Key{Source: "lemon", Kind: "order", ID: "a/b"}
	back, err := event.ParseKey(k.String())
	require.NoError(t, err)
	require.Equal(t, k, back, "an id may hold a slash")

	require.Equal(t, 3, event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}.Shard(64), "the shard of a key never changes")
	long := event.Key{Source: "lemon", Kind: "order", ID: strings.Repeat("x", event.MaxID)}
	require.Equal(t, int(xxhash.Sum64String(long.String())%1024), long.Shard(1024), "of all of its text")
	seen := map[int]bool{}
	for i := range 1000 {
		seen[event.Key{Source: "lemon", Kind: "order", ID: fmt.Sprint(i)}.Shard(64)] = true
	}
	require.Len(t, seen, 64, "all shards are used")
}

func TestCheckID(t *testing.T) {
	for _, good := range []string{"bord_1", "a/b", "ü", "..a", strings.Repeat("x", event.MaxID)} {
		require.NoError(t, event.CheckID(good), good)
	}
	for name, bad := range map[string]string{
		"empty": "", "dot": ".", "dots": "..", "long": strings.Repeat("x", event.MaxID+1),
		"newline": "a\nb", "nul": "a\x00", "c1 control": "a\u0085", "not utf-8": "a\xff",
	} {
		t.Run(name, func(t *testing.T) { require.Error(t, event.CheckID(bad)) })
	}
}

func TestTier(t *testing.T) {
	want := map[event.Class]event.Tier{
		event.Live: event.TierLive, event.Redrive: event.TierLive,
		event.Reconcile: event.TierBackground, event.Backfill: event.TierBackground,
	}
	for c, tier := range want {
		require.Equal(t, tier, c.Tier(), c.String())
	}
}

// stringly makes of a signal what Redis gives back of it.
func stringly(t testing.TB, s event.Signal) map[string]string {
	flat, err := s.Fields()
	require.NoError(t, err)
	require.Zero(t, len(flat)%2)
	m := map[string]string{}
	for i := 0; i < len(flat); i += 2 {
		switch v := flat[i+1].(type) {
		case []byte:
			m[flat[i].(string)] = string(v)
		default:
			m[flat[i].(string)] = fmt.Sprint(v)
		}
	}
	return m
}
