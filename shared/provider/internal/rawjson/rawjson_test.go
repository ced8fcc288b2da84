package rawjson

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func parse(t *testing.T, text string) *Doc {
	t.Helper()
	d, err := Parse([]byte(text), Options{})
	require.NoError(t, err)
	return d
}

func paths(t *testing.T, texts ...string) []Path {
	t.Helper()
	var out []Path
	for _, s := range texts {
		p, err := ParsePath(s)
		require.NoError(t, err)
		out = append(out, p)
	}
	return out
}

func TestParseTakesWhatJSONIs(t *testing.T) {
	for _, text := range []string{
		`{}`, `[]`, `""`, `0`, `-0`, `1.10`, `1e400`, `-1.5E-7`, `12345678901234567890`, `true`, `false`, `null`,
		" \t\r\n{ \"a\" : [ 1 , { } , [ ] ] } ", `"\u00e4\n\"\\\/"`, `{"":1}`, `"ä€𝄞"`, `"\ud834\udd1e"`,
	} {
		t.Run(text, func(t *testing.T) {
			require.True(t, json.Valid([]byte(text)), "the test is wrong")
			_, err := Parse([]byte(text), Options{})
			require.NoError(t, err)
		})
	}
}

func TestParseRefusesInvalidJSON(t *testing.T) {
	for name, c := range map[string]struct{ text, err string }{
		"nothing":                {"", "ends at byte 0"},
		"white space":            {"  ", "ends at byte 2"},
		"half an object":         {`{"a":1`, "ends at byte 6"},
		"half a string":          {`"ab`, "ends at byte 3"},
		"half an escape":         {`"\`, "ends at byte 2"},
		"half a \\u":             {`"\u00`, "ends at byte"},
		"a bad \\u":              {`"\u00g0"`, "hex digit"},
		"a bad escape":           {`"\x"`, "backslash"},
		"a bare word":            {`nul`, "instead of a value"},
		"trailing garbage":       {`{} x`, "after the document"},
		"two documents":          {`{}{}`, "after the document"},
		"trailing comma":         {`{"a":1,}`, "member name"},
		"trailing comma in []":   {`[1,]`, "instead of a value"},
		"leading comma":          {`[,1]`, "instead of a value"},
		"no colon":               {`{"a" 1}`, "instead of ':'"},
		"no comma":               {`[1 2]`, "instead of ',' or ']'"},
		"wrong bracket":          {`[1}`, "instead of ',' or ']'"},
		"name without quotes":    {`{a:1}`, "member name"},
		"leading zero":           {`01`, "after the document"},
		"plus":                   {`+1`, "instead of a value"},
		"dot without digits":     {`1.`, "ends at byte 2"},
		"e without digits":       {`1e+`, "ends at byte 3"},
		"minus alone":            {`-`, "ends at byte 1"},
		"line break in string":   {"\"a\nb\"", "inside a string"},
		"last control character": {"\"\x1f\"", "inside a string"},
		"not UTF-8":              {"\"\xff\"", "not UTF-8"},
		"byte order mark":        {"\ufeff{}", "instead of a value"},
		"NUL":                    {"\x00", "instead of a value"},
	} {
		t.Run(name, func(t *testing.T) {
			require.False(t, json.Valid([]byte(c.text)) && utf8.ValidString(c.text), "the test is wrong")
			_, err := Parse([]byte(c.text), Options{})
			require.ErrorContains(t, err, c.err)
		})
	}
}

func TestParseBoundsDepth(t *testing.T) {
	nested := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	_, err := Parse(nested(5), Options{MaxDepth: 5})
	require.NoError(t, err)
	_, err = Parse(nested(6), Options{MaxDepth: 5})
	require.ErrorContains(t, err, "nested deeper than 5")
	_, err = Parse([]byte(strings.Repeat(`{"a":`, 1_000_000)), Options{})
	require.ErrorContains(t, err, "nested deeper than 128")
}

func TestWhatHasTwoReadings(t *testing.T) {
	for name, c := range map[string]struct {
		text, path string
		twice      bool
	}{
		"once":                {`{"id":"a"}`, "id", false},
		"twice":               {`{"id":"a","id":"b"}`, "id", true},
		"twice, escaped":      {`{"id":"a","\u0069d":"b"}`, "id", true},
		"the way there twice": {`{"a":{"id":1},"a":{}}`, "a.id", true},
		"beside the way":      {`{"a":{"id":1,"b":2,"b":3},"c":1,"c":2}`, "a.id", false},
		"nothing there":       {`{"a":1}`, "a.id", false},
	} {
		t.Run(name, func(t *testing.T) {
			path, err := ParsePath(c.path)
			require.NoError(t, err)
			v, err := parse(t, c.text).Root().AtOnly(path)
			if c.twice {
				require.ErrorContains(t, err, "occurs twice")
				return
			}
			require.NoError(t, err)
			require.Equal(t, parse(t, c.text).Root().At(path).Raw(), v.Raw())
		})
	}
}

func TestHalfPairs(t *testing.T) {
	for text, half := range map[string]bool{
		`"plain"`: false, `"\ud834\udd1e"`: false, `"a\ud834\udd1eb\n"`: false, `"\\ud834"`: false, `"\u00e4\""`: false, `7`: false,
		`"\ud834"`: true, `"\ud834\u0041"`: true, `"\udd1e"`: true, `"\ud834\ud834\udd1e"`: true, `"\ud834x\udd1e"`: true, `"\ud834\udd1e\udd1e"`: true,
	} {
		require.Equal(t, half, parse(t, text).Root().HalfPair(), text)
	}
}

func TestWholeNumbers(t *testing.T) {
	for text, whole := range map[string]bool{
		"7": true, "0": true, "-7": true, "12345678901234567890123": true,
		"7.0": false, "7e1": false, "7E1": false, "-0": false, `"7"`: false, "null": false,
	} {
		got, ok := parse(t, text).Root().Whole()
		require.Equal(t, whole, ok, text)
		if whole {
			require.Equal(t, text, string(got))
		}
	}
}

func TestTextsThatAreNotUTF8(t *testing.T) {
	const text = "{\"a\":\"\xff\",\"b\":\"c\"}"
	_, err := Parse([]byte(text), Options{})
	require.ErrorContains(t, err, "not UTF-8")
	d, err := Parse([]byte(text), Options{AnyBytes: true})
	require.NoError(t, err)
	b, _ := d.Root().Get("b").Text()
	require.Equal(t, "c", b)
}

func TestValues(t *testing.T) {
	root := parse(t, `{"a":{"b":[1.10,"\u00e4",{"c":null}]},"d":"x","d":"y","e\n":true}`).Root()
	require.Equal(t, `[1.10,"\u00e4",{"c":null}]`, string(root.At(Path{"a", "b"}).Raw()))
	require.Equal(t, None, root.At(Path{"a", "z", "b"}).Kind())
	require.Equal(t, True, root.Get("e\n").Kind())

	d, ok := root.Get("d").Text()
	require.True(t, ok)
	require.Equal(t, "y", d, "the last of two counts")
	_, ok = root.Get("a").Text()
	require.False(t, ok)

	var elements []string
	for _, v := range root.At(Path{"a", "b"}).Elements() {
		elements = append(elements, string(v.Raw()))
	}
	require.Equal(t, []string{"1.10", `"\u00e4"`, `{"c":null}`}, elements)
	var names []string
	for name := range root.Members() {
		names = append(names, string(name))
	}
	require.Equal(t, []string{"a", "d", "d", "e\n"}, names)
	require.Nil(t, Value{}.Raw())
}

func TestCut(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		paths []string
		want  string
	}{
		"nothing there":      {`{"a": 1.10 }`, []string{"b", "a.b", "*.x"}, `{"a": 1.10 }`},
		"first":              {`{"s":1, "b":2}`, []string{"s"}, `{"b":2}`},
		"middle":             {`{"a":1 , "s":{"x":[1]} , "b":2}`, []string{"s"}, `{"a":1 , "b":2}`},
		"last":               {`{"a":1 , "s":2 }`, []string{"s"}, `{"a":1 }`},
		"only":               {`{ "s" : 1 }`, []string{"s"}, `{  }`},
		"all":                {`{"s":1,"t":2}`, []string{"s", "t"}, `{}`},
		"the last two":       {`{"a":1,"s":1,"t":2}`, []string{"s", "t"}, `{"a":1}`},
		"first and last":     {`{"s":1,"a":1,"t":2}`, []string{"s", "t"}, `{"a":1}`},
		"nested":             {`{"sca":{"challenge":"x","required":true},"z":1.0}`, []string{"sca.challenge"}, `{"sca":{"required":true},"z":1.0}`},
		"in a cut one":       {`{"a":{"s":1,"b":2},"c":3}`, []string{"a", "a.s"}, `{"c":3}`},
		"in every element":   {`[{"s":1},{"a":1,"s":2},[],3]`, []string{"*.s"}, `[{},{"a":1},[],3]`},
		"in every member":    {`{"x":{"s":1},"y":{"s":2}}`, []string{"*.s"}, `{"x":{},"y":{}}`},
		"written in escapes": {`{"\u0073":1,"a":2}`, []string{"s"}, `{"a":2}`},
		"twice":              {`{"s":1,"a":2,"s":3}`, []string{"s"}, `{"a":2}`},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, string(parse(t, c.text).Cut(paths(t, c.paths...))))
		})
	}
}

func TestCanonical(t *testing.T) {
	for name, c := range map[string]struct {
		text      string
		without   []string
		unordered bool
		want      string
	}{
		"order and space":       {`{ "b":1 , "a":[ 2 , 1 ] }`, nil, false, `{"a":[2,1],"b":1}`},
		"numbers by text":       {`[1.10,1.1,1e2,100,-0]`, nil, false, `[1.10,1.1,1e2,100,-0]`},
		"strings by meaning":    {`["\u0041\/\u00e4","\n\u0001\"\\"]`, nil, false, `["A/ä","\u000a\u0001\"\\"]`},
		"rare line separator":   {"[\"\\u2028\",\"\u2028\"]", nil, false, "[\"\u2028\",\"\u2028\"]"},
		"UTF-16 order":          {`{"\ufb33":1,"😀":2,"a":3}`, nil, false, "{\"a\":3,\"😀\":2,\"\ufb33\":1}"},
		"without":               {`[{"p":1,"q":2},{"p":3}]`, []string{"*.p"}, false, `[{"q":2},{}]`},
		"unordered":             {`[{"b":2,"a":1},{"a":0}]`, nil, true, `[{"a":0},{"a":1,"b":2}]`},
		"ordered":               {`[2,1]`, nil, false, `[2,1]`},
		"unordered is no array": {`{"a":[2,1]}`, nil, true, `{"a":[2,1]}`},
	} {
		t.Run(name, func(t *testing.T) {
			d, without := parse(t, c.text), paths(t, c.without...)
			require.Equal(t, c.want, string(d.Canonical(without, c.unordered)))
			require.Equal(t, "before"+c.want, string(d.AppendCanonical([]byte("before"), without, c.unordered)))
		})
	}
}

// FuzzParse holds the parser to encoding/json, an independent reading of the
// same grammar, and what it makes of a document to its own promises.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"a":[1.10,true,null,"\u00e4\n"],"s":{"s":1}}`, `[{"s":1},{"a":2,"s":3}]`, `"\ud834\udd1e"`, `{"a":1,"a":2}`, `[1,]`, `-0.0e+1`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := Parse(text, Options{MaxDepth: 100})
		if err != nil {
			deep := strings.Contains(err.Error(), "nested deeper")
			require.True(t, deep || !json.Valid(text) || !utf8.Valid(text), "refused valid JSON: %v", err)
			return
		}
		require.True(t, json.Valid(text), "took invalid JSON")
		secrets := []Path{{"s"}, {"*", "s"}}
		cut := d.Cut(secrets)
		require.True(t, json.Valid(cut), "cut to %s", cut)
		canonical := d.Canonical(nil, false)
		again, err := Parse(canonical, Options{MaxDepth: 100})
		require.NoError(t, err, "canonical form %s", canonical)
		require.Equal(t, string(canonical), string(again.Canonical(nil, false)))
		rest, err := Parse(cut, Options{MaxDepth: 100})
		require.NoError(t, err)
		require.Empty(t, rest.find(secrets), "a secret is left in %s", cut)
		require.Equal(t, string(d.Canonical(secrets, true)), string(rest.Canonical(nil, true)))
	})
}

// Every byte at every place of a word, with every neighbour that could borrow
// from it or be taken for it.
func TestPlainFindsTheFirst(t *testing.T) {
	naive := func(s []byte) int {
		for i, c := range s {
			if c == '"' || c == '\\' || c < 0x20 {
				return i
			}
		}
		return len(s)
	}
	for a := range 256 {
		for _, b := range []byte{0, 1, 0x1f, 0x20, '!', '"', '#', '[', '\\', ']', 0x7f, 0x80, 0x9f, 0xa0, 0xa2, 0xdc, 0xff} {
			for at := range 17 {
				s := []byte("aaaaaaaaaaaaaaaaaaa")
				s[at], s[at+1] = byte(a), b
				require.Equal(t, naive(s), plain(s), "%q", s)
				require.Equal(t, naive(s[:at+1]), plain(s[:at+1]), "%q", s[:at+1])
			}
		}
	}
}

func TestDocIsUsedAgain(t *testing.T) {
	d := parse(t, `{"a":[1,2,{"b":"c"}]}`)
	require.NoError(t, d.Parse([]byte(`{"x":1}`), Options{}))
	require.Equal(t, None, d.Root().Get("a").Kind())
	require.Equal(t, Number, d.Root().Get("x").Kind())
	require.Equal(t, `{"x":1}`, string(d.Root().Raw()))

	require.EqualError(t, d.Parse([]byte(`{"x":`), Options{}), "ends at byte 5")
	require.NoError(t, d.Parse([]byte(`[]`), Options{}))
	for range d.Root().Elements() {
		require.Fail(t, "left over")
	}
}
