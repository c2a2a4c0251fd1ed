package main

import (
	"fmt"
	"os"
)

// What Istio's discovery server wants of a test. A failure ends the process.
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

// The end of the process cleans up.
func (*failer) Cleanup(func()) {}

func (f *failer) TempDir() string {
	folder, err := os.MkdirTemp("", "istio-discovery")
	fail(err)
	return folder
}
