package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
)

// isCommand reports whether a subject of the feed is a command.
func isCommand(subject string) bool { return strings.HasPrefix(subject, "command/") }

// Commands returns of how many commands the consumer holds a state.
func (c *Consumer) Commands() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for subject := range c.held {
		if isCommand(subject) {
			n++
		}
	}
	return n
}

// missingCommands names the commands that rest and that a consumer, which reads the feed,
// has not got as they are. A snapshot has none, so those are left out that the feed had
// before the consumer's last one began.
func (c *Consumer) missingCommands(ctx context.Context) (missing []string, err error) {
	c.mu.Lock()
	from, _, _ := strings.Cut(c.began, "~") // the position without the place in the snapshot
	c.mu.Unlock()
	if from == "" {
		return nil, nil // it has not begun, or is sent what changes
	}
	began, err := feed.ParseCursor(from)
	if err != nil {
		return nil, fmt.Errorf("read where a snapshot began: %w", err)
	}
	rows, err := c.fleet.Commands(ctx)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	items, err := c.fleet.commandItems(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, row := range rows {
		if !row.State.Rests() || len(c.kinds) > 0 && !slices.Contains(c.kinds, row.Kind) {
			continue
		}
		has, there := c.held["command/"+row.ID]
		switch item, fed := items[row.ID]; {
		case !fed || item.version < row.Rev:
			missing = append(missing, fmt.Sprintf("the feed has not got command %s, which is %s", row.ID, row.State))
		case item.position <= began.Position:
		case !there || has.version < row.Rev || has.state != fmt.Sprintf("%q", row.State):
			missing = append(missing, fmt.Sprintf("%s has command %s as %s in version %d, which is %s in version %d", c.Name, row.ID, has.state, has.version, row.State, row.Rev))
		}
	}
	return missing, nil
}

// commandItem is the newest item of the feed of a command.
type commandItem struct{ position, version int64 }

// commandItems reads the newest item of each command from the log.
func (f *Fleet) commandItems(ctx context.Context) (map[string]commandItem, error) {
	found := map[string]commandItem{}
	for position := int64(1); ; {
		batches, err := f.Store.Batches(ctx, Source, position, 100)
		if err != nil {
			return nil, fmt.Errorf("read the feed: %w", err)
		}
		if len(batches) == 0 {
			return found, nil
		}
		for _, b := range batches {
			for i, item := range b.Items {
				if _, ok := storage.CommandOfItem(item.Key); ok {
					found[item.Key.ID] = commandItem{b.First + int64(i), max(found[item.Key.ID].version, item.Version)}
				}
			}
			position = b.Next()
		}
	}
}
