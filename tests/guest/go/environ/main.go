// SPDX-License-Identifier: Apache-2.0 OR MIT

// environ: arguments, environment, working directory and executable.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	fmt.Printf("%d arguments: %q\n", len(os.Args)-1, os.Args[1:])
	fmt.Printf("%q %q\n", os.Getenv("GREETING"), os.Getenv("EMPTY"))
	_, set := os.LookupEnv("EMPTY")
	_, missing := os.LookupEnv("NOT_SET_ANYWHERE")
	fmt.Println(set, missing)
	os.Setenv("NEW", "one=two")
	found := false
	for _, e := range os.Environ() {
		found = found || e == "NEW=one=two"
	}
	fmt.Println(found, os.ExpandEnv("$NEW-${GREETING}"))
	os.Unsetenv("NEW")
	fmt.Printf("%q\n", os.Getenv("NEW"))
	os.Chdir("/")
	wd, err := os.Getwd()
	fmt.Println(wd, err)
	exe, err := os.Executable()
	fmt.Println(err, filepath.IsAbs(exe), strings.Contains(filepath.Base(exe), " "))
	info, err := os.Stat("/proc/self/exe")
	fmt.Println(err, info.Size() > 100000, info.Mode().IsRegular())
	host, err := os.Hostname()
	fmt.Println(host != "", err)
	fmt.Println(os.TempDir(), os.Getpid() > 0, os.Getpagesize(), os.Getuid() == os.Geteuid())
}
