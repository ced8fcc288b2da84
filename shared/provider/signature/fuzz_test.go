package signature

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzVerify: whatever stands in the headers, an unsigned request is refused for one
// of the known reasons, and a signed one is accepted whatever other headers say.
func FuzzVerify(f *testing.F) {
	for _, header := range []string{
		"t=0,v1=3523dcc0013f08dfa1855772441107330218793f399d7452bd3ff2159c6e0285", "t=1,t=2,v1=", "v1=,,=", "v1,abc v1,def", "sha256=00",
		"ts=1;h1=00;h1=", "t=2026-07-01T12:00:00Z,v1=x", "t=99999999999999999999", " \t", ", , ,",
	} {
		f.Add(header, "0", []byte("{}"))
	}
	f.Add("v0=00", "1790000000000", []byte(adyenBody(adyenItemOne)))
	type one struct {
		v    *Verifier
		spec Spec
	}
	var all []one
	for _, spec := range templates {
		all = append(all, one{verifierOf(f, spec, address, secretOf(spec)), spec})
	}
	items := verifierOf(f, adyen, "", strings.Repeat("0", 64))
	reasons := []string{Missing, Malformed, Doubled, Mismatch, TooOld, InFuture}
	refused := func(t *testing.T, err error) {
		var e *Error
		require.ErrorAs(t, err, &e)
		require.Contains(t, reasons, e.Reason)
	}
	f.Fuzz(func(t *testing.T, value, stamp string, body []byte) {
		refused(t, items.Verify(Request{Body: body}, noon, anyTime))
		for _, c := range all {
			h := http.Header{}
			for _, covering := range c.v.scheme.Headers() {
				h[covering.Name.Key] = []string{value}
				if covering.Time.Key != "" {
					h[covering.Time.Key] = []string{stamp}
				}
				for _, name := range covering.Covered {
					h[name.Key] = []string{value}
				}
			}
			refused(t, c.v.Verify(Request{Header: h, Body: body}, noon, anyTime))
			good := signedRequest(t, c.spec, secretOf(c.spec), string(body))
			require.NoError(t, c.v.Verify(good, noon, time.Minute))
			last := c.spec.Headers[len(c.spec.Headers)-1]
			if len(c.spec.Headers) > 1 {
				good.Header.Set(last, value)
				require.NoError(t, c.v.Verify(good, noon, time.Minute), "the first header counts alone")
			}
			good.Header.Add(c.spec.Headers[0], value+"x")
			refused(t, c.v.Verify(good, noon, time.Minute))
		}
	})
}

// FuzzTemplate: a signed text is either refused with a reason, or has one body, and
// its pieces written again are the text.
func FuzzTemplate(f *testing.F) {
	for _, text := range []string{"{body}", "{time}.{body}", "v0:{time}:{body}", "{method}{url}{body}{time}", "{header:-id}.{time}.{body}", "{", "}", "{}", "{header:}{body}"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		before, after, err := parseTemplate(text)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		var again strings.Builder
		for _, p := range slices.Concat(before, []piece{{field: theBody}}, after) {
			switch p.field {
			case literal:
				again.WriteString(p.text)
			case aHeader:
				again.WriteString("{header:" + p.text + "}")
			default:
				for name, field := range fields {
					if field == p.field {
						again.WriteString("{" + name + "}")
					}
				}
			}
		}
		require.Equal(t, text, again.String())
		require.False(t, holds(theBody, before, after))
	})
}
