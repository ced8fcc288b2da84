package deployments_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// The guide of providers is followed as it is written: each file is made, each command
// is run, and what it prints is what the guide shows.
func TestTheGuideOfProviders(t *testing.T) {
	if testing.Short() {
		t.Skip("links binaries")
	}
	text := providerGuide(t)
	steps, _, found := strings.Cut(text, "\n## How signatures are laid out\n")
	require.True(t, found)
	g := newGuide(t)
	for _, b := range blocksOf(steps) {
		g.follow(b)
	}

	for complaint := range complaints {
		require.Contains(t, steps, "\n| `"+complaint+"` | ", "the guide has the complaint")
	}
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ").FindAllStringSubmatch(steps, -1)
	require.Len(t, rows, len(complaints), "each complaint of the guide is tried")
	for complaint, change := range complaints {
		t.Run(complaint, func(t *testing.T) { g.complains(t, complaint, change) })
	}

	// What a later event is about is read again, and a customer is named by its own events.
	g.larder.pack(12, 4711, "sent")
	g.run(`bin/tarn webhook send --url http://127.0.0.1:8080/webhooks/larder --provider larder.yaml --secret "$LARDER_SECRET" --type order.sent --event-id 7f0c2c --id customer=12 --id order=4711`)
	g.reads("http://127.0.0.1:8080/v1/entities/larder/order/4711", `"state":{"id":4711,"status":"sent"`, `"last_event":{"id":"7f0c2c"`)
	g.run(`bin/tarn webhook send --url http://127.0.0.1:8080/webhooks/larder --provider larder.yaml --secret "$LARDER_SECRET" --type customer.named --event-id 7f0c2b --id customer=12`)
	g.reads("http://127.0.0.1:8080/v1/entities/larder/customer/12", `"last_event":{"id":"7f0c2b"`)

	// The next sweep finds what no webhook said, of an order that no event ever named. It
	// need not take 15 minutes here.
	g.stop("bin/reconciler --config tarn.yaml")
	g.larder.pack(53, 4712, "eaten")
	g.start("bin/reconciler --config tarn.yaml", "TARN_SOURCES__LARDER__RECONCILE__SWEEP__EVERY=1s")
	g.reads("http://127.0.0.1:8080/v1/entities/larder/order/4712", `"state":{"id":4712,"status":"eaten"`)
}

// Each row of the table of sources that names a test has a case there.
func TestSourcesInTheGuideOfProviders(t *testing.T) {
	_, table, found := strings.Cut(providerGuide(t), "\n## Sources that were looked at\n")
	require.True(t, found)
	table, _, found = strings.Cut(table, "\n## ")
	require.True(t, found)
	envelopes, err := os.ReadFile("../shared/provider/envelopes_test.go")
	require.NoError(t, err)
	vectors, err := os.ReadFile("../shared/provider/signature/vectors_test.go")
	require.NoError(t, err)
	rows := 0
	for _, row := range regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$`).FindAllStringSubmatch(table, -1) {
		for test, cases := range map[string]string{"`TestEnvelopesOfProviders`": string(envelopes), "`TestVectors`": string(vectors)} {
			if strings.Contains(row[2]+row[3], test) {
				require.Regexp(t, `(?m)^\t\t"`+regexp.QuoteMeta(row[1])+`[",']`, cases, "%s has no case of %s", test, row[1])
			}
		}
		rows++
	}
	require.Greater(t, rows, 25)
}

func providerGuide(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../shared/provider/README.md")
	require.NoError(t, err)
	return string(text)
}

// block is a fenced block of a guide.
type block struct {
	language, text string
	// shown is the block that follows a block of commands at once, if it says what they
	// print.
	shown string
}

func blocksOf(guide string) (blocks []block) {
	fence := regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```\n")
	end := -1
	for _, at := range fence.FindAllStringSubmatchIndex(guide, -1) {
		b := block{language: guide[at[2]:at[3]], text: guide[at[4]:at[5]]}
		if n := len(blocks); n > 0 && end >= 0 && blocks[n-1].language == "sh" && b.language != "sh" && strings.TrimSpace(guide[end:at[0]]) == "" {
			blocks[n-1].shown = b.text
		} else {
			blocks = append(blocks, b)
		}
		end = at[1]
	}
	return blocks
}

// guide is a folder in which a guide is followed.
type guide struct {
	t      *testing.T
	dir    string
	larder *larder
	// here replaces addresses and paths of the guide by those of the test.
	here    *strings.Replacer
	exports string
	running map[string]*exec.Cmd
}

func newGuide(t *testing.T) *guide {
	t.Helper()
	g := &guide{t: t, dir: t.TempDir(), larder: startLarder(t), running: map[string]*exec.Cmd{}}
	programs, err := fleet.NewPrograms()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, programs.Close()) })
	require.NoError(t, os.Mkdir(filepath.Join(g.dir, "bin"), 0o700))
	for name, main := range map[string]string{"api": fleet.API, "worker": fleet.Worker, "reconciler": fleet.Reconciler, "tarn": "deployments/tarn"} {
		path, err := programs.Path(t.Context(), main, false)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(g.dir, "bin", name)))
	}
	replaced := []string{"https://api.larder.example", g.larder.URL, "redis://127.0.0.1:6379", redistest.Start(t).URL(), "/var/lib/tarn/", g.dir + "/"}
	for _, port := range []string{"8080", "8081", "8082"} {
		replaced = append(replaced, "127.0.0.1:"+port, free(t))
	}
	g.here = strings.NewReplacer(replaced...)
	t.Cleanup(func() {
		for _, command := range slices.Sorted(maps.Keys(g.running)) {
			g.stop(command)
		}
	})
	return g
}

// follow does what a block says.
func (g *guide) follow(b block) {
	g.t.Helper()
	name, isFile := strings.CutPrefix(strings.SplitN(b.text, "\n", 2)[0], "# ")
	switch {
	case b.language == "yaml" && isFile:
		require.NoError(g.t, os.WriteFile(filepath.Join(g.dir, name), []byte(g.here.Replace(b.text)), 0o600))
	case b.language == "sh":
		var printed string
		commands := strings.Split(strings.TrimSpace(strings.ReplaceAll(b.text, "\\\n", " ")), "\n")
		for _, command := range commands {
			if background, yes := strings.CutSuffix(command, " &"); yes {
				g.start(background)
			} else if url, yes := strings.CutPrefix(command, "curl -s "); yes {
				var pieces []string
				if len(commands) == 1 {
					pieces = piecesOf(b.shown) // it is asked until it answers so
				}
				printed += g.reads(url, pieces...)
			} else if strings.HasPrefix(command, "export ") {
				g.exports += command + "\n"
			} else {
				printed += g.run(command)
			}
		}
		requirePieces(g.t, printed, piecesOf(b.shown))
	}
}

func (g *guide) shell(command string) *exec.Cmd {
	cmd := exec.Command("sh", "-ec", g.exports+g.here.Replace(command))
	cmd.Dir = g.dir
	return cmd
}

// run runs a command, which must succeed, and returns its standard output.
func (g *guide) run(command string) string {
	g.t.Helper()
	cmd := g.shell(command)
	var failed bytes.Buffer
	cmd.Stderr = &failed
	out, err := cmd.Output()
	g.t.Logf("$ %s\n%s%s", command, out, failed.Bytes())
	require.NoError(g.t, err, command)
	return string(out)
}

// start starts a command that stop ends.
func (g *guide) start(command string, environ ...string) {
	g.t.Helper()
	cmd := g.shell("exec " + command)
	cmd.Env = append(os.Environ(), environ...)
	log, err := os.CreateTemp(g.dir, "*.log")
	require.NoError(g.t, err)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(g.t, cmd.Start())
	g.running[command] = cmd
	g.t.Cleanup(func() {
		if g.t.Failed() {
			said, _ := os.ReadFile(log.Name())
			g.t.Logf("%s\n%s", command, said)
		}
		_ = log.Close()
	})
}

func (g *guide) stop(command string) {
	g.t.Helper()
	cmd := g.running[command]
	delete(g.running, command)
	require.NoError(g.t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(g.t, cmd.Wait(), command)
}

// reads asks an address of the guide until it answers 200 and what the pieces say.
func (g *guide) reads(url string, pieces ...string) (answer string) {
	g.t.Helper()
	var problem error
	err := fleet.WaitFor(g.t.Context(), time.Minute, func() string { return fmt.Sprintf("%s: %v\n%s", url, problem, answer) }, func() (bool, error) {
		cmd := g.shell("curl -s --fail-with-body " + url)
		out, err := cmd.Output()
		answer = string(out)
		if problem = err; err == nil {
			problem = missing(answer, pieces)
		}
		return problem == nil, nil
	})
	require.NoError(g.t, err)
	g.t.Logf("$ curl -s %s\n%s", url, answer)
	return answer
}

// piecesOf returns what is shown, at line ends and … cut apart, without white space.
func piecesOf(shown string) (pieces []string) {
	for _, piece := range strings.FieldsFunc(shown, func(r rune) bool { return r == '…' || r == '\n' }) {
		if piece = unspaced(piece); piece != "" {
			pieces = append(pieces, piece)
		}
	}
	return pieces
}

func unspaced(text string) string { return strings.Join(strings.Fields(text), "") }

// missing says which of the pieces is not in the text, in their order.
func missing(text string, pieces []string) error {
	rest := unspaced(text)
	for _, piece := range pieces {
		_, after, found := strings.Cut(rest, unspaced(piece))
		if !found {
			return fmt.Errorf("no %s in %s", piece, rest)
		}
		rest = after
	}
	return nil
}

func requirePieces(t *testing.T, printed string, pieces []string) {
	t.Helper()
	require.NoError(t, missing(printed, pieces))
}

// complaint is a mistake that check complains about.
type complaint struct {
	// change has texts of larder.yaml and delivery.json, each with what stands there by
	// mistake.
	change []string
	// asks is whether the API is asked, and tampered whether the delivery was changed
	// after it was signed.
	asks, tampered bool
}

var complaints = map[string]complaint{
	"refused: missing: no header":                      {change: []string{"headers: [X-Larder-Signature]", "headers: [X-Larder-Sig]"}},
	"secret 1     does not match":                      {change: []string{`"customer": {"id": 12}}`, `"customer": {"id": 12}}` + "\n"}, tampered: true},
	"names_nothing: it names no entity":                {change: []string{"customer: customer.id", "customer: client.id", "order: order.id", "order: order.number"}},
	"does not name the entity that its type is about":  {change: []string{"order: order.id", "order: order.number", "touches: [order]", "touches: [order, customer]"}},
	"unknown_type: the definition knows neither":       {change: []string{`"order.packed"`, `"parcel.packed"`}},
	"created_at cannot be read as a time":              {change: []string{"time: unix\n", "time: rfc3339\n"}},
	"none yet, for the mirror has to know its parents": {change: []string{`, "customer": {"id": 12}`, ""}},
	"provider refuses our key":                         {change: []string{"auth: {header: X-Larder-Key}", "auth: bearer"}, asks: true},
	"not found, but not in the provider's own words":   {change: []string{"get: /customers/{customer}/orders", "get: /clients/{customer}/orders"}, asks: true},
	"(class gone)":    {change: []string{`"id": 4711`, `"id": 4710`}, asks: true},
	"list customer: ": {change: []string{"items: results", "items: data"}, asks: true},
}

// complains makes a mistake and runs check.
func (g *guide) complains(t *testing.T, message string, c complaint) {
	t.Helper()
	dir, both := t.TempDir(), ""
	for _, name := range []string{"larder.yaml", "delivery.json"} {
		text, err := os.ReadFile(filepath.Join(g.dir, name))
		require.NoError(t, err)
		both += string(text)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(strings.NewReplacer(c.change...).Replace(string(text))), 0o600))
	}
	for i := 0; i < len(c.change); i += 2 {
		require.Contains(t, both, c.change[i])
	}
	signed := filepath.Join(dir, "delivery.json")
	if c.tampered {
		signed = filepath.Join(g.dir, "delivery.json")
	}
	tarn := filepath.Join(g.dir, "bin", "tarn")
	header, err := exec.Command(tarn, "webhook", "sign", "--provider", filepath.Join(g.dir, "larder.yaml"), "--secret", secret, "--event", signed).Output()
	require.NoError(t, err)
	args := []string{"provider", "check", filepath.Join(dir, "larder.yaml"), "--event", filepath.Join(dir, "delivery.json"),
		"--secret", secret, "--header", strings.TrimSpace(string(header)), "--header", "X-Larder-Delivery: 7f0c2a"}
	if c.asks {
		args = append(args, "--api-url", g.larder.URL+"/v1", "--api-key", larderKey)
	}
	out, err := exec.Command(tarn, args...).CombinedOutput()
	t.Logf("%s", out)
	require.Contains(t, string(out), message)
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 3, exit.ExitCode())
}

// The key and the secret of the guide.
const (
	larderKey = "larder-test-key"
	secret    = "0123456789abcdef"
)

// larder is the provider of the guide: 53 customers, of which two have an order.
type larder struct {
	*httptest.Server

	mu     sync.Mutex
	orders map[string]string // by path
}

func startLarder(t *testing.T) *larder {
	t.Helper()
	l := &larder{orders: map[string]string{}}
	l.pack(12, 4711, "packed")
	l.pack(53, 4712, "packed")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/customers", func(w http.ResponseWriter, r *http.Request) {
		var all []string
		for id := 1; id <= 53; id++ {
			all = append(all, customer(id))
		}
		l.page(w, r, all)
	})
	mux.HandleFunc("GET /v1/customers/{customer}", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(r.PathValue("customer"))
		if err != nil || id < 1 || id > 53 {
			answer(w, http.StatusNotFound, `{"code": "no_such_thing"}`)
			return
		}
		answer(w, http.StatusOK, customer(id))
	})
	mux.HandleFunc("GET /v1/customers/{customer}/orders", func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		var all []string
		for path, order := range l.orders {
			if strings.HasPrefix(path, r.URL.Path+"/") {
				all = append(all, order)
			}
		}
		l.page(w, r, all)
	})
	mux.HandleFunc("GET /v1/customers/{customer}/orders/{order}", func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		order, found := l.orders[r.URL.Path]
		if !found {
			answer(w, http.StatusNotFound, `{"code": "no_such_thing"}`)
			return
		}
		answer(w, http.StatusOK, order)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusNotFound, `{"code": "no_such_path"}`)
	})
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Larder-Key") != larderKey {
			answer(w, http.StatusUnauthorized, `{"code": "bad_key"}`)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(l.Close)
	return l
}

func customer(id int) string { return fmt.Sprintf(`{"id": %d, "name": "Customer %d"}`, id, id) }

// pack gives an order a status. No webhook is sent.
func (l *larder) pack(customer, order int, status string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.orders[fmt.Sprintf("/v1/customers/%d/orders/%d", customer, order)] = fmt.Sprintf(`{"id": %d, "status": %q, "total": "12.50"}`, order, status)
}

// page answers one page of a list.
func (l *larder) page(w http.ResponseWriter, r *http.Request, all []string) {
	number, err := strconv.Atoi(r.FormValue("page"))
	if err != nil {
		number = 1
	}
	size, err := strconv.Atoi(r.FormValue("per_page"))
	if err != nil {
		size = 20
	}
	from := min(len(all), (number-1)*size)
	results := strings.Join(all[from:min(len(all), from+size)], ",")
	answer(w, http.StatusOK, fmt.Sprintf(`{"total": %d, "results": [%s]}`, len(all), results))
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

// free returns a loopback address without a listener.
func free(t *testing.T) string {
	t.Helper()
	addr, err := fleet.FreeAddr()
	require.NoError(t, err)
	return addr
}
