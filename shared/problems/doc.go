// Package problems has the one shape of every HTTP answer of Tarn that is an error: a
// problem as RFC 9457 has it, of one of the types in Kinds.
//
// Every process answers with them: the api on all its routes, the small servers of
// worker and reconciler on theirs. A type is a name for programs. It never changes its
// meaning; a new cause gets a new type.
package problems
