// SPDX-License-Identifier: Apache-2.0 OR MIT

// commands: os/exec with this very program as the command.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"guest/internal/expect"
)

func child(arguments []string) {
	switch arguments[0] {
	case "echo":
		fmt.Println(strings.Join(arguments[1:], " "))
		fmt.Fprintln(os.Stderr, "to the other stream")
	case "upper":
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			fmt.Println(strings.ToUpper(lines.Text()))
		}
	case "status":
		var status int
		fmt.Sscan(arguments[1], &status)
		os.Exit(status)
	case "where":
		where, err := os.Getwd()
		fmt.Println(where, err, os.Getenv("WHO"), len(os.Environ()))
	case "sleep":
		time.Sleep(time.Hour)
	case "term":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("ready")
		fmt.Println("got", (<-c).String())
	case "extra":
		text, err := io.ReadAll(os.NewFile(3, "extra"))
		fmt.Println(string(text), err)
	case "exec":
		err := syscall.Exec(self(), []string{self(), "child", "echo", "in place"}, os.Environ())
		fmt.Println("not executed:", err)
	case "panic":
		panic("on purpose")
	}
	os.Exit(0)
}

func self() string {
	path, err := os.Executable()
	expect.NoError("executable", err)
	return path
}

func command(arguments ...string) *exec.Cmd {
	return exec.Command(self(), append([]string{"child"}, arguments...)...)
}

func status(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.String()
	}
	return fmt.Sprint(err)
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		child(os.Args[2:])
	}
	out, err := command("echo", "hello", "there").Output()
	fmt.Printf("%q %v\n", out, err)
	out, err = command("echo", "both").CombinedOutput()
	fmt.Println(len(out), err)

	upper := command("upper")
	upper.Stdin = strings.NewReader("one\ntwo\nthree\n")
	out, err = upper.Output()
	fmt.Printf("%q %v\n", out, err)

	for _, code := range []string{"0", "1", "77", "255"} {
		fmt.Println(code, status(command("status", code).Run()))
	}

	where := command("where")
	where.Dir = "/tmp"
	where.Env = []string{"WHO=me", "OTHER=x"}
	out, err = where.Output()
	fmt.Printf("%q %v\n", out, err)

	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	sleeper := exec.CommandContext(ctx, self(), "child", "sleep")
	fmt.Println(status(sleeper.Run()), ctx.Err())
	cancel()

	term := command("term")
	pipe, err := term.StdoutPipe()
	expect.NoError("pipe", err)
	expect.NoError("start", term.Start())
	lines := bufio.NewReader(pipe)
	line, _ := lines.ReadString('\n')
	fmt.Print(line)
	expect.NoError("signal", term.Process.Signal(syscall.SIGTERM))
	line, _ = lines.ReadString('\n')
	fmt.Print(line)
	fmt.Println(status(term.Wait()), term.ProcessState.Exited())

	read, write, err := os.Pipe()
	expect.NoError("pipe", err)
	extra := command("extra")
	extra.ExtraFiles = []*os.File{read}
	var got bytes.Buffer
	extra.Stdout = &got
	expect.NoError("start", extra.Start())
	read.Close()
	fmt.Fprint(write, "through a pipe")
	write.Close()
	fmt.Println(status(extra.Wait()), got.String())

	out, err = command("exec").Output()
	fmt.Printf("%q %v\n", out, err)
	fmt.Println(status(command("panic").Run()))
	fmt.Println(exec.Command("/nowhere/at/all").Run())
	for _, mode := range []os.FileMode{0o644, 0o755} {
		name := fmt.Sprintf("/tmp/guest-commands-%d-%o", os.Getpid(), mode)
		expect.NoError("write", os.WriteFile(name, []byte("no program\n"), mode))
		err := exec.Command(name).Run()
		fmt.Println(errors.Unwrap(err))
		os.Remove(name)
	}

	var all sync.WaitGroup
	results := make([]string, 40)
	for i := range results {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			out, err := command("echo", fmt.Sprint(i)).Output()
			results[i] = fmt.Sprintf("%d %q %v", i, out, err)
		}(i)
	}
	all.Wait()
	fmt.Println(strings.Join(results, "\n"))

	group := command("sleep")
	group.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	expect.NoError("start", group.Start())
	expect.NoError("kill", syscall.Kill(-group.Process.Pid, syscall.SIGKILL))
	fmt.Println(status(group.Wait()))
	var usage syscall.Rusage
	expect.NoError("rusage", syscall.Getrusage(syscall.RUSAGE_CHILDREN, &usage))
	fmt.Println(usage.Utime.Nano() > 0)
}
