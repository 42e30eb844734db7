// SPDX-License-Identifier: Apache-2.0 OR MIT

// watch: a configuration file that is replaced while a goroutine watches its directory,
// with inotify behind Go's poller, as libraries that reload configurations do it.
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"guest/internal/expect"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

type event struct {
	mask uint32
	name string
}

// read gives the events until the watcher is closed.
func read(watcher *os.File, events chan<- event) {
	defer close(events)
	buffer := make([]byte, 64*(syscall.SizeofInotifyEvent+syscall.NAME_MAX+1))
	for {
		n, err := watcher.Read(buffer)
		if err != nil {
			return
		}
		for rest := buffer[:n]; len(rest) >= syscall.SizeofInotifyEvent; {
			mask := binary.LittleEndian.Uint32(rest[4:])
			length := binary.LittleEndian.Uint32(rest[12:])
			name := rest[syscall.SizeofInotifyEvent : syscall.SizeofInotifyEvent+length]
			events <- event{mask, string(bytes.TrimRight(name, "\x00"))}
			rest = rest[syscall.SizeofInotifyEvent+length:]
		}
	}
}

func main() {
	directory, err := os.MkdirTemp("", "watch")
	expect.NoError("directory", err)
	defer os.RemoveAll(directory)
	file := filepath.Join(directory, "config")
	expect.NoError("write", os.WriteFile(file, []byte("one"), 0o644))

	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	expect.NoError("inotify", err)
	watcher := os.NewFile(uintptr(fd), "inotify")
	_, err = syscall.InotifyAddWatch(fd, directory, syscall.IN_CLOSE_WRITE|syscall.IN_MOVED_TO|syscall.IN_DELETE)
	expect.NoError("watch", err)
	events := make(chan event)
	go read(watcher, events)

	replace := func(content string) {
		time.Sleep(10 * time.Millisecond)
		expect.NoError("write", os.WriteFile(file+".new", []byte(content), 0o644))
		expect.NoError("rename", os.Rename(file+".new", file))
	}
	for _, content := range []string{"two", "three", "four"} {
		go replace(content)
		for e := range events {
			fmt.Printf("%x %s\n", e.mask, e.name)
			if e.mask == syscall.IN_MOVED_TO {
				break
			}
		}
		read, err := os.ReadFile(file)
		fmt.Println(string(read), err)
	}
	expect.NoError("remove", os.Remove(file))
	e := <-events
	fmt.Printf("%x %s\n", e.mask, e.name)
	// A reader that waits is woken by the close.
	time.AfterFunc(20*time.Millisecond, func() { watcher.Close() })
	_, more := <-events
	fmt.Println("more", more)
}
