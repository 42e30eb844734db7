// SPDX-License-Identifier: Apache-2.0 OR MIT

// bulk: large transfers over HTTP. GET /down?mib=N sends N mebibytes from memory,
// GET /file?mib=N from a file (sendfile), POST /up takes what comes and tells how much.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
)

const piece = 1 << 20

func mebibytes(r *http.Request) int64 {
	n, _ := strconv.ParseInt(r.URL.Query().Get("mib"), 10, 64)
	return n
}

func main() {
	buffer := make([]byte, piece)
	http.HandleFunc("/down", func(w http.ResponseWriter, r *http.Request) {
		n := mebibytes(r)
		w.Header().Set("Content-Length", strconv.FormatInt(n*piece, 10))
		for ; n > 0; n-- {
			if _, err := w.Write(buffer); err != nil {
				return
			}
		}
	})
	http.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		n := mebibytes(r)
		name := "/tmp/bulk"
		file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			http.Error(w, err.Error(), 500)
			return
		}
		defer file.Close()
		if info, err := file.Stat(); err == nil && info.Size() != n*piece {
			for at := int64(0); at < n; at++ {
				file.WriteAt(buffer, at*piece)
			}
		}
		w.Header().Set("Content-Length", strconv.FormatInt(n*piece, 10))
		io.Copy(w, file)
	})
	http.HandleFunc("/up", func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r.Body}, buffer)
		fmt.Fprint(w, n)
	})
	l, err := net.Listen("tcp4", "0.0.0.0:8080")
	if err != nil {
		println("listen:", err.Error())
		os.Exit(1)
	}
	os.Stdout.WriteString("HTTPD-READY\n")
	if err := http.Serve(l, nil); err != nil {
		println("serve:", err.Error())
		os.Exit(1)
	}
}
