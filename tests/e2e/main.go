// SPDX-License-Identifier: Apache-2.0 OR MIT

// e2e says what it was given, so that the tools that give it can be checked.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

func main() {
	fmt.Printf("arguments %q\n", os.Args[1:])
	fmt.Println("mode", os.Getenv("MODE"), "cpus", runtime.NumCPU())
	if len(os.Args) < 2 {
		return
	}
	switch os.Args[1] {
	case "exit":
		status, _ := strconv.Atoi(os.Args[2])
		os.Exit(status)
	case "input":
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			fmt.Println("line", lines.Text())
		}
	case "sleep":
		time.Sleep(time.Hour)
	case "read":
		text, err := os.ReadFile(os.Args[2])
		fmt.Printf("%s %v\n", text, err)
	case "udp":
		echo()
	case "call":
		number, _ := strconv.Atoi(os.Args[2])
		for i := 0; i < 2; i++ {
			_, _, errno := syscall.Syscall(uintptr(number), 0, 0, 0)
			fmt.Println(errno)
		}
	case "execute":
		command := exec.Command(os.Args[2], os.Args[3:]...)
		out, err := command.Output()
		fmt.Printf("%q %v\n", out, err)
	}
}

// echo answers one datagram.
func echo() {
	socket, err := net.ListenPacket("udp4", ":5353")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("listening")
	buffer := make([]byte, 100)
	n, from, err := socket.ReadFrom(buffer)
	if err == nil {
		_, err = socket.WriteTo(append([]byte("re: "), buffer[:n]...), from)
	}
	// The answer leaves the machine before the machine is gone.
	time.Sleep(100 * time.Millisecond)
	fmt.Println("answered", err)
}
