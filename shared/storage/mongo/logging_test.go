package mongo

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the driver logs is a line of ours, without the documents of commands.
func TestTheDriverLogsAsWeDo(t *testing.T) {
	var b strings.Builder
	d := newDriverLog(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})))
	d.Info(0, "Command started", "commandName", "insert", "command", `{"insert":"PRIVATE"}`, "message", "Command started")
	d.Info(1, "Command succeeded", "reply", `{"PRIVATE":1}`)
	d.Error(errors.New("no sink"), "error writing", "failure", "PRIVATE", "serverPort", 27017)
	d.Error(errors.New("no sink"), "error writing") // the same within ten seconds
	require.Equal(t, `level=INFO msg="the mongodb driver reports" text="Command started" commandName=insert
level=WARN msg="the mongodb driver reports" text="error writing" error="no sink" serverPort=27017
`, b.String(), "the driver's second level is for debugging")
}
