package fleet

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a connection reads after its consumer was killed, or has lost what it stored, must
// not be stored: the cursor behind it would pass what was lost.
func TestAKilledConsumerStoresNothing(t *testing.T) {
	const rest = `{"items": [{"id": "order/o2@1", "type": "dev.tarn.entity.changed", "subject": "order/o2", "data": {"version": 1, "state": {}}}], "after": "1.2.a"}`
	for name, hit := range map[string]func(*Consumer){"killed": (*Consumer).Kill, "reset": (*Consumer).Forget} {
		t.Run(name, func(t *testing.T) {
			c := &Consumer{Name: name, at: fromStart, held: map[string]copied{}, sent: map[string]int64{}}
			ended := false
			first, at := c.begin(func() { ended = true })
			require.Equal(t, fromStart, at)
			require.NoError(t, first.receive([]byte(`{"type": "dev.tarn.entity.changed", "subject": "order/o1", "data": {"version": 1, "state": {}}}`)))
			hit(c)
			require.True(t, ended)
			require.NoError(t, first.page(strings.NewReader(rest)), "it was read before the connection ended")
			require.Empty(t, c.held)
			require.Equal(t, fromStart, c.at)

			next, at := c.begin(func() {})
			require.Equal(t, fromStart, at)
			require.NoError(t, first.page(strings.NewReader(rest)), "a late one beside the next connection")
			require.Equal(t, fromStart, c.at)
			require.NoError(t, next.page(strings.NewReader(rest)))
			require.Equal(t, "1.2.a", c.at)
			require.Contains(t, c.held, "order/o2")
		})
	}
}

// A consumer whose database is restored from a backup goes on from the place of the backup.
func TestARestoredConsumerIsWhereItWas(t *testing.T) {
	c := &Consumer{at: "1", began: "b", held: map[string]copied{"order/o1": {version: 1}}, sent: map[string]int64{"order/o1": 1}}
	c.Restore()
	c.held["order/o1"], c.held["order/o2"], c.at, c.began = copied{version: 2}, copied{version: 1}, "2", "c"
	ended := false
	c.begin(func() { ended = true })
	c.Restore()
	require.True(t, ended)
	require.Equal(t, map[string]copied{"order/o1": {version: 1}}, c.held)
	require.Equal(t, []string{"1", "b"}, []string{c.at, c.began})
	c.at = "3"
	c.Restore()
	require.Equal(t, "3", c.at, "it is backed up again")
}
