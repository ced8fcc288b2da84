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
