// SPDX-License-Identifier: Apache-2.0 OR MIT

// net: TCP, UDP and unix sockets through package net.
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"guest/internal/expect"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func echoServer(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			io.Copy(c, c)
			c.Close()
		}()
	}
}

func exchange(network, address string, size int) bool {
	c, err := net.Dial(network, address)
	expect.NoError("dial", err)
	defer c.Close()
	data := bytes.Repeat([]byte("abcdefghijklmnopqrstuvwxyz0123456789"), size/36+1)[:size]
	go func() {
		c.Write(data)
		c.(interface{ CloseWrite() error }).CloseWrite()
	}()
	h := sha256.New()
	n, err := io.Copy(h, c)
	return err == nil && int(n) == size && bytes.Equal(h.Sum(nil), func() []byte { s := sha256.Sum256(data); return s[:] }())
}

func streams(network, address string) {
	l, err := net.Listen(network, address)
	expect.NoError("listen", err)
	go echoServer(l)
	for _, size := range []int{0, 1, 1460, 65536, 3000000} {
		fmt.Println(network, size, exchange(network, l.Addr().String(), size))
	}
	var wg sync.WaitGroup
	var good int64
	for i := 0; i < 200; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			if exchange(network, l.Addr().String(), 1000*(i%20)) {
				atomic.AddInt64(&good, 1)
			}
		}(i)
	}
	wg.Wait()
	fmt.Println(network, "together", good)
	l.Close()
	_, err = net.Dial(network, l.Addr().String())
	fmt.Println(network, "after close", errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT))
}

func resets() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	expect.NoError("listen", err)
	go func() {
		c, _ := l.Accept()
		c.Read(make([]byte, 1))
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	expect.NoError("dial", err)
	c.Write([]byte("x"))
	_, err = c.Read(make([]byte, 1))
	fmt.Println("reset", errors.Is(err, syscall.ECONNRESET))
	tcp := c.(*net.TCPConn)
	fmt.Println(tcp.SetNoDelay(false), tcp.SetKeepAlive(true), tcp.SetReadBuffer(100000))
	_, err = net.Listen("tcp", l.Addr().String())
	fmt.Println("in use", errors.Is(err, syscall.EADDRINUSE))
	_, err = net.Listen("tcp", "203.0.113.1:0")
	fmt.Println("not ours", errors.Is(err, syscall.EADDRNOTAVAIL))

	// A closed connection wakes its reader.
	a, err := net.Dial("tcp", l.Addr().String())
	expect.NoError("dial", err)
	go func() { time.Sleep(30 * time.Millisecond); a.Close() }()
	_, err = a.Read(make([]byte, 1))
	fmt.Println("closed under the reader", errors.Is(err, net.ErrClosed))

	// More connections than accept() has taken wait in the backlog.
	var conns []net.Conn
	for i := 0; i < 50; i++ {
		c, err := net.Dial("tcp", l.Addr().String())
		expect.NoError("backlog", err)
		fmt.Fprintf(c, "%02d", i)
		conns = append(conns, c)
	}
	l.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Second))
	sum := 0
	for accepted := 0; accepted < 51; accepted++ {
		s, err := l.Accept()
		expect.NoError("accept", err)
		var n int
		if _, err := fmt.Fscanf(s, "%02d", &n); err == nil {
			sum += n
		}
		s.Close()
	}
	fmt.Println("backlog", sum)
	for _, c := range conns {
		c.Close()
	}
}

func datagrams(network, address string) {
	s, err := net.ListenPacket(network, address)
	expect.NoError("listen", err)
	go func() {
		b := make([]byte, 70000)
		for {
			n, from, err := s.ReadFrom(b)
			if err != nil {
				return
			}
			s.WriteTo(b[:n], from)
		}
	}()
	c, err := net.Dial(network, s.LocalAddr().String())
	expect.NoError("dial", err)
	b := make([]byte, 70000)
	for _, size := range []int{0, 1, 500, 1472, 1473, 9000, 60000} {
		c.SetDeadline(time.Now().Add(5 * time.Second))
		c.Write(b[:size])
		n, err := c.Read(b)
		fmt.Println(network, size, n, err)
	}
	lost := 0
	for i := 0; i < 2000; i++ {
		c.SetDeadline(time.Now().Add(5 * time.Second))
		c.Write([]byte{byte(i), byte(i >> 8)})
		if n, err := c.Read(b); n != 2 || err != nil || b[0] != byte(i) {
			lost++
		}
	}
	fmt.Println(network, "lost", lost)
	s.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	c.Write([]byte("x"))
	_, err = c.Read(b)
	fmt.Println(network, "refused", errors.Is(err, syscall.ECONNREFUSED))
}

func main() {
	expect.Within("everything", 100*time.Second, func() {
		streams("tcp4", "127.0.0.1:0")
		dir, _ := os.MkdirTemp("", "net")
		streams("unix", filepath.Join(dir, "socket"))
		_, err := os.Stat(filepath.Join(dir, "socket"))
		fmt.Println("socket file removed", errors.Is(err, os.ErrNotExist))
		resets()
		datagrams("udp4", "127.0.0.1:0")
		interfaces, err := net.Interfaces()
		loopback := false
		for _, i := range interfaces {
			addresses, _ := i.Addrs()
			for _, a := range addresses {
				loopback = loopback || i.Flags&net.FlagLoopback != 0 && a.String() == "127.0.0.1/8"
			}
		}
		fmt.Println("loopback", loopback, err)
		a, b := net.Pipe()
		go func() { a.Write([]byte("in memory")); a.Close() }()
		m, _ := io.ReadAll(b)
		fmt.Println(string(m))
	})
}
