// Package command has the commands of bin/tarn, the operator's command line.
//
//	tarn provider show NAME|FILE     what a definition says
//	tarn provider check NAME|FILE    what is wrong with it, and what it makes of an event
//	tarn webhook sign                the headers of a signed webhook
//	tarn webhook send                one signed webhook to a running api
//
// Every command has its flags, an example and its exit statuses in --help. A command is
// a value of Command in the table commands; Run finds it, reads its flags and calls it.
// Commands write to an Env, so that tests run them without a process.
package command
