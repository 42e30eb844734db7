// SPDX-License-Identifier: Apache-2.0 OR MIT

// net6: TCP and UDP over the IPv6 loopback address.
package main

import (
	"fmt"
	"guest/internal/expect"
	"io"
	"net"
	"time"
)

func main() {
	l, err := net.Listen("tcp6", "[::1]:0")
	expect.NoError("listen", err)
	go func() {
		c, err := l.Accept()
		expect.NoError("accept", err)
		io.Copy(c, c)
		c.Close()
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	expect.NoError("dial", err)
	data := make([]byte, 500000)
	go func() { c.Write(data); c.(*net.TCPConn).CloseWrite() }()
	b, err := io.ReadAll(c)
	fmt.Println(len(b), err)

	s, err := net.ListenPacket("udp6", "[::1]:0")
	expect.NoError("listen", err)
	d, err := net.Dial("udp6", s.LocalAddr().String())
	expect.NoError("dial", err)
	d.Write([]byte("six"))
	buffer := make([]byte, 100)
	s.SetDeadline(time.Now().Add(5 * time.Second))
	n, from, err := s.ReadFrom(buffer)
	fmt.Println(string(buffer[:n]), from.(*net.UDPAddr).IP, err)

	// A listener on all addresses serves both protocols.
	both, err := net.Listen("tcp", ":0")
	expect.NoError("listen", err)
	port := both.Addr().(*net.TCPAddr).Port
	for _, host := range []string{"127.0.0.1", "::1"} {
		go func() {
			c, err := net.Dial("tcp", net.JoinHostPort(host, fmt.Sprint(port)))
			expect.NoError("dial", err)
			c.Write([]byte(host))
			c.Close()
		}()
		c, err := both.Accept()
		expect.NoError("accept", err)
		b, _ := io.ReadAll(c)
		fmt.Println(string(b), c.RemoteAddr().(*net.TCPAddr).IP)
	}
}
