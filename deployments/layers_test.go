package deployments

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/tarn-sync/tarn/"

// source is one Go file of the tree.
type source struct {
	// dir is its directory below the module's root, "worker/app".
	dir, name string
	imports   []string
	// http are the names used of package net/http.
	http []string
}

func (s source) test() bool { return strings.HasSuffix(s.name, "_test.go") }

// below reports whether the file is in one of the directories or below.
func (s source) below(dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return within(s.dir, d) })
}

func within(dir, of string) bool { return dir == of || strings.HasPrefix(dir, of+"/") }

// rule is one sentence about who may import what: broken says how a file breaks
// it, "" if it does not.
type rule struct {
	name   string
	broken func(source) string
}

// proving are programs that prove something: they ship no more than tests do.
var proving = []string{"deployments/fleet", "deployments/chaos", "deployments/drift", "deployments/explore", "deployments/bench"}

// standins is a module of its own, with what tests and benchmarks start as processes. What
// tests the manifests of Kubernetes is another one below it.
const standins = "deployments/standins"

var rules = []rule{
	{"api, worker and reconciler never import each other", func(s source) string {
		binaries := []string{"api", "worker", "reconciler"}
		own, _, _ := strings.Cut(s.dir, "/")
		if !slices.Contains(binaries, own) {
			return ""
		}
		return s.imported(func(p string) bool {
			other, _, _ := strings.Cut(strings.TrimPrefix(p, module), "/")
			return strings.HasPrefix(p, module) && other != own && slices.Contains(binaries, other)
		})
	}},
	{"what is shared imports nothing of those who share it", func(s source) string {
		if !s.below("shared") {
			return ""
		}
		return s.imported(func(p string) bool { return strings.HasPrefix(p, module) && !strings.HasPrefix(p, module+"shared/") })
	}},
	{"shared/stream alone knows redis", func(s source) string {
		// The benchmarks' peers are by definition not ours.
		if s.test() || s.below("shared/stream", "deployments/bench", standins) {
			return ""
		}
		return s.imported(anyOf("github.com/redis/", "github.com/go-redsync/"))
	}},
	{"shared/storage alone knows databases", func(s source) string {
		// An example has a database of its own, or the application's part of Tarn's.
		if s.test() || s.below("shared/storage", "deployments/examples", standins) {
			return ""
		}
		return s.imported(anyOf("go.mongodb.org/", "modernc.org/sqlite", "zombiezen.com/go/sqlite", "database/sql"))
	}},
	{"shared/provider alone sends requests to providers", func(s source) string {
		// The simulator is a provider and sends webhooks; the mains in
		// deployments ask the api; --check asks the process next to it; alerts
		// go to an on-call service, outgoing webhooks to their receivers.
		if s.test() || s.below("shared/provider", "shared/alert", "reconciler/outgoing", "deployments") || s.dir+"/"+s.name == "shared/process/check.go" {
			return ""
		}
		for _, name := range s.http {
			if slices.Contains([]string{"Client", "DefaultClient", "Transport", "NewRequest", "NewRequestWithContext", "Get", "Post", "PostForm", "Head"}, name) {
				return "http." + name
			}
		}
		return ""
	}},
	{"what ships imports nothing of tests", func(s source) string {
		forTests := func(step string) bool { return strings.HasSuffix(step, "test") }
		if s.test() || slices.ContainsFunc(strings.Split(s.dir, "/"), forTests) || s.below(proving...) {
			return "" // what is named …test, and all below, is for tests
		}
		return s.imported(func(p string) bool {
			return anyOf("github.com/stretchr/", "go.uber.org/goleak", "testing", "net/http/httptest")(p) ||
				strings.HasPrefix(p, module) && strings.HasSuffix(p, "test")
		})
	}},
	{"what ships imports nothing of the simulated fleet", func(s source) string {
		const simulated = "worker/entity/simulation"
		if s.test() || s.below(simulated) || s.below(proving...) {
			return ""
		}
		return s.imported(anyOf(module + simulated))
	}},
	{"shared/loops imports the standard library alone", func(s source) string {
		if s.test() || !s.below("shared/loops") {
			return ""
		}
		return s.imported(func(p string) bool {
			host, _, _ := strings.Cut(p, "/")
			return strings.Contains(host, ".")
		})
	}},
	{"only the module of stand-ins imports FerretDB, the benchmarks' peers, providers' libraries, a browser's driver and Kubernetes' tools, and it imports nothing of Tarn", func(s source) string {
		if s.below(standins) {
			return s.imported(func(p string) bool {
				return strings.HasPrefix(p, module) && !within(strings.TrimPrefix(p, module), standins)
			})
		}
		return s.imported(anyOf("github.com/FerretDB/", "github.com/hibiken/", "github.com/ThreeDotsLabs/",
			"github.com/stripe/", "github.com/standard-webhooks/", "github.com/svix/", "github.com/PaddleHQ/",
			"github.com/go-playground/webhooks/", "github.com/chromedp/", "k8s.io/", "sigs.k8s.io/", "helm.sh/",
			"github.com/prometheus-operator/", module+standins))
	}},
	{"an example imports nothing of Tarn, so that it can be copied", func(s source) string {
		if !s.below("deployments/examples") || s.dir == "deployments/examples" && s.test() {
			return ""
		}
		return s.imported(func(p string) bool {
			return strings.HasPrefix(p, module) || strings.Contains(p, ".") && p != "modernc.org/sqlite"
		})
	}},
	{"the machine of entities has no I/O, context or clock", func(s source) string {
		if s.test() || s.dir != "worker/entity" {
			return ""
		}
		return s.imported(func(p string) bool {
			switch strings.TrimPrefix(p, module) {
			case "shared/condition", "shared/event", "shared/fate", "shared/fault", "shared/storage", "shared/provider", "shared/waiting":
				return false
			}
			return strings.HasPrefix(p, module) || strings.Contains(p, ".") || p == "context" || strings.HasPrefix(p, "net") || p == "os"
		})
	}},
	{"the machine of deliveries has no I/O, context or clock", func(s source) string {
		if s.test() || s.dir != "reconciler/delivery" {
			return ""
		}
		return s.imported(func(p string) bool {
			switch strings.TrimPrefix(p, module) {
			case "shared/event", "shared/fate", "shared/storage":
				return false
			}
			return strings.HasPrefix(p, module) || strings.Contains(p, ".") || p == "context" || strings.HasPrefix(p, "net") || p == "os"
		})
	}},
	{"the simulator knows nothing of Tarn but the words", func(s source) string {
		if s.test() || s.dir != "deployments/simulator" {
			return ""
		}
		return s.imported(func(p string) bool {
			return strings.HasPrefix(p, module) && p != module+"shared/event" && !within(strings.TrimPrefix(p, module), "deployments/simulator")
		})
	}},
}

func anyOf(prefixes ...string) func(string) bool {
	return func(p string) bool {
		return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(p, prefix) })
	}
}

func (s source) imported(bad func(string) bool) string {
	if i := slices.IndexFunc(s.imports, bad); i >= 0 {
		return s.imports[i]
	}
	return ""
}

func TestLayers(t *testing.T) {
	tree := read(t, "..")
	require.Greater(t, len(tree), 100, "the tree was not found")
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, s := range tree {
				if what := r.broken(s); what != "" {
					t.Errorf("%s/%s: %s", s.dir, s.name, what)
				}
			}
		})
	}
}

// What is in shared is used by two or more of api, worker and reconciler.
func TestWhatIsSharedIsShared(t *testing.T) {
	tree := read(t, "..")
	imported := map[string]map[string]bool{} // by directory
	for _, s := range tree {
		if s.test() {
			continue
		}
		if imported[s.dir] == nil {
			imported[s.dir] = map[string]bool{}
		}
		for _, p := range s.imports {
			if dir, ours := strings.CutPrefix(p, module); ours {
				imported[s.dir][dir] = true
			}
		}
	}
	users := map[string]map[string]bool{}
	var use func(user, dir string)
	use = func(user, dir string) {
		if users[dir][user] {
			return
		}
		if users[dir] == nil {
			users[dir] = map[string]bool{}
		}
		users[dir][user] = true
		for next := range imported[dir] {
			use(user, next)
		}
	}
	for _, user := range []string{"api", "worker", "reconciler"} {
		use(user, user+"/cmd")
	}
	for dir := range imported {
		forTests := slices.ContainsFunc(strings.Split(dir, "/"), func(step string) bool { return strings.HasSuffix(step, "test") })
		if within(dir, "shared") && !forTests && len(users[dir]) < 2 {
			t.Errorf("%s is used by %d of api, worker and reconciler: move it to its user, or out of shared", dir, len(users[dir]))
		}
	}
}

// Every rule can be broken.
func TestLayersCanBeBroken(t *testing.T) {
	offenders := []source{
		{dir: "api/app", name: "a.go", imports: []string{module + "worker"}},
		{dir: "shared/config", name: "a.go", imports: []string{module + "api"}},
		{dir: "worker", name: "a.go", imports: []string{"github.com/redis/go-redis/v9"}},
		{dir: "worker", name: "a.go", imports: []string{"go.mongodb.org/mongo-driver/v2/bson"}},
		{dir: "worker", name: "a.go", http: []string{"Client"}},
		{dir: "worker", name: "a.go", imports: []string{module + "shared/stream/redistest"}},
		{dir: "worker/app", name: "a.go", imports: []string{module + "worker/entity/simulation"}},
		{dir: "shared/loops", name: "a.go", imports: []string{module + "shared/telemetry"}},
		{dir: "shared/storage/mongo/mongotest", name: "a.go", imports: []string{"github.com/FerretDB/FerretDB/ferretdb"}},
		{dir: "deployments/examples/shop", name: "a.go", imports: []string{module + "shared/storage"}},
		{dir: "worker/entity", name: "a.go", imports: []string{module + "shared/stream"}},
		{dir: "reconciler/delivery", name: "a.go", imports: []string{module + "shared/feed"}},
		{dir: "deployments/simulator", name: "a.go", imports: []string{module + "shared/provider"}},
	}
	for i, r := range rules {
		t.Run(r.name, func(t *testing.T) { require.NotEmpty(t, r.broken(offenders[i])) })
	}
}

func read(t *testing.T, root string) []source {
	t.Helper()
	var tree []source
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".." {
			return fs.SkipDir
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		tree = append(tree, source{dir: filepath.ToSlash(dir), name: entry.Name(), imports: imports(parsed), http: usesOf(parsed, "http")})
		return nil
	})
	require.NoError(t, err)
	return tree
}

func imports(file *ast.File) []string {
	paths := make([]string, len(file.Imports))
	for i, spec := range file.Imports {
		paths[i], _ = strconv.Unquote(spec.Path.Value) // the parser has checked it
	}
	return paths
}

// usesOf returns the names used of a package.
func usesOf(file *ast.File, pkg string) []string {
	var names []string
	ast.Inspect(file, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			if of, ok := selector.X.(*ast.Ident); ok && of.Name == pkg && of.Obj == nil {
				names = append(names, selector.Sel.Name)
			}
		}
		return true
	})
	return names
}
