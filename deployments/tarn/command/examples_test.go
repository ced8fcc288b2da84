package command

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A webhook that is made up and signed by an example of a definition is what provider
// check accepts and understands.
func TestExamplesAreSignedAndChecked(t *testing.T) {
	const dir = "../../../shared/provider/examples"
	for name, c := range map[string]struct {
		secret, eventType string
		ids               []string
		request           string
	}{
		"github":   {secretText, "issues.opened", []string{"owner=o", "repository=r", "issue=7"}, "GET /repos/o/r/issues/7\n"},
		"shopify":  {secretText, "orders/create", []string{"order=450789469"}, "GET /orders/450789469.json\n"},
		"paddle":   {secretText, "subscription.updated", []string{"subscription=sub_1", "customer=ctm_1"}, "GET /subscriptions/sub_1\n"},
		"standard": {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "user.created", []string{"user=u_1"}, "GET /users/u_1\n"},
	} {
		definition := filepath.Join(dir, name+".yaml")
		t.Run(name, func(t *testing.T) {
			key := "@" + file(t, "secret", c.secret)
			args := []string{"webhook", "sign", "--provider", definition, "--secret", key, "--type", c.eventType, "--event-id", "evt_1"}
			for _, id := range c.ids {
				args = append(args, "--id", id)
			}
			signed := run(t, "", args...)
			require.Equal(t, OK, signed.status, signed.err)
			headers, body, _ := strings.Cut(signed.out, "\n\n")
			check := []string{"provider", "check", definition, "--event", "-", "--secret", key}
			for header := range strings.SplitSeq(headers, "\n") {
				check = append(check, "--header", header)
			}
			got := run(t, strings.TrimSuffix(body, "\n"), check...)
			require.Equal(t, OK, got.status, got.out+got.err)
			require.Contains(t, got.out, "  accepted\n")
			require.Contains(t, got.out, "event evt_1 of type "+c.eventType+"\n")
			require.Contains(t, got.out, c.request)
			require.Equal(t, OK, run(t, "", "provider", "show", definition).status)
		})
	}
}
