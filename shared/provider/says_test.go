package provider

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// requireSays reads a request with the standard library alone and wants in it what the
// command has: every field, and nothing besides but what the operation adds.
func requireSays(t *testing.T, d *Definition, cmd Command, req Request) {
	t.Helper()
	u, err := url.Parse("https://api.example/v1" + req.Path)
	require.NoError(t, err)
	require.Equal(t, "api.example", u.Host)
	require.NotContains(t, u.Path, "/../")
	want := map[string]string{}
	if len(cmd.Body) > 0 {
		flatten(t, want, "", decoded(t, cmd.Body), func() string { return unsetText(d) })
	}
	o := mustOp(t, d, cmd.Kind, cmd.Op)
	if o.Creates() {
		if o.OwnID != "" {
			want["["+o.OwnID+"]"] = cmd.Ref
		}
		if p := o.kind.writing.ref; p != nil {
			want["["+p[0]+"]["+p[1]+"]"] = cmd.Ref
		}
	}
	if o.fixed != nil {
		flatten(t, want, "", decoded(t, o.fixed.appendJSON(nil)), func() string { return "" })
	}
	got := map[string]string{}
	switch req.Type {
	case "application/json":
		flatten(t, got, "", decoded(t, req.Bytes), func() string { return jsonNull })
	case "application/x-www-form-urlencoded":
		values, err := url.ParseQuery(string(req.Bytes))
		require.NoError(t, err)
		for name, all := range values {
			require.Len(t, all, 1, name)
			first := name
			rest := ""
			if i := bytes.IndexByte([]byte(name), '['); i >= 0 {
				first, rest = name[:i], name[i:]
			}
			got["["+first+"]"+rest] = all[0]
		}
	default:
		require.Empty(t, req.Bytes)
	}
	require.Equal(t, want, got)
}

// unsetText is what null becomes.
func unsetText(d *Definition) string {
	if d.api.writes.encoding == encodingForm {
		return ""
	}
	return jsonNull
}

func decoded(t *testing.T, text []byte) any {
	t.Helper()
	in := json.NewDecoder(bytes.NewReader(text))
	in.UseNumber()
	var v any
	require.NoError(t, in.Decode(&v))
	return v
}

// flatten notes each value by its path in brackets.
func flatten(t *testing.T, out map[string]string, at string, v any, null func() string) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v[refMember].(string); ok && at != "" {
			_, name, _ := bytes.Cut([]byte(ref), []byte("/"))
			out[at] = "id-of-" + string(name)
			return
		}
		for name, member := range v {
			flatten(t, out, at+"["+name+"]", member, null)
		}
	case []any:
		if len(v) == 0 {
			out[at] = null()
		}
		for i, e := range v {
			flatten(t, out, at+"["+strconv.Itoa(i)+"]", e, null)
		}
	case string:
		out[at] = v
	case json.Number:
		out[at] = v.String()
	case bool:
		out[at] = strconv.FormatBool(v)
	case nil:
		out[at] = null()
	}
}
