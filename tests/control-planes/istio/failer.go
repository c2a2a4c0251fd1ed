package main

import (
	"fmt"
	"os"
)

// Implements the interface of a test, which Istio's discovery server requires. A failure ends the process.
type failer struct{}

func (*failer) Fail()    { os.Exit(1) }
func (*failer) FailNow() { os.Exit(1) }

func (*failer) Fatal(args ...any) {
	fmt.Fprintln(os.Stderr, args...)
	os.Exit(1)
}

func (*failer) Fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

func (*failer) Log(args ...any)                 { fmt.Fprintln(os.Stderr, args...) }
func (*failer) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (*failer) Helper()                         {}
func (*failer) Skip(...any)                     {}

// No cleanup: the process ends.
func (*failer) Cleanup(func()) {}

func (f *failer) TempDir() string {
	folder, err := os.MkdirTemp("", "istio-discovery")
	fail(err)
	return folder
}
