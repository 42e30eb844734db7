// SPDX-License-Identifier: Apache-2.0 OR MIT

// blocking: 10,000 goroutines in blocking reads of pipes, and 200 threads in
// blocking system calls.
package main

import (
	"fmt"
	"guest/internal/expect"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	const readers, pipes = 10000, 200
	var wg sync.WaitGroup
	var sum, started int64
	writers := make([]*os.File, pipes)
	for i := range writers {
		r, w, err := os.Pipe()
		expect.NoError("pipe", err)
		writers[i] = w
		for k := 0; k < readers/pipes; k++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				var b [1]byte
				atomic.AddInt64(&started, 1)
				if n, err := r.Read(b[:]); n == 1 && err == nil {
					atomic.AddInt64(&sum, int64(b[0]))
				}
			}()
		}
	}
	for atomic.LoadInt64(&started) < readers {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("started", started)
	for round := 0; round < readers/pipes; round++ {
		for _, w := range writers {
			w.Write([]byte{3})
		}
	}
	expect.Within("readers", 40*time.Second, wg.Wait)
	fmt.Println("sum", sum)

	var fds [2]int
	expect.NoError("pipe", syscall.Pipe(fds[:]))
	var done sync.WaitGroup
	for i := 0; i < 200; i++ {
		done.Add(1)
		go func() {
			defer done.Done()
			var b [1]byte
			n, err := syscall.Read(fds[0], b[:])
			expect.True("blocking read", n == 1 && err == nil)
		}()
	}
	time.Sleep(100 * time.Millisecond)
	for i := 0; i < 200; i++ {
		syscall.Write(fds[1], []byte{1})
	}
	expect.Within("blocked threads", 40*time.Second, done.Wait)
	fmt.Println("threads done")

	r, w := io.Pipe()
	go func() {
		for i := 0; i < 1000; i++ {
			fmt.Fprintf(w, "line %d\n", i)
		}
		w.Close()
	}()
	b, err := io.ReadAll(r)
	fmt.Println(len(b), err)
}
