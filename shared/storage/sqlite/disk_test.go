package sqlite

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

// On a network file system the database works until a second machine opens it.
func TestNetworkFileSystemsAreWarnedOf(t *testing.T) {
	for kind, want := range map[uint32]string{0x6969: "file_system=NFS", 0xfe534d42: "file_system=SMB", 0xef53: "", 0x01021994: ""} { // ext4, tmpfs
		var log bytes.Buffer
		warnOfNetwork(slog.New(slog.NewTextHandler(&log, nil)), "tarn.db", kind)
		require.Equal(t, want != "", log.Len() > 0, log.String())
		require.Contains(t, log.String(), want)
	}
}
