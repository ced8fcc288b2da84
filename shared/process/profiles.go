package process

import (
	"net/http"
	"net/http/pprof" //nolint:gosec // it registers itself at a mux that no server of ours uses

	"github.com/tarn-sync/tarn/shared/bearer"
	"github.com/tarn-sync/tarn/shared/problems"
)

// ProfilesPath begins the paths of profiles.
const ProfilesPath = "/debug/pprof/"

// Profiles returns the handler of CPU, heap and other profiles below ProfilesPath, for
// operators' tokens alone. Nil: the settings do not ask for profiles.
func (p *Process) Profiles() http.Handler {
	if p.Config.Telemetry.Profiles != "operators" {
		return nil
	}
	var holders bearer.Holders
	for _, t := range p.Config.OperatorTokens {
		holders.Add(t.Name, string(t.Token), t.Role)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+ProfilesPath, pprof.Index) // with heap, goroutine and the others by name
	mux.HandleFunc("GET "+ProfilesPath+"profile", pprof.Profile)
	mux.HandleFunc("GET "+ProfilesPath+"trace", pprof.Trace)
	profiles := problems.Plain(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch name, role, ok := holders.Find(r.Header.Get("Authorization")); {
		case !ok:
			w.Header().Set("WWW-Authenticate", `Bearer realm="tarn"`)
			problems.Send(w, http.StatusUnauthorized,
				problems.New(http.StatusUnauthorized, "", "a token of operator_tokens is needed: send Authorization: Bearer <token>"))
		case role != "operator":
			problems.Send(w, http.StatusForbidden, problems.New(http.StatusForbidden, "", "the token is no operator's; this needs an operator's"))
		default:
			p.Logger.Info("a profile is taken", "path", r.URL.Path, "by", name)
			profiles.ServeHTTP(w, r)
		}
	})
}
