// SPDX-License-Identifier: Apache-2.0 OR MIT

// tls: server and client with a certificate made here, mutual
// authentication, resumption, HTTP/2, and refusal of what is not trusted.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"guest/internal/expect"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"
)

func certificate(name string, key any, public any) (tls.Certificate, *x509.CertPool) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IsCA:        true, BasicConstraintsValid: true,
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	expect.NoError("certificate", err)
	parsed, err := x509.ParseCertificate(der)
	expect.NoError("parse", err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func main() {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	expect.NoError("key", err)
	cert, pool := certificate("guest.test", ec, &ec.PublicKey)
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	expect.NoError("key", err)
	clientCert, clientPool := certificate("client.test", r, &r.PublicKey)

	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clientPool})
	expect.NoError("listen", err)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	address := listener.Addr().String()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cache := tls.NewLRUClientSessionCache(4)
		for i := 0; i < 2; i++ {
			config := &tls.Config{RootCAs: pool, MinVersion: version, MaxVersion: version, ClientSessionCache: cache, ServerName: "guest.test", Certificates: []tls.Certificate{clientCert}}
			c, err := tls.Dial("tcp", address, config)
			expect.NoError("dial", err)
			message := make([]byte, 300000)
			for k := range message {
				message[k] = byte(k)
			}
			go func() { c.Write(message); c.CloseWrite() }()
			got, err := io.ReadAll(c)
			state := c.ConnectionState()
			fmt.Printf("%x %v %d %v resumed %v\n", state.Version, state.HandshakeComplete, len(got), err, state.DidResume)
			c.Close()
		}
	}
	_, err = tls.Dial("tcp", address, &tls.Config{})
	var unknown x509.UnknownAuthorityError
	fmt.Println("untrusted:", errors.As(err, &unknown))
	_, err = tls.Dial("tcp", address, &tls.Config{RootCAs: pool, ServerName: "other.test"})
	var hostname x509.HostnameError
	fmt.Println("wrong name:", errors.As(err, &hostname))

	l, err := net.Listen("tcp", "127.0.0.1:0")
	expect.NoError("listen", err)
	server := &http.Server{
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto, " ", r.TLS != nil) }),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}},
		// Connections that the client did not need after all end in the handshake.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	go server.ServeTLS(l, "", "")
	for _, h2 := range []bool{false, true} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: h2}, Timeout: 30 * time.Second}
		var wg sync.WaitGroup
		answers := make(chan string, 50)
		for i := 0; i < 50; i++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				r, err := client.Get("https://" + l.Addr().String())
				expect.NoError("get", err)
				b, _ := io.ReadAll(r.Body)
				r.Body.Close()
				answers <- string(b)
			}()
		}
		wg.Wait()
		close(answers)
		counts := map[string]int{}
		for a := range answers {
			counts[a]++
		}
		fmt.Println(counts)
	}
}
