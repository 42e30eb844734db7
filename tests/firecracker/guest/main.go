// SPDX-License-Identifier: Apache-2.0 OR MIT

// guest says what it sees from inside the machine.
package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	host, _ := os.Hostname()
	fmt.Printf("arguments %q\n", os.Args[1:])
	fmt.Println("mode", os.Getenv("MODE"), "host", host, "cpus", runtime.NumCPU())
	if len(os.Args) < 2 {
		return
	}
	switch os.Args[1] {
	case "exit":
		status, _ := strconv.Atoi(os.Args[2])
		os.Exit(status)
	case "killed":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "read":
		text, err := os.ReadFile(os.Args[2])
		fmt.Printf("%q %v\n", strings.TrimRight(string(text), "\x00"), err)
	case "write":
		err := os.WriteFile(os.Args[2], []byte(os.Args[3]), 0o644)
		fmt.Println("written", err)
		if err != nil {
			os.Exit(1)
		}
	case "length":
		fmt.Println("length", len(os.Getenv(os.Args[2])))
	case "work":
		work()
	case "machine":
		machine(os.Args[2:])
	case "date":
		fmt.Println("date", time.Now().Unix())
		start := time.Now()
		time.Sleep(300 * time.Millisecond)
		fmt.Println("slept", time.Since(start).Milliseconds())
	case "ticks":
		ticks()
	case "clock":
		seconds, _ := strconv.Atoi(os.Args[2])
		clock(time.Duration(seconds) * time.Second)
	}
}

// machine tells how much memory there is, writes to both ends of much of it, and reads disks.
func machine(disks []string) {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("memory", info.Totalram*uint64(info.Unit)>>20)
	if info.Freeram > 1<<32 {
		// So much that some of it is above 4 GiB.
		size := int(info.Freeram - 256<<20)
		bytes, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		for at := 0; at < size; at += 64 << 20 {
			bytes[at] = byte(at >> 26)
		}
		for at := 0; at < size; at += 64 << 20 {
			if bytes[at] != byte(at>>26) {
				fmt.Println("memory lost at", at)
				os.Exit(1)
			}
		}
	}
	for _, disk := range disks {
		text, err := os.ReadFile(disk)
		fmt.Printf("%q %v\n", strings.TrimRight(string(text), "\x00"), err)
	}
}

// work keeps every CPU busy, which has them preempted by signals.
func work() {
	done := make(chan int)
	for i := 0; i < runtime.NumCPU(); i++ {
		go func() {
			count := 0
			for start := time.Now(); time.Since(start) < 200*time.Millisecond; {
				count++
			}
			done <- count
		}()
	}
	for i := 0; i < runtime.NumCPU(); i++ {
		if <-done == 0 {
			os.Exit(1)
		}
	}
	fmt.Println("worked")
}

// ticks tells time and randomness for as long as it runs.
func ticks() {
	start := time.Now()
	for number := 0; ; number++ {
		bytes := make([]byte, 8)
		if _, err := rand.Read(bytes); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		up := time.Since(start).Milliseconds()
		fmt.Printf("tick %d up %d date %d random %x\n", number, up, time.Now().Unix(), bytes)
		time.Sleep(100 * time.Millisecond)
	}
}

// clock watches time from all CPUs: what one has seen is past for all others.
func clock(length time.Duration) {
	var latest, reads, backwards, worst int64
	start := time.Now()
	done := make(chan bool)
	for i := 0; i < runtime.NumCPU(); i++ {
		go func() {
			for {
				seen := atomic.LoadInt64(&latest)
				now := int64(time.Since(start))
				atomic.AddInt64(&reads, 1)
				if now < seen {
					atomic.AddInt64(&backwards, 1)
					if seen-now > atomic.LoadInt64(&worst) {
						atomic.StoreInt64(&worst, seen-now)
					}
				} else {
					atomic.CompareAndSwapInt64(&latest, seen, now)
				}
				if now > int64(length) {
					break
				}
			}
			done <- true
		}()
	}
	fmt.Println("watching")
	for i := 0; i < runtime.NumCPU(); i++ {
		<-done
	}
	fmt.Println("reads", reads)
	fmt.Println("backwards", backwards)
	fmt.Println("worst", worst)
	fmt.Println("date", time.Now().Unix())
}
