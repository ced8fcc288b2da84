package signature

import (
	"crypto/hmac"
	"encoding/base64"

	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// The fields of an Adyen item, in the order in which they are signed.
// https://docs.adyen.com/development-resources/webhooks/verify-hmac-signatures
var adyenFields = []rawjson.Path{
	{"pspReference"}, {"originalReference"}, {"merchantAccountCode"}, {"merchantReference"},
	{"amount", "value"}, {"amount", "currency"}, {"eventCode"}, {"success"},
}

// Where an Adyen body has its items, and an item its signature.
var (
	adyenItems     = rawjson.Path{"notificationItems"}
	adyenItem      = rawjson.Path{"NotificationRequestItem"}
	adyenSignature = rawjson.Path{"additionalData", "hmacSignature"}
)

// verifyItems checks the signature of every item of a body. One bad item refuses all
// of them: the answer is for the whole request.
func (v *Verifier) verifyItems(body []byte) error {
	items, err := readItems(body)
	if err != nil {
		return err
	}
	for i, item := range items {
		text, err := adyenText(item)
		if err != nil {
			return refuse(Malformed, "notificationItems.%d: %v", i, err)
		}
		sign, err := item.AtOnly(adyenSignature)
		if err != nil {
			return refuse(Malformed, "notificationItems.%d: %v", i, err)
		}
		encoded, ok := sign.Text()
		if !ok || encoded == "" {
			return refuse(Missing, "notificationItems.%d has no additionalData.hmacSignature", i)
		}
		decoded, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return refuse(Malformed, "notificationItems.%d: the signature is not base64", i)
		}
		if !v.signedBy(text, decoded) {
			return refuse(Mismatch, "the signature of notificationItems.%d is not of this item by a known secret", i)
		}
	}
	return nil
}

// signedBy reports whether one of the secrets signs a text so.
func (v *Verifier) signedBy(text, sign []byte) bool {
	good := false
	for _, k := range v.keys {
		m := k.macs.Get().(*mac)
		good = hmac.Equal(m.of(&claim{}, text), sign) || good
		k.macs.Put(m)
	}
	return good
}

// readItems returns the items of an Adyen body, of which there is at least one.
func readItems(body []byte) ([]rawjson.Value, error) {
	doc, err := rawjson.Parse(body, rawjson.Options{AnyBytes: true})
	if err != nil {
		return nil, refuse(Malformed, "the body, which holds the signatures, is not JSON: %v", err)
	}
	list, err := doc.Root().AtOnly(adyenItems)
	if err != nil {
		return nil, refuse(Malformed, "%v", err)
	}
	var items []rawjson.Value
	for i, e := range list.Elements() {
		item, err := e.AtOnly(adyenItem)
		if err != nil {
			return nil, refuse(Malformed, "notificationItems.%d: %v", i, err)
		}
		if item.Kind() != rawjson.Object {
			return nil, refuse(Malformed, "notificationItems.%d has no NotificationRequestItem", i)
		}
		items = append(items, item)
	}
	if len(items) == 0 {
		return nil, refuse(Missing, "the body has no notificationItems, which hold the signatures")
	}
	return items, nil
}

// adyenText returns the text that is signed of an item: its fields joined by colons,
// empty where there is none.
func adyenText(item rawjson.Value) ([]byte, error) {
	var text []byte
	for i, path := range adyenFields {
		if i > 0 {
			text = append(text, ':')
		}
		v, err := item.AtOnly(path)
		if err != nil {
			return nil, err
		}
		switch v.Kind() {
		case rawjson.String:
			s, _ := v.TextBytes()
			text = append(text, s...)
		case rawjson.Number, rawjson.True, rawjson.False:
			text = append(text, v.Raw()...)
		}
	}
	return text, nil
}
