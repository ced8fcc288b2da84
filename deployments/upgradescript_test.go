package deployments

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeDocker keeps containers as files ID with "SERVICE IMAGE HEALTH". New ones get the health
// of the file next, and as many are made as the file room allows. Once something was started,
// ps fails if there is a file lost.
var fakeDocker = map[string]string{
	"docker": `cd "$FAKE"
case $1 in
inspect) format=$3; shift 3; for id; do read -r _ image health <"containers/$id"
	case $format in *Health*) echo "$health" ;; *) echo "$id $image" ;; esac; done ;;
stop) shift; for id; do [ -f "containers/$id" ] || exit 1; done ;;
rm) shift; cd containers; rm "$@" ;;
*) exit 9 ;;
esac`,
	"compose": `cd "$FAKE"
of() { grep -l "^$1 " containers/* /dev/null | sed 's|.*/||'; }
case $1 in
ps) [ ! -f lost ] || [ ! -f started ] || exit 1; of "$3" ;;
up) for service; do :; done; touch started; read -r health <next; read -r room <room
	want=$(echo "$*" | sed "s/.*--scale $service=\([0-9]*\).*/\1/"); have=$(of "$service" | wc -l)
	while [ "$have" -lt "$want" ] && [ "$room" -gt 0 ]; do have=$((have + 1)); room=$((room - 1))
		echo "$service $TARN_IMAGE $health" >"containers/$service-new-$have"; done
	echo "$room" >room ;;
*) exit 9 ;;
esac`,
	"sleep": `exit 0`,
}

// The script that upgrades a stack ends old processes once as many new ones are healthy, and
// none before.
func TestUpgradeScript(t *testing.T) {
	for name, c := range map[string]struct {
		runs  string // containers: service image health
		files map[string]string
		want  string // the services and images after it
		says  string // why it fails, "" if it does not
	}{
		"all are replaced": {"worker old healthy, worker old healthy, reconciler old healthy, api old healthy", nil,
			"api new, reconciler new, worker new, worker new", ""},
		"a service of which none runs":  {"worker old healthy, api old healthy", nil, "api new, worker new", ""},
		"an old one that is ill":        {"worker old unhealthy, worker old healthy", nil, "worker new, worker new", ""},
		"nothing runs":                  {"redis old healthy", nil, "redis old", "COMPOSE_PROJECT_NAME"},
		"new ones are ill":              {"worker old healthy, api old healthy", map[string]string{"next": "starting"}, "api old, worker new, worker old", "docker rm --force worker-new-2"},
		"a new one is not listed":       {"worker old healthy, worker old healthy", map[string]string{"room": "1"}, "worker new, worker old, worker old", "fewer than 2 new ones run"},
		"what runs cannot be listed":    {"worker old healthy, api old healthy", map[string]string{"lost": ""}, "api old, worker new, worker old", "-"},
		"it is run again":               {"worker old healthy, worker new healthy, api old healthy", nil, "api new, worker new", ""},
		"it is run again after the end": {"worker new healthy, api new healthy", map[string]string{"room": "0"}, "api new, worker new", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write := func(name, text string, mode os.FileMode) {
				// A program cannot be run while a process has its file open for writing, as one has
				// that another test is just starting.
				syscall.ForkLock.RLock()
				defer syscall.ForkLock.RUnlock()
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), mode)) //nolint:gosec // a test's
			}
			require.NoError(t, os.Mkdir(filepath.Join(dir, "containers"), 0o755))
			for name, script := range fakeDocker {
				write(name, "#!/bin/sh\nset -eu\n"+script, 0o755)
			}
			write("next", "healthy", 0o644)
			write("room", "9", 0o644)
			for name, text := range c.files {
				write(name, text, 0o644)
			}
			for i, container := range strings.Split(c.runs, ", ") {
				service, _, _ := strings.Cut(container, " ")
				write(filepath.Join("containers", service+"-"+string(rune('a'+i))), container, 0o644)
			}
			script := exec.CommandContext(t.Context(), "docker/upgrade.sh", filepath.Join(dir, "compose")) //nolint:gosec // ours
			script.Env = append(os.Environ(), "FAKE="+dir, "PATH="+dir+":"+os.Getenv("PATH"), "TARN_IMAGE=new")
			said, err := script.CombinedOutput()
			if c.says == "" {
				require.NoError(t, err, "%s", said)
			} else {
				require.Error(t, err, "%s", said)
				require.Contains(t, string(said)+"-", c.says)
			}
			var got []string
			files, err := filepath.Glob(filepath.Join(dir, "containers", "*"))
			require.NoError(t, err)
			for _, file := range files {
				text, err := os.ReadFile(file)
				require.NoError(t, err)
				got = append(got, strings.Join(strings.Fields(string(text))[:2], " "))
			}
			slices.Sort(got)
			require.Equal(t, c.want, strings.Join(got, ", "))
		})
	}
}
