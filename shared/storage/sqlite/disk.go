package sqlite

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// DiskSpace returns how many bytes the file system of the database has left for this
// process, and how large it is. It is one system call.
func (s *Store) DiskSpace() (free, size uint64, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(s.path, &fs); err != nil {
		return 0, 0, fmt.Errorf("look at the file system of %s: %w", s.path, err)
	}
	block := uint64(fs.Bsize) //nolint:gosec // a block's size is positive
	return fs.Bavail * block, fs.Blocks * block, nil
}
