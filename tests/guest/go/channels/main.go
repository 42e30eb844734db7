// SPDX-License-Identifier: Apache-2.0 OR MIT

// channels: goroutines, channels, select and the sync package.
package main

import (
	"context"
	"errors"
	"fmt"
	"guest/internal/expect"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
)

func sieve(limit int) (primes []int) {
	source := make(chan int)
	go func(numbers chan<- int) {
		for i := 2; ; i++ {
			numbers <- i
		}
	}(source)
	for {
		prime := <-source
		if prime > limit {
			return primes
		}
		primes = append(primes, prime)
		next := make(chan int)
		go func(in <-chan int, out chan<- int) {
			for i := range in {
				if i%prime != 0 {
					out <- i
				}
			}
		}(source, next)
		source = next
	}
}

func fanIn() (sum int) {
	var wg sync.WaitGroup
	results := make(chan int, 3)
	for g := 0; g < 100; g++ {
		wg.Add(1)
		go func(g int) {
			defer wg.Done()
			for i := 0; i < 1000; i++ {
				results <- g * i
			}
		}(g)
	}
	go func() { wg.Wait(); close(results) }()
	for r := range results {
		sum += r
	}
	return sum
}

func selectMany(n int) (sum int64) {
	cases := make([]reflect.SelectCase, n)
	for i := range cases {
		c := make(chan int)
		cases[i] = reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(c)}
		go func(i int) {
			for k := 0; k < 20; k++ {
				c <- i
			}
			close(c)
		}(i)
	}
	for open := n; open > 0; {
		at, value, ok := reflect.Select(cases)
		if !ok {
			cases[at].Chan = reflect.ValueOf(nil)
			open--
			continue
		}
		sum += value.Int()
	}
	return sum
}

func locks() {
	var mutex sync.Mutex
	var rw sync.RWMutex
	var once sync.Once
	var wg sync.WaitGroup
	var plain, onced int
	var counter int64
	table := map[int]int{}
	for g := 0; g < 50; g++ {
		wg.Add(1)
		go func(g int) {
			defer wg.Done()
			once.Do(func() { onced++ })
			for i := 0; i < 500; i++ {
				mutex.Lock()
				plain++
				mutex.Unlock()
				atomic.AddInt64(&counter, 1)
				if i%10 == 0 {
					rw.Lock()
					table[i] = g
					rw.Unlock()
				} else {
					rw.RLock()
					_ = table[i]
					rw.RUnlock()
				}
			}
		}(g)
	}
	wg.Wait()
	fmt.Println("locks", plain, counter, onced, len(table))

	cond := sync.NewCond(&mutex)
	turn := 0
	for g := 0; g < 10; g++ {
		wg.Add(1)
		go func(g int) {
			defer wg.Done()
			for i := 0; i < 100; i++ {
				mutex.Lock()
				for turn%10 != g {
					cond.Wait()
				}
				turn++
				cond.Broadcast()
				mutex.Unlock()
			}
		}(g)
	}
	wg.Wait()
	fmt.Println("turns", turn)
	pool := sync.Pool{New: func() any { return new(int) }}
	pool.Put(pool.Get())
	var m sync.Map
	for i := 0; i < 1000; i++ {
		m.LoadOrStore(i%100, i)
	}
	n := 0
	m.Range(func(_, _ any) bool { n++; return true })
	fmt.Println("map", n)
}

func contexts() {
	parent, cancel := context.WithCancel(context.WithValue(context.Background(), "key", "value"))
	var wg sync.WaitGroup
	var ended int64
	for i := 0; i < 1000; i++ {
		child, stop := context.WithTimeout(parent, time.Hour)
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer stop()
			<-child.Done()
			if errors.Is(child.Err(), context.Canceled) {
				atomic.AddInt64(&ended, 1)
			}
		}()
	}
	cancel()
	wg.Wait()
	fmt.Println("cancelled", ended, parent.Value("key"))
	late, stop := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer stop()
	<-late.Done()
	fmt.Println(late.Err())
}

func main() {
	expect.Within("everything", 50*time.Second, func() {
		fmt.Println(sieve(400))
		fmt.Println(fanIn())
		fmt.Println(selectMany(300))
		locks()
		contexts()
		var nilChannel chan int
		select {
		case <-nilChannel:
			fmt.Println("a nil channel was ready")
		default:
			fmt.Println("default")
		}
		ping, pong := make(chan int), make(chan int)
		go func() {
			for v := range ping {
				pong <- v + 1
			}
			close(pong)
		}()
		v := 0
		for i := 0; i < 20000; i++ {
			ping <- v
			v = <-pong
		}
		close(ping)
		_, open := <-pong
		fmt.Println("ping-pong", v, open)
	})
}
