package provider

import (
	flags "flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

var update = flags.Bool("update", false, "write the table of keys into the guide")

const templateFile = "examples/template.yaml"

// keyRow is a key of the template with its explanation.
type keyRow struct{ key, value, text string }

var templateLine = regexp.MustCompile(`^( *)(?:#( +))?(- )?([a-z0-9_]+): ?(.*?)(?: ?# (.*))?$`)

// templateRows returns the keys of the template, with names that are free put as <name>.
// Of keys that occur several times the first counts.
func templateRows(t *testing.T) (rows []keyRow) {
	t.Helper()
	text, err := os.ReadFile(templateFile)
	require.NoError(t, err)
	type step struct {
		indent int
		name   string
	}
	var way []step
	_, body, _ := strings.Cut(string(text), "\nprovider:")
	for line := range strings.Lines("provider:" + body) {
		m := templateLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil {
			continue
		}
		indent := len(m[1]) + max(len(m[2])-1, 0) + len(m[3])
		for len(way) > 0 && way[len(way)-1].indent >= indent {
			way = way[:len(way)-1]
		}
		way = append(way, step{indent, m[4]})
		names := make([]string, len(way))
		for i, s := range way {
			names[i] = s.name
		}
		key := general(strings.Join(names, "."))
		if m[6] != "" && !slices.ContainsFunc(rows, func(r keyRow) bool { return r.key == key }) {
			rows = append(rows, keyRow{key, m[5], m[6]})
		}
	}
	return rows
}

var freeNames = regexp.MustCompile(`^(kinds|events|envelope\.ids|envelope\.require|envelope\.challenge\.when|envelope\.challenge\.token|api\.headers|api\.webhooks\.expected|api\.errors\.entity)\.[^.]+`)

var freeOps = regexp.MustCompile(`^(kinds\.<name>\.writes)\.[^.]+`)

// general puts <name> where a definition chooses the name itself. What a pagination of a
// list of its own may have is explained once, at api.pagination.
func general(key string) string {
	key = freeNames.ReplaceAllString(key, "$1.<name>")
	key = freeOps.ReplaceAllString(key, "$1.<name>")
	if below, ok := strings.CutPrefix(key, "kinds.<name>.writes.<name>.key."); ok {
		key = "api.writes.key." + below
	}
	if _, below, ok := strings.Cut(key, ".pagination."); ok {
		key = "api.pagination." + below
	}
	return strings.TrimSuffix(key, ".first_of") // explained at touches
}

// The template has every key that a definition may have, and the guide has them as a table.
func TestTheTemplateHasEveryKey(t *testing.T) {
	rows := templateRows(t)
	text, err := os.ReadFile(templateFile)
	require.NoError(t, err)
	d, err := Parse("template.yaml", text)
	require.NoError(t, err)
	status, ok := d.Expects("order.done", "order")
	require.True(t, ok)
	require.Equal(t, "done", status)

	known := map[string]bool{}
	for name, replace := range map[string][]string{
		"as it is":     nil,
		"OAuth 2":      {"    header: Shop-Key", "    oauth2: {token_url: /t}"},
		"a time apart": {"    time: ts", "    equals: \"=\"", "    equals: \"=\" # Between the name of a part and its value. Default: \"=\".\n", "", "    # header: Shop-Time", "    header: Shop-Time"},
	} {
		variant := strings.NewReplacer(replace...).Replace(string(text))
		for key := range allowed(t, name, variant) {
			known[general(key)] = true
		}
	}
	for key := range known {
		require.True(t, slices.ContainsFunc(rows, func(r keyRow) bool { return r.key == key || strings.HasPrefix(r.key, key+".") }),
			"%s does not explain %s", templateFile, key)
	}
	for _, r := range rows {
		require.True(t, known[r.key] || strings.HasSuffix(r.key, ".<name>"), "%s explains %s, which no definition has", templateFile, r.key)
	}

	var table strings.Builder
	table.WriteString("| Key | Example | Meaning |\n|---|---|---|\n")
	cell := strings.NewReplacer("|", `\|`, "<", `\<`)
	for _, r := range rows {
		example := ""
		if r.value != "" {
			example = "`" + strings.ReplaceAll(r.value, "|", `\|`) + "`"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", r.key, example, cell.Replace(r.text))
	}
	guide, err := os.ReadFile("README.md")
	require.NoError(t, err)
	const from, to = "<!-- The table is made from examples/template.yaml: go test ./shared/provider -run TestTheTemplateHasEveryKey -update -->\n", "<!-- end of the table -->\n"
	before, rest, found := strings.Cut(string(guide), from)
	require.True(t, found, "the guide does not say where the table begins")
	_, after, found := strings.Cut(rest, to)
	require.True(t, found, "the guide does not say where the table ends")
	want := before + from + table.String() + to + after
	if *update {
		require.NoError(t, os.WriteFile("README.md", []byte(want), 0o644)) //nolint:gosec // a page for everyone
		return
	}
	require.Equal(t, want, string(guide), "run this test with -update")
}

var wantsOneOf = regexp.MustCompile(`(?m): ([a-z0-9_.]*)\bnothing_of_this_name: is unknown here: want one of (.*)$`)

// allowed returns the keys that the parser says it knows: each mapping of the definition is
// given one that does not exist.
func allowed(t *testing.T, name, text string) map[string]bool {
	t.Helper()
	keys := map[string]bool{}
	var mappings int
	var root yaml.Node
	require.NoError(t, yaml.Unmarshal([]byte(text), &root), name)
	var count func(n *yaml.Node)
	count = func(n *yaml.Node) {
		if n.Kind == yaml.MappingNode {
			mappings++
		}
		for _, c := range n.Content {
			count(c)
		}
	}
	count(&root)
	for i := range mappings {
		var doc yaml.Node
		require.NoError(t, yaml.Unmarshal([]byte(text), &doc))
		at := -1
		var add func(n *yaml.Node)
		add = func(n *yaml.Node) {
			if n.Kind == yaml.MappingNode {
				if at++; at == i {
					n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "nothing_of_this_name"}, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "x"})
					return
				}
			}
			for _, c := range n.Content {
				add(c)
			}
		}
		add(&doc)
		out, err := yaml.Marshal(&doc)
		require.NoError(t, err)
		if _, err = Parse("template.yaml", out); err == nil {
			continue // a mapping whose names are free
		}
		for _, m := range wantsOneOf.FindAllStringSubmatch(err.Error(), -1) {
			for key := range strings.SplitSeq(m[2], ", ") {
				keys[m[1]+key] = true
			}
		}
	}
	require.NotEmpty(t, keys)
	return keys
}
