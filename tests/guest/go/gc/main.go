// SPDX-License-Identifier: Apache-2.0 OR MIT

// gc: allocation under pressure, with the contents of what lives checked.
// Memory that MADV_DONTNEED gave back must come back as zeroes.
package main

import (
	"fmt"
	"guest/internal/expect"
	"hash/fnv"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"
)

type node struct {
	left, right *node
	payload     []byte
	sum         uint64
}

func hash(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64()
}

func grow(depth, seed int) *node {
	if depth == 0 {
		return nil
	}
	n := &node{payload: make([]byte, 64+seed%200)}
	for i := range n.payload {
		if n.payload[i] != 0 {
			fmt.Println("FAIL: fresh memory is not zero")
			os.Exit(99)
		}
		n.payload[i] = byte(seed + i)
	}
	n.sum = hash(n.payload)
	n.left, n.right = grow(depth-1, seed*2+1), grow(depth-1, seed*2+2)
	return n
}

func (n *node) check() int {
	if n == nil {
		return 0
	}
	expect.True("payload is what was written", hash(n.payload) == n.sum)
	return 1 + n.left.check() + n.right.check()
}

func main() {
	rounds := 20
	if len(os.Args) > 1 {
		rounds, _ = strconv.Atoi(os.Args[1])
	}
	fmt.Println("GOGC", os.Getenv("GOGC"), "GOMEMLIMIT", os.Getenv("GOMEMLIMIT"))
	kept := grow(12, 1)
	var wg sync.WaitGroup
	finalized := make(chan int, 100)
	for g := 0; g < 4; g++ {
		wg.Add(1)
		go func(g int) {
			defer wg.Done()
			local := map[int][]byte{}
			for r := 0; r < rounds; r++ {
				t := grow(10, r+g)
				if got := t.check(); got != 1023 {
					fmt.Println("FAIL", got)
				}
				for i := 0; i < 2000; i++ {
					local[i%500] = append([]byte(nil), make([]byte, 100+i)...)
				}
				big := make([]byte, 1<<20)
				for i := 0; i < len(big); i += 4096 {
					expect.True("large allocation is zero", big[i] == 0)
					big[i] = 0xff
				}
			}
		}(g)
	}
	wg.Wait()
	for i := 0; i < 10; i++ {
		value := &node{sum: uint64(i)}
		runtime.SetFinalizer(value, func(n *node) { finalized <- int(n.sum) })
	}
	expect.Within("finalizers", 20*time.Second, func() {
		seen := 0
		for seen < 9 {
			runtime.GC()
			select {
			case <-finalized:
				seen++
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	fmt.Println("kept", kept.check())
	debug.FreeOSMemory()
	for r := 0; r < 3; r++ {
		b := make([]byte, 32<<20)
		for i := 0; i < len(b); i += 512 {
			expect.True("memory given back comes back as zeroes", b[i] == 0)
			b[i] = byte(r + 1)
		}
		b = nil
		debug.FreeOSMemory()
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	expect.True("collections ran", stats.NumGC > 3)
	fmt.Println("kept", kept.check())
}
