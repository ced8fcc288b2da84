package deployments

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/provider/signature"
)

// recorded are the payloads of GitHub that github.com/go-playground/webhooks has: the type
// that the example reads from each, and the entities that it names. An event that is
// empty is the file's name, with _ for -.
var recorded = map[string]struct{ event, typ, names string }{
	"check-run":                             {"", "check_run.rerequested", ""},
	"check-suite":                           {"", "check_suite.requested", ""},
	"code_scanning_alert":                   {"", "code_scanning_alert.reopened_by_user", ""},
	"commit-comment":                        {"", "commit_comment.created", ""},
	"create":                                {"", "create", "repository@baxterthehacker/public-repo"},
	"delete":                                {"", "delete", "repository@baxterthehacker/public-repo"},
	"dependabot_alert":                      {"", "dependabot_alert.dismissed", ""},
	"deploy_key":                            {"", "deploy_key.created", ""},
	"deployment":                            {"", "deployment", ""},
	"deployment-status":                     {"", "deployment_status", ""},
	"fork":                                  {"", "fork", "repository@baxterthehacker/public-repo"},
	"github-app-authorization":              {"", "github_app_authorization.revoked", ""},
	"gollum":                                {"", "gollum", ""},
	"installation":                          {"", "installation.deleted", ""},
	"installation-repositories":             {"", "installation_repositories.removed", ""},
	"integration-installation":              {"", "integration_installation.created", ""},
	"integration-installation-repositories": {"", "integration_installation_repositories.removed", ""},
	"issue-comment":                         {"", "issue_comment.created", "issue@baxterthehacker,public-repo/2"},
	"issues":                                {"", "issues.opened", "issue@baxterthehacker,public-repo/2 repository@baxterthehacker/public-repo"},
	"label":                                 {"", "label.created", ""},
	"member":                                {"", "member.added", ""},
	"membership":                            {"", "membership.added", ""},
	"milestone":                             {"", "milestone.created", ""},
	"org-block":                             {"", "org_block.blocked", ""},
	"organization":                          {"", "organization.member_invited", "organization/baxterandthehackers"},
	"page-build":                            {"", "page_build", ""},
	"ping":                                  {"", "ping", ""},
	"project":                               {"", "project.created", ""},
	"project-card":                          {"", "project_card.created", ""},
	"project-column":                        {"", "project_column.created", ""},
	"public":                                {"", "public", "repository@baxterthehacker/public-repo"},
	"pull-request":                          {"", "pull_request.opened", "pull_request@baxterthehacker,public-repo/1 issue@baxterthehacker,public-repo/1 repository@baxterthehacker/public-repo"},
	"pull-request-issue-comment":            {"issue_comment", "issue_comment.created", "issue@chhsia0,knative-route-demo/3"},
	"pull-request-review":                   {"", "pull_request_review.submitted", "pull_request@baxterthehacker,public-repo/8 issue@baxterthehacker,public-repo/8"},
	"pull-request-review-comment":           {"", "pull_request_review_comment.created", "pull_request@baxterthehacker,public-repo/1 issue@baxterthehacker,public-repo/1"},
	"push":                                  {"", "push", "repository@binkkatal/sample_app"},
	"release":                               {"", "release.published", ""},
	"repository":                            {"", "repository.created", "repository@baxterandthehackers/new-repository"},
	"repository-edited":                     {"repository", "repository.created", "repository@baxterandthehackers/new-repository"},
	"repository-vulnerability-alert":        {"", "repository_vulnerability_alert.dismiss", ""},
	"security-advisory":                     {"", "security_advisory.published", ""},
	"status":                                {"", "status", ""},
	"team":                                  {"", "team.created", ""},
	"team-add":                              {"", "team_add", ""},
	"watch":                                 {"", "watch.started", "repository@baxterthehacker/public-repo"},
	"workflow_dispatch":                     {"", "workflow_dispatch", ""},
	"workflow_job":                          {"", "workflow_job.My workflow_job", ""},
	"workflow_run":                          {"", "workflow_run.My workflow_run", ""},
}

// The example of GitHub reads what GitHub has sent, and the library that reads it too
// accepts what is signed here.
func TestRecordedPayloadsOfGitHub(t *testing.T) {
	s := startSigners(t)
	folder := filepath.Join(standinModule(t, "github.com/go-playground/webhooks/v6"), "testdata", "github")
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	require.NoError(t, err)
	require.Len(t, files, len(recorded))
	d, err := provider.LoadFile("../shared/provider/examples/github.yaml")
	require.NoError(t, err)
	const secret = "It's a Secret to Everybody"
	v, err := provider.NewVerifier(d, provider.VerifierOptions{Secrets: []string{secret}})
	require.NoError(t, err)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			want, known := recorded[name]
			require.True(t, known)
			if want.event == "" {
				want.event = strings.ReplaceAll(name, "-", "_")
			}
			body, err := os.ReadFile(file)
			require.NoError(t, err)

			mac := hmac.New(sha256.New, []byte(secret)) // as GitHub's documentation says
			mac.Write(body)
			header := http.Header{
				"X-Github-Delivery": {"72d3162e"}, "X-Github-Event": {want.event},
				"X-Hub-Signature-256": {"sha256=" + hex.EncodeToString(mac.Sum(nil))},
			}
			require.NoError(t, v.VerifyRequest(provider.WebhookRequest{Header: header, Body: body}))
			require.Error(t, v.VerifyRequest(provider.WebhookRequest{Header: header, Body: bytes.ToUpper(body)}))

			signed, err := d.Signature().Sign(secret, signature.Message{Header: header, Body: body, At: time.Now()})
			require.NoError(t, err)
			ours := map[string]string{"X-GitHub-Event": want.event}
			for name := range signed.Header {
				ours[name] = signed.Header.Get(name)
			}
			for sent, good := range map[string]bool{string(body): true, string(body) + " ": false} {
				_, verified, problem := s.ask(map[string]any{"do": "verify", "library": "github", "secret": secret, "header": ours, "body": sent})
				require.Equal(t, good, verified, problem)
			}

			events, err := d.Events("github", header, body, time.Now())
			require.NoError(t, err)
			require.Len(t, events, 1)
			e := events[0]
			require.Equal(t, "72d3162e", e.ID)
			require.Equal(t, want.typ, e.Type)
			var names []string
			for _, ref := range e.Entities {
				names = append(names, strings.TrimPrefix(ref.Key.String(), "github/"))
			}
			require.Equal(t, want.names, strings.Join(names, " "))
			require.Equal(t, want.names == "", e.Unnamed)
			require.NotEqual(t, event.UnknownType, e.Note)
		})
	}
}

// standinModule returns the folder of a module that stand-ins are linked from, in the
// cache of modules.
func standinModule(t *testing.T, path string) string {
	t.Helper()
	folder, err := exec.CommandContext(t.Context(), "go", "list", "-C", "standins", "-m", "-f", "{{.Dir}}", path).CombinedOutput()
	require.NoError(t, err, "%s", folder)
	return strings.TrimSpace(string(folder))
}
