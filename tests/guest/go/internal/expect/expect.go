// SPDX-License-Identifier: Apache-2.0 OR MIT

// Package expect ends a guest test at the first thing that is not as it
// should be. Output must be the same on Linux and in the unikernel, so nothing
// that differs between two runs is ever printed.
package expect

import (
	"fmt"
	"os"
	"runtime"
	"time"
)

// NoError ends the test when err is not nil.
func NoError(what string, err error) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

// True ends the test when what does not hold.
func True(what string, holds bool) {
	if !holds {
		fail("%s does not hold", what)
	}
}

// Within runs body and ends the test when it takes longer than limit, so that a
// lost wake-up shows up by name instead of as a time-out of the machine.
func Within(what string, limit time.Duration, body func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		body()
	}()
	select {
	case <-done:
	case <-time.After(limit):
		buffer := make([]byte, 1<<16)
		os.Stderr.Write(buffer[:runtime.Stack(buffer, true)])
		fail("%s: not done within %v", what, limit)
	}
}

func fail(format string, arguments ...any) {
	_, file, line, _ := runtime.Caller(2)
	fmt.Printf("FAIL %s:%d: %s\n", file, line, fmt.Sprintf(format, arguments...))
	os.Exit(99)
}
