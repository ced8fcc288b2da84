package rawjson

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReplace(t *testing.T) {
	const text = "{ \"a\" : [1, 2] ,\"b\":{\"c\":true,\"d\":\"\u00e4\"}}\n"
	d := parse(t, text)
	at := func(path ...string) Value { return d.Root().At(path) }
	for want, edits := range map[string][]Edit{
		text: nil,
		"{ \"a\" : [] ,\"b\":{\"c\":false,\"d\":\"\u00e4\"}}\n": {{at("b", "c"), []byte("false")}, {at("a"), []byte("[]")}},
		"{ \"a\" : [1, 2] ,\"b\":7}\n":                          {{at("b", "c"), []byte("false")}, {at("b"), []byte("7")}},
		"null\n":                                                {{at(), []byte("null")}, {at("a"), []byte("[]")}},
	} {
		require.Equal(t, want, string(d.Replace(edits)))
	}
	require.Equal(t, text, string(d.Replace([]Edit{{at("x"), []byte("1")}, {parse(t, "1").Root(), []byte("2")}})), "values of other documents, and none")
}
