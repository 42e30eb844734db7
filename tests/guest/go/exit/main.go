// SPDX-License-Identifier: Apache-2.0 OR MIT

// exit: leaves with the status or the signal that its arguments name.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"
)

type failure struct{ code int }

func recurse(n int) int { return recurse(n+1) + 1 }

func main() {
	how := os.Args[1]
	n := 0
	if len(os.Args) > 2 {
		n, _ = strconv.Atoi(os.Args[2])
	}
	fmt.Println("before", how, n)
	defer fmt.Println("deferred")
	switch how {
	case "code":
		os.Exit(n)
	case "return":
	case "goexit":
		go func() { os.Exit(n) }()
		select {}
	case "kill":
		signal.Reset(syscall.Signal(n))
		syscall.Kill(syscall.Getpid(), syscall.Signal(n))
		time.Sleep(time.Second)
	case "nil":
		var f *failure
		fmt.Println(f.code)
	case "bounds":
		fmt.Println(os.Args[n+10])
	case "panic":
		panic(failure{n})
	case "recover":
		func() {
			defer func() { fmt.Println("recovered:", recover()) }()
			var f *failure
			f.code = 1
		}()
		func() {
			defer func() { fmt.Println("recovered:", recover()) }()
			fmt.Println(1 / (n - n))
		}()
		func() {
			defer func() { fmt.Println("recovered:", recover()) }()
			var m map[string]int
			m["x"] = 1
		}()
	case "deadlock":
		select {}
	case "overflow":
		debug.SetMaxStack(32 << 20)
		fmt.Println(recurse(0))
	case "goroutine":
		go func() { panic("in a goroutine") }()
		time.Sleep(time.Second)
	}
}
