// SPDX-License-Identifier: Apache-2.0 OR MIT

// conformance: the program of the suite that every provider passes. Its arguments are steps,
// done in order; see host/conformance/src/program.rs for what each does and says.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var input = bufio.NewReader(os.Stdin)

func main() {
	for _, argument := range os.Args[1:] {
		name, value, _ := strings.Cut(argument, "=")
		step, known := steps[name]
		if !known {
			fmt.Printf("unknown step %s\n", argument)
			os.Exit(99)
		}
		step(value)
	}
}

var steps = map[string]func(string){
	"say":     func(text string) { fmt.Println(text) },
	"args":    arguments,
	"env":     variable,
	"machine": machine,
	"exit":    func(status string) { os.Exit(number(status)) },
	"signal":  raise,
	"trap":    trap,
	"ignore":  ignore,
	"sleep":   func(text string) { time.Sleep(milliseconds(text)) },
	"tcp":     tcp,
	"udp":     udp,
	"count":   count,
	"flood":   flood,
	"read":    read,
	"write":   write,
	"cat":     cat,
	"wait":    wait,
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		fmt.Printf("not a number: %s\n", text)
		os.Exit(99)
	}
	return value
}

func milliseconds(text string) time.Duration {
	return time.Duration(number(text)) * time.Millisecond
}

// reason is the system's own message, without the operation and the name around it.
func reason(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

func arguments(string) {
	for index, argument := range os.Args[1:] {
		fmt.Printf("arg %d=%s\n", index+1, argument)
	}
}

func variable(name string) {
	if value, set := os.LookupEnv(name); set {
		fmt.Printf("env %s=%s\n", name, value)
	} else {
		fmt.Printf("env %s unset\n", name)
	}
}

func machine(string) {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		fmt.Printf("sysinfo: %v\n", err)
	}
	fmt.Printf("cpus=%d\n", runtime.NumCPU())
	fmt.Printf("memory=%d\n", info.Totalram*uint64(info.Unit)>>20)
}

func raise(text string) {
	which := syscall.Signal(number(text))
	signal.Reset(which)
	syscall.Kill(syscall.Getpid(), which)
	wait("")
}

// wait sleeps, because Go's runtime ends a program in which nothing can ever happen.
func wait(string) {
	for {
		time.Sleep(time.Hour)
	}
}

func trap(status string) {
	code := number(status)
	arrived := make(chan os.Signal, 1)
	signal.Notify(arrived, syscall.SIGTERM)
	go func() {
		<-arrived
		fmt.Println("goodbye")
		os.Exit(code)
	}()
	fmt.Println("trapping")
}

func ignore(string) {
	signal.Ignore(syscall.SIGTERM)
	fmt.Println("ignoring")
}

func tcp(port string) {
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		fmt.Printf("cannot listen on tcp %s: %s\n", port, reason(err))
		return
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go answer(connection)
		}
	}()
	fmt.Printf("listening tcp %s\n", port)
}

func answer(connection net.Conn) {
	defer connection.Close()
	lines := bufio.NewScanner(connection)
	for lines.Scan() {
		if _, err := fmt.Fprintf(connection, "echo %s\n", lines.Text()); err != nil {
			return
		}
	}
}

func udp(port string) {
	socket, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		fmt.Printf("cannot listen on udp %s: %s\n", port, reason(err))
		return
	}
	go func() {
		buffer := make([]byte, 2048)
		for {
			length, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			socket.WriteTo(append([]byte("echo "), buffer[:length]...), from)
		}
	}()
	fmt.Printf("listening udp %s\n", port)
}

func count(text string) {
	pause := milliseconds(text)
	go func() {
		for index := 1; ; index++ {
			fmt.Printf("count %d\n", index)
			time.Sleep(pause)
		}
	}()
}

func flood(text string) {
	out := bufio.NewWriter(os.Stdout)
	for index := 1; index <= number(text); index++ {
		fmt.Fprintf(out, "line %d of a flood that fills the log\n", index)
	}
	out.Flush()
}

func read(string) {
	line, err := input.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		fmt.Printf("cannot read: %s\n", reason(err))
		return
	}
	fmt.Printf("read %s\n", strings.TrimRight(line, "\r\n"))
}

func write(value string) {
	path, text, _ := strings.Cut(value, "=")
	if err := writeDurably(path, text); err != nil {
		fmt.Printf("cannot write %s: %s\n", path, reason(err))
	} else {
		fmt.Printf("wrote %s\n", path)
	}
}

func writeDurably(path, text string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.WriteString(text); err != nil {
		return err
	}
	return file.Sync()
}

func cat(path string) {
	if text, err := os.ReadFile(path); err != nil {
		fmt.Printf("cannot read %s: %s\n", path, reason(err))
	} else {
		fmt.Printf("%s holds %s\n", path, text)
	}
}
