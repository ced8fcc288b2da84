package signature

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// adyenKey, with an item and its signature, is in Adyen's documentation.
const adyenKey = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"

const adyenItemOne = `{"additionalData":{"hmacSignature":"coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="},"amount":{"value":1130,"currency":"EUR"},` +
	`"pspReference":"7914073381342284","eventCode":"AUTHORISATION","eventDate":"2019-05-06T17:15:34.121+02:00","merchantAccountCode":"TestMerchant",` +
	`"merchantReference":"TestPayment-1407325143704","success":"true"}`

func adyenBody(items ...string) string {
	for i := range items {
		items[i] = `{"NotificationRequestItem":` + items[i] + `}`
	}
	return `{"live":"false","notificationItems":[` + strings.Join(items, ",") + `]}`
}

func TestAdyenItems(t *testing.T) {
	changed := func(old, to string) string { return strings.Replace(adyenItemOne, old, to, 1) }
	for name, c := range map[string]struct {
		body, reason string
	}{
		"two items":               {adyenBody(adyenItemOne, adyenItemOne), ""},
		"success as a flag":       {adyenBody(changed(`"success":"true"`, `"success":true`)), ""},
		"what is not signed":      {adyenBody(changed("2019-05-06", "2020-05-06")), ""},
		"a bad one among good":    {adyenBody(adyenItemOne, changed("1130", "1131"), adyenItemOne), Mismatch},
		"another success":         {adyenBody(changed(`"true"`, `"false"`)), Mismatch},
		"a reference that is new": {adyenBody(changed(`"pspReference"`, `"originalReference":"x","pspReference"`)), Mismatch},
		"a field twice":           {adyenBody(changed(`"success":"true"`, `"success":"true","success":"false"`)), Malformed},
		"the items twice":         {strings.Replace(adyenBody(adyenItemOne), `{"live"`, `{"notificationItems":[],"live"`, 1), Malformed},
		"no signature":            {adyenBody(changed(`"hmacSignature"`, `"other"`)), Missing},
		"an empty signature":      {adyenBody(changed("coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0=", "")), Missing},
		"a signature in hex":      {adyenBody(changed("coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0=", "72:8a")), Malformed},
		"no items":                {`{"live":"false"}`, Missing},
		"an empty list":           {`{"notificationItems":[]}`, Missing},
		"null":                    {`{"notificationItems":null}`, Missing},
		"items that are none":     {`{"notificationItems":[1]}`, Malformed},
		"not JSON":                {`live=false`, Malformed},
		"nothing":                 {``, Malformed},
		"ten thousand":            {adyenBody(strings.Split(strings.Repeat(adyenItemOne+"\n", 9_999)+adyenItemOne, "\n")...), ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, secrets := range [][]string{{adyenKey}, {strings.Repeat("0", 64), strings.ToLower(adyenKey)}} {
				requireReason(t, verifierOf(t, adyen, "", secrets...).Verify(Request{Body: []byte(c.body)}, time.Time{}, time.Minute), c.reason)
			}
		})
	}
	requireReason(t, verifierOf(t, adyen, "", strings.Repeat("0", 64)).Verify(Request{Body: []byte(adyenBody(adyenItemOne))}, time.Time{}, time.Minute), Mismatch)
	_, err := schemeOf(t, adyen).Verifier([]string{"a secret that is text"}, "")
	require.EqualError(t, err, "webhook secret 1: is not hex")
}
