package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/simulator"
)

// While everything goes wrong an application asks for changes: each is made once, in its
// order, and the mirror shows it; or it is refused, or an operator is asked.
func TestCommandsInChaos(t *testing.T) {
	v := try(t, options{duration: 20 * time.Second, seed: 1, entities: 300, rate: 100, commands: true})
	require.True(t, v.clean(), v.String())
	require.Positive(t, v.commands.done)
}

// The same of Stripe, whose objects are changed again and again.
func TestCommandsInChaosOfStripe(t *testing.T) {
	v := try(t, options{provider: simulator.Stripe, duration: 15 * time.Second, seed: 1, entities: 300, rate: 100, commands: true})
	require.True(t, v.clean(), v.String())
	require.Positive(t, v.commands.done)
}

// The same with one guarantee of commands switched off at a time: the line must turn red
// where that guarantee is looked at.
func TestCommandControls(t *testing.T) {
	t.Parallel()
	quiet := options{duration: 8 * time.Second, seed: 1, only: []string{"kill-consumer"}, entities: 60, rate: 30}
	of := func(provider string, only ...string) options {
		o := quiet
		if o.provider = provider; len(only) > 0 {
			o.only, o.every = only, time.Second
		}
		return o
	}
	doubled := func(v verdict) int { return v.commands.doubled }
	misordered := func(v verdict) int { return v.commands.misordered }
	for _, tc := range []struct {
		name string
		o    options
		off  []string // program:name
		red  func(verdict) int
	}{
		{"it is sent before it is begun", of(simulator.Lemon), []string{"worker:command-begin", "worker:kill@after-send:3"}, doubled},
		{"each attempt has a key of its own", of(simulator.Lemon, "provider-mute"), []string{"worker:command-key"}, doubled},
		{"what is unclear is taken for not done", of(simulator.Lemon, "provider-mute"), []string{"worker:command-doubt"}, doubled},
		{"the first of several is adopted", of(simulator.Lemon, "provider-mute", "provider-denies"), []string{"worker:command-find"}, func(v verdict) int { return v.commands.lost }},
		{"the api looks up refs", of(simulator.Stripe), []string{"api:command-refs", "worker:kill@after-bind:3"}, misordered},
		{"numbers are those of a clock", of(simulator.Stripe), []string{"api:command-n"}, misordered},
		{"what is unclear holds up nothing", of(simulator.Stripe, "provider-denies"), []string{"worker:command-block"}, misordered},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := tc.o
			o.commands, o.drain = true, 30*time.Second
			turnsRed(t, o, control{lookAtCommands, tc.red, true}, tc.off)
		})
	}
}
