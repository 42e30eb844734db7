// SPDX-License-Identifier: Apache-2.0 OR MIT

// api makes one request to the monitor's socket: api SOCKET METHOD PATH [BODY].
// It waits for the socket, prints what the monitor says, and fails when that is
// not a success.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	if len(os.Args) < 4 {
		fail("usage: api SOCKET METHOD PATH [BODY]")
	}
	socket, method, path := os.Args[1], os.Args[2], os.Args[3]
	body := strings.Join(os.Args[4:], " ")
	dial := func(context.Context, string, string) (net.Conn, error) {
		for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
			connection, err := net.Dial("unix", socket)
			if err == nil || time.Since(start) > 20*time.Second {
				return connection, err
			}
		}
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: time.Minute}
	request, err := http.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
	check(err)
	request.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(request)
	check(err)
	said, err := io.ReadAll(answer.Body)
	check(err)
	fmt.Println(method, path, answer.StatusCode, string(said))
	if answer.StatusCode/100 != 2 {
		os.Exit(1)
	}
}

func check(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func fail(reason string) {
	fmt.Fprintln(os.Stderr, "api:", reason)
	os.Exit(1)
}
