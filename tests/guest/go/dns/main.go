// SPDX-License-Identifier: Apache-2.0 OR MIT

// dns: the resolver against a name server of its own on loopback, and the
// names of /etc/hosts.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"guest/internal/expect"
	"net"
	"strings"
	"time"
)

// answer makes the reply to a query with one question (RFC 1035, section 4.1).
func answer(query []byte, tcp bool) []byte {
	end := 12
	var labels []string
	for query[end] != 0 {
		n := int(query[end])
		labels = append(labels, string(query[end+1:end+1+n]))
		end += n + 1
	}
	kind := binary.BigEndian.Uint16(query[end+1:])
	end += 5
	name := strings.ToLower(strings.Join(labels, "."))
	reply := append([]byte(nil), query[:end]...)
	reply[2], reply[3] = 0x84|query[2]&1, 0x80
	binary.BigEndian.PutUint16(reply[8:], 0)
	binary.BigEndian.PutUint16(reply[10:], 0)
	var data [][]byte
	switch {
	case name == "big.test" && !tcp:
		reply[2] |= 2 // truncated: ask again over TCP
	case name == "big.test" && kind == 1:
		for i := 0; i < 60; i++ {
			data = append(data, []byte{10, 1, 0, byte(i)})
		}
	case name == "host.test" && kind == 1:
		data = [][]byte{{192, 0, 2, 1}, {192, 0, 2, 2}}
	case name == "host.test" && kind == 28:
		data = [][]byte{net.ParseIP("2001:db8::1")}
	case name == "host.test" && kind == 16:
		data = [][]byte{append([]byte{5}, "hello"...)}
	case name == "host.test":
	default:
		reply[3] |= 3
	}
	binary.BigEndian.PutUint16(reply[6:], uint16(len(data)))
	for _, d := range data {
		reply = append(reply, 0xc0, 12, byte(kind>>8), byte(kind), 0, 1, 0, 0, 0, 60, 0, byte(len(d)))
		reply = append(reply, d...)
	}
	return reply
}

func serve(packets net.PacketConn, streams net.Listener) {
	go func() {
		for {
			c, err := streams.Accept()
			if err != nil {
				return
			}
			var length [2]byte
			c.Read(length[:])
			b := make([]byte, binary.BigEndian.Uint16(length[:]))
			c.Read(b)
			reply := answer(b, true)
			c.Write(append([]byte{byte(len(reply) >> 8), byte(len(reply))}, reply...))
			c.Close()
		}
	}()
	b := make([]byte, 2000)
	for {
		n, from, err := packets.ReadFrom(b)
		if err != nil {
			return
		}
		packets.WriteTo(answer(b[:n], false), from)
	}
}

func main() {
	packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
	expect.NoError("udp", err)
	streams, err := net.Listen("tcp4", packets.LocalAddr().String())
	expect.NoError("tcp", err)
	go serve(packets, streams)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network[:3], packets.LocalAddr().String())
	}}
	addresses, err := resolver.LookupIP(ctx, "ip4", "host.test.")
	fmt.Println(addresses, err)
	addresses, err = resolver.LookupIP(ctx, "ip6", "host.test.")
	fmt.Println(addresses, err)
	text, err := resolver.LookupTXT(ctx, "host.test.")
	fmt.Println(text, err)
	addresses, err = resolver.LookupIP(ctx, "ip4", "big.test.")
	fmt.Println(len(addresses), err)
	_, err = resolver.LookupHost(ctx, "missing.test.")
	var dns *net.DNSError
	fmt.Println(errors.As(err, &dns) && dns.IsNotFound)
	found := false
	local, err := net.LookupHost("localhost")
	for _, a := range local {
		found = found || a == "127.0.0.1"
	}
	fmt.Println("localhost", found, err)
	literal, err := net.LookupHost("198.51.100.7")
	fmt.Println(literal, err)
	port, err := net.LookupPort("tcp", "https")
	fmt.Println(port, err)
}
