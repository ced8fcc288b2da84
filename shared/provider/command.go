package provider

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// Command is one change that an application asks for.
type Command struct {
	// Kind and Op say what is to be done: "order" and "cancel".
	Kind, Op string
	// ID is the id of the entity that is changed. Empty for a create.
	ID string
	// Parents are the ids that the entity is under, and its scope if it is within one.
	Parents map[string]string
	// Ref is the application's own name for what is created. A create needs one, whether
	// or not the provider has room for it. Not used by anything else.
	Ref string
	// Body is a JSON object with the fields, in the provider's words. Null unsets a
	// field, and {"$ref": "KIND/REF"} stands for the id of what was created under a ref.
	// Nil: no fields.
	Body []byte
	// Key is the idempotency key, for operations that send one.
	Key string
}

// Request is a command as it is sent. It is made once and kept, so that every attempt
// sends the same bytes to the same path, whatever the definition says by then.
type Request struct {
	Method string `json:"method"`
	// Path is the path with parameters below the API's address, escaped.
	Path string `json:"path"`
	// Type is the content type of Bytes, empty if there are none.
	Type  string `json:"type,omitempty"`
	Bytes []byte `json:"bytes,omitempty"`
	// Key is the idempotency key, which goes into the header KeyHeader. Both are empty
	// if none is sent.
	Key       string `json:"key,omitempty"`
	KeyHeader string `json:"key_header,omitempty"`
	// Scope is the account of another that the request is for, empty if it is for our own.
	Scope string `json:"scope,omitempty"`
}

// InvalidError says what of a command is wrong. Sending it unchanged would never
// succeed.
type InvalidError struct {
	// At is the path of what is wrong: "op", "parents.account", "body.recurring.interval".
	At string
	// Reason says what is wrong and what is wanted.
	Reason string
}

// Error returns path and reason.
func (e *InvalidError) Error() string { return e.At + ": " + e.Reason }

func invalid(at, format string, args ...any) *InvalidError {
	return &InvalidError{At: at, Reason: fmt.Sprintf(format, args...)}
}

// RefName names an entity by the application's own name for it.
type RefName struct{ Kind, Ref string }

// String returns the name as it stands in a body: "product/sku-42".
func (r RefName) String() string { return r.Kind + "/" + r.Ref }

// UnboundError is the error of a command that needs the ids of entities which have none
// yet. It can be rendered once all of Refs are bound.
type UnboundError struct{ Refs []RefName }

// Error names what is waited for.
func (e *UnboundError) Error() string {
	names := make([]string, len(e.Refs))
	for i, r := range e.Refs {
		names[i] = r.String()
	}
	return "no id is known yet of " + strings.Join(names, ", ")
}

// Lookup returns the id of the entity that is bound to a ref, and whether there is one.
type Lookup func(RefName) (id string, ok bool)

// Check reports what is wrong with a command, as an *InvalidError. Nil: it can be
// rendered once its refs are bound.
func (d *Definition) Check(cmd Command) error {
	if cmd.Key == "" {
		cmd.Key = "key" // it is chosen later
	}
	_, err := d.Render(cmd, func(RefName) (string, bool) { return "id", true })
	return err
}

// Op returns the operation that a command names. Its error is an *InvalidError.
func (d *Definition) Op(kind, op string) (*Op, error) {
	k := d.Kind(kind)
	if k == nil {
		return nil, invalid("kind", "is %q, which provider %s does not have", kind, d.Name)
	}
	if o := k.Op(op); o != nil {
		return o, nil
	}
	names := make([]string, 0, len(k.writing.ops))
	for _, o := range k.writing.ops {
		names = append(names, o.Name)
	}
	if len(names) == 0 {
		return nil, invalid("op", "is %q: %s is read only", op, k.Name)
	}
	return nil, invalid("op", "is %q: of %s there are %s", op, k.Name, strings.Join(names, ", "))
}

// Render makes the request of a command. It is a pure function of the definition, the
// command and what lookup answers. Its error is an *InvalidError or an *UnboundError.
func (d *Definition) Render(cmd Command, lookup Lookup) (Request, error) {
	o, err := d.Op(cmd.Kind, cmd.Op)
	if err != nil {
		return Request{}, err
	}
	if err := o.checkNames(cmd); err != nil {
		return Request{}, err
	}
	body, err := readFields(cmd.Body)
	if err != nil {
		return Request{}, err
	}
	r := renderer{def: d, op: o, cmd: cmd, lookup: lookup}
	if err := r.finish(body); err != nil {
		return Request{}, err
	}
	out := Request{Method: o.Method, Scope: o.kind.scopeAmong(cmd.Parents)}
	if out.Path, err = r.path(); err != nil {
		return Request{}, err
	}
	if out.Type, out.Bytes, err = r.encode(body); err != nil {
		return Request{}, err
	}
	if o.key != nil {
		if cmd.Key == "" || len(cmd.Key) > o.key.longest || !httpguts.ValidHeaderFieldValue(cmd.Key) {
			return Request{}, invalid("key", "is %q: want one of 1 to %d bytes that a header can hold", cmd.Key, o.key.longest)
		}
		out.Key, out.KeyHeader = cmd.Key, o.key.header
	}
	return out, nil
}

// Resolve returns a command with ids in the place of the refs in its body, as the provider
// was sent it and shows it. Its error is an *InvalidError or an *UnboundError.
func (d *Definition) Resolve(cmd Command, lookup Lookup) (Command, error) {
	o, err := d.Op(cmd.Kind, cmd.Op)
	if err != nil {
		return cmd, err
	}
	body, err := readFields(cmd.Body)
	if err != nil {
		return cmd, err
	}
	r := renderer{def: d, op: o, cmd: cmd, lookup: lookup}
	switch err := r.fields(body, "body", nil); {
	case err != nil:
		return cmd, err
	case len(r.unbound) > 0:
		return cmd, &UnboundError{Refs: r.unbound}
	}
	if len(cmd.Body) > 0 {
		cmd.Body = body.appendJSON(nil)
	}
	return cmd, nil
}

// checkNames reports what is wrong with the ids and the ref of a command.
func (o *Op) checkNames(cmd Command) error {
	k := o.kind
	switch {
	case o.Creates() && cmd.ID != "":
		return invalid("id", "is %q: what is created has no id yet; want a ref", cmd.ID)
	case o.Creates():
		if err := event.CheckID(cmd.Ref); err != nil {
			return invalid("ref", "%v: want a name of your own for the %s", err, k.Name)
		}
	default:
		if err := event.CheckID(cmd.ID); err != nil {
			return invalid("id", "%v", err)
		}
	}
	for _, name := range k.ParentKeys {
		if err := event.CheckID(cmd.Parents[name]); err != nil {
			return invalid("parents."+name, "%v", err)
		}
	}
	for name, id := range cmd.Parents {
		if k.scope != "" && name == k.scope {
			if err := CheckScope(id); err != nil {
				return invalid("parents."+name, "%v", err)
			}
		} else if !slices.Contains(k.ParentKeys, name) {
			return invalid("parents."+name, "is no parent of %s: want %s", article(k.Name), joinOr(k.ParentKeys))
		}
	}
	return nil
}

// joinOr puts names into a sentence.
func joinOr(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// renderer makes one request.
type renderer struct {
	def    *Definition
	op     *Op
	cmd    Command
	lookup Lookup
	// unbound are refs that lookup does not know.
	unbound []RefName
}

// finish checks the fields of a body, resolves its refs and unsets, and puts in what the
// operation always has and where the ref goes.
func (r *renderer) finish(body *bodyValue) error {
	o := r.op
	if err := r.fields(body, "body", nil); err != nil {
		return err
	}
	if len(r.unbound) > 0 {
		return &UnboundError{Refs: r.unbound}
	}
	if o.Name == OpUpdate && len(body.names) == 0 && o.fixed == nil {
		return invalid("body", "is empty: there is nothing to change")
	}
	if o.fixed != nil {
		for i, name := range o.fixed.names {
			if !body.place(rawjson.Path{name}, o.fixed.items[i].clone()) {
				return invalid("body."+name, "is set by %s itself: leave it out", o.Name)
			}
		}
	}
	if !o.Creates() {
		return nil
	}
	if ref := o.kind.writing.ref; ref != nil && !body.place(ref, textValue(r.cmd.Ref)) {
		return invalid("body."+ref.String(), "is where the ref is put: leave it out")
	}
	if o.OwnID != "" && !body.place(strings.Split(o.OwnID, "."), textValue(r.cmd.Ref)) {
		return invalid("body."+o.OwnID, "is the ref: leave it out")
	}
	return nil
}

// fields checks the members of an object at a path.
func (r *renderer) fields(object *bodyValue, at string, path rawjson.Path) error {
	for i, name := range object.names {
		where, field := at+"."+name, append(slices.Clone(path), name)
		switch value := object.items[i]; {
		case name == refMember:
			return invalid(where, "is where no ref can be: %s has fields of its own", at)
		case r.op.takes(field):
			if err := r.resolve(value, where); err != nil {
				return err
			}
		case value.kind == rawjson.Object && r.op.takesBelow(field):
			if err := r.fields(value, where, field); err != nil {
				return err
			}
		default:
			return r.unknown(where, field)
		}
	}
	return nil
}

// unknown says why a field cannot be in the body.
func (r *renderer) unknown(at string, field rawjson.Path) error {
	o, w := r.op, &r.op.kind.writing
	if o.takesBelow(field) {
		return invalid(at, "is a value: want an object")
	}
	if !o.Creates() && slices.ContainsFunc(w.fixed, func(p rawjson.Path) bool { return covers(p, field) }) {
		return invalid(at, "is set when the %s is created, and never again", o.kind.Name)
	}
	if w.ref != nil && slices.Equal(w.ref, field) {
		return invalid(at, "is where the ref is put: leave it out")
	}
	names := make([]string, len(o.fields))
	for i, p := range o.fields {
		names[i] = p.String()
	}
	return invalid(at, "is no field of %s: want some of %s", o.Name, joinOr(names))
}

// takesBelow reports whether something inside a field may be in the body.
func (o *Op) takesBelow(field rawjson.Path) bool {
	return slices.ContainsFunc(o.fields, func(p rawjson.Path) bool { return len(p) > len(field) && covers(p[:len(field)], field) })
}

// refMember is the name of the only member of an object that stands for an id.
const refMember = "$ref"

// resolve puts ids in the place of refs, and what unsets a field in the place of null.
func (r *renderer) resolve(v *bodyValue, at string) error {
	switch v.kind {
	case rawjson.Null:
		return r.unset(v, at)
	case rawjson.Array:
		if len(v.items) == 0 && r.op.encoding(r.def) == encodingForm {
			return r.unset(v, at)
		}
		for i, item := range v.items {
			if err := r.resolve(item, fmt.Sprintf("%s.%d", at, i)); err != nil {
				return err
			}
		}
	case rawjson.Object:
		if v.get(refMember) != nil {
			return r.bind(v, at)
		}
		for i, name := range v.names {
			if err := r.resolve(v.items[i], at+"."+name); err != nil {
				return err
			}
		}
	}
	return nil
}

// unset makes a value what the definition says unsets a field.
func (r *renderer) unset(v *bodyValue, at string) error {
	clear := r.op.kind.writing.clear
	switch {
	case r.op.Creates():
		return invalid(at, "is %s: leave out what is not to be set", v.kind)
	case clear == nil:
		return invalid(at, "is %s: the definition does not say how a field of %s is unset", v.kind, r.op.kind.Name)
	case *clear == jsonNull:
		*v = bodyValue{kind: rawjson.Null}
	default:
		*v = *textValue(textOfJSON(*clear))
	}
	return nil
}

// bind puts the id of a ref in its place.
func (r *renderer) bind(v *bodyValue, at string) error {
	name := v.get(refMember)
	kind, ref, ok := strings.Cut(name.text, "/")
	switch {
	case len(v.names) != 1 || name.kind != rawjson.String || !ok || event.CheckID(ref) != nil:
		return invalid(at, `is no ref: want {"$ref": "KIND/REF"} and nothing beside it`)
	case r.def.Kind(kind) == nil || r.def.Kind(kind).Op(OpCreate) == nil:
		return invalid(at, "names %q, which is no kind that is created", kind)
	}
	id, ok := r.lookup(RefName{kind, ref})
	if !ok {
		if !slices.Contains(r.unbound, RefName{kind, ref}) {
			r.unbound = append(r.unbound, RefName{kind, ref})
		}
		return nil
	}
	*v = *textValue(id)
	return nil
}

// path returns the path with its ids and parameters.
func (r *renderer) path() (string, error) {
	path := r.op.path.path.path(func(name string) string {
		switch {
		case name != r.op.kind.IDKey:
			return r.cmd.Parents[name]
		case r.op.Creates():
			return r.cmd.Ref
		}
		return r.cmd.ID
	})
	if query := r.op.path.query.fixed(); len(query) > 0 {
		path += "?" + query.Encode()
	}
	return path, nil
}

// encoding is that of the operation's body.
func (o *Op) encoding(d *Definition) string { return d.api.writes.encoding }

// encode returns the body with its content type. An operation that takes no fields has no
// body; the JSON body of any other is an object at least, if an empty one.
func (r *renderer) encode(body *bodyValue) (contentType string, text []byte, err error) {
	if r.op.Method == http.MethodDelete {
		return "", nil, nil
	}
	if len(r.op.fields) == 0 && r.op.fixed == nil && len(body.names) == 0 {
		return "", nil, nil
	}
	if r.op.encoding(r.def) == encodingJSON {
		return "application/json", body.appendJSON(nil), nil
	}
	text, err = body.appendForm(nil, "body", "")
	if err != nil || len(text) == 0 {
		return "", nil, err
	}
	return "application/x-www-form-urlencoded", text, nil
}

// appendQuery writes a text escaped as a name or value of a form.
func appendQuery(out []byte, text string) []byte { return append(out, url.QueryEscape(text)...) }

// textOfJSON returns the text of a JSON string that this package has written.
func textOfJSON(quoted string) string {
	doc, err := rawjson.Parse([]byte(quoted), rawjson.Options{})
	if err != nil {
		return ""
	}
	text, _ := doc.Root().Text()
	return text
}

// Redact returns the body of a command without the secrets of the operation, for
// keeping once the command has ended.
func (o *Op) Redact(body []byte) []byte {
	if len(o.secret) == 0 || len(body) == 0 {
		return body
	}
	doc, err := rawjson.Parse(body, rawjson.Options{MaxDepth: bodyDepth})
	if err != nil {
		return nil // what cannot be read cannot be redacted
	}
	return doc.Cut(o.secret)
}

// RedactRequest returns a rendered request without the secrets of the operation. It
// can no longer be sent.
func (o *Op) RedactRequest(r Request) Request {
	if len(o.secret) == 0 || r.Type == "" {
		return r
	}
	if r.Type == "application/json" {
		r.Bytes = o.Redact(r.Bytes)
		return r
	}
	var kept []string
	for pair := range strings.SplitSeq(string(r.Bytes), "&") {
		name, _, _ := strings.Cut(pair, "=")
		name, _ = url.QueryUnescape(name)
		field := rawjson.Path(strings.Split(strings.ReplaceAll(name, "]", ""), "["))
		if !slices.ContainsFunc(o.secret, func(p rawjson.Path) bool { return covers(p, field) }) {
			kept = append(kept, pair)
		}
	}
	r.Bytes = []byte(strings.Join(kept, "&"))
	return r
}
