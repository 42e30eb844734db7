// SPDX-License-Identifier: Apache-2.0 OR MIT

// web: an ordinary net/http server, with nothing in it that knows of unikernels.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"runtime"
	"time"
)

func main() {
	start := time.Now()
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Hello from a unikernel.\n%s on %s/%s, %d CPU, up %s\n",
			runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), time.Since(start).Round(time.Microsecond))
	})
	address := ":8080"
	if port := os.Getenv("PORT"); port != "" {
		address = ":" + port
	}
	fmt.Println("listening on", address)
	log.Fatal(http.ListenAndServe(address, nil))
}
