package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tarn-sync/tarn/shared/storage/open"
)

// Backup copies the SQLite file. No member runs meanwhile.
func (f *Fleet) Backup(ctx context.Context) error {
	return f.swap(ctx, func(file, backup string) error { return duplicate(file, backup) })
}

// Restore puts the copy of Backup in place of the file. No member runs meanwhile.
func (f *Fleet) Restore(ctx context.Context) error {
	return f.swap(ctx, func(file, backup string) error {
		for _, beside := range []string{"-wal", "-shm"} {
			if err := os.Remove(file + beside); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("restore: %w", err)
			}
		}
		if err := os.Remove(file); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
		return duplicate(backup, file)
	})
}

// swap does something to the file while no store is open.
func (f *Fleet) swap(ctx context.Context, do func(file, backup string) error) (err error) {
	if err := f.Store.Close(); err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	file := filepath.Join(f.plan.Dir, "tarn.db")
	if err := do(file, file+".backup"); err != nil {
		return err
	}
	f.Store, err = open.Open(ctx, open.Options{URL: f.Database.URL(), BulkSize: f.plan.bulk(), Logger: quiet})
	return err
}
