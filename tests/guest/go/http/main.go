// SPDX-License-Identifier: Apache-2.0 OR MIT

// http: net/http server and client in one process over loopback.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"guest/internal/expect"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*31 + i/253)
	}
	return b
}

func routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello %s", r.Method) })
	mux.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "8000000")
		w.Write(pattern(8000000))
	})
	mux.HandleFunc("/hash", func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		fmt.Fprintf(w, "%d %v %x", n, err, h.Sum(nil)[:4])
	})
	mux.HandleFunc("/chunked", func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < 20; i++ {
			fmt.Fprintf(w, "chunk %d\n", i)
			w.(http.Flusher).Flush()
			time.Sleep(time.Millisecond)
		}
	})
	mux.HandleFunc("/gzip", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		z.Write(bytes.Repeat([]byte("compressed "), 10000))
		z.Close()
	})
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/hello", 302) })
	mux.HandleFunc("/cookie", func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("seen"); err == nil {
			fmt.Fprint(w, "cookie ", c.Value)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "seen", Value: "yes"})
		fmt.Fprint(w, "first")
	})
	mux.HandleFunc("/form", func(w http.ResponseWriter, r *http.Request) {
		f, header, err := r.FormFile("file")
		expect.NoError("form", err)
		b, _ := io.ReadAll(f)
		fmt.Fprint(w, header.Filename, " ", len(b), " ", r.FormValue("name"))
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/panic", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/hijack", func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		expect.NoError("hijack", err)
		rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		rw.Flush()
		io.Copy(c, rw)
		c.Close()
	})
	return mux
}

func fetch(client *http.Client, address string) (int, []byte) {
	r, err := client.Get(address)
	expect.NoError(address, err)
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	expect.NoError("body", err)
	return r.StatusCode, b
}

func many(base string) {
	var wg sync.WaitGroup
	var good, bytesRead int64
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 64}, Timeout: 40 * time.Second}
	for g := 0; g < 100; g++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; i < 20; i++ {
				if status, b := fetch(client, base+"/hello"); status == 200 {
					atomic.AddInt64(&good, 1)
					atomic.AddInt64(&bytesRead, int64(len(b)))
				}
			}
		}()
	}
	wg.Wait()
	fmt.Println("keep-alive", good, bytesRead)
	closing := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 40 * time.Second}
	good = 0
	for g := 0; g < 32; g++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; i < 10; i++ {
				if status, _ := fetch(closing, base+"/hello"); status == 200 {
					atomic.AddInt64(&good, 1)
				}
			}
		}()
	}
	wg.Wait()
	fmt.Println("close", good)
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	expect.NoError("listen", err)
	server := &http.Server{Handler: routes(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	base := "http://" + listener.Addr().String()
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Timeout: 40 * time.Second}

	for _, path := range []string{"/hello", "/redirect", "/cookie", "/cookie", "/nothing"} {
		status, b := fetch(client, base+path)
		fmt.Printf("%s %d %q\n", path, status, b)
	}
	_, b := fetch(client, base+"/large")
	fmt.Println("large", len(b), bytes.Equal(b, pattern(8000000)))
	_, b = fetch(client, base+"/chunked")
	fmt.Println("chunked", strings.Count(string(b), "\n"))
	_, b = fetch(client, base+"/gzip")
	fmt.Println("gzip", len(b))
	r, err := client.Post(base+"/hash", "application/octet-stream", bytes.NewReader(pattern(5000000)))
	expect.NoError("post", err)
	b, _ = io.ReadAll(r.Body)
	r.Body.Close()
	fmt.Printf("%s\n", b)
	pr, pw := io.Pipe()
	go func() {
		for i := 0; i < 100; i++ {
			pw.Write(pattern(1000 + i))
		}
		pw.Close()
	}()
	r, err = client.Post(base+"/hash", "text/plain", pr)
	expect.NoError("chunked post", err)
	b, _ = io.ReadAll(r.Body)
	r.Body.Close()
	fmt.Printf("%s\n", b)

	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	m.WriteField("name", "value")
	part, _ := m.CreateFormFile("file", "upload.bin")
	part.Write(pattern(100000))
	m.Close()
	r, err = client.Post(base+"/form", m.FormDataContentType(), &form)
	expect.NoError("form", err)
	b, _ = io.ReadAll(r.Body)
	r.Body.Close()
	fmt.Printf("%s\n", b)

	reused := false
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }}
	req, _ := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), "HEAD", base+"/hello", nil)
	r, err = client.Do(req)
	expect.NoError("head", err)
	r.Body.Close()
	fmt.Println(r.StatusCode, r.ContentLength, "reused", reused)

	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	req, _ = http.NewRequestWithContext(ctx, "GET", base+"/slow", nil)
	_, err = client.Do(req)
	fmt.Println("slow:", errors.Is(err, context.DeadlineExceeded))
	_, err = client.Get(base + "/panic")
	var ue *url.Error
	fmt.Println("abort:", errors.As(err, &ue) && errors.Is(err, io.EOF))

	c, err := net.Dial("tcp", listener.Addr().String())
	expect.NoError("dial", err)
	fmt.Fprint(c, "GET /hijack HTTP/1.1\r\nHost: x\r\n\r\n")
	c.Write([]byte("echoed"))
	c.(*net.TCPConn).CloseWrite()
	b, err = io.ReadAll(c)
	fmt.Printf("%q %v\n", b[len(b)-6:], err)
	c, _ = net.Dial("tcp", listener.Addr().String())
	fmt.Fprint(c, "NONSENSE\r\n\r\n")
	b, _ = io.ReadAll(c)
	fmt.Println(strings.SplitN(string(b), "\r\n", 2)[0])

	many(base)
	expect.NoError("shutdown", server.Shutdown(context.Background()))
	fmt.Println(<-served)
	_, err = net.DialTimeout("tcp", listener.Addr().String(), time.Second)
	fmt.Println("refused", err != nil)
}
