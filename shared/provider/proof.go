package provider

import (
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// An answer with status 200 need not be the entity: providers answer errors so,
// caches the state of another one, proxies whatever they like. It must prove what
// it is before it may replace what the mirror holds.
//
//	the id of another entity       refused
//	a stub of a deleted one        taken
//	definition gives proof         taken with every field of it
//	an entity                      taken with its id
//	a singleton                    taken unless it is empty or looks like an error
//
// A list is proved by its array. All refusals are transient: asked again the
// provider may give the entity, and until then the mirror keeps what it has.

// checkAnswer says why an answer is not the entity that was asked for.
func (d *Definition) checkAnswer(k *Kind, root rawjson.Value, id string) error {
	if k.Shape == ShapeList {
		return nil
	}
	if root.Kind() != rawjson.Object {
		return fate.Errorf(fate.Transient, "the answer is %s: want an object", root.Kind())
	}
	got := ""
	if k.Shape == ShapeEntity {
		got = idOf(root.At(k.id))
	}
	switch {
	case got != "" && got != id:
		return fate.Errorf(fate.Transient, "the answer is of another entity, %.80q", got)
	case k.deleted != nil && isTrue(root.At(k.deleted)) && (got == id || k.Shape != ShapeEntity):
		return nil
	case len(k.proof) > 0:
		return k.checkProof(root)
	case k.Shape == ShapeEntity && got == "":
		return fate.Errorf(fate.Transient, "the answer has no %s, so it is not the entity", k.id)
	case k.Shape == ShapeSingleton && looksLikeError(root):
		return fate.Errorf(fate.Transient, "the answer is empty or an error, so it is not the %s", k.Name)
	}
	return nil
}

// checkProof wants every field that proves an answer to be of the kind.
func (k *Kind) checkProof(root rawjson.Value) error {
	for _, p := range k.proof {
		if kind := root.At(p).Kind(); kind == rawjson.None || kind == rawjson.Null {
			return fate.Errorf(fate.Transient, "the answer has no %s, so it is no %s", p, k.Name)
		}
	}
	return nil
}

// looksLikeError reports whether an object says nothing, or that something went wrong.
func looksLikeError(root rawjson.Value) bool {
	members := 0
	for range root.Members() {
		members++
	}
	return saysFailed(root) || members == 0 || members == 1 && hasText(root, "message")
}

// saysFailed reports whether an object says that something went wrong, in one of the
// ways that are common.
func saysFailed(root rawjson.Value) bool {
	failed := root.Get("ok").Kind() == rawjson.False || root.Get("success").Kind() == rawjson.False
	for _, name := range []string{"error", "errors"} {
		switch v := root.Get(name); v.Kind() {
		case rawjson.None, rawjson.Null, rawjson.False:
		case rawjson.Array:
			for range v.Elements() {
				failed = true
			}
		case rawjson.Object:
			for range v.Members() {
				failed = true
			}
		case rawjson.String:
			failed = failed || hasText(root, name)
		default:
			failed = true
		}
	}
	return failed
}
