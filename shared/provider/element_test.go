package provider

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatAnElementShows(t *testing.T) {
	d, err := Parse("small.yaml", []byte(strings.Replace(minimal, "    status: status", "    status: status\n    volatile: [seen, \"parts.*.at\"]\n    secret: [key]", 1)))
	require.NoError(t, err)
	const whole = `{"id":"7","status":"open","price":1.10,"seen":1,"key":"k","who":{"name":"é","of":{"a":1}},"parts":[{"n":1,"at":2},{"n":2}],"none":null}`
	for name, c := range map[string]struct {
		element string
		want    bool
	}{
		"all of it":              {whole, true},
		"its id alone":           {`{"id":"7"}`, true},
		"in another order":       {`{"status":"open","id":"7"}`, true},
		"other escapes":          {`{"id":"7","who":{"name":"\u00e9"}}`, true},
		"part of what is nested": {`{"id":"7","who":{"of":{}},"parts":[{"n":1},{}]}`, true},
		"another volatile value": {`{"id":"7","seen":9,"parts":[{"n":1,"at":9},{"n":2,"at":9}]}`, true},
		"another secret":         {`{"id":"7","key":"x"}`, true},
		"another value":          {`{"id":"7","status":"done"}`, false},
		"a number otherwise":     {`{"id":"7","price":1.1}`, false},
		"a text for a number":    {`{"id":"7","price":"1.10"}`, false},
		"another nested value":   {`{"id":"7","who":{"of":{"a":2}}}`, false},
		"a member more":          {`{"id":"7","more":1}`, false},
		"a null more":            {`{"id":"7","more":null}`, false},
		"a null for a value":     {`{"id":"7","status":null}`, false},
		"an element less":        {`{"id":"7","parts":[{"n":1}]}`, false},
		"an element more":        {`{"id":"7","parts":[{"n":1},{"n":2},{}]}`, false},
		"elements changed round": {`{"id":"7","parts":[{"n":2},{"n":1}]}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			long, err := d.Read("thing", []byte(whole))
			require.NoError(t, err)
			short, err := d.Read("thing", []byte(c.element))
			require.NoError(t, err)
			require.Equal(t, c.want, d.Shows("thing", short, long))
		})
	}
	require.False(t, d.Shows("thing", nil, nil))
}

func TestPartialElements(t *testing.T) {
	d, err := Parse("small.yaml", []byte(strings.Replace(minimal, "    status: status", "    status: status\n    list: /things\n    pagination: {style: cursor}\n    element: partial", 1)))
	require.NoError(t, err)
	require.True(t, d.Kind("thing").PartialElements)
	require.Empty(t, d.Kind("thing").ElementKey)
}
