package feed_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
)

func TestFilters(t *testing.T) {
	items := map[string]event.Key{
		"order": order(1), "account": {Source: "lemon", Kind: "account", ID: "a"},
		"command of an order": storage.CommandItem("lemon", "order", "cmd_1"), "command of an account": storage.CommandItem("lemon", "account", "cmd_2"),
	}
	for name, c := range map[string]struct {
		kinds, of []string
		wants     []string
		text      string
		types     []string
	}{
		"everything":         {nil, nil, []string{"order", "account", "command of an order", "command of an account"}, "", []string{"command", "entity"}},
		"a kind":             {[]string{"order"}, nil, []string{"order"}, "order", []string{"entity"}},
		"kinds":              {[]string{"order", "account", "order"}, nil, []string{"order", "account"}, "account,order", []string{"entity"}},
		"entities":           {nil, []string{"entity"}, []string{"order", "account"}, ";entity", []string{"entity"}},
		"commands":           {nil, []string{"command"}, []string{"command of an order", "command of an account"}, ";command", []string{"command"}},
		"commands of a kind": {[]string{"order"}, []string{"command"}, []string{"command of an order"}, "order;command", []string{"command"}},
		"all of a kind":      {[]string{"order"}, []string{"entity", "command"}, []string{"order", "command of an order"}, "order;command,entity", []string{"command", "entity"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := feed.NewFilter(c.kinds, c.of)
			var wants []string
			for item, key := range items {
				if f.Wants(key) {
					wants = append(wants, item)
				}
			}
			require.ElementsMatch(t, c.wants, wants)
			require.Equal(t, c.text, f.String())
			require.Equal(t, c.types, f.Types())
			require.Equal(t, len(c.wants) == len(items), f.All())
		})
	}
}
