package mongotest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// starterIn makes this binary a program that starts a server in a directory,
// prints FerretDB's address and waits to be killed.
const starterIn = "TARN_MONGOTEST_STARTER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(starterIn); dir != "" {
		s, err := Start(context.Background(), dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(s.process.addr)
		select {}
	}
	os.Exit(m.Run())
}

// A test that is killed cleans nothing up.
func TestFerretDBEndsWithAStarterThatIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts FerretDB")
	}
	starter := exec.CommandContext(t.Context(), os.Args[0])
	starter.Env = append(os.Environ(), starterIn+"="+t.TempDir())
	starter.Stderr = os.Stderr
	stdout, err := starter.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, starter.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	conn, err := net.Dial("tcp", strings.TrimSpace(line))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()

	require.NoError(t, starter.Process.Kill())
	require.Error(t, starter.Wait(), "it was killed")

	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "FerretDB is still there")
}

func TestAFrozenServerAnswersOnceItIsThawed(t *testing.T) {
	if testing.Short() {
		t.Skip("starts FerretDB")
	}
	s, err := Start(t.Context(), t.TempDir())
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	client, err := mongo.Connect(options.Client().ApplyURI(s.URI("tarn")))
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Disconnect(t.Context())) }()
	ping := func(ctx context.Context) error {
		return client.Database("tarn").RunCommand(ctx, bson.D{{Key: "ping", Value: 1}}).Err()
	}
	require.NoError(t, ping(t.Context()))

	thaw := s.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, ping(ctx), context.DeadlineExceeded)
	thaw()
	require.NoError(t, ping(t.Context()))
}

func TestAFerretDBThatFailedIsAnError(t *testing.T) {
	if testing.Short() {
		t.Skip("starts FerretDB")
	}
	s, err := Start(t.Context(), t.TempDir())
	require.NoError(t, err)
	s.process.kill()
	require.ErrorContains(t, s.Close(), "killed")
}
