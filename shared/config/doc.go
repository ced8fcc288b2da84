// Package config reads Tarn's settings: one YAML file, the environment over it.
//
// It is strict, because a setting that is silently ignored is discovered in
// production. Unknown keys, wrong types and values out of range are errors that
// name file, line and key; all of them are reported at once. A file that is no YAML
// is reported alone.
//
//	tarn.yaml:7: redis.lease_tl: is not a key; known here: url, prefix, lease_ttl, …
//	tarn.yaml:9: sources.lemon.rate.per: "1": want a duration: 500ms, 5s, 168h
//	TARN_SHARDS: shards: is too small: at least 1
//
// # Values
//
// ${NAME} in a value stands for an environment variable and ${file:/path} for
// the content of a file without its last newline, which is how orchestrators
// provide secrets. Either one missing is an error. $${ is a plain ${. Relative
// paths in the file start at its folder, those in the environment at the folder
// the process runs in.
//
// Every key can be set from the environment: TARN_ and the path in capitals, its
// steps joined by two underscores. TARN_REDIS__LEASE_TTL=10s is redis.lease_ttl; a
// dash in a source's name is an underscore. Such values are literal: nothing in
// them is expanded. A list is set as a whole, comma-separated or as YAML ([a, b]). A
// TARN_ name that is no key is an error if it has two underscores in a row; others
// are left alone, since orchestrators make such names.
//
// # One place
//
// The struct tags of Config define a key: its name, default, bounds and help.
// Reading, --help, the guide's table and what SIGHUP may change are all derived from
// them, so they cannot disagree. Rules between keys are in check.go.
//
// Values that are or may hold a secret are of type Secret, which prints as
// [secret]; error messages never quote them.
package config
