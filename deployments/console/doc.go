// Package console uses the operator's console as operators do, in a real Chromium. It has
// only tests, and the pictures in the console's guide are made by one of them:
//
//	go test ./deployments/console -run '^TestPictures$' -pictures
//
// The browser is a program of the module deployments/standins, so that what it needs is
// no part of this one. Most tests look at an api with a real Redis and a SQLite file that
// were filled by hand (world_test.go), where each figure is known; one looks at a whole
// fleet of processes.
package console
