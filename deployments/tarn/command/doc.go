// Package command has the commands of bin/tarn, the operator's command line.
//
//	tarn status                      whether the mirror is up to date
//	tarn events [ID]                 the event log, or one event's story
//	tarn entity SOURCE KIND ID       an entity, fetched now with --sync
//	tarn parked                      what waits, why, and until when
//	tarn letters list|show|redrive|discard
//	tarn jobs, tarn sweeps [ID]      long work and its progress
//	tarn sweep|backfill|verify|gaps SOURCE
//	tarn drift                       differences that were found
//	tarn pause|resume|retry SOURCE
//	tarn audit                       what operators did
//	tarn changes                     what changes in the mirror, as it changes
//	tarn webhooks                    outgoing webhooks: how far they are, what holds them up
//	tarn webhooks pause|resume|rewind NAME
//	tarn provider show NAME|FILE     what a definition says
//	tarn provider check NAME|FILE    what is wrong with it, and what it makes of an event
//	tarn webhook sign                the headers of a signed webhook
//	tarn webhook send                one signed webhook to a running api
//	tarn completion bash|zsh|fish    completion of commands and flags
//
// Every command has its flags, an example and its exit statuses in --help. A command is
// a value of Command in the table commands; Run finds it, reads its flags and calls it.
// Commands that ask a running api are made by connected, which gives them --api, --token
// and --json. They read of an answer what they print; with --json they print it as it
// came. Text of a provider is printed without characters that steer a terminal.
//
// Commands write to an Env, so that tests run them without a process.
package command
