package command

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The header that names an account is printed with the request.
func TestProviderCheckPrintsTheScope(t *testing.T) {
	body := `{"id":"evt_1","created":1790000000,"type":"customer.created","livemode":true,"account":"acct_1","data":{"object":{"id":"cus_1","object":"customer"}}}`
	check := func(body string, more ...string) ran {
		return run(t, body, append([]string{"provider", "check", "stripe", "--event", "-", "--setting", "livemode=true"}, more...)...)
	}
	got := check(body, "--scoped")
	require.Equal(t, OK, got.status, got.out+got.err)
	require.Contains(t, got.out, "is about customer cus_1 of account acct_1\n")
	require.Contains(t, got.out, "  GET /customers/cus_1   (Stripe-Account: acct_1)\n")
	require.Contains(t, check(body).out, "  GET /customers/cus_1\n", "as a source that is not scoped asks")

	got = check(strings.Replace(body, "acct_1", "acct/1", 1), "--scoped")
	require.NotEqual(t, OK, got.status)
	require.Contains(t, got.out, "scope_unusable: what it has in the place of the scope's id can be none")
	require.NotContains(t, got.out, "GET")

	got = run(t, "", "provider", "check", "lemon", "--scoped")
	require.NotEqual(t, OK, got.status)
	require.Contains(t, got.err, "provider lemon has no scopes")
}
