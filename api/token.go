package api

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"github.com/tarn-sync/tarn/shared/bearer"
)

// Role is what a token's holder may do.
type Role string

// The roles. Each may do what the one before it may.
const (
	// Viewer reads.
	Viewer Role = "viewer"
	// Writer asks for changes at the provider: an application's.
	Writer Role = "writer"
	// Operator acts on Tarn itself.
	Operator Role = "operator"
)

// roles are all roles, from the least.
var roles = []Role{Viewer, Writer, Operator}

// may reports whether the holder of a role may do what another one is needed for.
func (r Role) may(needed Role) bool { return slices.Index(roles, r) >= slices.Index(roles, needed) }

// Token gives its holder access to /v1.
type Token struct {
	// Name is the name of the holder in the audit.
	Name string
	// Secret is sent as "Authorization: Bearer <secret>"; at least 16 bytes.
	Secret string
	// Role is Viewer, Writer or Operator.
	Role Role
}

// minSecret makes guessing infeasible: 16 random bytes have 128 bits.
const minSecret = 16

// ListenAddr returns where to listen. An address without a host means every interface.
// Without tokens it means this machine alone, since any client that reaches the address
// could read a customer's accounts. Without tokens, an address that names another host
// is an error.
func ListenAddr(addr string, tokens []Token) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	switch {
	case err != nil:
		return "", fmt.Errorf("http.addr %q: %w", addr, err)
	case len(tokens) > 0 || isLoopback(host):
		return addr, nil
	case host == "":
		return net.JoinHostPort(loopback, port), nil
	}
	return "", fmt.Errorf("http.addr %q can be reached from other machines but no operator_tokens are set: "+
		"set at least one, or listen on %s", addr, loopback)
}

// loopback is this machine's own address.
const loopback = "127.0.0.1"

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}

// guard decides who may use an operation.
type guard struct{ holders bearer.Holders }

func newGuard(tokens []Token) (*guard, error) {
	g := &guard{}
	for i, t := range tokens {
		switch {
		case t.Name == "":
			return nil, fmt.Errorf("operator_tokens[%d]: name is empty", i)
		case len(t.Secret) < minSecret:
			return nil, fmt.Errorf("operator_tokens[%d] (%s): the token is shorter than %d bytes", i, t.Name, minSecret)
		case !slices.Contains(roles, t.Role):
			return nil, fmt.Errorf("operator_tokens[%d] (%s): role %q: want viewer, writer or operator", i, t.Name, t.Role)
		}
		g.holders.Add(t.Name, t.Secret, string(t.Role))
	}
	return g, nil
}

// bearerScheme is the name of the security scheme in the OpenAPI document.
const bearerScheme = "bearer"

// needs marks an operation as open to holders of a role. What the document
// says is what check enforces.
func needs(role Role) []map[string][]string {
	return []map[string][]string{{bearerScheme: {string(role)}}}
}

// check lets a request through to its operation, or answers it.
func (g *guard) check(api huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		role, guarded := neededRole(ctx.Operation())
		if !guarded {
			next(ctx)
			return
		}
		by, has, status, why := g.admits(ctx, role)
		if status != 0 {
			if status == http.StatusUnauthorized {
				ctx.SetHeader("WWW-Authenticate", challenge(ctx))
			}
			_ = huma.WriteErr(api, ctx, status, why) // the client is gone if this fails
			return
		}
		next(huma.WithValue(ctx, admitted{}, caller{name: by, role: has}))
	}
}

// challenge is the WWW-Authenticate header. It says whether a token is needed or the one
// sent is not accepted; see RFC 6750.
func challenge(ctx huma.Context) string {
	if ctx.Header("Authorization") == "" {
		return `Bearer realm="tarn"`
	}
	return `Bearer realm="tarn", error="invalid_token"`
}

// admitted is the context key of a request's caller.
type admitted struct{}

// caller is the holder of a request's token.
type caller struct {
	name string
	role Role
}

// callerOf returns who sent a request.
func callerOf(ctx context.Context) caller {
	who, _ := ctx.Value(admitted{}).(caller)
	return who
}

// actor returns the name of the token of a request.
func actor(ctx context.Context) string { return callerOf(ctx).name }

func neededRole(op *huma.Operation) (Role, bool) {
	for _, scheme := range op.Security {
		if roles := scheme[bearerScheme]; len(roles) > 0 {
			return Role(roles[0]), true
		}
	}
	return "", false
}

// actorsOf returns the names that acts have in the audit.
func actorsOf(tokens []Token) []string {
	if len(tokens) == 0 {
		return []string{localActor}
	}
	names := make([]string, len(tokens))
	for i, t := range tokens {
		names[i] = t.Name
	}
	slices.Sort(names)
	return names
}

// localActor is the name in the audit of a caller who needs no token.
const localActor = "local"

// admits returns the name and role of the caller, or the status and detail of a refusal.
func (g *guard) admits(ctx huma.Context, role Role) (by string, as Role, status int, why string) {
	if g.holders.None() {
		status, why = admitsLocal(ctx)
		return localActor, Operator, status, why
	}
	name, has, ok := g.holders.Find(ctx.Header("Authorization"))
	switch {
	case !ok && ctx.Header("Authorization") == "":
		return "", "", http.StatusUnauthorized, "a token is needed: send Authorization: Bearer <token>"
	case !ok:
		return "", "", http.StatusUnauthorized, "the token is not accepted: send one of operator_tokens as Authorization: Bearer <token>"
	case !Role(has).may(role):
		return "", "", http.StatusForbidden, fmt.Sprintf("the token %q is a %s's; this needs %s's", name, has, map[Role]string{Writer: "a writer", Operator: "an operator"}[role])
	}
	return name, Role(has), 0, ""
}

// admitsLocal admits requests to a server without tokens only if they name this machine.
// The server listens on loopback, but a web page in a browser on the same machine can
// reach that too. It may let its own name resolve to the loopback address (DNS
// rebinding); its requests then carry that name. Or it may send a request to a local
// name. The browser hides the answer from the page, but the request would act; the
// browser says from which page it comes.
func admitsLocal(ctx huma.Context) (int, string) {
	host := ctx.Host()
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	if !isLoopback(name) {
		return http.StatusForbidden, "without operator_tokens only requests to localhost are answered"
	}
	if err := sameOrigin.Check(humagin.Unwrap(ctx).Request); err != nil {
		return http.StatusForbidden, "without operator_tokens pages of other origins may not act"
	}
	return 0, ""
}

// sameOrigin refuses what a browser sends on behalf of another site's page.
var sameOrigin = http.NewCrossOriginProtection()
