package process

import (
	"context"
	"errors"
	"fmt"

	"github.com/tarn-sync/tarn/shared/mirror"
)

// CheckKeys reports kinds whose documents have keys of another form than the
// definition says: its ids: was changed. Such documents would never be found
// again, and a second one would be made of each entity. One document is read of
// each kind.
func (p *Process) CheckKeys(ctx context.Context, store mirror.Reader, sources []Source) error {
	var wrong []error
	for _, s := range sources {
		for _, k := range s.Definition.Kinds() {
			f := mirror.EntityFilter{Source: s.Name, Kind: k.Name, Limit: 1}
			page, err := await(ctx, p, "the store", func() (mirror.Page[*mirror.Document], error) { return store.Entities(ctx, f) })
			if err != nil {
				return fmt.Errorf("check the keys of %s/%s: %w", s.Name, k.Name, err)
			}
			if len(page.Items) == 0 || (page.Items[0].Key.Under != "") == k.Qualified {
				continue
			}
			has, says := "provider", "parents"
			if !k.Qualified {
				has, says = says, has
			}
			wrong = append(wrong, fmt.Errorf("source %s: the mirror keeps %s under keys made for ids: %s (%s), and provider %s says ids: %s: "+
				"write ids: %[3]s again, or configure the source under a new name and fill that with: reconciler backfill --source NAME",
				s.Name, k.Name, has, page.Items[0].Key, s.Definition.Name, says))
		}
	}
	return errors.Join(wrong...)
}
