package sqlite

import (
	"path/filepath"
	"testing"
)

// BenchmarkCommit compares a group of one with what the looks at its files cost.
func BenchmarkCommit(b *testing.B) {
	s, err := Open(b.Context(), filepath.Join(b.TempDir(), "tarn.db"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	b.Run("commit", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Claim(b.Context(), order); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("looks of one commit", func(b *testing.B) {
		for b.Loop() {
			for range 2 {
				if err := s.writer.file.check(); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
