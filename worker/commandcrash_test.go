package worker_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/worker"
)

// doomed is what a worker has of the world until it comes to a point. There it is killed:
// no call of it does anything any more. At "before-socket" it is frozen instead: it loses
// its leases, and goes on when it is thawed.
type doomed struct {
	storage.Store
	storage.Commands
	writer worker.Writer
	point  string
	cutOff func() // from Redis
	died   chan struct{}
	thaw   chan struct{}
	sent   chan provider.Answer
	late   chan bool // whether what it records after that is taken

	mu   sync.Mutex
	dead bool
}

var errDead = fate.New(fate.Unavailable, errors.New("the process is dead"))

// reached ends the worker at its point, and returns an error if it has ended.
func (d *doomed) reached(point string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if point != "" && point == d.point {
		d.point = ""
		d.dead = point != "before-socket"
		d.cutOff()
		close(d.died)
	}
	if d.dead {
		return errDead
	}
	return nil
}

// doomedStore is a store whose commands are a doomed worker's.
type doomedStore struct {
	storage.Store
	d *doomed
}

func (s doomedStore) Commands() storage.Commands { return s.d }

func (s doomedStore) Claim(ctx context.Context, ref event.Ref) (*storage.Document, error) {
	if err := s.d.reached("before-claim"); err != nil {
		return nil, err
	}
	return s.Store.Claim(ctx, ref)
}

func (d *doomed) Open(ctx context.Context, lane event.Key, limit int) ([]*storage.Command, error) {
	if err := d.reached(""); err != nil {
		return nil, err
	}
	return d.Commands.Open(ctx, lane, limit)
}

func (d *doomed) Move(ctx context.Context, c *storage.Command) (bool, error) {
	if err := d.reached(""); err != nil {
		return false, err
	}
	moved, err := d.Commands.Move(ctx, c)
	if len(d.sent) > 0 {
		d.late <- moved
	}
	if moved {
		err = d.reached(map[storage.CommandState]string{storage.CommandSending: "after-sending", storage.CommandAnswered: "after-record"}[c.State])
	}
	return moved, err
}

func (d *doomed) Bind(ctx context.Context, r storage.Ref) (*storage.Ref, error) {
	if err := d.reached(""); err != nil {
		return nil, err
	}
	bound, err := d.Commands.Bind(ctx, r)
	return bound, errors.Join(err, d.reached("after-bind"))
}

func (d *doomed) Forward(ctx context.Context, c *storage.Command, lane event.Key) (bool, error) {
	if err := d.reached(""); err != nil {
		return false, err
	}
	moved, err := d.Commands.Forward(ctx, c, lane)
	return moved, errors.Join(err, d.reached("after-forward"))
}

func (d *doomed) Send(ctx context.Context, cmd provider.Command, req provider.Request, why string) provider.Answer {
	d.mu.Lock()
	freezes := d.point == "before-socket"
	d.mu.Unlock()
	if freezes {
		_ = d.reached("before-socket")
		<-d.thaw
	}
	a := d.writer.Send(ctx, cmd, req, why)
	if freezes {
		d.sent <- a
	}
	_ = d.reached("after-send")
	return a
}

func (d *doomed) Probe(ctx context.Context, scope string) error { return d.writer.Probe(ctx, scope) }

func (d *doomed) ProviderTime(at time.Time) (time.Time, bool) { return d.writer.ProviderTime(at) }

// startDoomed starts a worker that ends at a point. What it has of Redis is its own.
func (s *market) startDoomed(point string) *doomed {
	s.t.Helper()
	own, err := stream.Open(s.ctx, stream.Options{URLs: []string{s.redis.URL()}, Shards: 4, LeaseTTL: leaseTTL, Logger: quiet()})
	require.NoError(s.t, err)
	cut := sync.OnceFunc(func() { _ = own.Close() })
	s.t.Cleanup(cut)
	d := &doomed{
		Store: s.store, Commands: s.store.Commands(), writer: s.writer, point: point, cutOff: cut,
		died: make(chan struct{}), thaw: make(chan struct{}), sent: make(chan provider.Answer, 1), late: make(chan bool, 10),
	}
	were := s.options
	s.options.Streams, s.options.Store = own, doomedStore{s.store, d}
	s.options.Sources = append([]worker.Source(nil), were.Sources...)
	s.options.Sources[0].Writer = writes(d)
	s.start("doomed")
	s.options = were
	return d
}

// A worker that is killed at any step of a command leaves it so that the next one makes it
// once, whatever way there is to find out what became of it.
func TestCommandsSurviveKills(t *testing.T) {
	t.Parallel()
	const order = `{"side":"buy","type":"market","instrument":"US0378331005","amount":"100.00","fees":{"base_amount":"0"},"currency":"EUR"}`
	for _, c := range []struct {
		name, provider, kind, op, body string
		points                         []string
		// asked are the points after which an operator has to look.
		asked []string
	}{
		{"key", simulator.Stripe, "price", "create", `{"product":"p","currency":"eur","unit_amount":1}`, []string{"after-sending", "after-send", "after-record", "after-bind", "after-forward", "before-claim"}, nil},
		{"repeat", simulator.Stripe, "product", "update", `{"name":"q"}`, []string{"after-sending", "after-send", "after-record"}, nil},
		{"look", simulator.Lemon, "order", "cancel", "", []string{"after-sending", "after-send"}, nil},
		{"key or ask", simulator.Lemon, "order", "create", order, []string{"after-send", "after-bind"}, nil},
		{"find or ask", simulator.Lemon, "withdrawal", "create", `{"amount":"12.34"}`, []string{"after-sending", "after-send", "after-record"}, []string{"after-sending"}},
	} {
		for _, point := range c.points {
			t.Run(c.name+" "+point, func(t *testing.T) {
				t.Parallel()
				s := openMarket(t, c.provider)
				parents := map[string]string(nil)
				if c.provider == simulator.Lemon {
					parents = map[string]string{"account": s.anAccount()}
				}
				made := func(kind, op, target, body string) *storage.Command {
					w := s.wish(kind, op, target, body)
					w.Parents = parents
					return s.admit(w)
				}
				target := "~mine"
				switch c.name {
				case "key", "repeat", "look":
					stop := s.start("w0")
					if target = "~mine"; c.name == "look" {
						target = s.done(made("order", "create", "~o", order)).Result.ID
					} else {
						s.done(made("product", "create", "~p", `{"name":"p"}`))
					}
					if c.name == "repeat" {
						target = "p"
					}
					stop()
				}
				d := s.startDoomed(point)
				command := made(c.kind, c.op, target, c.body)
				select {
				case <-d.died:
				case <-time.After(time.Minute):
					t.Fatal("the worker did not come to the point")
				}
				s.start("w1")
				if len(c.asked) > 0 && c.asked[0] == point {
					s.comes(command, storage.CommandAsked)
					require.Empty(t, s.effects(c.kind, c.op))
					require.True(t, eventually(func() bool { return len(s.told.of(alert.Asked)) == 1 }))
					return
				}
				s.done(command)
				effects := s.effects(c.kind, c.op)
				require.Len(t, slices.Compact(effects), 1)
				if c.name != "repeat" { // of which twice is as once
					require.Len(t, s.effects(c.kind, c.op), 1)
				}
				require.Empty(t, s.told.of(alert.Asked))
			})
		}
	}
}

// A worker is frozen between its last check and the socket. Its successor finds out what
// became of the command, and makes it. When the frozen one goes on, its bytes go out under
// the same key, so that they have no effect, and what it records is dropped.
func TestAFrozenOwnerHasNoEffect(t *testing.T) {
	t.Parallel()
	s := openMarket(t, simulator.Stripe)
	stop := s.start("w0")
	s.done(s.ask("product", "create", "~p", `{"name":"p"}`))
	stop()
	d := s.startDoomed("before-socket")
	create := s.ask("price", "create", "~m", `{"product":"p","currency":"eur","unit_amount":1}`)
	<-d.died
	s.start("w1")
	create = s.done(create)
	close(d.thaw)
	require.False(t, <-d.late, "what it records is dropped")
	late := <-d.sent
	require.Equal(t, provider.Answered, late.Outcome, "%v", late.Err)
	require.True(t, late.Replayed)
	require.Len(t, s.effects("price", "create"), 1)
	last, err := s.store.Commands().Command(s.ctx, create.ID)
	require.NoError(t, err)
	require.Equal(t, create.Rev, last.Rev, "nothing of it is recorded")
}
