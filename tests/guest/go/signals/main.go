// SPDX-License-Identifier: Apache-2.0 OR MIT

// signals: os/signal with signals the program sends to itself.
package main

import (
	"context"
	"fmt"
	"guest/internal/expect"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

func itimer(every time.Duration) error {
	t := [4]int64{0, every.Microseconds(), 0, every.Microseconds()}
	_, _, e := syscall.RawSyscall(syscall.SYS_SETITIMER, 0, uintptr(unsafe.Pointer(&t)), 0)
	if e != 0 {
		return e
	}
	return nil
}

func main() {
	self := syscall.Getpid()
	c := make(chan os.Signal, 100)
	for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD, syscall.SIGWINCH, syscall.SIGPIPE, syscall.Signal(40)} {
		signal.Notify(c, s)
		expect.NoError("kill", syscall.Kill(self, s))
		select {
		case got := <-c:
			fmt.Println(got == s, int(s))
		case <-time.After(5 * time.Second):
			fmt.Println("lost", s)
		}
	}
	signal.Reset()
	signal.Ignore(syscall.SIGTERM)
	syscall.Kill(self, syscall.SIGTERM)
	time.Sleep(20 * time.Millisecond)
	fmt.Println("ignored", signal.Ignored(syscall.SIGTERM))

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT)
	p, _ := os.FindProcess(self)
	expect.NoError("signal", p.Signal(os.Interrupt))
	<-ctx.Done()
	fmt.Println(ctx.Err())
	stop()

	signal.Notify(c, syscall.SIGALRM)
	expect.NoError("setitimer", itimer(5*time.Millisecond))
	for i := 0; i < 5; i++ {
		<-c
	}
	expect.NoError("setitimer", itimer(0))
	fmt.Println("alarms")

	// A storm of signals while goroutines compute, allocate and wait.
	storm := make(chan os.Signal, 1000)
	signal.Notify(storm, syscall.SIGUSR1)
	var wg sync.WaitGroup
	stopStorm := make(chan struct{})
	go func() {
		for {
			select {
			case <-stopStorm:
				return
			default:
				syscall.Kill(self, syscall.SIGUSR1)
				syscall.Kill(self, syscall.SIGURG)
				runtime.Gosched()
			}
		}
	}()
	for g := 0; g < 4; g++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			total := 0
			for i := 0; i < 2000; i++ {
				b := make([]byte, 1000+i)
				for k := range b {
					b[k] = byte(k)
				}
				total += int(b[len(b)-1])
			}
			expect.True("sum", total == 254488 || total > 0)
		}()
	}
	wg.Wait()
	close(stopStorm)
	<-storm
	fmt.Println("storm over")

	r, w, _ := os.Pipe()
	r.Close()
	_, err := w.Write([]byte("x"))
	fmt.Println(err)
	fmt.Println(syscall.Kill(self, 0), syscall.Kill(self, 70))
	os.Stdout.Sync()
}
