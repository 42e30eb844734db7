// SPDX-License-Identifier: Apache-2.0 OR MIT

// stacks: deep recursion, growing stacks of many goroutines, large objects.
package main

import (
	"fmt"
	"guest/internal/expect"
	"runtime"
	"runtime/debug"
	"sync"
)

func depth(n int) (sum int) {
	var room [128]byte
	room[n%128] = 1
	if n == 0 {
		return 0
	}
	return depth(n-1) + int(room[n%128])
}

func main() {
	fmt.Println(depth(1000000))
	var wg sync.WaitGroup
	results := make([]int, 500)
	for g := range results {
		wg.Add(1)
		go func(g int) {
			defer wg.Done()
			results[g] = depth(1000 + g)
			runtime.Gosched()
		}(g)
	}
	wg.Wait()
	sum := 0
	for _, r := range results {
		sum += r
	}
	fmt.Println(sum)
	runtime.GC()
	debug.FreeOSMemory()

	blocks := make([][]byte, 8)
	for i := range blocks {
		blocks[i] = make([]byte, 8<<20)
		for k := 0; k < len(blocks[i]); k += 4096 {
			expect.True("zero", blocks[i][k] == 0)
			blocks[i][k] = byte(i)
		}
	}
	sum = 0
	for _, b := range blocks {
		for k := 0; k < len(b); k += 4096 {
			sum += int(b[k])
		}
	}
	fmt.Println(sum)
	m := map[int]string{}
	for i := 0; i < 300000; i++ {
		m[i*7919] = fmt.Sprint(i)
	}
	fmt.Println(len(m), m[299999*7919])
	func() {
		defer func() { fmt.Println(recover() != nil) }()
		n := -1
		_ = make([]byte, n)
	}()
}
