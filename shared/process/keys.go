package process

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// CheckKeys reports kinds whose documents have keys of another form than the
// definition says: its ids: was changed. Such documents would never be found
// again, and a second one would be made of each entity. One document is read of
// each kind. definitions are the sources' by name.
func (p *Process) CheckKeys(ctx context.Context, store storage.Reader, definitions map[string]*provider.Definition) error {
	var wrong []error
	for _, source := range slices.Sorted(maps.Keys(definitions)) {
		for _, k := range definitions[source].Kinds() {
			f := storage.EntityFilter{Source: source, Kind: k.Name, Limit: 1}
			page, err := await(ctx, p, "store", func() (storage.Page[*storage.Document], error) { return store.Entities(ctx, f) })
			if err != nil {
				return fmt.Errorf("check the keys of %s/%s: %w", source, k.Name, err)
			}
			if len(page.Items) == 0 || (page.Items[0].Key.Under != "") == k.Qualified {
				continue
			}
			has, says := "provider", "parents"
			if !k.Qualified {
				has, says = says, has
			}
			wrong = append(wrong, fmt.Errorf("source %s: the mirror has documents of %s under keys that mean ids: %s (%s), and the definition of provider %s says ids: %s: "+
				"write ids: %[3]s again, or configure the source under a new name and fill the mirror of that with: reconciler backfill --source NAME",
				source, k.Name, has, page.Items[0].Key, definitions[source].Name, says))
		}
	}
	return errors.Join(wrong...)
}
