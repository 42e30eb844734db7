// SPDX-License-Identifier: Apache-2.0 OR MIT

// preempt: loops without calls are preempted by signals, so that other
// goroutines and the collector make progress.
package main

import (
	"fmt"
	"guest/internal/expect"
	"runtime"
	"sync/atomic"
	"time"
)

var (
	sink uint64
	stop int32
)

func main() {
	for _, procs := range []int{1, 2, 4} {
		runtime.GOMAXPROCS(procs)
		for i := 0; i < procs+2; i++ {
			go func() {
				var x uint64 = 1
				for atomic.LoadInt32(&stop) == 0 { // no call: only a signal can stop it
					x = x*6364136223846793005 + 1
				}
				atomic.AddUint64(&sink, x)
			}()
		}
		expect.Within("progress beside tight loops", 100*time.Second, func() {
			for i := 0; i < 3; i++ {
				time.Sleep(time.Millisecond)
				runtime.GC()
			}
		})
		fmt.Println("collected beside", procs, "busy processors")
	}
	atomic.StoreInt32(&stop, 1)
	// Floating-point state must survive being stopped anywhere.
	results := make(chan float64, 8)
	for g := 0; g < 8; g++ {
		go func() {
			sum := 0.0
			for i := 1; i <= 5000000; i++ {
				sum += 1 / float64(i)
			}
			results <- sum
		}()
	}
	same, first := true, <-results
	for g := 1; g < 8; g++ {
		same = same && <-results == first
	}
	fmt.Println(same, first)
}
