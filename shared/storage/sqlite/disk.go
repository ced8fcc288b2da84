package sqlite

import (
	"fmt"
	"log/slog"

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

// networks are the file systems that reach a disk of another machine, by the kinds that
// statfs(2) names.
var networks = map[uint32]string{
	0x6969: "NFS", 0xff534d42: "CIFS", 0xfe534d42: "SMB", 0x517b: "SMB", 0x00c36400: "Ceph", 0x01021997: "9P", 0x0bd00bd0: "Lustre", 0x01161970: "GFS2",
}

// warnOfNetwork warns of a file system on which SQLite's write-ahead log does not work
// between machines, and locks may not hold: https://www.sqlite.org/wal.html.
func warnOfNetwork(log *slog.Logger, path string, kind uint32) {
	if name, ok := networks[kind]; ok {
		log.Warn("the database lies on a network file system; processes of several machines would damage it, and its locks may not hold: put it on a disk of this machine",
			"path", path, "file_system", name)
	}
}
