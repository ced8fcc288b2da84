package feed_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// A command under way keeps its secrets, since they are still to be sent. What is shown of it
// has none, and of an operation that no definition has any more nothing is shown.
func TestAShownCommandHasNoSecrets(t *testing.T) {
	lemon, err := provider.Builtin("lemon")
	require.NoError(t, err)
	view := feed.View{Operation: func(c *storage.Command) *provider.Op {
		op, _ := lemon.Op(c.Kind, c.Op)
		return op
	}}
	c := &storage.Command{
		ID: "cmd_1", Source: "lemon", Key: "k", Kind: "order", Op: "confirm", Lane: event.Key{Source: "lemon", Kind: "order", ID: "bord_1"},
		State: storage.CommandSending, At: time.Now(), Body: []byte(`{"sca":{"signature":"hush"},"appropriateness_consent":true}`),
		Request: &storage.CommandRequest{Method: "POST", Bytes: []byte(`{"sca":{"signature":"hush"}}`)},
		Result:  &storage.CommandResult{Status: 200, Body: []byte(`{"id":"bord_1"}`)},
	}
	whole := view.Whole(c)
	require.JSONEq(t, `{"appropriateness_consent":true}`, string(whole.Fields))
	require.JSONEq(t, `{"id":"bord_1"}`, string(whole.Result.Body))
	require.Contains(t, string(c.Body), "hush", "it is still to be sent")

	short := view.Short(c)
	require.Nil(t, short.Fields)
	require.Nil(t, short.Result.Body)

	c.Op = "gone"
	require.Nil(t, view.Whole(c).Fields, "anything may be secret")
}
