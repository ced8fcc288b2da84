package deployments

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every guarantee in a guide names the test that proves it. A test that was
// renamed must not leave a promise behind that nothing proves.
func TestGuidesNameTestsThatExist(t *testing.T) {
	there := testsOf(t, "..")
	named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`")
	for file, text := range guides(t, "..") {
		for _, n := range named.FindAllStringSubmatch(text, -1) {
			require.True(t, there[n[1]], "%s names %s, which is no test", file, n[1])
		}
	}
	for _, promising := range []string{"../README.md", "GUARANTEES.md"} {
		text, err := os.ReadFile(promising)
		require.NoError(t, err)
		require.Greater(t, len(named.FindAll(text, -1)), 5, promising)
	}
}

// What a page links to in the repository exists, headings too.
func TestPagesLinkToWhatExists(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	all := guides(t, "..")
	changes, err := os.ReadFile("../CHANGELOG.md")
	require.NoError(t, err)
	all["../CHANGELOG.md"] = string(changes)
	for file, text := range all {
		for _, l := range link.FindAllStringSubmatch(withoutCode(text), -1) {
			if strings.Contains(l[1], "://") {
				continue
			}
			path, heading, _ := strings.Cut(l[1], "#")
			target := filepath.Join(filepath.Dir(file), path)
			if path == "" {
				target = file
			}
			require.True(t, exists(target), "%s links to %s", file, l[1])
			if heading != "" {
				require.Contains(t, headings(t, target), heading, "%s links to %s", file, l[1])
			}
		}
	}
}

// withoutCode leaves out blocks of code, where brackets mean other things.
func withoutCode(text string) string {
	return regexp.MustCompile("(?s)```.*?```").ReplaceAllString(text, "")
}

// The README is a door: it is read in one sitting, has the two commands and
// links every guide.
func TestReadmeIsShortAndLinksAllGuides(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	require.LessOrEqual(t, strings.Count(string(text), "\n"), 120)
	for file := range guides(t, "..") {
		if path := strings.TrimPrefix(file, "../"); path != "README.md" {
			require.True(t, strings.Contains(string(text), "]("+path+")"), "no link to %s", path)
		}
	}
}

// The guide of operations has every kind of alert and every
// target of the Makefile that its help lists.
func TestTheOperationsGuideIsComplete(t *testing.T) {
	guide, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, c := range []struct{ file, declared, shown string }{
		{"../shared/alert/alert.go", `(?m)^\t\w+ +Kind = "([a-z_]+)"`, "| `%s` |"},
		{"../Makefile", `(?m)^([a-z0-9-]+):.* ## `, "`make %s`"},
	} {
		text, err := os.ReadFile(c.file)
		require.NoError(t, err)
		names := regexp.MustCompile(c.declared).FindAllStringSubmatch(string(text), -1)
		require.Greater(t, len(names), 8, c.file)
		for _, name := range names {
			shown := strings.Replace(c.shown, "%s", name[1], 1)
			require.True(t, strings.Contains(string(guide), shown), "the guide lacks %s", shown)
		}
	}
}

// guides returns the texts for people of the tree, by path.
func guides(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return fs.SkipDir // what make image has made
		}
		if err != nil || d.IsDir() || filepath.Ext(path) != ".md" || d.Name() == "CHANGELOG.md" {
			return err
		}
		text, err := os.ReadFile(path)
		found[path] = string(text)
		return err
	}))
	require.Greater(t, len(found), 5)
	return found
}

// headings returns the anchors of a text's headings.
func headings(t *testing.T, file string) (anchors []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		plain := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(h[1]), "")
		anchors = append(anchors, strings.ReplaceAll(plain, " ", "-"))
	}
	return anchors
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// testsOf returns the names of all tests below a directory.
func testsOf(t *testing.T, root string) map[string]bool {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(`)
	found := map[string]bool{}
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			found[string(m[1])] = true
		}
		return err
	}))
	return found
}
