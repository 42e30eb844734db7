// SPDX-License-Identifier: Apache-2.0 OR MIT

// soak: the web server of the soak test. "/" answers hello; "/state" tells what
// the program and its machine hold, after a collection.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
)

var requests int64

func machine() (total, available uint64) {
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		switch {
		case strings.HasPrefix(lines.Text(), "MemTotal:"):
			fmt.Sscanf(lines.Text(), "MemTotal: %d kB", &total)
		case strings.HasPrefix(lines.Text(), "MemAvailable:"):
			fmt.Sscanf(lines.Text(), "MemAvailable: %d kB", &available)
		}
	}
	return total, available
}

func state(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("collect") {
		debug.FreeOSMemory()
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	total, available := machine()
	descriptors, _ := os.ReadDir("/proc/self/fd")
	fmt.Fprintf(w, "requests %d\nheap_kib %d\ntotal_kib %d\navailable_kib %d\ngoroutines %d\ndescriptors %d\n",
		atomic.LoadInt64(&requests), stats.HeapAlloc>>10, total, available, runtime.NumGoroutine(), len(descriptors))
}

func main() {
	http.HandleFunc("/state", state)
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		atomic.AddInt64(&requests, 1)
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, "hello")
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
