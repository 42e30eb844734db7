// SPDX-License-Identifier: Apache-2.0 OR MIT

// volume: many goroutines on ext4, each with files of its own and some that all
// share. What is left in "kept" is compared with what Linux's ext4 has.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"guest/internal/expect"
	"io"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"syscall"
	"time"
)

const place = "/tmp/guest-volume-go"

// A store in the manner of small databases: records behind a log that is synced,
// then written where they belong.
func store(number int, records int) [32]byte {
	name := fmt.Sprintf("kept/store-%d", number)
	random := rand.New(rand.NewSource(int64(number)))
	log, err := os.OpenFile(name+".log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0644)
	expect.NoError("log", err)
	data, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0644)
	expect.NoError("data", err)
	record := make([]byte, 600)
	for i := 0; i < records; i++ {
		random.Read(record)
		slot := random.Intn(100)
		binary.LittleEndian.PutUint64(record, uint64(slot))
		_, err = log.Write(record)
		expect.NoError("append", err)
		if i%8 == 0 {
			expect.NoError("sync", log.Sync())
		}
		_, err = data.WriteAt(record, int64(slot)*600)
		expect.NoError("write", err)
	}
	expect.NoError("sync", data.Sync())
	hash := sha256.New()
	_, err = data.Seek(0, io.SeekStart)
	expect.NoError("seek", err)
	_, err = io.Copy(hash, data)
	expect.NoError("read", err)
	expect.NoError("close", data.Close())
	expect.NoError("close", log.Close())
	var sum [32]byte
	hash.Sum(sum[:0])
	return sum
}

func stores() {
	var wait sync.WaitGroup
	sums := make([][32]byte, 6)
	for i := range sums {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			sums[i] = store(i, 300)
		}(i)
	}
	wait.Wait()
	for i, sum := range sums {
		fmt.Printf("store %d %x\n", i, sum[:8])
	}
}

// Versions of one file, replaced atomically while others read it.
func replacing() {
	body := func(version int) []byte { return bytes.Repeat([]byte{byte(version)}, 20000+version*100) }
	done := make(chan struct{})
	var readers sync.WaitGroup
	write := func(version int) {
		expect.NoError("new", os.WriteFile("kept/version.new", body(version), 0600))
		expect.NoError("rename", os.Rename("kept/version.new", "kept/version"))
	}
	write(0)
	for i := 0; i < 3; i++ {
		readers.Add(1)
		go func() {
			defer readers.Done()
			for {
				select {
				case <-done:
					return
				default:
				}
				text, err := os.ReadFile("kept/version")
				expect.NoError("read", err)
				if !bytes.Equal(text, body(int(text[0]))) {
					fmt.Println("a mixture of versions")
				}
			}
		}()
	}
	for version := 1; version <= 60; version++ {
		write(version)
	}
	close(done)
	readers.Wait()
	info, err := os.Stat("kept/version")
	fmt.Println(info.Size(), info.Mode(), err)
}

// A tree that goroutines make, move and take away.
func trees() {
	var wait sync.WaitGroup
	for i := 0; i < 8; i++ {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			top := fmt.Sprintf("tree-%d", i)
			for j := 0; j < 12; j++ {
				directory := filepath.Join(top, fmt.Sprint(j%4), fmt.Sprint(j))
				expect.NoError("mkdir", os.MkdirAll(directory, 0755))
				file := filepath.Join(directory, "leaf")
				expect.NoError("leaf", os.WriteFile(file, []byte(directory), 0644))
				expect.NoError("link", os.Link(file, file+"-too"))
				expect.NoError("symlink", os.Symlink("leaf", file+"-soft"))
			}
			expect.NoError("remove", os.RemoveAll(filepath.Join(top, "1")))
			expect.NoError("rename", os.Rename(top, filepath.Join("kept", top)))
		}(i)
	}
	wait.Wait()
	count, size := 0, int64(0)
	err := filepath.WalkDir("kept", func(path string, entry fs.DirEntry, err error) error {
		expect.NoError("walk", err)
		count++
		if info, err := entry.Info(); err == nil && entry.Type().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	fmt.Println(count, size, err)
}

func shared() {
	f, err := os.OpenFile("kept/shared", os.O_CREATE|os.O_RDWR|os.O_APPEND, 0644)
	expect.NoError("shared", err)
	var wait sync.WaitGroup
	for i := 0; i < 8; i++ {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			line := bytes.Repeat([]byte{byte('a' + i)}, 99)
			for j := 0; j < 50; j++ {
				_, err := f.Write(append(line, '\n'))
				expect.NoError("append", err)
			}
		}(i)
	}
	wait.Wait()
	text, err := os.ReadFile("kept/shared")
	expect.NoError("read", err)
	lines := bytes.Split(bytes.TrimSpace(text), []byte{'\n'})
	counts := map[string]int{}
	for _, line := range lines {
		if len(line) != 99 || bytes.Count(line, line[:1]) != 99 {
			fmt.Printf("a broken line %q\n", line)
		}
		counts[string(line[:1])]++
	}
	fmt.Println(len(lines), counts)
	// In an order of its own, so that both sides keep the same.
	sort.Slice(lines, func(i, j int) bool { return bytes.Compare(lines[i], lines[j]) < 0 })
	expect.NoError("sorted", os.WriteFile("kept/shared", bytes.Join(lines, []byte{'\n'}), 0644))
	f.Close()
}

func mapped() {
	f, err := os.OpenFile("kept/mapped", os.O_CREATE|os.O_RDWR, 0644)
	expect.NoError("mapped", err)
	expect.NoError("truncate", f.Truncate(1<<20))
	memory, err := syscall.Mmap(int(f.Fd()), 0, 1<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	expect.NoError("mmap", err)
	for i := 0; i < 1<<20; i += 1000 {
		memory[i] = byte(i)
	}
	expect.NoError("sync", f.Sync())
	for i := 0; i < 1<<20; i += 3000 {
		memory[i]++
	}
	expect.NoError("munmap", syscall.Munmap(memory))
	expect.NoError("close", f.Close())
	text, err := os.ReadFile("kept/mapped")
	fmt.Printf("%x %v\n", sha256.Sum256(text), err)
}

func mistakes() {
	for _, err := range []error{
		os.Mkdir("kept", 0755),
		os.Remove("nothing"),
		os.Remove("kept"),
		os.Rename("kept", "kept/inside"),
		os.Truncate("kept", 0),
		os.Link("kept", "other"),
	} {
		var errno syscall.Errno
		fmt.Println(errors.As(err, &errno), int(errno))
	}
	at := time.Unix(1234567890, 987654321)
	expect.NoError("write", os.WriteFile("kept/old", nil, 0640))
	expect.NoError("times", os.Chtimes("kept/old", at, at))
	info, err := os.Stat("kept/old")
	fmt.Println(info.ModTime().UnixNano(), err)
}

func main() {
	expect.NoError("chdir", os.Chdir(place))
	expect.NoError("mkdir", os.Mkdir("kept", 0755))
	stores()
	replacing()
	trees()
	shared()
	mapped()
	mistakes()
}
