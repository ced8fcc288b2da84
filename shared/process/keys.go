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

// mostKeys is how many documents of a kind are read where some may have keys of scopes and
// others not.
const mostKeys = 200

// unscoped reports documents within scopes, of a source that is not scoped any more: their
// requests would lack the scope, so that nothing would be found.
func unscoped(docs []*storage.Document) error {
	for _, doc := range docs {
		if doc.Key.Under != "" {
			return fmt.Errorf("source %s: the mirror has documents within accounts (%s), and the source is not scoped: "+
				"write scoped: true again, or configure the source under a new name and fill the mirror of that with: reconciler backfill --source NAME",
				doc.Key.Source, doc.Key)
		}
	}
	return nil
}

// CheckKeys reports kinds whose documents have keys of another form than the
// definition says: its ids: was changed. Such documents would never be found
// again, and a second one would be made of each entity. It also reports documents of
// a source that was scoped and is not. One document is read of each kind, and mostKeys where
// the definition has a scope. definitions are the sources' by name.
func (p *Process) CheckKeys(ctx context.Context, store storage.Reader, definitions map[string]*provider.Definition) error {
	var wrong []error
	for _, source := range slices.Sorted(maps.Keys(definitions)) {
		for _, k := range definitions[source].Kinds() {
			f := storage.EntityFilter{Source: source, Kind: k.Name, Limit: 1}
			if k.InScopes() {
				continue // with and without a scope
			}
			if definitions[source].HasScope() {
				f.Limit = mostKeys
			}
			page, err := await(ctx, p, "store", func() (storage.Page[*storage.Document], error) { return store.Entities(ctx, f) })
			if err != nil {
				return fmt.Errorf("check the keys of %s/%s: %w", source, k.Name, err)
			}
			if !k.Qualified && definitions[source].HasScope() {
				wrong = append(wrong, unscoped(page.Items))
				continue
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
