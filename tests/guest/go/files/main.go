// SPDX-License-Identifier: Apache-2.0 OR MIT

// files: what package os offers, over a temporary directory.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"guest/internal/expect"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

func show(what string, err error) {
	var path *fs.PathError
	var link *os.LinkError
	var call *os.SyscallError
	switch {
	case errors.As(err, &path):
		fmt.Println(what, path.Op, path.Err)
	case errors.As(err, &link):
		fmt.Println(what, link.Op, link.Err)
	case errors.As(err, &call):
		fmt.Println(what, call.Syscall, call.Err)
	default:
		fmt.Println(what, err)
	}
}

func basics() {
	f, err := os.OpenFile("a", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0640)
	expect.NoError("create", err)
	_, err = os.OpenFile("a", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0640)
	show("exclusive", err)
	fmt.Fprintf(f, "hello %s\n", "world")
	at, err := f.Seek(-3, io.SeekEnd)
	fmt.Println(at, err)
	rest, err := io.ReadAll(f)
	fmt.Printf("%q %v\n", rest, err)
	f.WriteAt([]byte("HELLO"), 0)
	expect.NoError("sync", f.Sync())
	expect.NoError("close", f.Close())
	show("closed", f.Close())
	a, _ := os.OpenFile("a", os.O_APPEND|os.O_WRONLY, 0)
	a.WriteString("appended\n")
	_, err = a.WriteAt([]byte("x"), 0)
	show("write at on append", err)
	a.Close()
	b, err := os.ReadFile("a")
	fmt.Printf("%q %v\n", b, err)
	expect.NoError("truncate", os.Truncate("a", 4))
	info, _ := os.Stat("a")
	fmt.Println(info.Name(), info.Size(), info.Mode(), info.IsDir())
	show("rename", os.Rename("a", "b"))
	_, err = os.Stat("a")
	show("stat", err)
	show("link", os.Link("b", "hard"))
	show("symlink", os.Symlink("b", "soft"))
	target, err := os.Readlink("soft")
	fmt.Println(target, err)
	one, _ := os.Stat("hard")
	two, _ := os.Stat("soft")
	fmt.Println(os.SameFile(one, two))
	l, _ := os.Lstat("soft")
	fmt.Println(l.Mode()&fs.ModeSymlink != 0)
	show("chmod", os.Chmod("b", 0400))
	info, _ = os.Stat("hard")
	fmt.Println(info.Mode())
	when := time.Unix(1234567890, 123000000)
	show("chtimes", os.Chtimes("b", when, when))
	info, _ = os.Stat("b")
	fmt.Println(info.ModTime().Equal(when))
	show("remove", os.Remove("b"))
	_, err = os.ReadFile("soft")
	show("dangling", err)
	_, err = os.Open("nothing/at/all")
	show("open", err)
	_, err = os.Open("hard/below")
	show("open", err)
	show("mkdir", os.Mkdir("hard", 0755))
	show("read a directory", func() error { d, _ := os.Open("."); _, err := d.Read(make([]byte, 1)); return err }())
}

func trees() {
	expect.NoError("mkdirall", os.MkdirAll("t/one/two/three", 0755))
	for i := 0; i < 300; i++ {
		name := filepath.Join("t", "one", fmt.Sprintf("f%03d", i))
		expect.NoError("write", os.WriteFile(name, []byte(name), 0600))
	}
	entries, err := os.ReadDir("t/one")
	fmt.Println(len(entries), err, entries[0], entries[len(entries)-1])
	count, size := 0, int64(0)
	filepath.WalkDir("t", func(path string, d fs.DirEntry, err error) error {
		expect.NoError(path, err)
		count++
		if info, _ := d.Info(); !d.IsDir() {
			size += info.Size()
		}
		return nil
	})
	fmt.Println("walked", count, size)
	show("remove", os.Remove("t"))
	matches, _ := filepath.Glob("t/one/f00?")
	fmt.Println(matches)
	d, _ := os.Open("t/one")
	names, err := d.Readdirnames(10)
	fmt.Println(len(names), err)
	d.Close()
	show("remove all", os.RemoveAll("t"))
	_, err = os.Stat("t")
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	t, err := os.CreateTemp(".", "temp-*.x")
	expect.NoError("temp", err)
	matched, _ := filepath.Match("./temp-*.x", t.Name())
	fmt.Println("temp", matched)
	os.Remove(t.Name())
	t.WriteString("unlinked")
	t.Seek(0, 0)
	b, err := io.ReadAll(t)
	fmt.Printf("%q %v\n", b, err)
}

func large() {
	f, err := os.Create("big")
	expect.NoError("create", err)
	w := bufio.NewWriterSize(f, 100000)
	h := sha256.New()
	line := bytes.Repeat([]byte("0123456789abcdef"), 64)
	for i := 0; i < 24*1024; i++ {
		line[i%len(line)] = byte(i)
		w.Write(line)
		h.Write(line)
	}
	w.Flush()
	f.Seek(0, 0)
	check := sha256.New()
	n, err := io.Copy(check, f)
	fmt.Println(n, err, bytes.Equal(h.Sum(nil), check.Sum(nil)))
	m, err := syscall.Mmap(int(f.Fd()), 0, int(n), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	expect.NoError("mmap", err)
	fmt.Println(sha256.Sum256(m) == [32]byte(*(*[32]byte)(check.Sum(nil))))
	copy(m[5<<20:], "through the map")
	b := make([]byte, 15)
	f.ReadAt(b, 5<<20)
	fmt.Println(string(b))
	expect.NoError("munmap", syscall.Munmap(m))
	f.Close()
	os.Remove("big")

	s, _ := os.Create("sparse")
	s.WriteAt([]byte("end"), 1<<32)
	info, _ := s.Stat()
	fmt.Println(info.Size())
	expect.True("holes take no blocks", info.Sys().(*syscall.Stat_t).Blocks < 1000)
	b = make([]byte, 4)
	s.ReadAt(b, 1<<31)
	fmt.Println(b)
	s.Truncate(3)
	s.Close()
	os.Remove("sparse")
}

func sharing() {
	f, _ := os.Create("locked")
	g, _ := os.Open("locked")
	fmt.Println(syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
	fmt.Println(syscall.Flock(int(g.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
	f.Close()
	fmt.Println(syscall.Flock(int(g.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
	var wg sync.WaitGroup
	for i := 0; i < 32; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			a, err := os.OpenFile("log", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0600)
			expect.NoError("open", err)
			defer a.Close()
			for k := 0; k < 200; k++ {
				fmt.Fprintf(a, "%02d %03d a line of text\n", i, k)
			}
		}(i)
	}
	wg.Wait()
	log, _ := os.Open("log")
	scanner, lines := bufio.NewScanner(log), 0
	for scanner.Scan() {
		expect.True("lines are whole", len(scanner.Text()) == len("00 000 a line of text"))
		lines++
	}
	fmt.Println("lines", lines)
}

func main() {
	syscall.Umask(022)
	dir, err := os.MkdirTemp("", "guest")
	expect.NoError("temporary directory", err)
	expect.NoError("chdir", os.Chdir(dir))
	basics()
	trees()
	large()
	sharing()
	wd, err := os.Getwd()
	fmt.Println(wd == dir, err)
	expect.NoError("clean up", os.RemoveAll(dir))
	_, err = os.Getwd()
	fmt.Println(err != nil || os.Getenv("PWD") != "")
	n, err := os.Stdout.Write(nil)
	fmt.Println(n, err)
	zero, _ := os.Open("/dev/zero")
	b := []byte{1, 2, 3}
	io.ReadFull(zero, b)
	null, _ := os.OpenFile("/dev/null", os.O_RDWR, 0)
	n, err = null.Write(b)
	_, end := null.Read(b)
	fmt.Println(b, n, err, end)
	random, _ := os.Open("/dev/urandom")
	r := make([]byte, 1000)
	n, err = io.ReadFull(random, r)
	fmt.Println(n, err, bytes.Count(r, []byte{0}) < 100)
}
