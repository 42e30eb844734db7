// SPDX-License-Identifier: Apache-2.0 OR MIT

// proc: what programs and libraries read from /proc, /sys and /dev.
package main

import (
	"bufio"
	"fmt"
	"guest/internal/expect"
	"os"
	"runtime"
	"strconv"
	"strings"
)

func descriptors() map[string]bool {
	entries, err := os.ReadDir("/proc/self/fd")
	expect.NoError("/proc/self/fd", err)
	found := map[string]bool{}
	for _, e := range entries {
		found[e.Name()] = true
	}
	return found
}

func main() {
	before := descriptors()
	fmt.Println("standard descriptors", before["0"], before["1"], before["2"])
	f, err := os.Open("/dev/null")
	expect.NoError("open", err)
	number := strconv.Itoa(int(f.Fd()))
	target, err := os.Readlink("/proc/self/fd/" + number)
	fmt.Println(descriptors()[number], target, err)
	f.Close()
	_, err = os.Readlink("/proc/self/fd/" + number)
	fmt.Println("gone", os.IsNotExist(err))

	maps, err := os.Open("/proc/self/maps")
	expect.NoError("maps", err)
	lines, executable, stack, last, ordered := 0, 0, 0, uint64(0), true
	scanner := bufio.NewScanner(maps)
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		var from, to uint64
		_, err := fmt.Sscanf(fields[0], "%x-%x", &from, &to)
		expect.NoError(scanner.Text(), err)
		expect.True("permissions have four letters", len(fields[1]) == 4)
		ordered = ordered && from >= last && to > from
		last = to
		lines++
		if fields[1] == "r-xp" && len(fields) > 5 && strings.HasPrefix(fields[5], "/") {
			executable++
		}
		if len(fields) > 5 && fields[5] == "[stack]" {
			stack++
		}
		expect.True("nothing is writable and executable", !strings.HasPrefix(fields[1], "rwx"))
	}
	fmt.Println("maps", lines > 3, executable, stack, ordered)

	cpus := 0
	b, err := os.ReadFile("/proc/cpuinfo")
	expect.NoError("cpuinfo", err)
	for _, line := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(line, "processor\t:") {
			cpus++
		}
	}
	fmt.Println("cpus agree", cpus >= runtime.NumCPU(), strings.Contains(string(b), "flags\t"))
	b, err = os.ReadFile("/proc/self/status")
	expect.NoError("status", err)
	for _, key := range []string{"Name:", "Pid:", "VmRSS:", "VmSize:", "Threads:"} {
		fmt.Println(key, strings.Contains(string(b), "\n"+key) || strings.HasPrefix(string(b), key))
	}
	b, err = os.ReadFile("/proc/meminfo")
	expect.NoError("meminfo", err)
	var total, free uint64
	for _, line := range strings.Split(string(b), "\n") {
		fmt.Sscanf(line, "MemTotal: %d kB", &total)
		fmt.Sscanf(line, "MemFree: %d kB", &free)
	}
	fmt.Println("memory", total > 0, free > 0, free <= total)
	b, err = os.ReadFile("/proc/self/cmdline")
	fmt.Println(strings.Count(string(b), "\x00"), err)
	b, err = os.ReadFile("/proc/self/comm")
	fmt.Println(len(b) > 1 && b[len(b)-1] == '\n', err)
	b, err = os.ReadFile("/proc/self/stat")
	fmt.Println(len(strings.Fields(string(b))) >= 44, err)
	b, err = os.ReadFile("/proc/uptime")
	fmt.Println(len(strings.Fields(string(b))), err)
	b, err = os.ReadFile("/proc/loadavg")
	fmt.Println(len(strings.Fields(string(b))), err)
	b, err = os.ReadFile("/proc/sys/net/core/somaxconn")
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	fmt.Println("somaxconn", n >= 128, err)
	b, err = os.ReadFile("/proc/sys/kernel/osrelease")
	fmt.Println("osrelease", len(b) > 3, err)
	b, err = os.ReadFile("/sys/devices/system/cpu/online")
	fmt.Println("online", strings.HasPrefix(string(b), "0"), err)
	exe, err := os.Readlink("/proc/self/exe")
	fmt.Println(strings.HasPrefix(exe, "/"), err)
	cwd, err := os.Readlink("/proc/self/cwd")
	wd, _ := os.Getwd()
	fmt.Println(cwd == wd, err)
	self, err := os.Readlink("/proc/self")
	fmt.Println(self == strconv.Itoa(os.Getpid()), err)
	err = os.WriteFile("/proc/nothing", nil, 0600)
	fmt.Println(err != nil)
	_, err = os.ReadDir("/proc/self/task")
	fmt.Println(err)
}
