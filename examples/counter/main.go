// SPDX-License-Identifier: Apache-2.0 OR MIT

// counter: counts its own runs on a volume.
package main

import (
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
)

const path = "/data/count.txt"

func main() {
	log.SetFlags(0)
	count := 0
	text, err := os.ReadFile(path)
	if err == nil {
		count, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil && !os.IsNotExist(err) {
		log.Fatal(err)
	}
	count++
	file, err := os.Create(path)
	if err != nil {
		log.Fatal(err)
	}
	if _, err = fmt.Fprintln(file, count); err == nil {
		// On the disk before anybody is told.
		err = file.Sync()
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("run", count)
}
