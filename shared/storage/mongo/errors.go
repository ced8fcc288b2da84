package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

// refused are the server's codes for a document it will never take
// (https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml).
var refused = map[int]bool{
	2:     true, // BadValue
	9:     true, // FailedToParse
	14:    true, // TypeMismatch
	15:    true, // Overflow
	22:    true, // InvalidBSON
	28:    true, // PathNotViable
	52:    true, // DollarPrefixedFieldName
	56:    true, // EmptyFieldName
	57:    true, // DottedFieldName
	121:   true, // DocumentValidationFailure
	10334: true, // BSONObjectTooLarge
	17280: true, // key too long for an index
	17419: true, // the updated document would be too large
	17420: true, // the same, as older servers say it
}

// classify gives an error its fate: ended contexts as they are, documents
// refused for their content permanent, and everything else unavailable, since
// it passes when the server or its operator has recovered.
func classify(ctx context.Context, err error) error {
	var known *fate.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &known), errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrCursor):
		return err
	case isRefused(err):
		return fate.New(fate.Permanent, err)
	}
	if isTimeout(err) {
		err = fmt.Errorf("%w: %w", storage.ErrTimeout, err)
	}
	return fate.New(fate.Unavailable, err)
}

// isTimeout reports whether the database was there and did not answer in time.
// While none is there, what ends is the search for one.
func isTimeout(err error) bool {
	var none topology.ServerSelectionError
	return mongo.IsTimeout(err) && !errors.As(err, &none)
}

func isRefused(err error) bool {
	var server mongo.ServerError
	if !errors.As(err, &server) {
		return false
	}
	for _, code := range server.ErrorCodes() {
		if refused[code] {
			return true
		}
	}
	return false
}
