// Package examples has programs that use Tarn, to be copied: each is one directory, imports
// nothing of Tarn, and is killed in a test between every two of its steps.
//
//	follower  keeps a copy of a source in a database of its own, by the change feed
//	shop      changes its own data and the provider's in one transaction, by the outbox
package examples
