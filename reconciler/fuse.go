package reconciler

import (
	"context"

	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/storage"
)

// reasonHeld is why commands are held after a restore.
const reasonHeld = "the database was restored from an older copy: commands that are done may be queued in it again"

// holdCommands holds the commands of a source whose database was restored, until an
// operator releases them, and returns what the alert says of that. It is called before the
// new generation begins: until Redis knows that, the next sequencer finds the restore
// again, and workers begin no command. A source that has no commands and no key for any
// needs no operator.
func (s *sequencer) holdCommands(ctx context.Context) (said string, err error) {
	if fault.Off("command-fuse") {
		return "", nil
	}
	err = s.persist(ctx, "hold commands after a restore", func() error {
		if !s.writes {
			found, err := s.store.Commands().List(ctx, storage.CommandFilter{Source: s.name, Limit: 1})
			if err != nil || len(found.Items) == 0 {
				return err
			}
		}
		said = "; its commands are held until an operator releases them"
		return s.store.Commands().Hold(ctx, storage.CommandHold{Source: s.name, Since: s.now().UTC(), Reason: reasonHeld})
	})
	return said, err
}
