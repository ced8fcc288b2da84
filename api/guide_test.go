package api

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/provider"
)

// section is the part of the guide under a heading of the third level.
func section(t *testing.T, heading string) string {
	t.Helper()
	guide, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(guide), "\n### "+heading+"\n")
	require.True(t, found, "the guide has no section %s", heading)
	return regexp.MustCompile(`(?m)^##`).Split(rest, 2)[0]
}

// blocks are the code blocks of a language in a text.
func blocks(text, language string) (found []string) {
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}

// TestTheGuideShowsEveryRoute with bodies that fit the schemas of the document:
// what a route is sent and what it answers.
func TestTheGuideShowsEveryRoute(t *testing.T) {
	_, raw := readDocument(t)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("openapi.json", doc))
	fits := func(schema, body string) {
		t.Helper()
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
		require.NoError(t, err, body)
		if schema == "" {
			return // a body that the document does not describe
		}
		compiled, err := compiler.Compile("openapi.json" + schema)
		require.NoError(t, err)
		require.NoError(t, compiled.Validate(value), "%s: %s", schema, body)
	}
	type content struct {
		Content map[string]struct {
			Schema struct {
				Ref string `json:"$ref"`
			}
		}
	}
	var d struct {
		Paths map[string]map[string]struct {
			RequestBody content
			Responses   map[string]content
		}
	}
	require.NoError(t, json.Unmarshal(raw, &d))
	sent := regexp.MustCompile(`-d '([^']*)'`)
	for path, methods := range d.Paths {
		for method, operation := range methods {
			route := strings.ToUpper(method) + " " + path
			text := section(t, "`"+route+"`")
			for _, m := range sent.FindAllStringSubmatch(text, -1) {
				ref := operation.RequestBody.Content["application/json"].Schema.Ref
				require.NotEmpty(t, ref, "%s takes no body", route)
				fits(ref, m[1])
			}
			if path == "/metrics" || route == "GET /webhooks/{source}" {
				continue // not JSON
			}
			answers := blocks(text, "json")
			require.NotEmpty(t, answers, "%s shows no answer", route)
			good := operation.Responses["200"]
			if _, there := operation.Responses["202"]; there {
				good = operation.Responses["202"]
			}
			for _, answer := range answers {
				fits(good.Content["application/json"].Schema.Ref, answer)
			}
		}
	}
}

// TestTheSigningRecipes runs the shell lines of the guide against an api. They
// need openssl and curl, as those do who use them.
func TestTheSigningRecipes(t *testing.T) {
	recipes := blocks(section(t, "Sign a webhook of your own"), "sh")
	require.Len(t, recipes, 2)
	secret := regexp.MustCompile(`(?m)^SECRET=(\S+)`)
	address := regexp.MustCompile(`(?m)^URL=http://[^/]+(/webhooks/(\S+))`)
	for _, recipe := range recipes {
		path := address.FindStringSubmatch(recipe)
		require.NotNil(t, path, recipe)
		key := secret.FindStringSubmatch(recipe)
		require.NotNil(t, key, recipe)
		def := builtin(t)
		if path[2] == "shop" {
			def = standard(t)
		}
		v, err := provider.NewVerifier(def, provider.VerifierOptions{Secrets: []string{key[1]}})
		require.NoError(t, err)
		f := newFixture(t, func(o *Options) {
			o.Now, o.Sources = time.Now, []Source{{Name: path[2], Provider: def, Verifier: v}}
		})
		server := httptest.NewServer(f.Handler())
		t.Cleanup(server.Close)
		run := func(script string) string {
			t.Helper()
			answer, err := exec.CommandContext(t.Context(), "sh", "-euc", script).CombinedOutput() //nolint:gosec // the guide's
			require.NoError(t, err, "%s", answer)
			return string(answer)
		}
		here := address.ReplaceAllString(recipe, "URL="+server.URL+"$1")
		require.JSONEq(t, `{"status": "accepted", "id": "evt_mine_1"}`, run(here), path[2])
		other := secret.ReplaceAllString(here, "SECRET=whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
		require.Contains(t, run(other), problems.Base+"mismatch", path[2])
	}
}

func builtin(t *testing.T) *provider.Definition {
	t.Helper()
	def, err := provider.Builtin("lemon")
	require.NoError(t, err)
	return def
}

// standard is the lemon definition with the other scheme of signatures.
func standard(t *testing.T) *provider.Definition {
	t.Helper()
	text, err := os.ReadFile("../shared/provider/definitions/lemon.yaml")
	require.NoError(t, err)
	text = bytes.Replace(text, []byte("scheme: timestamped-hmac"), []byte("scheme: standard-webhooks"), 1)
	text = bytes.Replace(text, []byte("headers: [LMG-Signature, Lemon-Markets-Signature]"), []byte("headers: [webhook-signature]"), 1)
	def, err := provider.Parse("standard.yaml", text)
	require.NoError(t, err)
	return def
}
