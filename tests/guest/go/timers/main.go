// SPDX-License-Identifier: Apache-2.0 OR MIT

// timers: order, periods, deadlines, stopping, and many timers at once.
package main

import (
	"errors"
	"fmt"
	"guest/internal/expect"
	"net"
	"os"
	"sync"
	"time"
)

func atLeast(what string, want time.Duration, begin time.Time) {
	took := time.Since(begin)
	expect.True(what+" is not early", took >= want)
	expect.True(what+" is not very late", took < want+2*time.Second)
}

func main() {
	begin := time.Now()
	time.Sleep(30 * time.Millisecond)
	atLeast("sleep", 30*time.Millisecond, begin)

	order := make(chan int, 5)
	for _, i := range []int{4, 2, 5, 1, 3} {
		i := i
		time.AfterFunc(time.Duration(i)*60*time.Millisecond, func() { order <- i })
	}
	for i := 0; i < 5; i++ {
		fmt.Print(<-order, " ")
	}
	fmt.Println()

	ticker := time.NewTicker(10 * time.Millisecond)
	begin = time.Now()
	for i := 0; i < 10; i++ {
		<-ticker.C
	}
	ticker.Stop()
	atLeast("ten ticks", 100*time.Millisecond, begin)
	select {
	case <-ticker.C:
		fmt.Println("ticked after stop")
	case <-time.After(40 * time.Millisecond):
		fmt.Println("stopped")
	}
	timer := time.NewTimer(time.Hour)
	fmt.Println(timer.Stop(), timer.Stop(), timer.Reset(time.Millisecond))
	<-timer.C

	var wg sync.WaitGroup
	var mutex sync.Mutex
	early := 0
	for i := 0; i < 5000; i++ {
		wg.Add(1)
		go func(d time.Duration) {
			defer wg.Done()
			begin := time.Now()
			time.Sleep(d)
			if time.Since(begin) < d {
				mutex.Lock()
				early++
				mutex.Unlock()
			}
		}(time.Duration(i%100) * time.Millisecond)
	}
	wg.Wait()
	fmt.Println("5000 sleepers, early:", early)

	r, w, err := os.Pipe()
	expect.NoError("pipe", err)
	begin = time.Now()
	expect.NoError("deadline", r.SetReadDeadline(begin.Add(30*time.Millisecond)))
	_, err = r.Read(make([]byte, 1))
	atLeast("deadline of a pipe", 30*time.Millisecond, begin)
	fmt.Println(errors.Is(err, os.ErrDeadlineExceeded))
	expect.NoError("clear", r.SetReadDeadline(time.Time{}))
	w.Write([]byte("x"))
	n, err := r.Read(make([]byte, 1))
	fmt.Println(n, err)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	expect.NoError("listen", err)
	go func() {
		c, _ := listener.Accept()
		time.Sleep(200 * time.Millisecond)
		c.Close()
	}()
	conn, err := net.DialTimeout("tcp", listener.Addr().String(), 5*time.Second)
	expect.NoError("dial", err)
	for i := 0; i < 3; i++ {
		conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, err = conn.Read(make([]byte, 1))
		var ne net.Error
		fmt.Println(errors.As(err, &ne) && ne.Timeout())
	}
	conn.SetReadDeadline(time.Now().Add(-time.Second))
	_, err = conn.Read(make([]byte, 1))
	fmt.Println(errors.Is(err, os.ErrDeadlineExceeded))
	listener.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Millisecond))
	_, err = listener.Accept()
	fmt.Println(errors.Is(err, os.ErrDeadlineExceeded))
	fmt.Println(time.Now().Year() >= 2024, time.Since(begin) > 0)
}
